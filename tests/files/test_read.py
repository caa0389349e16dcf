"""Every kind of image file comes out as another decoder has it, or is refused with the true reason."""

from __future__ import annotations

import io
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from restore_sdk.errors import ImageError, MaskError
from restore_sdk.files import InvalidImageError, open_photo, read_mask, read_photo, write_image
from tests.conftest import make_photo
from tests.files.conftest import tiff
from tests.memory import bounded
from tests.needs import unavailable

RGB = make_photo(40, 60)
GREY = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bmp(header: int, bits: int, masks: tuple[int, ...], pixels: bytes) -> bytes:
    """64 x 64 pixels from the top, with masks that say where a colour's bits are."""
    head = struct.pack("<IiiHHIIiiII", header, 64, -64, 1, bits, 3, len(pixels), 0, 0, 0, 0)
    head += struct.pack("<III", *masks)
    return b"BM" + struct.pack("<IHHI", 66 + len(pixels), 0, 0, 66) + head + pixels


def os2() -> tuple[bytes, NDArray[np.uint8]]:
    palette = np.array([(i, 255 - i, 40) for i in range(256)], np.uint8)
    head = b"BM" + struct.pack("<IHHIIHHHH", 4890, 0, 0, 794, 12, 64, 64, 1, 8)
    return head + palette.tobytes() + GREY.tobytes(), palette[GREY[::-1]]


COLOURS = np.dstack([GREY, GREY.T, 255 - GREY])  # RGB
BGR = COLOURS[..., ::-1]
RED_FIRST = (COLOURS[..., 0].astype("<u4") << 24) | (COLOURS[..., 1].astype("<u4") << 8) | COLOURS[..., 2]
IMAGE = Image.fromarray(RGB)
JPEG = saved(IMAGE, "JPEG")
DECODED = np.asarray(Image.open(io.BytesIO(JPEG)))[..., ::-1]

