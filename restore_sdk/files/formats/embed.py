"""Metadata into a freshly encoded file."""

from __future__ import annotations

import struct
import zlib

from restore_sdk.files.formats import tags
from restore_sdk.files.formats.containers import PNG_SIGNATURE, riff_chunks
from restore_sdk.files.formats.exif import RESOLUTION
from restore_sdk.files.formats.header import Format
from restore_sdk.files.formats.metadata import (
    JPEG_EXIF,
    JPEG_ICC,
    JPEG_XMP,
    PNG_XMP,
    TIFF_ICC,
    TIFF_IPTC,
    TIFF_KEPT,
    TIFF_XMP,
    Metadata,
)

#: Largest content of a JPEG's segment.
_SEGMENT = 65_533

#: Bits of a WebP's extended header.
_ICC, _ALPHA, _EXIF, _XMP = 0x20, 0x10, 0x08, 0x04


def embed(encoded: bytes, kind: Format, metadata: Metadata, *, grey: bool) -> tuple[bytes, list[str]]:
    """The encoded image with the metadata in it.

    Args:
        encoded: as OpenCV's encoder wrote it: without metadata.
        kind: its format.
        metadata: of the photograph.
        grey: whether the image has one channel. A profile for another number of channels is left out.

    Returns:
        The file, and notes on what it cannot hold.
    """
    notes: list[str] = []
    icc = metadata.icc
    if icc and icc[16:20] != (b"GRAY" if grey else b"RGB "):
        notes.append("its colour profile is not for pixels of this kind and was left out")
        icc = b""
    if metadata.parts and metadata.format != kind:
        notes.append(f"what only {metadata.format.upper()} holds (comments, text, IPTC) was left out")
    parts = metadata.parts if metadata.format == kind else ()
    if kind == "jpeg":
        return _jpeg(encoded, metadata, icc, parts, notes), notes
    if kind == "png":
        return _png(encoded, metadata, icc, parts), notes
    if kind == "webp":
        if metadata.dpi is not None and not _has_resolution(metadata.exif):
            notes.append("WebP holds no resolution but in EXIF: it was left out")
        return _webp(encoded, metadata, icc), notes
    if kind == "tiff":
        return _tiff(encoded, metadata, icc, parts), notes
    if metadata.exif or icc or metadata.xmp or metadata.dpi:
        notes.append("BMP holds no metadata: it was left out")
    return encoded, notes


def _jpeg(
    encoded: bytes, metadata: Metadata, icc: bytes, parts: tuple[tuple[bytes, bytes], ...], notes: list[str]
) -> bytes:
    (length,) = struct.unpack_from(">H", encoded, 4)  # the encoder begins with the mark of a JFIF file
    jfif, rest = bytearray(encoded[2 : 4 + length]), encoded[4 + length :]
    if metadata.dpi is not None:
        struct.pack_into(">BHH", jfif, 11, 1, *(round(value) for value in metadata.dpi))
    segments = []
    for name, mark, content in (("EXIF", JPEG_EXIF, metadata.exif), ("XMP", JPEG_XMP, metadata.xmp)):
        if content and len(mark) + len(content) <= _SEGMENT:
            segments.append((b"\xe1", mark + content))
        elif content:
            notes.append(f"its {name} is too large for a JPEG and was left out")
    step = _SEGMENT - len(JPEG_ICC) - 2
    count = -(-len(icc) // step)
    if count > 255:
        notes.append("its colour profile is too large for a JPEG and was left out")
        count = 0
    for number in range(count):
        content = icc[number * step : (number + 1) * step]
        segments.append((b"\xe2", JPEG_ICC + bytes((number + 1, count)) + content))
    segments += [(kind, content) for kind, content in parts if len(content) <= _SEGMENT]
    marked = b"".join(b"\xff" + kind + struct.pack(">H", len(content) + 2) + content for kind, content in segments)
    return b"\xff\xd8" + bytes(jfif) + marked + rest


def _png(encoded: bytes, metadata: Metadata, icc: bytes, parts: tuple[tuple[bytes, bytes], ...]) -> bytes:
    chunks = [(kind, content) for kind, content in parts if not (icc and kind in (b"sRGB", b"iCCP"))]
    if icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append((b"iTXt", PNG_XMP + b"\0\0\0\0" + metadata.xmp))
    if metadata.dpi is not None:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in metadata.dpi), 1)))
    head = len(PNG_SIGNATURE) + 25  # signature and the chunk IHDR
    written = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return encoded[:head] + written + encoded[head:]


def _has_resolution(exif: bytes) -> bool:
    return bool(exif) and RESOLUTION[0] in tags.first_directory(exif).entries


def _webp(encoded: bytes, metadata: Metadata, icc: bytes) -> bytes:
    if not (icc or metadata.exif or metadata.xmp):
        return encoded
    chunks = [(part.kind, part.of(encoded)) for part in riff_chunks(encoded)]
    flags, size = 0, b""
    for kind, content in chunks:
        if kind == b"VP8X":
            flags, size = content[0], content[4:10]
        elif kind == b"VP8L" and not size:
            (bits,) = struct.unpack_from("<I", content, 1)
            flags = _ALPHA if bits >> 28 & 1 else 0
            size = (bits & 0x3FFF).to_bytes(3, "little") + ((bits >> 14) & 0x3FFF).to_bytes(3, "little")
        elif kind == b"VP8 " and not size:
            width, height = struct.unpack_from("<HH", content, 6)
            size = ((width & 0x3FFF) - 1).to_bytes(3, "little") + ((height & 0x3FFF) - 1).to_bytes(3, "little")
    flags |= (_ICC if icc else 0) | (_EXIF if metadata.exif else 0) | (_XMP if metadata.xmp else 0)
    ordered = [(b"VP8X", bytes((flags, 0, 0, 0)) + size)]
    ordered += [(b"ICCP", icc)] if icc else []
    ordered += [chunk for chunk in chunks if chunk[0] != b"VP8X"]
    ordered += [(b"EXIF", metadata.exif)] if metadata.exif else []
    ordered += [(b"XMP ", metadata.xmp)] if metadata.xmp else []
    body = b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for kind, content in ordered
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _tiff(encoded: bytes, metadata: Metadata, icc: bytes, parts: tuple[tuple[bytes, bytes], ...]) -> bytes:
    order, root = tags.byte_order(encoded), tags.first_directory(encoded)
    if metadata.exif:
        source = tags.turned(tags.first_directory(metadata.exif), tags.byte_order(metadata.exif), order)
        root.entries |= {tag: entry for tag, entry in source.entries.items() if tag in TIFF_KEPT}
        root.deeper |= source.deeper
    if metadata.dpi is not None:
        for tag, value in zip(RESOLUTION, metadata.dpi, strict=True):
            root.entries[tag] = tags.Entry(5, struct.pack(order + "II", round(1000 * value), 1000))
        root.entries[296] = tags.Entry(3, struct.pack(order + "H", 2))
    blobs = [(TIFF_XMP, 1, metadata.xmp), (TIFF_ICC, 7, icc), *((TIFF_IPTC, 7, content) for _, content in parts)]
    root.entries |= {tag: tags.Entry(kind, content) for tag, kind, content in blobs if content}
    padded = encoded + b"\0" * (len(encoded) % 2)
    # The pixels stay where they are; a new directory behind them takes the place of the old one.
    return (
        padded[:4] + struct.pack(order + "I", len(padded)) + padded[8:] + tags.write_directory(root, order, len(padded))
    )
