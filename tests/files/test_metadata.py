"""Metadata goes from file to file, for the upright picture, and never shows the damage again."""

from __future__ import annotations

import io
import random
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from restore_sdk.files.formats import tags
from restore_sdk.files.formats.embed import embed
from restore_sdk.files.formats.exif import upright
from restore_sdk.files.formats.header import read_header
from restore_sdk.files.formats.metadata import read_metadata
from restore_sdk.files.photo import open_photo
from tests.files.conftest import XMP, Save, exif_block, opened, profile

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
    turned = np.rot90(picture, -1)
    assert np.abs(np.asarray(image).astype(int) - turned).mean() < 8
    assert image.info["icc_profile"] == profile()
    exif = exif_of(image)
    assert exif[271] == "A camera"
    assert exif.get(274, 1) == 1
    if source != ".tif":
        assert exif[0x9003] == "2001:02:03 04:05:06"
        assert image.getexif().get_ifd(0x8825)[1] == "N"
        if target != ".tif":
            assert (exif[0xA002], exif[0xA003]) == (40, 60)
    else:
        assert exif[315] == "A person"
    xmp = image.info["xmp"] if "xmp" in image.info else image.tag_v2[700]  # type: ignore[attr-defined]
    assert b"A title" in xmp
    assert b'Orientation="1"' in xmp
    for secret in (b"a small damaged picture", b"c2VjcmV0", b"hidden"):
        assert secret not in data
    if target != ".webp" and source != ".webp":
        assert image.info["dpi"] == pytest.approx((150, 300), abs=0.1)  # it was 300 x 150, and turned by a quarter


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
    assert "BMP holds no metadata: it was left out" in carried(save("a.jpg"), "b.bmp")[1]
    assert data.startswith(b"\xff\xd8\xff\xe0")


def test_photoshop_resources_lose_their_thumbnail(save: Save, tmp_path: Path) -> None:
    def resource(number: int, content: bytes) -> bytes:
        return (
            b"8BIM"
            + struct.pack(">H", number)
            + b"\0\0"
            + struct.pack(">I", len(content))
            + content.ljust(len(content) + len(content) % 2, b"\0")
        )

    block = b"Photoshop 3.0\0" + resource(1028, b"the iptc") + resource(1036, b"the damage") + resource(1005, b"odd")
    data = save("a.jpg").read_bytes()
    marked = data[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:]
    (tmp_path / "p.jpg").write_bytes(marked)
    _, _, written = carried(tmp_path / "p.jpg", "q.jpg")
    assert b"the iptc" in written
    assert b"odd" in written
    assert b"the damage" not in written


def test_a_long_profile_takes_several_segments(save: Save) -> None:
    long = profile()[:128] + random.Random(0).randbytes(200_000)
    image, _, _ = carried(save("a.jpg", icc_profile=long), "b.jpg")
    assert image.info["icc_profile"] == long
    assert carried(save("c.png", icc_profile=long), "d.tif")[0].info["icc_profile"] == long


def test_a_profile_for_other_channels_is_left_out(save: Save, picture: NDArray[np.uint8]) -> None:
    image, notes, _ = carried(save("a.png", picture[..., 0]), "b.png")
    assert "icc_profile" not in image.info
    assert any("colour profile" in note for note in notes)


