"""Small files that ask for much: time, memory, pixels that no header names."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from restore_sdk.files.decode import UnfitError, check_bytes, decode
from restore_sdk.files.formats.exif import upright_xmp
from restore_sdk.files.formats.tags import first_directory
from restore_sdk.files.photo import open_photo
from tests.conftest import make_photo

Field = tuple[int, int, int, int]  # tag, type, count, value or offset


def tiff(fields: list[Field], pixels: bytes = b"", directories: int = 1) -> bytes:
    """A TIFF whose pixels stand at offset 8, and so many copies of one directory in a row behind them."""
    data, at = b"", 8 + len(pixels)
    for number in range(directories):
        entries = b"".join(struct.pack("<HHII", *field) for field in fields)
        follows = at + len(data) + 2 + len(entries) + 4 if number + 1 < directories else 0
        data += struct.pack("<H", len(fields)) + entries + struct.pack("<I", follows)
    return b"II*\0" + struct.pack("<I", at) + pixels + data


def grey(width: int, height: int, pixels: bytes, *more: Field) -> list[Field]:
    """The fields of a grey picture of 8 bits, in one strip, deflated."""
    fields = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    fields += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(pixels)), *more]
    return sorted(fields, key=lambda field: field[0])


def test_thumbnails_that_are_never_closed_cost_no_time() -> None:
    started = time.perf_counter()
    xmp = b"<xmp:Thumbnails " * 100_000
    assert upright_xmp(xmp) == xmp
    xmp += b"<xap:Thumbnails>x</xap:Thumbnails>end"
    assert upright_xmp(xmp) == xmp[:-37] + b"end"
    assert time.perf_counter() - started < 2


def test_thumbnails_are_taken_out_one_by_one() -> None:
    one, other = b"<xmp:Thumbnails><a/></xmp:Thumbnails>", b"<xap:Thumbnails><xmp:Thumbnails/></xap:Thumbnails>"
    assert upright_xmp(b"a" + one + b"b" + other + b"c" + one) == b"abc"
    assert upright_xmp(b"<xmp:Thumbnailsize/>" + one) == b"<xmp:Thumbnailsize/>"


@pytest.mark.parametrize("directories", [1, 50])
def test_a_directory_of_values_that_are_the_whole_file_takes_no_memory(directories: int) -> None:
    pixels = bytes(400_000)
    data = tiff([(1000 + number, 7, len(pixels), 8) for number in range(500)], pixels, directories)
    tracemalloc.start()
    with pytest.raises(UnfitError):
        check_bytes(data, 1_000_000)
    with pytest.raises(ValueError, match="over one another"):
        first_directory(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * len(data)


@pytest.mark.parametrize("kind", [16, 4])
def test_a_size_that_stands_twice_gets_no_picture_in(kind: int) -> None:
    """Decoders take the first one, and some know types that others do not."""
    pixels = zlib.compress(bytes(3000 * 3000))
    fields = [(256, kind, 1, 3000), (257, kind, 1, 3000), *grey(10, 10, pixels)]
    with pytest.raises(UnfitError, match=r"3000 x 3000|no image of a known format"):
        decode(tiff(fields, pixels), 1000)


def test_tiles_that_are_larger_than_the_picture() -> None:
    pixels = zlib.compress(bytes(8192 * 8192))
    fields = [field for field in grey(10, 10, pixels) if field[0] not in (273, 278, 279)]
    fields += [(322, 4, 1, 8192), (323, 4, 1, 8192), (324, 4, 1, 8), (325, 4, 1, len(pixels))]
    with pytest.raises(UnfitError, match="tiles much larger"):
        check_bytes(tiff(fields, pixels), 1_000_000)
    file = io.BytesIO()
    Image.fromarray(make_photo(100, 100)).save(file, "TIFF", tile=(256, 256))
    assert decode(file.getvalue(), 1_000_000)[1].shape == (100, 100, 3)


def test_a_picture_of_another_size_than_its_header_says(monkeypatch: pytest.MonkeyPatch) -> None:
    data = cv2.imencode(".png", make_photo(20, 30))[1].tobytes()
    assert decode(data, 1000)[1].shape == (20, 30, 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((30, 20, 3), np.uint8))  # a decoder that turns by itself
    with pytest.raises(UnfitError, match="is 20 x 30 px, and claims 30 x 20"):
        decode(data, 1000)


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_grey_png_with_a_transparent_shade_is_refused(tmp_path: Path, mode: str) -> None:
    file = io.BytesIO()
    image = Image.fromarray(make_photo(20, 30)[..., 0])
    (image if mode == "L" else image.convert("I;16")).save(file, "PNG")
    data = file.getvalue()
    key = b"tRNS" + struct.pack(">H", 7)
    chunk = struct.pack(">I", 2) + key + struct.pack(">I", zlib.crc32(key))
    with pytest.raises(UnfitError, match="one shade stands for transparent"):
        decode(data[:33] + chunk + data[33:], 10_000)
    assert decode(data, 10_000)[1].shape == (20, 30)


def test_a_bmp_without_an_alpha_mask_is_opaque(tmp_path: Path) -> None:
    pixels = np.dstack((make_photo(4, 6), np.zeros((4, 6), np.uint8)))[::-1]
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    head = struct.pack("<IiiHHIIiiII", 40, 6, 4, 1, 32, 3, pixels.nbytes, 0, 0, 0, 0) + masks
    start = b"BM" + struct.pack("<IHHI", 14 + len(head) + pixels.nbytes, 0, 0, 14 + len(head))
    (tmp_path / "a.bmp").write_bytes(start + head + pixels.tobytes())
    assert np.array_equal(open_photo(tmp_path / "a.bmp").pixels, make_photo(4, 6))
