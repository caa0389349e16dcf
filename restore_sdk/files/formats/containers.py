"""The parts that PNG, JPEG and WebP files are made of, one after the other."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

#: Parts of a file that are looked at before its pixels; real files have some dozens.
MAX_PARTS = 10_000

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Chunks of a PNG from its pixels on; writers make them of 8 KiB and more.
MAX_PIXEL_CHUNKS = 100_000

#: Scans of a progressive JPEG; writers make about ten. Each one costs a pass over the whole picture, out of 14 bytes.
MAX_SCANS = 100

_NO_FILL = re.compile(rb"[^\xff]")
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # what ends the pixels of a scan


class TooManyPartsError(ValueError):
    """More parts than any real file has."""


class Part(NamedTuple):
    """A chunk or segment: its name or marker, where its content begins, and how long it says that is."""

    kind: bytes
    at: int
    length: int

    def of(self, data: bytes) -> bytes:
        """The content, cut where the file ends."""
        return data[self.at : self.at + self.length]


def png_chunks(data: bytes) -> Iterator[Part]:
    """Chunks of a PNG but for those with pixels, before and behind them."""
    at, others = len(PNG_SIGNATURE), 0
    for _ in range(MAX_PIXEL_CHUNKS):
        if at + 8 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, at)
        part = Part(data[at + 4 : at + 8], at + 8, length)
        if part.kind == b"IEND":
            return
        if part.kind != b"IDAT":
            others += 1
            if others > MAX_PARTS:
                raise TooManyPartsError
            yield part
        at += 12 + length


def png_is_whole(data: bytes) -> bool:
    """Whether every chunk of a PNG lies within the data, up to the last one.

    OpenCV takes memory for as many bytes as a chunk says it has, up to 4 GB, before it looks whether they are there.
    """
    at = len(PNG_SIGNATURE)
    for _ in range(MAX_PIXEL_CHUNKS):
        following = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if following > len(data):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = following
    return False


def jpeg_scans(data: bytes, at: int) -> tuple[int, bool]:
    """How many scans a JPEG has from ``at`` on, and whether the end marker follows them; counting ends after
    :data:`MAX_SCANS`.
    """
    scans = 0
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, at)  # after a segment it stands right here, after pixels further on
        if found is None:
            return scans, False
        at, marker = found.end(), data[found.end() - 1]
        if marker == 0xD9:
            return scans, True
        scans += marker == 0xDA
        if scans > MAX_SCANS:
            return scans, True
        if marker not in (0x01, 0xD8):
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return scans, False


def jpeg_segments(data: bytes) -> Iterator[Part]:
    """Segments of a JPEG, their kind the marker's second byte, up to and with the first scan or the end.

    Raises:
        ValueError: something stands between segments. struct.error: the file ends in between.
    """
    at = 2
    for _ in range(MAX_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            raise ValueError("no marker")
        code = _NO_FILL.search(data, at)  # any number of fill bytes 0xFF may stand before it
        if code is None:
            raise ValueError("no marker")
        at, marker = code.start() - 1, data[code.start()]
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield Part(bytes((marker,)), at + 4, length - 2)
        if marker in (0xD9, 0xDA):
            return
        if length < 2:
            raise ValueError("a segment of negative length")
        at += 2 + length
    raise TooManyPartsError


def riff_chunks(data: bytes) -> Iterator[Part]:
    """Chunks of a WebP."""
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        (length,) = struct.unpack_from("<I", data, at + 4)
        yield Part(data[at : at + 4], at + 8, length)
        at += 8 + length + (length & 1)
    raise TooManyPartsError
