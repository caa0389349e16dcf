"""What a file changes of another of the same length: how a second model in the wheel shares the first one's bytes.

A delta is ``RSDELTA1``, the number of stretches (uint32), then offset and length of each (uint32 pairs, ascending and
apart), then the bytes that stand there instead; all little-endian. It carries no hash: who applies one knows the hash
of what must come out.
"""

from __future__ import annotations

import struct
from itertools import pairwise

_MAGIC = b"RSDELTA1"
_COUNT = struct.Struct("<I")
_STRETCH = struct.Struct("<II")

#: Retrained layers are long stretches; as many as this would be an attack on memory.
_MOST_STRETCHES = 100_000


def apply_delta(base: bytes, delta: bytes) -> bytes:
    """The changed file. Raises ``ValueError`` where ``delta`` is none, or one of a file of another length."""
    head = len(_MAGIC) + _COUNT.size
    if delta[: len(_MAGIC)] != _MAGIC or len(delta) < head:
        raise ValueError("it is no delta")
    (count,) = _COUNT.unpack_from(delta, len(_MAGIC))
    at = head + count * _STRETCH.size
    if at > len(delta) or count > _MOST_STRETCHES:
        raise ValueError("it is truncated, or in too many pieces")
    stretches = list(_STRETCH.iter_unpack(delta[head:at]))
    if at + sum(length for _, length in stretches) != len(delta):
        raise ValueError("it has not as many bytes as it names")
    ends = [(offset, offset + length) for offset, length in stretches]
    if any(end > start for (_, end), (start, _) in pairwise(ends)) or (ends and ends[-1][1] > len(base)):
        raise ValueError("it changes bytes that the other file does not have")
    changed = bytearray(base)
    for start, end in ends:
        changed[start:end] = delta[at : at + end - start]
        at += end - start
    return bytes(changed)


def make_delta(base: bytes, changed: bytes, apart: int = 16) -> bytes:
    """What :func:`apply_delta` takes to make ``changed`` of ``base``; changes no more than ``apart`` bytes from one
    another are one stretch, and more where there would be too many. Raises ``ValueError`` where the files differ in
    length.
    """
    import numpy as np

    if len(base) != len(changed):
        raise ValueError(f"the files have {len(base)} and {len(changed)} bytes, a delta takes files of one length")
    differing = np.flatnonzero(np.frombuffer(base, np.uint8) != np.frombuffer(changed, np.uint8))
    gaps = np.diff(differing)
    while np.count_nonzero(gaps > apart) >= _MOST_STRETCHES:
        apart *= 2
    parts = np.split(differing, np.flatnonzero(gaps > apart) + 1) if differing.size else []
    stretches = [(int(part[0]), int(part[-1]) + 1) for part in parts]
    table = b"".join(_STRETCH.pack(start, end - start) for start, end in stretches)
    return _MAGIC + _COUNT.pack(len(stretches)) + table + b"".join(changed[start:end] for start, end in stretches)
