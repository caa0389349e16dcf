"""Metadata goes from file to file, for the picture as it lies, and never shows the damage again."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

from restore_sdk.files import open_photo
from restore_sdk.files.metadata import Metadata, xmp_without_thumbnails
from tests.files.conftest import Save, opened, profile

KINDS = [".jpg", ".png", ".webp", ".tif"]


def carried(source: Path, target: str) -> tuple[Image.Image, tuple[str, ...], bytes]:
    """The photograph written again under another name, as Pillow sees it."""
    photo = open_photo(source)
    file = photo.encode(target, photo.pixels)
    return opened(file.data), file.notes, file.data


def exif_of(image: Image.Image) -> dict[int, Any]:
    exif = image.getexif()
    return {**dict(exif), **exif.get_ifd(0x8769)}


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_from_any_format_to_any(save: Save, picture: NDArray[np.uint8], source: str, target: str) -> None:
    image, _, data = carried(save(f"a{source}"), f"b{target}")
    kept = source == target == ".jpg"  # a JPEG stays as it lay
    assert np.abs(np.asarray(image).astype(int) - (picture if kept else np.rot90(picture, -1))).mean() < 8
    assert image.info["icc_profile"] == profile()
    exif = exif_of(image)
    assert exif[271] == "A camera"
    assert exif.get(274, 1) == (6 if kept else 1)
    if source != ".tif":
        assert exif[0x9003] == "2001:02:03 04:05:06"
        assert image.getexif().get_ifd(0x8825)[1] == "N"
        if target != ".tif":
            assert (exif[0xA002], exif[0xA003]) == ((60, 40) if kept else (40, 60))
    else:
        assert exif[315] == "A person"
    xmp = image.info["xmp"] if "xmp" in image.info else image.tag_v2[700]  # type: ignore[attr-defined]
    assert b"A title" in xmp
    assert (b'Orientation="6"' if kept else b'Orientation="1"') in xmp
    for secret in (b"a small damaged picture", b"c2VjcmV0", b"hidden"):
        assert secret not in data
    if target != ".webp" and source != ".webp":
        assert image.info["dpi"] == pytest.approx((300, 150) if kept else (150, 300), abs=0.1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_with_sixteen_bits(save: Save, tmp_path: Path, suffix: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "IDAT and IDAT")  # no chunk begins there
    photo = open_photo(save(f"a{suffix}", **({"pnginfo": info} if suffix == ".png" else {})))
    deep = photo.pixels.astype(np.uint16) * 257 + 3
    file = photo.encode(f"b{suffix}", deep)
    image = opened(file.data)
    assert (exif_of(image)[271], image.info["icc_profile"]) == ("A camera", profile())
    assert image.info["dpi"] == pytest.approx((150, 300), abs=0.1)
    again = open_photo(file.data)
    assert np.array_equal(again.pixels, deep)
    assert exif_of(opened(again.encode(f"c{suffix}", again.pixels).data))[271] == "A camera"


def test_what_only_one_format_has_stays_in_it(save: Save) -> None:
    jpeg, notes, data = carried(save("a.jpg"), "b.jpg")
    assert (jpeg.info["comment"], notes) == (b"a comment", ())
    png, notes, _ = carried(save("a.png"), "b.png")
    assert png.info["Title"] == "a text"
    assert notes == ("metadata in text chunks of ImageMagick's kind was left out",)
    tiff, notes, _ = carried(save("a.tif"), "b.tif")
    assert tiff.tag_v2[33723] == b"\x1c\x02\x05\0\5title"  # type: ignore[attr-defined]
    assert notes == ()
    assert "what only JPEG holds (comments, text, IPTC) was left out" in carried(save("a.jpg"), "b.png")[1]
    bmp, notes, _ = carried(save("a.jpg"), "b.bmp")
    assert "BMP holds no metadata but the resolution: it was left out" in notes
    assert bmp.info["dpi"] == pytest.approx((150, 300), abs=0.1)
    assert data.startswith(b"\xff\xd8\xff\xe0")
    assert carried(save("a.bmp"), "b.bmp")[0].info["dpi"] == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize(("kind", "size"), [(2, 1), (4, 4)])  # text, long numbers
def test_xmp_and_iptc_of_a_tiff_whatever_their_type(save: Save, kind: int, size: int) -> None:
    xmp, iptc = b'<x tiff:Orientation="1"/>   ', b"\x1c\x02\x05\0\5title\0\0"
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700], tags[33723] = xmp, iptc
    path = save("a.tif", tiffinfo=tags)
    data = path.read_bytes()
    for tag, before, content in ((700, 1, xmp), (33723, 7, iptc)):
        entry = struct.pack("<HHI", tag, before, len(content))
        assert data.count(entry) == 1
        data = data.replace(entry, struct.pack("<HHI", tag, kind, len(content) // size))
    path.write_bytes(data)
    tiff, notes, _ = carried(path, "b.tif")
    assert tiff.tag_v2[700] == xmp  # type: ignore[attr-defined]
    assert tiff.tag_v2[33723] == iptc  # type: ignore[attr-defined]
    assert notes == ()


def test_of_photoshop_resources_iptc_stays(save: Save, tmp_path: Path) -> None:
    def resource(number: int, content: bytes) -> bytes:
        return b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + b"\0" * (len(content) % 2)

    block = b"Photoshop 3.0\0" + resource(1028, b"the iptc") + resource(1036, b"the damage") + resource(1005, b"odd")
    data = save("a.jpg").read_bytes()
    (tmp_path / "p.jpg").write_bytes(data[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:])
    _, _, written = carried(tmp_path / "p.jpg", "q.jpg")
    assert b"the iptc" in written
    assert b"the damage" not in written


def test_profiles(save: Save, tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    """Of any length, whole, and for pixels of this kind."""
    long = profile()[:128] + np.random.default_rng(0).bytes(200_000)
    assert carried(save("a.jpg", icc_profile=long), "b.jpg")[0].info["icc_profile"] == long
    assert carried(save("c.png", icc_profile=long), "d.tif")[0].info["icc_profile"] == long
    data = (tmp_path / "a.jpg").read_bytes()
    for at in [number for number in range(len(data)) if data.startswith(b"ICC_PROFILE\0", number)][:2]:
        (size,) = struct.unpack_from(">H", data, at - 2)
        (tmp_path / "half.jpg").write_bytes(data[: at - 4] + data[at - 2 + size :])
        image, notes, _ = carried(tmp_path / "half.jpg", "b.png")
        assert "icc_profile" not in image.info
        assert "its colour profile is incomplete and was left out" in notes
    image, notes, _ = carried(save("a.png", picture[..., 0]), "b.png")
    assert "icc_profile" not in image.info
    assert any("colour profile" in note for note in notes)


def test_nothing_is_made_up(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    for suffix in (*KINDS, ".bmp"):
        Image.fromarray(picture).save(tmp_path / f"plain{suffix}")
        image, notes, _ = carried(tmp_path / f"plain{suffix}", f"b{suffix}")
        assert notes == ()
        assert not set(image.info) & {"exif", "xmp", "icc_profile"}
        assert open_photo(tmp_path / f"plain{suffix}").metadata.dpi is None or suffix == ".bmp"  # which always has one
        before = opened((tmp_path / f"plain{suffix}").read_bytes())
        assert image.info.get("dpi", (1, 1)) == before.info.get("dpi", (1, 1))


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_resolution_of_exif_follows_a_turn(save: Save, orientation: int) -> None:
    exif = Image.Exif()
    exif[274], exif[282], exif[283], exif[296] = orientation, 300.0, 200.0, 2
    image, _, _ = carried(save("a.webp", exif=exif), "b.png")
    expected = (200, 300) if orientation == 6 else (300, 200)
    assert (exif_of(image)[282], exif_of(image)[283]) == expected


def test_what_a_format_cannot_hold_is_named(save: Save) -> None:
    name_as_fraction = b"MM\0*" + struct.pack(">IH HHII I II", 8, 1, 269, 5, 1, 26, 0, 1, 2)  # nobody writes this
    image, notes, _ = carried(save("a.png", exif=name_as_fraction, pnginfo=None), "b.tif")
    assert notes == ("its EXIF is damaged and was left out",)
    image, notes, _ = carried(save("a.webp", xmp=b"<x>" + b" " * 70_000), "b.jpg")
    assert "xmp" not in image.info
    assert "its XMP is too large for a JPEG and was left out" in notes


def test_exif_behind_the_pixels_of_a_png(save: Save, tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    data = save("a.png").read_bytes()
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    (tmp_path / "b.png").write_bytes(data[:at] + data[end:-12] + data[at:end] + data[-12:])
    image, _, _ = carried(tmp_path / "b.png", "c.png")
    assert np.array_equal(np.asarray(image), np.rot90(picture, -1))
    assert (exif_of(image)[271], exif_of(image)[274]) == ("A camera", 1)


def test_xmp() -> None:
    for text in (b"<tiff:Orientation>8</tiff:Orientation>", b"tiff:Orientation='3'", b'tiff:Orientation = "6"'):
        assert re.search(b"[1-8]", Metadata(xmp=text).upright(6).xmp)[0] == b"1"  # type: ignore[index]
    for space in (b"xmp", b"xap"):
        thumbnails = b"<%b:Thumbnails><a/></%b:Thumbnails>" % (space, space)
        assert xmp_without_thumbnails(b"a" + thumbnails + b"b") == b"ab"
    assert xmp_without_thumbnails(b"<xmp:Thumbnails><a/>") == b"<xmp:Thumbnails><a/>"
