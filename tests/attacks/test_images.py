"""Image files made to cost: memory that a few bytes ask for, time that a few kilobytes ask for, sizes that are not so.

Bombs by size, files cut short, endless parts before the pixels and other formats are in tests/files/test_files.py.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk.errors import ImageError, InputError
from restore_sdk.files import read_photo
from restore_sdk.files.formats.containers import jpeg_scans
from restore_sdk.files.formats.header import read_header
from restore_sdk.serve.pictures import decode_photo
from tests.attacks.caught import error_of
from tests.conftest import make_photo
from tests.memory import bounded

LIMIT = 1_000_000

#: Memory that a refusal may take: none to speak of.
NOTHING = 16 << 20

PHOTO = make_photo(60, 80)


def encoded(picture: NDArray[np.uint8], suffix: str, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, picture, options)[1])


def chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return struct.pack(">I", size) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def refused(path: Path, data: bytes) -> ImageError:
    """By both readers, at once and without memory."""
    path.write_bytes(data)
    started = time.process_time()
    with bounded(NOTHING, "a refusal"):
        error = error_of(ImageError, read_photo, path, LIMIT)
        served = error_of(InputError, decode_photo, data, LIMIT)
    assert time.process_time() - started < 1
    assert error is not None
    assert error.hint
    assert served is not None
    return error


PNG = encoded(PHOTO, ".png")
START, PIXELS, END = PNG[:33], PNG[33:-12], PNG[-12:]
FOUR_GB = 0xFF000000


@pytest.mark.parametrize(
    "data",
    [
        START + chunk(b"tEXt", b"x", FOUR_GB) + PIXELS + END,
        START + chunk(b"acTL", b"x", FOUR_GB) + PIXELS + END,
        START + chunk(b"eXIf", b"II*\0", FOUR_GB) + PIXELS + END,
        START + chunk(b"IDAT", PIXELS[8:-4], FOUR_GB) + END,
        START + PIXELS + chunk(b"IDAT", b"x", FOUR_GB) + END,
        START + PIXELS + chunk(b"IEND", b"", FOUR_GB),
        START + PIXELS + chunk(b"tEXt", b"x", 2**31 - 1) + END,
        START + PIXELS,
        START + PIXELS + END[:-1],
        START + END,
        PNG[:8] + chunk(b"IHDR", PNG[16:29], FOUR_GB) + PIXELS + END,
    ],
    ids=["text", "animation", "exif", "pixels", "more pixels", "end", "2 GB", "no end", "cut", "no pixels", "header"],
)
def test_png_chunks_that_leave_the_file(tmp_path: Path, data: bytes) -> None:
    """OpenCV takes as much memory as a chunk says that it has: 4 GB and twenty seconds for 300 bytes."""
    refused(tmp_path / "a.png", data)


def with_scans(count: int, side: int) -> bytes:
    """A progressive JPEG whose last scan, of some ten bytes, is repeated."""
    data = encoded(np.zeros((side, side, 3), np.uint8), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scan = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + scan * count + data[-2:]


def test_jpegs_of_many_scans(tmp_path: Path) -> None:
    """A pass over the picture for each 14 bytes: what fits into a request would compute for hours."""
    error = refused(tmp_path / "a.jpg", with_scans(5_000, 900))
    assert "scans" in str(error)
    hidden = with_scans(5_000, 900)
    at = hidden.find(b"\xff\xda")
    refused(tmp_path / "a.jpg", hidden[:at] + b"\xff\xfe\x00\x06\xff\xd9\xff\xd9" + hidden[at:])  # ends in a comment
    for count in (0, 80):
        data = with_scans(count, 64)
        assert decode_photo(data, LIMIT).pixels.shape == (64, 64, 3)
        assert jpeg_scans(data, 2) == (10 + count, True)


def test_what_follows_a_jpeg_is_not_counted() -> None:
    """Phones append a film to a photograph: in it any bytes may stand."""
    assert decode_photo(encoded(PHOTO, ".jpg") + b"\xff\xda\x00\x02" * 500, LIMIT).pixels.shape == PHOTO.shape
    thumbnail = b"\xff\xe1\x10\x00" + b"\xff\xda\xff\xd9".ljust(0x1000 - 2, b"\xff\xda"[0:1])
    data = encoded(PHOTO, ".jpg")
    assert decode_photo(data[:2] + thumbnail + data[2:], LIMIT).pixels.shape == PHOTO.shape


def test_a_bomb_costs_nothing(tmp_path: Path) -> None:
    """A hundred megapixels in some hundred kilobytes, whole and sound, over the limit."""
    data = encoded(np.zeros((10_000, 10_000), np.uint8), ".png", cv2.IMWRITE_PNG_COMPRESSION, 9)
    assert len(data) < 500_000
    assert "limit" in str(refused(tmp_path / "a.png", data))


def tiff(*entries: tuple[int, int, int, int], pixels: bytes = bytes(300)) -> bytes:
    """A little-endian TIFF of one directory; an entry is tag, type, count and value."""
    body = b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(entries))
    return body + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)


def _tiff(**changes: int) -> bytes:
    """Ten by ten pixels of three bytes in one strip, with some tags changed."""
    tags = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262, "offset": 273}
    tags |= {"samples": 277, "rows": 278, "bytes": 279, "planar": 284, "format": 339}
    values = {"width": 10, "height": 10, "bits": 8, "compression": 1, "photometric": 2, "offset": 8, "samples": 3}
    values |= {"rows": 10, "bytes": 300, "planar": 1} | changes
    return tiff(*((tags[name], 4, 1, values[name]) for name in sorted(values, key=tags.__getitem__)))


@pytest.mark.parametrize("pointer", [34665, 34853, 40965])
def test_an_exif_block_that_points_at_itself_again_and_again(pointer: int) -> None:
    """Read once each, 512 entries of 512 entries of 512 entries would take minutes."""
    entries = struct.pack("<HHII", pointer, 4, 1, 8) * 512
    exif = b"II*\0" + struct.pack("<IH", 8, 512) + entries + bytes(4)
    segment = b"Exif\0\0" + exif
    jpeg = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + JPEG[2:]
    started = time.process_time()
    assert read_header(jpeg) is not None
    decode_photo(jpeg, LIMIT)
    read_header(exif)  # as a TIFF
    assert time.process_time() - started < 1


def test_many_small_resources_of_photoshop() -> None:
    resources = b"8BIM\x04\x04\0\0\0\0\0\0" * 5_400
    segment = b"Photoshop 3.0\0" + resources
    jpeg = JPEG[:2] + (b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment) * 100 + JPEG[2:]
    started = time.process_time()
    assert decode_photo(jpeg, LIMIT).metadata.parts
    assert time.process_time() - started < 4


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"planar": 2}, "a plane for each colour"), ({"photometric": 0, "samples": 1}, "zero is white")],
)
def test_tiffs_of_16_bits_that_opencv_reads_wrong(tmp_path: Path, changes: dict[str, int], what: str) -> None:
    assert what in str(refused(tmp_path / "a.tif", _tiff(bits=16, **changes)))


BIG = 2**31 - 1
RIFF = encoded(PHOTO, ".webp", cv2.IMWRITE_WEBP_QUALITY, 80)
BMP = encoded(PHOTO, ".bmp")
JPEG = encoded(PHOTO, ".jpg")
SOF = JPEG.find(b"\xff\xc0")
LARGE_FRAME = JPEG[SOF : SOF + 5] + struct.pack(">HH", 60_000, 60_000) + JPEG[SOF + 9 : SOF + 19]


@pytest.mark.parametrize(
    "data",
    [
        _tiff(samples=65_535),
        _tiff(samples=0),
        _tiff(rows=0),
        _tiff(rows=BIG),
        _tiff(bytes=BIG),
        _tiff(bits=64, format=3),
        _tiff(bits=BIG),
        _tiff(offset=BIG),
        _tiff(compression=5, bytes=BIG),
        _tiff(planar=2, samples=1000),
        tiff((256, 4, 1, 10), (256, 4, 1, BIG), (257, 4, 1, 10), (273, 4, BIG, 8), (279, 4, BIG, 8)),
        tiff(
            (256, 4, 1, 10),
            (257, 4, 1, 10),
            (322, 4, 1, BIG - 15),
            (323, 4, 1, BIG - 15),
            (324, 4, 1, 8),
            (325, 4, 1, 9),
        ),
        b"RIFF" + struct.pack("<I", BIG) + RIFF[8:],
        RIFF[:16] + struct.pack("<I", BIG) + RIFF[20:],
        b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(4) + b"\x0f\x00\x00" * 2 + RIFF[12:],
        JPEG[:SOF] + JPEG[SOF : SOF + 19] + LARGE_FRAME + JPEG[SOF + 19 :],
        JPEG[:-2] + LARGE_FRAME + JPEG[-2:],
        BMP[:10] + struct.pack("<I", BIG) + BMP[14:],
        BMP[:28] + b"\xff\xff" + BMP[30:],
        BMP[:30] + struct.pack("<I", 1) + BMP[34:],
        BMP[:46] + struct.pack("<I", BIG) + BMP[50:],
        BMP[:22] + struct.pack("<i", -60) + BMP[26:],
        BMP[:18] + struct.pack("<ii", -(2**31), -(2**31)) + BMP[26:],
    ],
)
def test_sizes_that_are_not_so(tmp_path: Path, data: bytes) -> None:
    """Decoded to what the header claims, or refused; never at the cost of what some other field says."""
    header = read_header(data)
    path = tmp_path / "picture"
    path.write_bytes(data)
    started = time.process_time()
    found: list[NDArray[np.uint8]] = []
    read: Callable[[Path, int], None] = lambda place, limit: found.append(read_photo(place, limit))  # noqa: E731
    with bounded(NOTHING, "a small picture"):
        error = error_of(ImageError, read, path, LIMIT)
    assert time.process_time() - started < 2
    if error is None:
        assert header is not None
        assert found[0].shape[:2] == (header.height, header.width)
    else:
        assert error.hint
