"""TIFF directories: what a TIFF file and an EXIF block are made of.

Pillow reads them too. This is for what Pillow does not do: to see, before it reads them, that they cost no more than
the file is long; and to change an EXIF block in place, since camera makers' notes count offsets from its beginning.

Reference: TIFF 6.0 (Adobe, 1992); EXIF 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

WIDTH, HEIGHT, ORIENTATION, RESOLUTIONS, UNIT, EXIF, GPS = 256, 257, 274, (282, 283), 296, 34665, 34853

#: Bytes of a value by its type, and how :mod:`struct` names the types of whole numbers.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "B", 3: "H", 4: "I"}

#: Entries of a directory, and directories of a file; real ones have some dozens.
_MAX_ENTRIES, _MAX_PAGES = 512, 1000

#: Where a thumbnail's bytes are, and how many: compressed, and in strips.
_THUMBNAILS = ((513, 514), (273, 279))

XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")
_XMP_THUMBNAILS = re.compile(rb"(<(?:xmp|xap):Thumbnails\b)")


class Entry(NamedTuple):
    """One tag: its type, how many values it has, and where they stand in the file."""

    type: int
    values: int
    at: int


class Directory:
    """The entries of one directory by tag; where the next one is, and where that is said.

    Where a tag stands more than once, the first one counts, as in libtiff. Entries of unknown types, or whose values
    are not in the file, are left out.

    Raises:
        ValueError, struct.error: broken, or larger than any real one.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.order = data, byte_order(data)
        self.entries: dict[int, Entry] = {}
        (count,) = struct.unpack_from(self.order + "H", data, at)
        if count > _MAX_ENTRIES:
            raise ValueError("a directory of too many entries")
        seen: set[int] = set()
        used = 0
        for number in range(count):
            place = at + 2 + 12 * number
            tag, kind, values = struct.unpack_from(self.order + "HHI", data, place)
            size = _TYPE_BYTES.get(kind, 0) * values
            start = place + 8 if size <= 4 else struct.unpack_from(self.order + "I", data, place + 8)[0]
            if size and tag not in seen and start + size <= len(data):
                self.entries[tag] = Entry(kind, values, start)
                used += size
            elif kind not in _TYPE_BYTES and tag in (WIDTH, HEIGHT):
                raise ValueError("a size of an unknown type")  # a decoder may know it
            seen.add(tag)
        self.used = used
        if used > len(data):
            raise ValueError("values that lie over one another")
        self.next_at = at + 2 + 12 * count
        (self.next,) = struct.unpack_from(self.order + "I", data.ljust(self.next_at + 4, b"\0"), self.next_at)

    def integers(self, tag: int) -> tuple[int, ...]:
        """The first values of a tag, at most 16; empty where there are none."""
        entry = self.entries.get(tag)
        if entry is None or entry.type not in _INTEGERS:
            return ()
        count = min(entry.values, 16)
        return struct.unpack_from(f"{self.order}{count}{_INTEGERS[entry.type]}", self.data, entry.at)

    def integer(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return next(iter(self.integers(tag)), default)

    def raw(self, tag: int) -> bytes:
        """A tag's bytes, of whatever type; empty where there are none."""
        entry = self.entries.get(tag)
        return b"" if entry is None else self.data[entry.at : entry.at + entry.values * _TYPE_BYTES[entry.type]]

    def dpi(self) -> tuple[float, float] | None:
        """Pixels per inch, horizontal and vertical, where they are told."""
        unit, found = {2: 1.0, 3: 2.54}.get(self.integer(UNIT, 2)), []
        for tag in RESOLUTIONS:
            entry = self.entries.get(tag)
            if entry is None or entry.type != 5 or unit is None:
                return None
            above, below = struct.unpack_from(self.order + "II", self.data, entry.at)
            found.append(unit * above / below if below else 0.0)
        return found[0], found[1]


def byte_order(data: bytes) -> str:
    """Of a TIFF structure, as :mod:`struct` writes it; raises :class:`ValueError` where it is none."""
    orders = {b"II*\0": "<", b"MM\0*": ">"}
    if data[:4] not in orders:
        raise ValueError("no TIFF structure")
    return orders[data[:4]]


def directories(data: bytes) -> list[Directory]:
    """The directories of a TIFF structure, one a page; raises as :class:`Directory`."""
    (at,) = struct.unpack_from(byte_order(data) + "I", data, 4)
    found: list[Directory] = []
    starts: set[int] = set()
    while at and at not in starts:
        if len(found) == _MAX_PAGES or sum(each.used for each in found) > len(data):
            raise ValueError("too many directories, or values that lie over one another")
        starts.add(at)
        found.append(Directory(data, at))
        at = found[-1].next
    return found


def below(root: Directory, tag: int) -> Directory | None:
    """The directory that a tag points to, as EXIF's."""
    try:
        return Directory(root.data, root.integer(tag)) if tag in root.entries else None
    except (ValueError, struct.error):
        return None


def without_thumbnail(exif: bytes) -> bytes:
    """An EXIF block without its thumbnail, which shows the damage; all else keeps its place.

    Raises:
        ValueError, struct.error: the block is broken.
    """
    root = directories(exif)[0]
    if not root.next:
        return exif
    thumbnail, data, end = Directory(exif, root.next), bytearray(exif), len(exif)
    struct.pack_into(root.order + "I", data, root.next_at, 0)
    for place_tag, size_tag in _THUMBNAILS:
        place, size = thumbnail.integer(place_tag), thumbnail.integer(size_tag)
        if place and size and place + size <= len(data):
            data[place : place + size] = bytes(size)
            end = place if place + size >= end - 2 else end  # usually it is the last thing
    kept = [root] + [found for tag in (EXIF, GPS) if (found := below(root, tag)) is not None]
    ends = [entry.at + entry.values * _TYPE_BYTES[entry.type] for each in kept for entry in each.entries.values()]
    if end >= max(ends + [each.next_at + 4 for each in kept], default=0):
        del data[end:]
    return bytes(data)


def turned_upright(exif: bytes, *, swapped: bool) -> bytes:
    """An EXIF block for the upright picture: orientation 1; sizes and resolutions change places when ``swapped``."""
    root, data = directories(exif)[0], bytearray(exif)
    if (entry := root.entries.get(ORIENTATION)) is not None and entry.type in _INTEGERS:
        struct.pack_into(root.order + _INTEGERS[entry.type], data, entry.at, 1)
    pairs = [(root, (WIDTH, HEIGHT)), (root, RESOLUTIONS), (below(root, EXIF), (0xA002, 0xA003))]
    for directory, (first, second) in pairs if swapped else []:
        a, b = (directory.entries.get(tag) if directory is not None else None for tag in (first, second))
        if a is not None and b is not None and a.type == b.type:
            size = _TYPE_BYTES[a.type]
            data[a.at : a.at + size], data[b.at : b.at + size] = exif[b.at : b.at + size], exif[a.at : a.at + size]
    return bytes(data)


def xmp_turned_upright(xmp: bytes) -> bytes:
    """An XMP packet for the upright picture."""
    return XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def xmp_without_thumbnails(xmp: bytes) -> bytes:
    """An XMP packet without small versions of the damaged picture."""
    first, *rest = _XMP_THUMBNAILS.split(xmp)
    kept = [first]
    for opening, text in zip(rest[::2], rest[1::2], strict=True):
        _, closed, after = text.partition(b"</" + opening[1:] + b">")
        kept.append(after if closed else opening + text)
    return b"".join(kept)
