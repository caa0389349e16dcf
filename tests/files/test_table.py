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
from tests.files.conftest import exif_block, profile
from tests.files.test_read import FLOATS, KINDS, REFUSED, pages, turned

Array = NDArray[Any]
PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
TURN = 6
RGB = make_photo(24, 40)
GREY = RGB[..., 1]
PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
ICC = {1: profile()[:16] + b"GRAY" + profile()[20:], 3: profile()}


def packed(values: Array, bits: int, order: str) -> list[bytes]:
    """Rows of whole bytes; ``order`` of those of 16 bits."""
    values = values.reshape(len(values), -1)
    if bits >= 8:
        return [row.tobytes() for row in values.astype(f"{order}u{bits // 8}")]
    single = values[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return [row.tobytes() for row in np.packbits(single.reshape(len(values), -1).astype(np.uint8), axis=1)]


def png(values: Array, bits: int, kind: int, **chunks: bytes) -> bytes:
    """PNG of a colour type; turned, with a profile."""
    height, width = values.shape[:2]
    chunks = {"iCCP": b"p\0\0" + zlib.compress(ICC[1 if kind in (0, 4) else 3]), **chunks, "eXIf": exif_block(TURN)}
    parts = {"IHDR": struct.pack(">2I5B", width, height, bits, kind, 0, 0, 0), **chunks}
    parts |= {"IDAT": zlib.compress(b"".join(b"\0" + row for row in packed(values, bits, ">"))), "IEND": b""}
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in parts.items():
        body = name.encode() + content
        data += struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return data


def tiff(values: Array, bits: int, colours: int, planes: bool = False, **more: Any) -> bytes:
    """TIFF of a photometric interpretation; turned, with a profile."""
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    flat = [values[..., number] for number in range(channels)] if planes else [values]
    strips = [b"".join(packed(each, bits, "<")) for each in flat]
    tags: dict[int, Any] = {256: width, 257: height, 258: [bits] * channels, 259: 1, 262: colours, 273: [0], 274: TURN}
    tags |= {277: channels, 278: height, 279: [len(strip) for strip in strips], 284: 2 if planes else 1}
    tags |= {int(name[1:]): value for name, value in more.items()} | {34675: ICC[1 if colours < 2 else 3]}
    tags[273] = [0] * len(strips)
    at = 8 + 2 + 12 * len(tags) + 4
    ends = at + sum(size for tag in tags if (size := len(field(tag, tags[tag])[1])) > 4)
    tags[273] = [ends + sum(map(len, strips[:number])) for number in range(len(strips))]
    head, behind = struct.pack("<2sHIH", b"II", 42, 8, len(tags)), b""
    for tag in sorted(tags):
        kind, content = field(tag, tags[tag])
        count = len(content) // {7: 1, 4: 4, 3: 2}[kind]
        place = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack("<I", at + len(behind))
        behind += content if len(content) > 4 else b""
        head += struct.pack("<HHI", tag, kind, count) + place
    return head + bytes(4) + behind + b"".join(strips)


def field(tag: int, value: Any) -> tuple[int, bytes]:
    """Type and bytes: of bytes themselves, of a palette's array, of numbers, where strips lie in long ones."""
    if isinstance(value, bytes):
        return 7, value
    kind = 4 if tag in (273, 279) else 3
    return kind, np.atleast_1d(value).astype(f"<u{kind - kind % 2}").tobytes()


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


def deep(picture: Array) -> Array:
    return picture.astype(np.uint16) * 257 - (picture > 9)


def opaque(picture: Array, alpha: Array = GREY) -> Array:
    return np.dstack((picture, alpha)) if picture.ndim == 3 else np.dstack((picture, picture, picture, alpha))


def greys(*bits: int) -> Iterator[tuple[int, Array, Array]]:
    """Bits, values as stored, values of 8 bits."""
    for each in bits:
        values = GREY.astype(np.int64) >> (8 - each)
        yield each, values, (values * 255 // (2**each - 1)).astype(np.uint8)


def colour_map(bits: int) -> Array:
    return PALETTE[: 2**bits].T.astype(np.uint16) * 257


Sample = tuple[bytes, Array | None]

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
    ("JPEG, CMYK or YCCK", "8"): lambda: [(saved(RGB, "JPEG", "CMYK")[0], None)],
    ("JPEG", "12"): lambda: [(REFUSED["JPEG of 12 bits"][0](), None)],
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
    ("TIFF, alpha, in planes, white as zero", "16"): lambda: [
        (tiff(deep(opaque(RGB)), 16, 2, t338=2), None),
        (tiff(deep(RGB), 16, 2, planes=True), None),
        (tiff(deep(GREY), 16, 0), None),
    ],
    ("TIFF, CMYK or L\\*a\\*b\\*", "8"): lambda: [(REFUSED[name][0](), None) for name in ("CMYK TIFF", "Lab")],
    ("TIFF", "12, 24, 32, floating point"): lambda: [(FLOATS, None), (REFUSED["32 bits"][0](), None)],
    ("TIFF, several pages", "8"): lambda: [(pages((RGB, 0), (RGB, 0)), None)],
    ("BMP, palette", "1, 4, 8"): lambda: [
        *((bmp(values, bits), PALETTE[values]) for bits, values, _ in greys(1, 4, 8)),
        (saved(GREY, "BMP")[0], GREY),
    ],
    ("BMP, bit fields that Pillow knows", "16, 24, 32"): lambda: [
        (data, pixels[..., ::-1]) for name, (data, pixels) in KINDS.items() if name.startswith("BMP")
    ],
    ("AVIF, HEIC", "8"): list,  # in test_read.py: test_phones
    ("animated PNG, WebP or AVIF", "8"): lambda: [
        (REFUSED[name][0](), None) for name in ("animated PNG", "animated WebP")
    ],
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
