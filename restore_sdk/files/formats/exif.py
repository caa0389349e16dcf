"""EXIF and XMP of a picture that was turned upright and repaired."""

from __future__ import annotations

import re
import struct

from restore_sdk.files.formats.tags import (
    EXIF,
    INTEGERS,
    TYPE_BYTES,
    Directory,
    Order,
    byte_order,
    first_directory,
    integer,
    read_directory,
)

ORIENTATION = 274

#: Resolution, horizontal and vertical; a fraction of two whole numbers each.
RESOLUTION = (282, 283)
_FRACTION = 5

#: Width and height: of the picture (directory 0), and as the camera wrote them (EXIF directory).
_SIZES = ((256, 257), (0xA002, 0xA003))
#: Where a thumbnail's bytes are, and how many: compressed, and in strips.
_THUMBNAILS = ((513, 514), (273, 279))

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[1-8]")
_XMP_THUMBNAILS = re.compile(rb"<(xmp|xap):Thumbnails\b")


def upright(exif: bytes, *, swapped: bool) -> bytes:
    """An EXIF block for the picture as it stands now.

    The orientation becomes 1, and the thumbnail, which shows the damage, is taken out. All else keeps its place: the
    notes of camera makers count offsets from the beginning.

    Args:
        exif: a TIFF structure.
        swapped: the picture was turned by a quarter, so width and height change places, and so does the resolution.

    Raises:
        ValueError, struct.error: the block is broken.
    """
    order, root = byte_order(exif), first_directory(exif)
    data = bytearray(exif)
    if (entry := root.entries.get(ORIENTATION)) is not None and entry.type in INTEGERS:
        struct.pack_into(order + INTEGERS[entry.type], data, entry.at, 1)
    if swapped:
        below = root.deeper.get(EXIF)
        for directory, (width, height) in zip((root, below), _SIZES, strict=True):
            if directory is not None and width in directory.entries and height in directory.entries:
                _swap(data, order, directory, width, height)
        across, down = (root.entries.get(tag) for tag in RESOLUTION)
        if across is not None and down is not None and across.type == down.type == _FRACTION:
            for entry, other in ((across, down), (down, across)):
                data[entry.at : entry.at + 8] = other.value[:8]
    if root.next:
        _drop_thumbnail(data, order, root)
    return bytes(data)


def upright_xmp(xmp: bytes) -> bytes:
    """An XMP packet for the upright picture: orientation 1, no thumbnails."""
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    kept, at = bytearray(), 0
    # By hand: a pattern from opening to closing would look through all the rest again for every one that stays open.
    unclosed: set[bytes] = set()
    for opening in _XMP_THUMBNAILS.finditer(xmp):
        prefix = opening[1]
        if opening.start() < at or prefix in unclosed:
            continue
        closing = b"</" + prefix + b":Thumbnails>"
        found = xmp.find(closing, opening.end())
        if found < 0:
            unclosed.add(prefix)
            continue
        kept += xmp[at : opening.start()]
        at = found + len(closing)
    return bytes(kept + xmp[at:])


def _swap(data: bytearray, order: Order, directory: Directory, width: int, height: int) -> None:
    values = [integer(directory, tag, order) for tag in (height, width)]
    for tag, value in zip((width, height), values, strict=True):
        entry = directory.entries[tag]
        if entry.type in INTEGERS and value < 1 << 8 * TYPE_BYTES[entry.type]:
            struct.pack_into(order + INTEGERS[entry.type], data, entry.at, value)


def _drop_thumbnail(data: bytearray, order: Order, root: Directory) -> None:
    thumbnail = read_directory(bytes(data), order, root.next)
    struct.pack_into(order + "I", data, root.next_at, 0)
    end = len(data)
    for place_tag, size_tag in _THUMBNAILS:
        place, size = integer(thumbnail, place_tag, order), integer(thumbnail, size_tag, order)
        if place and size and place + size <= len(data):
            data[place : place + size] = bytes(size)
            end = place if place + size >= end - 2 else end  # usually it is the last thing
    kept = max(_ends(root))
    if end < len(data) and end >= kept:
        del data[end:]


def _ends(directory: Directory) -> list[int]:
    """Where the values of a directory end, and of those below it."""
    ends = [directory.next_at + 4, *(entry.at + len(entry.value) for entry in directory.entries.values())]
    return ends + [end for below in directory.deeper.values() for end in _ends(below)]
