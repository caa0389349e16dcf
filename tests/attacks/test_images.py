"""Image files made to cost: memory that a few bytes ask for, time that a few kilobytes ask for, sizes that are not so.

Files cut short and other formats are in tests/files/test_read.py, small files of false sizes in tests/fuzz/corpus.
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

from restore_sdk.errors import ImageError
from restore_sdk.files import InvalidImageError, check_image, open_photo, read_photo
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
    with bounded(NOTHING + 2 * len(data), "a refusal"):
        error = error_of(ImageError, read_photo, path, LIMIT)
        served = error_of(InvalidImageError, open_photo, data, LIMIT)
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
        START + PIXELS + chunk(b"IDAT", b"x", FOUR_GB) + END,
        START + PIXELS,
        START + END,
        PNG[:8] + chunk(b"IHDR", PNG[16:29], FOUR_GB) + PIXELS + END,
    ],
    ids=["text", "more pixels", "no end", "no pixels", "header"],
)
def test_png_chunks_that_leave_the_file(tmp_path: Path, data: bytes) -> None:
    """Decoders may take as much memory as a chunk says that it has."""
    refused(tmp_path / "a.png", data)


def with_scans(count: int, side: int) -> bytes:
    """A progressive JPEG whose last scan, of some ten bytes, is repeated."""
    data = encoded(np.zeros((side, side, 3), np.uint8), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scan = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + scan * count + data[-2:]


def test_jpegs_of_many_scans(tmp_path: Path) -> None:
    """A pass over the picture for each 14 bytes: what fits into a request would compute for hours."""
    hidden = with_scans(5_000, 900)
    assert "scans" in str(refused(tmp_path / "a.jpg", hidden))
    at = hidden.find(b"\xff\xda")
    refused(tmp_path / "a.jpg", hidden[:at] + b"\xff\xfe\x00\x06\xff\xd9\xff\xd9" + hidden[at:])  # ends in a comment
    for count in (0, 80):
        assert open_photo(with_scans(count, 64), LIMIT).pixels.shape == (64, 64, 3)
    # what a segment holds is not counted
    thumbnail = b"\xff\xe1\x10\x00" + b"\xff\xda\xff\xd9".ljust(0x1000 - 2, b"\xff\xda"[0:1])
    data = encoded(PHOTO, ".jpg")
    assert open_photo(data[:2] + thumbnail + data[2:], LIMIT).pixels.shape == PHOTO.shape


def test_sizes_over_the_limit_are_not_decoded(tmp_path: Path) -> None:
    """A hundred megapixels in some hundred kilobytes, and headers that only claim a size."""
    data = encoded(np.zeros((10_000, 10_000), np.uint8), ".png", cv2.IMWRITE_PNG_COMPRESSION, 9)
    assert len(data) < 500_000
    assert "limit" in str(refused(tmp_path / "a.png", data))
    for side in (20_000, 2**31 - 1):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        data = PNG[:8] + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + END
        assert f"{side} x {side} px" in str(refused(tmp_path / "a.png", data))
    webp = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xfe\x3f\0" * 2 + RIFF[12:]
    refused(tmp_path / "a.webp", webp)


@pytest.mark.parametrize(
    "data",
    [
        lambda: START + b"\0\0\0\0tEXt\0\0\0\0" * 5_000_000 + PIXELS + END,
        lambda: START + PIXELS + b"\0\0\0\0IDAT\0\0\0\0" * 5_000_000 + END,
        lambda: JPEG[:2] + b"\xff\xfe\0\2" * 10_000_000 + JPEG[2:],
        lambda: JPEG[:2] + b"\xff" * (1 << 26) + JPEG[2:],
        lambda: JPEG[:2] + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)) * 1000 + JPEG[2:],
        lambda: b"BM" + BMP[2:30] + struct.pack("<I", 1) + BMP[34:] + b"\0\2\0\0" * 10_000_000,
    ],
    ids=["text", "pixels", "comments", "fill bytes", "EXIF", "run lengths"],
)
def test_endless_parts(tmp_path: Path, data: Callable[[], bytes]) -> None:
    """Empty chunks and segments by the million; a file may have 512 MB of them."""
    refused(tmp_path / "a", data())


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """A little-endian TIFF of one directory; an entry is tag, type, count and value."""
    body = b"II*\0" + struct.pack("<I", 308) + bytes(300) + struct.pack("<H", len(entries))
    return body + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)


@pytest.mark.parametrize("pointer", [34665, 34853, 40965])
def test_an_exif_block_that_points_at_itself_again_and_again(pointer: int) -> None:
    """Read once each, 512 entries of 512 entries of 512 entries would take minutes."""
    entries = struct.pack("<HHII", pointer, 4, 1, 8) * 512
    exif = b"II*\0" + struct.pack("<IH", 8, 512) + entries + bytes(4)
    segment = b"Exif\0\0" + exif
    jpeg = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + JPEG[2:]
    started = time.process_time()
    open_photo(jpeg, LIMIT)
    with pytest.raises(InvalidImageError):
        check_image(exif)  # as a TIFF
    assert time.process_time() - started < 1


def test_many_small_resources_of_photoshop() -> None:
    resources = b"8BIM\x04\x04\0\0\0\0\0\0" * 5_400
    segment = b"Photoshop 3.0\0" + resources
    jpeg = JPEG[:2] + (b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment) * 100 + JPEG[2:]
    started = time.process_time()
    assert open_photo(jpeg, LIMIT).metadata.parts == ()
    assert time.process_time() - started < 4


RIFF = encoded(PHOTO, ".webp", cv2.IMWRITE_WEBP_QUALITY, 80)
BMP = encoded(PHOTO, ".bmp")
JPEG = encoded(PHOTO, ".jpg")


@pytest.mark.parametrize("directories", [1, 50])
def test_a_directory_of_values_that_are_the_whole_file_takes_no_memory(tmp_path: Path, directories: int) -> None:
    pixels, entries = bytes(400_000), b"".join(struct.pack("<HHII", 1000 + n, 7, 400_000, 8) for n in range(500))
    data = b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels
    for number in range(directories):
        follows = len(data) + 2 + len(entries) + 4 if number + 1 < directories else 0
        data += struct.pack("<H", 500) + entries + struct.pack("<I", follows)
    refused(tmp_path / "a.tif", data)
    exif = START + chunk(b"eXIf", data) + PIXELS + END
    with bounded(NOTHING + 8 * len(data), "a picture"):
        photo = open_photo(exif, LIMIT)
    assert photo.metadata.notes == ("its EXIF is damaged and was left out",)


def test_a_tiff_that_says_two_sizes(tmp_path: Path) -> None:
    """Decoders take the first one, and some know types that others do not; or its tiles are larger than the picture."""
    for kind in (16, 4):
        sizes = [(256, kind, 1, 3000), (257, kind, 1, 3000), (256, 4, 1, 10), (257, 4, 1, 10)]
        refused(tmp_path / "a.tif", tiff(*sizes, (258, 4, 1, 8), (262, 4, 1, 1), (273, 4, 1, 8), (279, 4, 1, 300)))
    tile = [(322, 4, 1, 8192), (323, 4, 1, 8192), (324, 4, 1, 8), (325, 4, 1, 300)]
    head = [(256, 4, 1, 10), (257, 4, 1, 10), (258, 4, 1, 8), (259, 4, 1, 8), (262, 4, 1, 1), (277, 4, 1, 1)]
    assert "tiles much larger" in str(refused(tmp_path / "a.tif", tiff(*head, *tile)))
