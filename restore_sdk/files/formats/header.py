"""What an image file claims to be, read from its first bytes without decoding a pixel.

Format, size, EXIF orientation and why it may not be fit to be restored, for PNG, JPEG, WebP, BMP and TIFF. Everything
here reads hostile bytes: a value out of bounds ends in "no known image", never in a large allocation or a long loop.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from restore_sdk.files.formats import tags
from restore_sdk.files.formats.containers import (
    MAX_SCANS,
    PNG_SIGNATURE,
    TooManyPartsError,
    jpeg_scans,
    jpeg_segments,
    png_chunks,
    png_is_whole,
    riff_chunks,
)
from restore_sdk.files.formats.exif import ORIENTATION

Format = Literal["png", "jpeg", "webp", "bmp", "tiff"]

#: Why a picture is refused, and what to do.
Unfit = tuple[str, str]

TRUNCATED: Unfit = ("is damaged or truncated", "get the file again")
ANIMATED: Unfit = ("is animated", "save one frame of it as PNG")
CMYK: Unfit = ("is CMYK, for print, whose colours no formula brings back", "convert it to RGB with its colour profile")
HDR: Unfit = ("is HDR, and the model knows the range of ordinary photographs only", "save an SDR version of it")
FLOAT: Unfit = (
    "has floating-point channels, as HDR pictures have; only 8 and 16 bits are taken",
    "save it with 16 bits",
)
RAW: Unfit = ("is a camera's raw file", "develop it, and save it as TIFF or PNG")
DEEP_JPEG: Unfit = ("is a JPEG of more than 8 bits a channel, which is not read", "save it as PNG or TIFF, 16 bits")
SCANS: Unfit = (f"is a progressive JPEG of more than {MAX_SCANS} scans", "save it again as PNG")
PAGES: Unfit = ("has several pages", "save each page as a file of its own")
TIFF_ALPHA: Unfit = ("is a TIFF with alpha, which is not read exactly", "convert it to PNG")
TIFF_PLANES: Unfit = (
    "is a TIFF of 16 bits with a plane for each colour, which is not read",
    "save it interleaved",
)
TIFF_NEGATIVE: Unfit = (
    "is a TIFF of 16 bits in which zero is white, which is not read",
    "save it with zero as black",
)
TIFF_TILES: Unfit = ("is a TIFF in tiles much larger than its picture", "save it without tiles")
PNG_KEY: Unfit = (
    "is a grey PNG in which one shade stands for transparent, which is not read",
    "save it with an alpha channel, or without transparency",
)
TIFF_COLOURS: Unfit = ("is a TIFF in colours other than grey and RGB", "convert it to RGB")

#: The tag that says what a page of a TIFF is for.
_SUBFILE = 254

#: Pixels that a tile of a TIFF may have beyond those of the picture: a whole one is decoded, however little is shown.
_TILE_PIXELS = 1 << 22

#: Compressions of TIFF that lose something: two of JPEG, JPEG 2000, WebP.
_TIFF_LOSSY = (6, 7, 34712, 50001)

#: The compression of BMPs that bring masks of four channels.
_BMP_ALPHA_BITFIELDS = 6

#: First bytes of files that are not read, at an offset, and what they are.
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "a GIF"),
    (4, b"ftypavif", "an AVIF"),
    (4, b"ftypavis", "an animated AVIF"),
    *((4, b"ftyp" + brand, "a HEIC") for brand in (b"heic", b"heix", b"hevc", b"heif", b"mif1", b"msf1")),
    (4, b"ftypcrx", "a camera's raw file"),
    (4, b"ftyp", "a video"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (4, b"JXL \r\n\x87\n", "a JPEG XL"),
    (4, b"jP  \r\n\x87\n", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"v/1\x01", "an OpenEXR, which is HDR"),
    (0, b"#?RADIANCE", "a Radiance picture, which is HDR"),
    (0, b"#?RGBE", "a Radiance picture, which is HDR"),
    *((0, start, "a BigTIFF") for start in (b"II+\0", b"MM\0+")),
    *((0, start, "a camera's raw file") for start in (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0")),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\x03\x04", "a ZIP archive"),
)


@dataclass(frozen=True, slots=True)
class Header:
    """A file's claims.

    Attributes:
        orientation: EXIF's 1..8, 1 is upright.
        unfit: why it is not restored, if so.
        lossy: its pixels went through an encoder with loss.
        opaque: a fourth channel, if it is decoded to one, means nothing.
    """

    format: Format
    width: int
    height: int
    orientation: int = 1
    unfit: Unfit | None = None
    lossy: bool = False
    opaque: bool = False


def read_header(data: bytes) -> Header | None:
    """The header of an encoded image, or ``None`` when it is none of the known formats or its header is broken."""
    try:
        header = _dispatch(data)
    except (struct.error, IndexError, ValueError):  # the file ends inside its header, or it is nonsense
        return None
    return header if header is not None and header.width > 0 and header.height > 0 else None


def foreign_format(data: bytes) -> str | None:
    """What a file is that is none of the known formats, as in ``"a GIF"``."""
    for at, start, name in _FOREIGN:
        if data.startswith(start, at):
            return name
    text = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page"
    return "an SVG or XML" if text.startswith((b"<?xml", b"<svg")) else None


def _dispatch(data: bytes) -> Header | None:
    if data.startswith(PNG_SIGNATURE):
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
    exif, unfit = b"", None
    for part in png_chunks(data):
        if part.kind == b"acTL":
            unfit = ANIMATED
        elif part.kind == b"cICP" and part.of(data)[1:2] in (b"\x10", b"\x12"):  # PQ and HLG of ITU-R BT.2100
            unfit = HDR
        elif part.kind == b"eXIf":
            exif = exif or part.of(data)
        elif part.kind == b"tRNS" and data[25] == 0:  # OpenCV makes alpha of it in colour, and drops it in grey
            unfit = unfit or PNG_KEY
    return Header("png", width, height, _orientation(exif), unfit or (None if png_is_whole(data) else TRUNCATED))


def _jpeg(data: bytes) -> Header | None:
    exif = b""
    for part in jpeg_segments(data):
        code, content = part.kind[0], part.of(data)
        if code == 0xE1 and content.startswith(b"Exif\0\0"):
            exif = exif or content[6:]
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):  # start of frame
            precision, height, width, components = struct.unpack_from(">BHHB", content)
            unfit = CMYK if components == 4 else DEEP_JPEG if precision > 8 else None
            scans, ends = jpeg_scans(data, part.at + part.length)
            if scans > MAX_SCANS:
                unfit = SCANS
            if not ends:  # decoders fill up with grey what is missing, and refuse nothing
                unfit = TRUNCATED
            return Header("jpeg", width, height, _orientation(exif), unfit, lossy=True)
    return None


def _webp(data: bytes) -> Header | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            return None
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF, lossy=True)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("webp", (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    if kind != b"VP8X":
        return None
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    orientation, lossy = 1, False
    with suppress(TooManyPartsError):
        for part in riff_chunks(data):
            lossy = lossy or part.kind == b"VP8 "
            if part.kind == b"EXIF" and data[20] & 0x08:
                orientation = _orientation(part.of(data).removeprefix(b"Exif\0\0"))
                break
    return Header("webp", width, height, orientation, ANIMATED if data[20] & 0x02 else None, lossy)


def _bmp(data: bytes) -> Header | None:
    (size,) = struct.unpack_from("<I", data, 14)
    alpha = 0
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    elif size >= 40:
        width, height = struct.unpack_from("<ii", data, 18)
        if size >= 56 or data[30] == _BMP_ALPHA_BITFIELDS:
            (alpha,) = struct.unpack_from("<I", data, 66)
    else:
        return None
    return Header("bmp", abs(width), abs(height), opaque=alpha == 0)


def _tiff(data: bytes) -> Header | None:
    order, first = tags.byte_order(data), tags.first_directory(data)
    width, height = tags.integer(first, 256, order), tags.integer(first, 257, order)
    # OpenCV's TIFF reader turns the picture upright itself, so there is nothing left to do.
    lossy = tags.integer(first, 259, order, 1) in _TIFF_LOSSY
    return Header("tiff", width, height, unfit=_unfit_tiff(data, order, first), lossy=lossy)


def _unfit_tiff(data: bytes, order: tags.Order, first: tags.Directory) -> Unfit | None:
    colours = tags.integer(first, 262, order)
    if 50706 in first.entries or colours in (32803, 34892) or (330 in first.entries and _is_thumbnail(first, order)):
        return RAW  # it says that it is a DNG; sensor pixels; a small picture, and the large one below it
    if colours in (32844, 32845):  # LogLuv
        return HDR
    size, tile = (tags.integer(first, a, order) * tags.integer(first, b, order) for a, b in ((256, 257), (322, 323)))
    if tile > size + _TILE_PIXELS:
        return TIFF_TILES
    if tags.integer(first, 339, order, 1) == 3:
        return FLOAT
    if colours == 5:
        return CMYK
    if colours in (8, 9, 10):  # CIE L*a*b*
        return TIFF_COLOURS
    pages = 0
    for directory in tags.all_directories(data, frozenset((_SUBFILE,))):
        pages += not _is_thumbnail(directory, order)
        if pages > 1:
            return PAGES
    samples = tags.integer(first, 277, order, 1)
    if (
        tags.integer(first, 258, order, 1) > 8
    ):  # with 8 bits libtiff does it, with 16 OpenCV takes the bytes as they are
        if samples > 1 and tags.integer(first, 284, order, 1) == 2:
            return TIFF_PLANES
        if colours == 0:
            return TIFF_NEGATIVE
    return TIFF_ALPHA if 338 in first.entries or samples in (2, 4) else None


def _is_thumbnail(directory: tags.Directory, order: tags.Order) -> bool:
    """Whether a directory holds a smaller version of another, or a transparency mask for it."""
    return bool(tags.integer(directory, _SUBFILE, order) & 0b101)


def _orientation(exif: bytes) -> int:
    try:
        value = tags.integer(tags.first_directory(exif), ORIENTATION, tags.byte_order(exif), 1)
    except (struct.error, IndexError, ValueError):  # broken metadata spoils no picture
        return 1
    return value if 1 <= value <= 8 else 1
