"""TIFF directories: what a TIFF file and an EXIF block are made of.

Reference: TIFF 6.0 (Adobe, 1992); EXIF 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

#: Bytes of a value by its type.
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

#: How :mod:`struct` names the types of whole numbers.
INTEGERS = {1: "B", 3: "H", 4: "I"}

#: Bytes of what is turned around for another byte order.
_WORD_BYTES = TYPE_BYTES | {5: 4, 10: 4}

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965

#: Tags that point to a directory of their own.
_DEEPER = (EXIF, GPS, INTEROPERABILITY)

#: How far below the first directory they are followed: EXIF, and what is in that.
_DEEPEST = 2

#: Entries of a directory that are looked at; real ones have some dozens.
_MAX_ENTRIES = 512

Order = Literal["<", ">"]


class Entry(NamedTuple):
    """One tag: its type, its value's bytes in the file's order, and where they stand in the file."""

    type: int
    value: bytes
    at: int = 0


@dataclass(slots=True)
class Directory:
    """Entries by tag, directories that they point to by tag, and the offset of the next directory (0: none)."""

    entries: dict[int, Entry] = field(default_factory=dict)
    deeper: dict[int, Directory] = field(default_factory=dict)
    next: int = 0
    next_at: int = 0


def byte_order(data: bytes) -> Order:
    """Of a TIFF structure; raises :class:`ValueError` where it is none."""
    if data[:4] == b"II*\0":
        return "<"
    if data[:4] == b"MM\0*":
        return ">"
    raise ValueError("no TIFF structure")


def first_directory(data: bytes) -> Directory:
    """The first directory of a TIFF structure, with those it points to; raises as :func:`read_directory`."""
    order = byte_order(data)
    (at,) = struct.unpack_from(order + "I", data, 4)
    return read_directory(data, order, at)


def read_directory(data: bytes, order: Order, at: int, depth: int = 0) -> Directory:
    """The directory at an offset, without entries of unknown types or whose values are not in the file.

    Where a tag stands more than once, only the first one counts, as in libtiff, and be it one that is left out.

    Raises:
        ValueError: more entries than any real directory has, or more bytes of values than there are in the file.
        struct.error: the directory is not in the file.
    """
    return _read_directory(data, order, at, _Room(len(data)), depth)


@dataclass(slots=True)
class _Room:
    """How many bytes values may still have: hostile directories have hundreds that are the whole file."""

    left: int
    only: frozenset[int] | None = None


def _read_directory(data: bytes, order: Order, at: int, room: _Room, depth: int) -> Directory:
    (count,) = struct.unpack_from(order + "H", data, at)
    if count > _MAX_ENTRIES:
        raise ValueError(f"a directory of {count} entries")
    found = Directory(next_at=at + 2 + 12 * count)
    seen: set[int] = set()
    for position in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, position)
        size = TYPE_BYTES.get(kind, 0) * number
        place = position + 8 if size <= 4 else struct.unpack_from(order + "I", data, position + 8)[0]
        again, wanted = tag in seen, room.only is None or tag in room.only
        seen.add(tag)
        if again or not wanted or kind not in TYPE_BYTES or not number or place + size > len(data):
            continue
        room.left -= size
        if room.left < 0:
            raise ValueError("values that lie over one another")
        found.entries[tag] = Entry(kind, data[place : place + size], place)
        if tag in _DEEPER and depth < _DEEPEST and size == 4:
            (below,) = struct.unpack(order + "I", data[place : place + 4])
            with suppress(ValueError, struct.error):
                found.deeper[tag] = _read_directory(data, order, below, room, depth + 1)
    if len(data) >= found.next_at + 4:
        (found.next,) = struct.unpack_from(order + "I", data, found.next_at)
    return found


def all_directories(data: bytes, tags: frozenset[int], limit: int = 100) -> Iterator[Directory]:
    """The directories of a TIFF structure that follow each other, a page each, with some of their tags and without the
    directories that they point to.

    Raises as :func:`read_directory`.
    """
    order = byte_order(data)
    (at,) = struct.unpack_from(order + "I", data, 4)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < limit:
        seen.add(at)
        directory = _read_directory(data, order, at, _Room(len(data), tags), _DEEPEST)
        yield directory
        at = directory.next


def write_directory(directory: Directory, order: Order, at: int) -> bytes:
    """The bytes of a directory that is to stand at an even offset, with its values and deeper directories behind it."""
    entries = {tag: entry for tag, entry in directory.entries.items() if tag not in _DEEPER}
    tags = sorted([*entries, *directory.deeper])
    head, tail = struct.pack(order + "H", len(tags)), b""
    begin = at + 2 + 12 * len(tags) + 4
    for tag in tags:
        if tag in directory.deeper:
            head += struct.pack(order + "HHII", tag, 4, 1, begin + len(tail))
            value = write_directory(directory.deeper[tag], order, begin + len(tail))
        else:
            entry = entries[tag]
            value = entry.value
            head += struct.pack(order + "HHI", tag, entry.type, len(value) // TYPE_BYTES[entry.type])
            if len(value) <= 4:
                head += value.ljust(4, b"\0")
                continue
            head += struct.pack(order + "I", begin + len(tail))
        tail += value + b"\0" * (len(value) % 2)
    return head + struct.pack(order + "I", 0) + tail


def turned(directory: Directory, order: Order, wanted: Order) -> Directory:
    """The directory in another byte order."""
    if order == wanted:
        return directory
    entries = {}
    for tag, entry in directory.entries.items():
        size = _WORD_BYTES[entry.type]
        words = (entry.value[i : i + size][::-1] for i in range(0, len(entry.value), size))
        entries[tag] = entry._replace(value=b"".join(words))
    deeper = {tag: turned(below, order, wanted) for tag, below in directory.deeper.items()}
    return Directory(entries, deeper)


def integer(directory: Directory, tag: int, order: Order, default: int = 0) -> int:
    """The first value of an integer tag."""
    entry = directory.entries.get(tag)
    letter = INTEGERS.get(entry.type) if entry is not None else None
    if entry is None or letter is None or len(entry.value) < TYPE_BYTES[entry.type]:
        return default
    return int(struct.unpack_from(order + letter, entry.value)[0])