def test_nothing_is_made_up(save: Save, tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    for suffix in KINDS:
        Image.fromarray(picture).save(tmp_path / f"plain{suffix}")
        image, notes, _ = carried(tmp_path / f"plain{suffix}", f"b{suffix}")
        assert notes == ()
        assert not set(image.info) & {"exif", "xmp", "icc_profile"}


def test_an_exif_block_keeps_its_places() -> None:
    """Notes of camera makers count from the beginning, so nothing may move; only the thumbnail goes."""
    plain, now = exif_block(), upright(exif_block(thumbnail=b"secret thumbnail"), swapped=False)
    assert b"secret" not in now
    changed = [at for at, (a, b) in enumerate(zip(plain, now, strict=False)) if a != b]
    assert len(changed) <= 2  # the orientation
    exif = Image.Exif()
    exif.load(now)
    assert exif[274] == 1
    assert exif.get_ifd(1) == {}


def test_either_byte_order(save: Save) -> None:
    block = exif_block()
    order = tags.byte_order(block)
    other: tags.Order = ">" if order == "<" else "<"
    root = tags.turned(tags.first_directory(block), order, other)
    start = b"MM\0*\0\0\0\x08" if other == ">" else b"II*\0\x08\0\0\0"
    photo = save("a.jpg", exif=b"Exif\0\0" + start + tags.write_directory(root, other, 8))
    for target in KINDS:
        exif = exif_of(carried(photo, f"b{target}")[0])
        assert (exif[271], exif[0x9003]) == ("A camera", "2001:02:03 04:05:06")


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_resolution_of_exif_follows_a_turn(orientation: int) -> None:
    exif = Image.Exif()
    exif[274], exif[282], exif[283], exif[296] = orientation, 300.0, 200.0, 2
    found = Image.Exif()
    found.load(upright(exif.tobytes().removeprefix(b"Exif\0\0"), swapped=orientation == 6))
    assert (found[282], found[283]) == ((200, 300) if orientation == 6 else (300, 200))


def test_a_resolution_that_webp_cannot_hold_is_named(save: Save) -> None:
    plain = save("a.jpg", exif=b"", dpi=(300, 200))
    assert "WebP holds no resolution but in EXIF: it was left out" in carried(plain, "b.webp")[1]
    assert not [note for note in carried(plain, "b.png")[1] if "resolution" in note]


@pytest.mark.parametrize("lost", [1, 2])
def test_half_a_profile_is_none(save: Save, tmp_path: Path, lost: int) -> None:
    data = save("a.jpg", icc_profile=profile() + bytes(100_000)).read_bytes()
    at = [number for number in range(len(data)) if data.startswith(b"ICC_PROFILE\0", number)][lost - 1]
    (size,) = struct.unpack_from(">H", data, at - 2)
    (tmp_path / "half.jpg").write_bytes(data[: at - 4] + data[at - 2 + size :])
    image, notes, _ = carried(tmp_path / "half.jpg", "b.png")
    assert "icc_profile" not in image.info
    assert "its colour profile is incomplete and was left out" in notes


def test_an_orientation_of_another_type() -> None:
    """A LONG instead of a SHORT is read as well, so it has to be reset as well."""
    directory = tags.Directory({274: tags.Entry(4, struct.pack("<I", 6))})
    block = b"II*\0\x08\0\0\0" + tags.write_directory(directory, "<", 8)
    assert tags.integer(tags.first_directory(upright(block, swapped=True)), 274, "<") == 1


def test_exif_behind_the_pixels_of_a_png(save: Save, tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    data = save("a.png").read_bytes()
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    (tmp_path / "b.png").write_bytes(data[:at] + data[end:-12] + data[at:end] + data[-12:])
    image, _, _ = carried(tmp_path / "b.png", "c.png")
    assert np.array_equal(np.asarray(image), np.rot90(picture, -1))
    assert (exif_of(image)[271], exif_of(image)[274]) == ("A camera", 1)


def test_orientation_in_either_spelling_of_xmp() -> None:
    from restore_sdk.files.formats.exif import upright_xmp

    for text in (b"<tiff:Orientation>8</tiff:Orientation>", b"tiff:Orientation='3'", b'tiff:Orientation = "6"'):
        assert b"1" in upright_xmp(text)
        assert not set(b"368") & set(upright_xmp(text))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_metadata_spoils_no_photograph(save: Save, tmp_path: Path, kind: str) -> None:
    data = bytearray(save(f"a{kind}").read_bytes())
    at = data.find(b"A camera") - 30
    data[at : at + 25] = random.Random(1).randbytes(25)
    (tmp_path / f"x{kind}").write_bytes(data)
    if read_header(bytes(data)) is not None:
        photo = open_photo(tmp_path / f"x{kind}")
        opened(photo.encode(f"y{kind}", photo.pixels).data)


SAMPLES: dict[str, bytes] = {}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_hostile_metadata_does_no_harm(data: st.DataObject) -> None:
    """Real files with bytes changed all over their metadata: never an exception, a hang, or an unreadable file."""
    if not SAMPLES:
        for name, options in {
            "JPEG": {"exif": b"Exif\0\0" + exif_block(6, b"thumb"), "icc_profile": profile(), "xmp": XMP},
            "PNG": {"exif": exif_block(6, b"thumb"), "icc_profile": profile(), "dpi": (300, 300)},
            "WEBP": {"exif": exif_block(6, b"thumb"), "icc_profile": profile(), "xmp": XMP, "lossless": True},
            "TIFF": {"icc_profile": profile(), "dpi": (300, 300), "description": "text"},
        }.items():
            file = io.BytesIO()
            Image.new("RGB", (16, 16), "red").save(file, name, **options)
            SAMPLES[name] = file.getvalue()
    name = data.draw(st.sampled_from(sorted(SAMPLES)))
    sample = bytearray(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        sample[data.draw(st.integers(8, len(sample) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(sample)), st.integers(1, len(sample))))
    header = read_header(bytes(sample[:cut]))
    if header is None:
        return
    started = time.process_time()
    found = read_metadata(bytes(sample[:cut]), header)
    for kind, suffix in (("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tiff", "TIFF")):
        encoded = io.BytesIO()
        Image.new("RGB", (8, 8)).save(encoded, suffix, **({"lossless": True} if kind == "webp" else {}))
        written, _ = embed(encoded.getvalue(), kind, found, grey=False)  # type: ignore[arg-type]
        assert read_header(written) is not None
    assert time.process_time() - started < 2
