"""What an image file claims to be, read from its first bytes without decoding a pixel.

Format, size, EXIF orientation and whether it is animated, for PNG, JPEG, WebP, BMP and TIFF. Everything here reads
hostile bytes: a value out of bounds ends in "no known image", never in a large allocation or a long loop.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

#: Entries of a TIFF directory that are looked at; real ones have some dozens.
_MAX_TAGS = 512

#: Chunks of a PNG or WebP, segments of a JPEG that are looked at before the pixels; real ones have some dozens.
_MAX_PARTS = 10_000

_NO_FILL = re.compile(rb"[^\xff]")


@dataclass(frozen=True, slots=True)
class Header:
    """A file's claims; ``orientation`` is EXIF's 1..8, 1 is upright.

    ``truncated``: a JPEG without its end marker, which decoders fill up with grey rather than refuse.
    """

    format: Literal["png", "jpeg", "webp", "bmp", "tiff"]
    width: int
    height: int
    orientation: int = 1
    animated: bool = False
    truncated: bool = False


def read_header(data: bytes) -> Header | None:
    """The header of an encoded image, or ``None`` when it is none of the known formats or its header is broken."""
    try:
        header = _dispatch(data)
    except (struct.error, IndexError):  # the file ends inside its header
        return None
    return header if header is not None and header.width > 0 and header.height > 0 else None


def _dispatch(data: bytes) -> Header | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if data.startswith((b"II*\0", b"MM\0*")):
        return _tiff(data)
    return None


def _png(data: bytes) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    orientation, animated, at = 1, False, 8
    for _ in range(_MAX_PARTS):
        if at + 8 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind in (b"IDAT", b"IEND"):
            break
        animated = animated or kind == b"acTL"
        if kind == b"eXIf":
            orientation = _orientation(data[at + 8 : at + 8 + length])
        at += 12 + length
    else:
        return None
    return Header("png", width, height, orientation, animated)


def _jpeg(data: bytes) -> Header | None:
    orientation, at = 1, 2
    for _ in range(_MAX_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return None
        code = _NO_FILL.search(data, at)  # any number of fill bytes 0xFF may stand before it
        if code is None:
            return None
        at, marker = code.start() - 1, data[code.start()]
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _orientation(data[at + 10 : at + 2 + length])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Header("jpeg", width, height, orientation, truncated=data.find(b"\xff\xd9", at) < 0)
        if marker in (0xD9, 0xDA) or length < 2:  # pixels or end, and no frame before
            return None
        at += 2 + length
    return None


def _webp(data: bytes) -> Header | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            return None
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("webp", (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    if kind != b"VP8X":
        return None
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    orientation, at = 1, 30
    for _ in range(_MAX_PARTS if data[20] & 0x08 else 0):  # it says that it has EXIF: find the chunk
        if at + 8 > len(data):
            break
        (length,) = struct.unpack_from("<I", data, at + 4)
        if data[at : at + 4] == b"EXIF":
            blob = data[at + 8 : at + 8 + length]
            orientation = _orientation(blob.removeprefix(b"Exif\0\0"))
            break
        at += 8 + length + (length & 1)
    return Header("webp", width, height, orientation, bool(data[20] & 0x02))


def _bmp(data: bytes) -> Header | None:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    elif size >= 40:
        width, height = struct.unpack_from("<ii", data, 18)
    else:
        return None
    return Header("bmp", abs(width), abs(height))


def _tiff(data: bytes) -> Header | None:
    tags = _tags(data)
    # OpenCV's TIFF reader turns the picture upright itself, so there is nothing left to do.
    return Header("tiff", tags.get(256, 0), tags.get(257, 0))


def _orientation(exif: bytes) -> int:
    try:
        value = _tags(exif).get(274, 1)
    except (struct.error, IndexError):  # broken metadata spoils no picture
        return 1
    return value if 1 <= value <= 8 else 1


def _tags(data: bytes) -> dict[int, int]:
    """First values of the integer tags in a TIFF structure's first directory."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return {}
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    tags: dict[int, int] = {}
    for index in range(min(count, _MAX_TAGS)):
        tag, kind, _, short = struct.unpack_from(order + "HHIH", data, at + 2 + 12 * index)
        if kind == 3:
            tags.setdefault(tag, short)
        elif kind == 4:
            tags.setdefault(tag, struct.unpack_from(order + "I", data, at + 2 + 12 * index + 8)[0])
    return tags