#: Bytes of a file, and its pixels in BGR.
KINDS: dict[str, tuple[bytes, NDArray[np.uint8]]] = {
    "OS/2 BMP with a palette": os2(),
    "BMP, red in the highest bits": (bmp(52, 32, (0xFF000000, 0xFF00, 0xFF), RED_FIRST.tobytes()), BGR),
    "BMP 565": (bmp(40, 16, (0xF800, 0x7E0, 0x1F), b"\xff" * 8192), np.full((64, 64, 3), 255, np.uint8)),
    "BMP without an alpha mask": (
        bmp(40, 32, (0xFF0000, 0xFF00, 0xFF), np.dstack((BGR, 0 * GREY)).tobytes()),
        BGR,
    ),
    "JPEG with a stray segment": (JPEG[:2] + b"\xff\xed\0\x06abcd\0\1\2" + JPEG[2:], DECODED),
    "JPEG with fill bytes": (JPEG[:2] + b"\xff" * 9 + JPEG[2:], DECODED),
    "JPEG, a film behind it": (JPEG + b"\xff\xda\x00\x02" * 500, DECODED),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_files(tmp_path: Path, name: str) -> None:
    data, expected = KINDS[name]
    (tmp_path / "a").write_bytes(data)
    assert np.array_equal(read_photo(tmp_path / "a"), expected)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_phones(tmp_path: Path, kind: str) -> None:
    """Turned as the file says; kept by a plug-in, where it is installed."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.init()
    if kind not in Image.SAVE:
        unavailable("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[271], exif[274] = "A camera", 6
    image = Image.fromarray(cv2.GaussianBlur(RGB, (0, 0), 3))
    (tmp_path / "a").write_bytes(saved(image, kind, exif=exif, quality=95))
    with Image.open(tmp_path / "a") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    photo = open_photo(tmp_path / "a")
    assert np.array_equal(photo.pixels[..., ::-1], expected)
    assert photo.lossy
    assert Image.open(io.BytesIO(photo.encode("b.png", photo.pixels).data)).getexif()[271] == "A camera"


CORNERS = np.zeros((32, 48, 3), np.uint8)
CORNERS[:16, :16], CORNERS[:16, -16:], CORNERS[-16:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LOSSLESS: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}


def turned(picture: NDArray[Any], orientation: int) -> NDArray[Any]:
    """What EXIF defines: rows and columns change places from 5 on, then each may run backwards."""
    picture = np.swapaxes(picture, 0, 1) if orientation >= 5 else picture
    return picture[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


@pytest.mark.parametrize("where", ["exif", "xmp", "both"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_photos_are_turned_upright(tmp_path: Path, kind: str, where: str) -> None:
    """As EXIF says, of a TIFF its tag; only where that says nothing, as XMP says."""
    for orientation in range(1, 9):
        xmp = f'<x tiff:Orientation="{orientation if where == "xmp" else 1 + orientation % 8}"/>'.encode()
        options: dict[str, Any] = {**LOSSLESS.get(kind, {})}
        if kind == "TIFF":
            options["tiffinfo"] = {274: orientation, 700: xmp}
            options["tiffinfo"].pop({"exif": 700, "xmp": 274}.get(where), None)
        else:
            exif = Image.Exif()
            exif[274] = orientation
            options |= {"exif": exif} if where != "xmp" else {}
            if where != "exif" and kind == "PNG":
                options["pnginfo"] = PngInfo()
                options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
            elif where != "exif":
                options["xmp"] = xmp
        photo = open_photo(saved(Image.fromarray(CORNERS), kind, **options))
        expected = turned(CORNERS, orientation)
        assert photo.pixels.shape == expected.shape
        assert np.abs(photo.pixels[..., ::-1].astype(int) - expected).max() < 12
        name = ("a.jpg", "a.png", "a.webp", "a.tif", "a.bmp")[orientation % 5]  # whoever reads it again sees the same
        (tmp_path / name).write_bytes(photo.encode(name, photo.pixels).data)
        assert np.abs(read_photo(tmp_path / name).astype(int) - photo.pixels).mean() < 3
        with Image.open(tmp_path / name) as image:
            assert np.asarray(ImageOps.exif_transpose(image)).shape == expected.shape


@pytest.mark.parametrize("where", ["tag", "xmp", "both", "tag is 0"])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiffs_are_turned_upright(tmp_path: Path, bits: int, where: str) -> None:
    """In both depths, which different libraries read, by the same rule."""
    grey = RGB[..., 0] if bits == 8 else RGB[..., 0].astype(np.uint16) * 257 + 3
    for orientation in range(1, 9):
        told = {"tag": (orientation, 0), "both": (orientation, 1 + orientation % 8)}.get(where, (0, orientation))
        tags = {274: told[0], 700: b'<x tiff:Orientation="%d"/>' % told[1]}
        tags.pop({"tag": 700, "xmp": 274}.get(where, 0), None)
        photo = open_photo(saved(Image.fromarray(grey), "TIFF", tiffinfo=tags))
        assert photo.orientation == orientation
        assert np.array_equal(photo.pixels, turned(grey, orientation))


def pages(*pictures: tuple[NDArray[np.uint8], int]) -> bytes:
    """A TIFF of pages, each with its subfile type."""
    images = [Image.fromarray(picture) for picture, _ in pictures]
    for image, (_, kind) in zip(images, pictures, strict=True):
        image.encoderinfo = {"tiffinfo": {254: kind}}
    return saved(images[0], "TIFF", save_all=True, append_images=images[1:], tiffinfo={254: pictures[0][1]})


def test_of_several_pictures_one_is_the_photograph() -> None:
    """And what is left out is told."""
    small = RGB[::4, ::4].copy()
    for data, drift, notes in (
        (pages((small, 1), (RGB, 0)), 0, ["smaller"]),
        (pages((RGB, 0), (small, 1), (RGB[..., 0].copy(), 0)), 0, ["infrared", "smaller"]),
        (saved(IMAGE, "MPO", **FRAMES), 8, ["further pictures"]),
    ):
        photo = open_photo(data)
        assert np.abs(photo.pixels[..., ::-1].astype(int) - RGB).mean() <= drift
        told = photo.encode("b.png", photo.pixels).notes
        assert all(word in note for word, note in zip(notes, told, strict=True))


def with_chunk(kind: bytes, content: bytes) -> bytes:
    png, checksum = saved(IMAGE, "PNG"), zlib.crc32(kind + content)
    return png[:33] + struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum) + png[33:]


def lab() -> bytes:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(IMAGE, *profiles, outputMode="LAB")
    assert image is not None
    return saved(image, "TIFF")


def deep(picture: NDArray[Any]) -> NDArray[Any]:
    return picture.astype(np.uint16) * 257 - (picture > 9)


FRAMES: dict[str, Any] = {"save_all": True, "append_images": [Image.fromarray(255 - RGB)]}
TWELVE = bytearray(JPEG)
TWELVE[JPEG.index(b"\xff\xc0") + 4] = 12
FLOATS = bytes(cv2.imencode(".tiff", np.zeros((9, 9), np.float32))[1])

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty file"),
    "text": (lambda: b"hello", "known format"),
    "zeros": (lambda: bytes(1000), "known format"),
    "PNG without a header": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IEND\xaeB`\x82", "damaged or truncated"),
    "GIF": (lambda: saved(IMAGE, "GIF", **FRAMES), "no image of a known format, but a GIF"),
    "video": (lambda: bytes(4) + b"ftypisom" + bytes(20), "but a video"),
    "Photoshop": (lambda: b"8BPS" + bytes(20), "but a Photoshop file"),
    "Radiance": (lambda: b"#?RADIANCE\n", "but a Radiance picture, which is HDR"),
    "OpenEXR": (lambda: b"v/1\x01" + bytes(20), "but an OpenEXR, which is HDR"),
    "web page": (lambda: b"\n <!DOCTYPE html>", "but a web page"),
    "PDF": (lambda: b"%PDF-1.7", "but a PDF"),
    "animated PNG": (lambda: saved(IMAGE, "PNG", **FRAMES), "animated"),
    "animated WebP": (lambda: saved(IMAGE, "WEBP", **FRAMES), "animated"),
    "HDR, PQ": (lambda: with_chunk(b"cICP", b"\x09\x10\0\1"), "HDR"),
    "HDR, HLG": (lambda: with_chunk(b"cICP", b"\x09\x12\0\1"), "HDR"),
    "floats": (lambda: FLOATS, "only 8 and 16 bits"),
    "32 bits": (lambda: saved(IMAGE.convert("I"), "TIFF"), "32 bits a channel, only 8 and 16 bits"),
    "JPEG of 12 bits": (lambda: bytes(TWELVE), "more than 8 bits"),
    "CMYK JPEG": (lambda: saved(IMAGE.convert("CMYK"), "JPEG"), "CMYK"),
    "CMYK TIFF": (lambda: saved(IMAGE.convert("CMYK"), "TIFF"), "CMYK"),
    "Lab": (lab, "colours of kind LAB"),
    "DNG": (lambda: tiff(GREY, 8, 1, t50706=1), "raw file"),
    "unknown compression": (lambda: tiff(GREY, 8, 1, t259=34_000), "compression 34000"),
    "4 bits in colours": (lambda: tiff(RGB >> 4, 4, 2), "not read"),
    "palette of 8 bits": (lambda: tiff(GREY, 8, 3, t320=(1,) * 768), "palette"),
    "pages": (lambda: pages((RGB, 0), (RGB, 0)), "has 2 pages"),
    "16 bits in planes": (lambda: tiff(deep(RGB), 16, 2, planes=True), "not plain grey or RGB"),
    "16 bits, white is zero": (lambda: tiff(deep(GREY), 16, 0), "not plain grey or RGB"),
    "16 bits with alpha": (lambda: tiff(deep(np.dstack((RGB, RGB))[..., :4]), 16, 2, t338=2), "not plain grey or RGB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(tmp_path: Path, name: str) -> None:
    """With one line that names the file and the true reason, and one that says what to do."""
    (tmp_path / "a.png").write_bytes(REFUSED[name][0]())
    for read, kind in ((open_photo, ImageError), (read_mask, MaskError)):
        with pytest.raises(kind, match=REFUSED[name][1]) as caught:
            read(tmp_path / "a.png")
        assert str(caught.value).count(str(tmp_path)) == 1
        assert caught.value.hint  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_truncated(tmp_path: Path, kind: str) -> None:
    data = saved(IMAGE, kind)
    for share in (0.5, 0.98):
        (tmp_path / "a").write_bytes(data[: int(share * len(data))])
        with pytest.raises(ImageError, match=r"damaged|truncated"):
            read_photo(tmp_path / "a")


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(bytes(4) + b"ftypheic" + bytes(20))
    with pytest.raises(ImageError, match=r"a HEIC, for which a package is missing.*pip install pillow-heif"):
        open_photo(tmp_path / "a.heic")


@pytest.mark.parametrize(("read", "kind"), [(read_photo, ImageError), (read_mask, MaskError)])
def test_places_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any], kind: type[Exception]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 33)  # sparse
    told = {"no.png": "does not exist", "no/no.png": "does not exist", "": "no plain file", "pipe": "no plain file"}
    for name, message in (told | {"huge.png": "bytes, the most that are read", "a\0b": "cannot be read"}).items():
        with pytest.raises(kind, match=message):
            read(tmp_path / name)
    (tmp_path / "a.png").write_bytes(b"x")

    def denied(*_: object, **__: object) -> None:  # root may read anything: let the system say what it says to others
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(kind, match="Permission denied"):
        read(tmp_path / "a.png")


def test_the_limit_is_a_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own does not count: it warns, and refuses what is twice as large."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("PNG", "TIFF", "WEBP"):
        (tmp_path / "a").write_bytes(saved(IMAGE, kind))
        assert read_photo(tmp_path / "a", max_pixels=2400).shape == (40, 60, 3)
        with pytest.raises(ImageError, match=r"60 x 40 px.*limit"):
            read_photo(tmp_path / "a", max_pixels=2399)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_masks_become_grey(tmp_path: Path, mask: NDArray[np.uint8]) -> None:
    opaque = np.dstack([mask] * 3 + [np.full_like(mask, 255)])
    for picture in (mask, np.dstack([mask] * 3), opaque, mask.astype(np.uint16) * 257):
        write_image(tmp_path / "m.png", picture)
        assert np.array_equal(read_mask(tmp_path / "m.png"), mask)
    write_image(tmp_path / "m.png", np.dstack([mask] * 4))
    with pytest.raises(MaskError, match="transparent"):
        read_mask(tmp_path / "m.png")


def refused(data: bytes, limit: int = 1_000_000) -> str:
    """At once, and without memory: files made to cost."""
    started = time.process_time()
    with bounded((16 << 20) + 2 * len(data), "a refusal"), pytest.raises(InvalidImageError) as caught:
        open_photo(data, limit)
    assert time.process_time() - started < 1
    return str(caught.value)


def test_png_chunks_that_leave_the_file() -> None:
    """Decoders may take as much memory as a chunk says that it has."""
    png = saved(IMAGE, "PNG")
    for at, kind in ((33, b"tEXt"), (len(png) - 12, b"IDAT")):
        assert "truncated" in refused(png[:at] + struct.pack(">I", 0xFF000000) + kind + b"x" + bytes(4) + png[at:])
    assert "truncated" in refused(png[:-12])


def test_jpegs_of_many_scans_and_segments() -> None:
    """A pass over the picture for each 14 bytes, a copy of all EXIF for each segment of it."""
    data = saved(Image.new("RGB", (900, 900)), "JPEG", progressive=True)
    scan, at = data[data.rfind(b"\xff\xda") : -2], data.find(b"\xff\xda")
    many = data[:-2] + scan * 5_000 + data[-2:]
    assert "scans" in refused(many)
    assert "scans" in refused(many[:at] + b"\xff\xfe\x00\x06\xff\xd9\xff\xd9" + many[at:])  # an end in a comment
    assert "segments" in refused(JPEG[:2] + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)) * 1001 + JPEG[2:])
    assert open_photo(data[:-2] + scan * 80 + data[-2:]).pixels.shape == (900, 900, 3)
    thumbnail = b"\xff\xe1\x10\x00" + b"\xff\xda" * 0x7FF  # what a segment holds is not counted
    assert open_photo(JPEG[:2] + thumbnail + JPEG[2:]).pixels.shape == RGB.shape


def test_sizes_over_the_limit_are_not_decoded() -> None:
    """A hundred megapixels in some hundred kilobytes, and headers that only claim a size."""
    assert "limit" in refused(saved(Image.new("L", (10_000, 10_000)), "PNG"))
    png, head = saved(IMAGE, "PNG"), b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    assert "2147483647 px" in refused(png[:12] + head + struct.pack(">I", zlib.crc32(head)) + png[33:])
    assert "60000 px" in refused(tiff(GREY, 8, 1, t256=60_000, t257=60_000))


@pytest.mark.parametrize("pages", [1, 50])
def test_a_directory_of_values_that_are_the_whole_file_takes_no_memory(pages: int) -> None:
    pixels, entries = bytes(400_000), b"".join(struct.pack("<HHII", 1000 + n, 7, 400_000, 8) for n in range(500))
    data = b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels
    for number in range(pages):
        follows = len(data) + 2 + len(entries) + 4 if number + 1 < pages else 0
        data += struct.pack("<H", 500) + entries + struct.pack("<I", follows)
    assert "over one another" in refused(data)
    with bounded((16 << 20) + 8 * len(data), "a picture"):
        photo = open_photo(with_chunk(b"eXIf", data))
    assert photo.metadata.notes == ("its EXIF is damaged and was left out",)


def test_tiffs_of_two_sizes_and_of_large_tiles() -> None:
    sizes = [(256, 16, 1, 3000), (257, 16, 1, 3000), (256, 4, 1, 10), (257, 4, 1, 10)]  # libtiff knows type 16
    body = b"II*\0" + struct.pack("<IH", 8, 4) + b"".join(struct.pack("<HHII", *each) for each in sizes) + bytes(4)
    assert "two sizes" in refused(body)
    assert "tiles much larger" in refused(tiff(GREY, 8, 1, t322=8192, t323=8192, t324=8, t325=300))
