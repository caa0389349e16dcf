"""TIFF directories: what a TIFF file and an EXIF block are made of.

Pillow reads them, too; here it is seen before that they cost no more than the file is long.

Reference: TIFF 6.0 (Adobe, 1992); EXIF 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

WIDTH, HEIGHT, ORIENTATION, RESOLUTIONS, UNIT = 256, 257, 274, (282, 283), 296

#: Tags that point to a directory below: of the first one, and EXIF's own.
EXIF, GPS, INTEROP = 34665, 34853, 40965

#: Bytes of a value by its type, and how :mod:`struct` names the types of whole numbers.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "B", 3: "H", 4: "I"}

#: Entries of a directory, and directories of a file; real ones have some dozens.
_MAX_ENTRIES, _MAX_PAGES = 512, 1000


class Entry(NamedTuple):
    """One tag: its type, how many values it has, and where they stand in the file."""

    type: int
    values: int
    at: int


class Directory:
    """The entries of one directory by tag, and where the next one is.

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
        end = at + 2 + 12 * count
        (self.next,) = struct.unpack_from(self.order + "I", data.ljust(end + 4, b"\0"), end)

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


def check_exif(block: bytes) -> bool:
    """Whether an EXIF block has a thumbnail; raises as :class:`Directory` for each directory that is read of it."""
    root, *others = directories(block)
    for tag in (EXIF, GPS):
        below = Directory(block, root.integer(tag)) if tag in root.entries else None
        if below is not None and INTEROP in below.entries:
            Directory(block, below.integer(INTEROP))
    return bool(others)
