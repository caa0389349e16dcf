"""The metadata of a photograph, taken out of one file and put into another, of the same format or not.

Taken: EXIF, the ICC colour profile, XMP, the resolution; and where the format stays the same also what only that has:
comments and IPTC in JPEG, text and colour chunks in PNG. What describes the picture as it lay (orientation, size) is
brought to how it lies now, and smaller versions of the damaged picture are left out.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from restore_sdk.files.formats import tags
from restore_sdk.files.formats.containers import TooManyPartsError, jpeg_segments, png_chunks, riff_chunks
from restore_sdk.files.formats.exif import ORIENTATION, RESOLUTION, upright, upright_xmp
from restore_sdk.files.formats.header import Format, Header

#: Largest profile, packet or text after decompression.
MAX_BYTES = 16 * 1024 * 1024

JPEG_EXIF, JPEG_XMP, JPEG_ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
JPEG_PHOTOSHOP, JPEG_MORE_XMP = b"Photoshop 3.0\0", b"http://ns.adobe.com/xmp/extension/\0"
PNG_XMP = b"XML:com.adobe.xmp\0"

#: PNG chunks that say something about the picture and nothing about how its pixels are stored.
_PNG_KEPT = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt", b"tIME")

#: EXIF's and XMP's own place in PNG is another; here some programs hide them, with their orientation and thumbnail.
_PNG_HIDDEN = re.compile(rb"raw profile type", re.IGNORECASE)

#: Tags of a TIFF's main directory that describe the photograph and not how its pixels are stored.
TIFF_KEPT = (269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 318, 319, 33432, tags.EXIF, tags.GPS)
TIFF_XMP, TIFF_IPTC, TIFF_ICC = 700, 33723, 34675

#: Photoshop's resources that hold a thumbnail.
_THUMBNAILS = (1033, 1036)

_INCH = 0.0254  # metres


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says about its photograph.

    Attributes:
        exif: a TIFF structure. ``icc``: a colour profile. ``xmp``: a packet. Each empty where there is none.
        dpi: pixels per inch, horizontal and vertical.
        format: of the file that ``parts`` are of.
        parts: what only that format has, kind and content, as it is written there.
        notes: what was there and was left out.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    format: Format = "png"
    parts: tuple[tuple[bytes, bytes], ...] = ()
    notes: tuple[str, ...] = ()


def read_metadata(data: bytes, header: Header) -> Metadata:
    """The metadata of an encoded image, brought to the upright picture; what is broken is left out, with a note."""
    reader = {"png": _png, "jpeg": _jpeg, "webp": _webp, "tiff": _tiff}.get(header.format)
    notes: list[str] = []
    try:
        found = reader(data, notes) if reader is not None else Metadata()
    except (ValueError, struct.error, IndexError, zlib.error):
        return Metadata(format=header.format, notes=("its metadata is damaged and was left out",))
    swapped = _stored_orientation(data, header) >= 5
    exif = found.exif
    try:
        exif = upright(exif, swapped=swapped) if exif else b""
    except (ValueError, struct.error):
        exif = b""
        notes.append("its EXIF is damaged and was left out")
    dpi = found.dpi
    if dpi is not None and not all(1 <= value <= 65_535 for value in dpi):
        dpi = None
    return Metadata(
        exif=exif,
        icc=found.icc,
        xmp=upright_xmp(found.xmp),
        dpi=dpi[::-1] if dpi is not None and swapped else dpi,
        format=header.format,
        parts=found.parts,
        notes=tuple(notes),
    )


def _stored_orientation(data: bytes, header: Header) -> int:
    if header.format != "tiff":
        return header.orientation
    return tags.integer(tags.first_directory(data), ORIENTATION, tags.byte_order(data), 1)


def _jpeg(data: bytes, notes: list[str]) -> Metadata:
    exif = xmp = b""
    photoshop = bytearray()
    dpi = None
    profile: dict[int, bytes] = {}
    counts: set[int] = set()
    parts: list[tuple[bytes, bytes]] = []
    for part in jpeg_segments(data):
        code, content = part.kind[0], part.of(data)
        if code == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 12:
            unit, x, y = struct.unpack_from(">BHH", content, 7)
            dpi = {1: (float(x), float(y)), 2: (x * 2.54, y * 2.54)}.get(unit)
        elif code == 0xE1 and content.startswith(JPEG_EXIF):
            exif = exif or content[len(JPEG_EXIF) :]
        elif code == 0xE1 and content.startswith(JPEG_XMP):
            xmp = xmp or content[len(JPEG_XMP) :]
        elif code == 0xE2 and content.startswith(JPEG_ICC):
            number, count = content[len(JPEG_ICC) : len(JPEG_ICC) + 2]
            profile[number] = content[len(JPEG_ICC) + 2 :]
            counts.add(count)
        elif code == 0xE2 and content.startswith(b"MPF\0"):
            notes.append("further pictures in it (previews, an HDR gain map) were left out")
        elif code == 0xED and content.startswith(JPEG_PHOTOSHOP):
            photoshop += content[len(JPEG_PHOTOSHOP) :]
        elif code == 0xFE or (code == 0xE1 and content.startswith(JPEG_MORE_XMP)):
            parts.append((part.kind, content))
    resources = _without_thumbnails(bytes(photoshop))
    step = 65_000
    for at in range(0, len(resources), step):
        parts.append((b"\xed", JPEG_PHOTOSHOP + resources[at : at + step]))
    icc = b"".join(profile[number] for number in sorted(profile))
    if profile and (sorted(profile), counts) != (list(range(1, len(profile) + 1)), {len(profile)}):
        notes.append("its colour profile is incomplete and was left out")
        icc = b""
    return Metadata(exif, icc, xmp, dpi, parts=tuple(parts))


def _without_thumbnails(resources: bytes) -> bytes:
    """Photoshop's resources without those that hold a small version of the damaged picture."""
    kept, at = bytearray(), 0
    while at + 12 <= len(resources) and resources[at : at + 4] == b"8BIM":
        (number,) = struct.unpack_from(">H", resources, at + 4)
        name = 1 + resources[at + 6]
        begin = at + 6 + name + name % 2
        (size,) = struct.unpack_from(">I", resources, begin)
        end = begin + 4 + size + size % 2
        if number not in _THUMBNAILS:
            kept += resources[at:end]
        at = end
    return bytes(kept)


