"""How a JPEG was encoded, so that it can be written again as nearly the same as the encoder allows.

A JPEG that is decoded and encoded again with its own quantisation tables and chroma sampling hardly changes: most
coefficients fall on the same step again. With any other tables, finer ones too, nearly every block changes a little.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache

from restore_sdk.files.formats.containers import jpeg_segments

#: The tables of quality 50 of ITU-T T.81, annex K, which libjpeg scales; rows of 8.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)


@dataclass(frozen=True, slots=True)
class JpegEncoding:
    """A JPEG's settings.

    Attributes:
        luma, chroma: libjpeg's quality, 1..100, of the tables: the very one, or where no quality has these tables the
            least one that is as fine on average.
        exact: both are the very ones.
        sampling: horizontal and vertical sampling of luma against chroma, such as ``(2, 2)`` for 4:2:0.
        progressive: in several passes.
    """

    luma: int
    chroma: int
    exact: bool
    sampling: tuple[int, int]
    progressive: bool


def read_encoding(data: bytes) -> JpegEncoding | None:
    """The settings of a JPEG of one or three components; ``None`` where its header is of another kind."""
    tables: dict[int, tuple[int, ...]] = {}
    frame = b""
    marker = 0
    try:
        for part in jpeg_segments(data):
            code, content = part.kind[0], part.of(data)
            if code == 0xDB:
                tables |= _tables(content)
            elif 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
                frame, marker = content, code
        count = frame[5]
        if count not in (1, 3):
            return None
        shapes = [(frame[7 + 3 * i] >> 4, frame[7 + 3 * i] & 15) for i in range(count)]
        used = [tables[frame[8 + 3 * i]] for i in range(count)]
    except (ValueError, struct.error, IndexError, KeyError):
        return None
    luma, exact = _quality(used[0], _LUMA)
    chroma, chroma_exact = _quality(used[1], _CHROMA) if count == 3 else (luma, exact)
    sampling = shapes[0] if count == 3 and shapes[1:] == [(1, 1), (1, 1)] else (1, 1)
    return JpegEncoding(luma, chroma, exact and chroma_exact, sampling, marker in (0xC2, 0xC6, 0xCA, 0xCE))


def _tables(content: bytes) -> dict[int, tuple[int, ...]]:
    found = {}
    while content:
        precision, number = content[0] >> 4, content[0] & 15
        size = 128 if precision else 64
        found[number] = struct.unpack(">64H" if precision else ">64B", content[1 : 1 + size])
        content = content[1 + size :]
    return found


def _quality(table: tuple[int, ...], base: tuple[tuple[int, ...], ...]) -> tuple[int, bool]:
    for quality in range(1, 101):
        if _scaled(base, quality) == table:
            return quality, True
    return next((quality for quality in range(1, 101) if sum(_scaled(base, quality)) <= sum(table)), 100), False


@cache
def _scaled(base: tuple[tuple[int, ...], ...], quality: int) -> tuple[int, ...]:
    """libjpeg's table of a quality, in zigzag order (``jpeg_quality_scaling``, baseline)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    places = sorted(
        ((row, column) for row in range(8) for column in range(8)),
        key=lambda place: (sum(place), place[0] if sum(place) % 2 else place[1]),
    )
    return tuple(min(max((base[row][column] * scale + 50) // 100, 1), 255) for row, column in places)
