"""Each row of the table in docs/files.md, on files made here byte by byte or by Pillow."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restore_sdk.files import InvalidImageError, open_photo
from tests.conftest import make_photo
from tests.files.conftest import ICC, TURN, exif_block, packed, png, tiff
from tests.files.test_read import KINDS, REFUSED, deep, turned

Array = NDArray[Any]
PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
RGB = make_photo(24, 40)
GREY = RGB[..., 1]
PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)


def bmp(values: Array, bits: int) -> bytes:
    """BMP with a palette, from the bottom."""
    rows = b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in packed(values, bits, "<")[::-1])
    colours = np.dstack((PALETTE[None, : 2**bits, ::-1], np.zeros((1, 2**bits, 1), np.uint8))).tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, *values.shape[::-1], 1, bits, 0, len(rows), 0, 0, 2**bits, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(colours) + len(rows), 0, 0, 54 + len(colours)) + head + colours + rows


def saved(picture: Array, kind: str, mode: str | None = None, **more: Any) -> tuple[bytes, Array]:
    """By Pillow, turned, with a profile; and what Pillow reads of it."""
    image, file = Image.fromarray(picture), io.BytesIO()
    image = image if mode is None else image.convert(mode)
    icc = ICC[1 if image.mode == "L" else 3]
    image.save(file, kind, **{"exif": b"Exif\0\0" + exif_block(TURN), "icc_profile": icc} | more)
    with Image.open(io.BytesIO(file.getvalue())) as stored:
        return file.getvalue(), np.asarray(stored)


def opaque(picture: Array, alpha: Array = GREY) -> Array:
    return np.dstack((picture, alpha)) if picture.ndim == 3 else np.dstack((picture, picture, picture, alpha))


def greys(*bits: int) -> Iterator[tuple[int, Array, Array]]:
    """Bits, values as stored, values of 8 bits."""
    for each in bits:
        values = GREY.astype(np.int64) >> (8 - each)
        yield each, values, (values * 255 // (2**each - 1)).astype(np.uint8)


def colour_map(bits: int) -> tuple[int, ...]:
    return tuple((PALETTE[: 2**bits].T.ravel().astype(int) * 257).tolist())


Sample = tuple[bytes, Array | None]


def refused(*names: str) -> list[Sample]:
    return [(REFUSED[name][0](), None) for name in names]


#: The first two cells of a row, and files of that kind with their stored pixels (RGB); ``None``: refused.
ROWS: dict[tuple[str, str], Callable[[], list[Sample]]] = {
    ("PNG, grey", "1, 2, 4, 8"): lambda: [(png(values, bits, 0), eight) for bits, values, eight in greys(1, 2, 4, 8)],
    ("PNG, grey", "16"): lambda: [(png(deep(GREY), 16, 0), deep(GREY))],
    ("PNG, colour", "8"): lambda: [(png(RGB, 8, 2), RGB)],
    ("PNG, colour", "16"): lambda: [(png(deep(RGB), 16, 2), deep(RGB))],
    ("PNG, palette", "1, 2, 4, 8"): lambda: [
        (png(values, bits, 3, PLTE=PALETTE[: 2**bits].tobytes()), PALETTE[values])
        for bits, values, _ in greys(1, 2, 4, 8)
    ],
    ("PNG, alpha", "8"): lambda: [
        (png(opaque(RGB), 8, 6), opaque(RGB)),
        (png(np.dstack((GREY, GREY)), 8, 4, iCCP=b"p\0\0" + zlib.compress(ICC[3])), opaque(GREY)),
    ],
    ("PNG, alpha", "16"): lambda: [(png(deep(opaque(RGB)), 16, 6), deep(opaque(RGB)))],
    ("PNG, a transparent shade", "1 to 8"): lambda: [
        (
            png(GREY, 8, 0, iCCP=b"p\0\0" + zlib.compress(ICC[3]), tRNS=struct.pack(">H", GREY[0, 0])),
            opaque(GREY, np.where(GREY[0, 0] == GREY, 0, 255).astype(np.uint8)),
        ),
        (
            png(GREY, 8, 3, PLTE=PALETTE.tobytes(), tRNS=bytes(range(256))),
            opaque(PALETTE[GREY], GREY),
        ),
    ],
    ("PNG, a transparent shade", "16"): lambda: [(png(deep(GREY), 16, 0, tRNS=b"\0\1"), None)],
    ("JPEG, grey", "8"): lambda: [saved(GREY, "JPEG")],
    ("JPEG, colour", "8"): lambda: [saved(RGB, "JPEG", subsampling=number) for number in (0, 1, 2)],
    ("JPEG, CMYK or YCCK", "8"): lambda: refused("CMYK JPEG"),
    ("JPEG", "12"): lambda: refused("JPEG of 12 bits"),
    ("MPO", "8"): lambda: [saved(RGB, "MPO", save_all=True, append_images=[Image.fromarray(255 - RGB)])],
    ("WebP", "8"): lambda: [saved(RGB, "WEBP", lossless=lossless) for lossless in (False, True)],
    ("WebP, alpha", "8"): lambda: [saved(opaque(RGB), "WEBP", lossless=True, exact=True)],
    ("TIFF, grey", "1, 2, 4, 8"): lambda: [
        (tiff(values if black else 2**bits - 1 - values, bits, int(black)), eight)
        for bits, values, eight in greys(1, 2, 4, 8)
        for black in (True, False)
    ],
    ("TIFF, grey", "16"): lambda: [(tiff(deep(GREY), 16, 1), deep(GREY))],
    ("TIFF, palette", "1, 2, 4, 8"): lambda: [
        (tiff(values, bits, 3, t320=colour_map(bits)), PALETTE[values]) for bits, values, _ in greys(1, 2, 4, 8)
    ],
    ("TIFF, colour", "8"): lambda: [(tiff(RGB, 8, 2, planes), RGB) for planes in (False, True)],
    ("TIFF, colour", "16"): lambda: [(tiff(deep(RGB), 16, 2), deep(RGB))],
    ("TIFF, alpha", "8"): lambda: [(tiff(opaque(RGB), 8, 2, t338=2), opaque(RGB))],
    ("TIFF, alpha, in planes, white as zero", "16"): lambda: refused(
        "16 bits with alpha", "16 bits in planes", "16 bits, white is zero"
    ),
    ("TIFF, CMYK or L\\*a\\*b\\*", "8"): lambda: refused("CMYK TIFF", "Lab"),
    ("TIFF", "12, 24, 32, floating point"): lambda: refused("floats", "32 bits"),
    ("TIFF, several pages", "8"): lambda: refused("pages"),
    ("BMP, palette", "1, 4, 8"): lambda: [
        *((bmp(values, bits), PALETTE[values]) for bits, values, _ in greys(1, 4, 8)),
        (saved(GREY, "BMP")[0], GREY),
    ],
    ("BMP, bit fields that Pillow knows", "16, 24, 32"): lambda: [
        (data, pixels[..., ::-1]) for name, (data, pixels) in KINDS.items() if name.startswith("BMP")
    ],
    ("AVIF, HEIC", "8"): list,  # in test_read.py: test_phones
    ("animated PNG, WebP or AVIF", "8"): lambda: refused("animated PNG", "animated WebP"),
}


def rows() -> list[list[str]]:
    lines = PAGE.partition("| file | bits")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_table_is_whole() -> None:
    assert [(row[0], row[1]) for row in rows()] == list(ROWS)


@pytest.mark.parametrize(
    "row", [row for row in rows() if row[0] != "AVIF, HEIC"], ids=lambda row: f"{row[0]}, {row[1]}"
)
def test_row(row: list[str]) -> None:
    file, bits, read, by, icc = row
    for data, stored in ROWS[file, bits]():
        if read == "refused":
            with pytest.raises(InvalidImageError):
                open_photo(data)
            continue
        assert stored is not None
        photo = open_photo(data)
        channels = 1 if stored.ndim == 2 else stored.shape[2]
        expected = "grey" if channels == 1 else "colour" + " and alpha" * (channels == 4)
        assert read.startswith(expected + ", 16 bits" * (stored.dtype == np.uint16)) or read == "colour or grey"
        assert photo.orientation == (TURN if by else 1)
        upright = turned(stored, TURN) if by else stored
        assert photo.pixels.dtype == stored.dtype
        assert np.array_equal(photo.pixels, upright if channels == 1 else upright[..., [2, 1, 0, 3][:channels]])
        assert bool(photo.metadata.icc) == (icc == "kept")
        suffix = {"heif": ".png", "avif": ".png"}.get(photo.format, f".{photo.format}")
        again = open_photo(photo.encode(f"a{suffix}", photo.pixels).data)
        assert again.pixels.dtype == stored.dtype
        same = photo.pixels if again.pixels.ndim == photo.pixels.ndim else np.dstack([photo.pixels] * 3)
        assert np.abs(again.pixels.astype(int) - same).mean() <= (3 if photo.format == "jpeg" else 0)
        assert again.metadata.icc == photo.metadata.icc