def _png(data: bytes, notes: list[str]) -> Metadata:
    exif = icc = xmp = b""
    dpi = None
    parts: list[tuple[bytes, bytes]] = []
    for part in png_chunks(data):
        content = part.of(data)
        if part.kind == b"eXIf":
            exif = exif or content
        elif part.kind == b"iCCP":
            icc = icc or _inflate(content[content.index(b"\0") + 2 :])
        elif part.kind == b"iTXt" and content.startswith(PNG_XMP):
            packed, text = content[len(PNG_XMP)], content[len(PNG_XMP) + 2 :].split(b"\0", 2)[2]
            xmp = xmp or (_inflate(text) if packed else text)
        elif part.kind == b"pHYs" and len(content) == 9 and content[8] == 1:
            x, y = struct.unpack_from(">II", content)
            dpi = (x * _INCH, y * _INCH)
        elif part.kind in _PNG_KEPT:
            if _PNG_HIDDEN.match(content):
                notes.append("metadata in text chunks of ImageMagick's kind was left out")
            else:
                parts.append((part.kind, content))
    return Metadata(exif, icc, xmp, dpi, parts=tuple(parts))


def _webp(data: bytes, notes: list[str]) -> Metadata:
    del notes
    if data[12:16] != b"VP8X":
        return Metadata()
    found: dict[bytes, bytes] = {}
    try:
        for part in riff_chunks(data):
            if part.kind in (b"EXIF", b"ICCP", b"XMP "):
                found.setdefault(part.kind, part.of(data))
    except TooManyPartsError:
        pass
    exif = found.get(b"EXIF", b"").removeprefix(JPEG_EXIF)
    return Metadata(exif, found.get(b"ICCP", b""), found.get(b"XMP ", b""))


def _tiff(data: bytes, notes: list[str]) -> Metadata:
    del notes
    order, root = tags.byte_order(data), tags.first_directory(data)
    icc, xmp = (root.entries[tag].value if tag in root.entries else b"" for tag in (TIFF_ICC, TIFF_XMP))
    kept = tags.Directory(
        {tag: entry for tag, entry in root.entries.items() if tag in TIFF_KEPT},
        {tag: below for tag, below in root.deeper.items() if tag in TIFF_KEPT},
    )
    exif = b""
    if kept.entries or kept.deeper:
        kept.entries[ORIENTATION] = tags.Entry(3, struct.pack(order + "H", 1))
        start = b"II*\0" if order == "<" else b"MM\0*"
        exif = start + struct.pack(order + "I", 8) + tags.write_directory(kept, order, 8)
    parts = ((b"IPTC", root.entries[TIFF_IPTC].value),) if TIFF_IPTC in root.entries else ()
    return Metadata(exif, icc, xmp, _tiff_dpi(root, order), parts=parts)


def _tiff_dpi(root: tags.Directory, order: tags.Order) -> tuple[float, float] | None:
    unit = {2: 1.0, 3: 2.54}.get(tags.integer(root, 296, order, 2))
    values = []
    for tag in RESOLUTION:
        entry = root.entries.get(tag)
        if entry is None or entry.type != 5 or unit is None:
            return None
        above, below = struct.unpack_from(order + "II", entry.value)
        values.append(unit * above / below if below else 0.0)
    return values[0], values[1]


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    found = inflater.decompress(data, MAX_BYTES)
    if inflater.unconsumed_tail:
        raise ValueError("too large")
    return found
