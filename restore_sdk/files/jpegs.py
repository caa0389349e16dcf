"""JPEG to JPEG: blocks in which nothing changed keep their coefficients, and so every bit of what they show.

By libjpeg, with the package ``jpeglib`` (the extra ``jpeg``); without it the whole picture is encoded anew.
"""

from __future__ import annotations

import re
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk.files.write import ODD_SAMPLING, Encoded

#: jpeglib keeps what it reads in variables of its own.
_ONE_AT_A_TIME = threading.Lock()

#: The orthonormal DCT-II of 8 samples (ITU-T T.81, A.3.3): rows are frequencies.
_DCT = (
    np.cos(np.pi / 16 * np.outer(np.arange(8), np.arange(1, 16, 2))) / np.where(np.arange(8) == 0, 8**0.5, 2)[:, None]
)

#: Y, Cb and Cr without their offsets, from blue, green and red (JFIF 1.02).
_YCC = np.array([[0.114, 0.587, 0.299], [0.5, -0.331264, -0.168736], [-0.081312, -0.418688, 0.5]], np.float32)

_SEGMENT = re.compile(rb"\xff+([^\x00\xff])")


def keep_blocks(source: bytes, file: Encoded, picture: NDArray[np.uint8], before: NDArray[np.uint8]) -> Encoded:
    """A JPEG with new pixels where some changed, and elsewhere the coefficients of ``source``; in one pass.

    A block is 8 x 8 px, of halved chroma 16 px wide or high. Beside a new one the colours of the nearest pixels change
    a little with it, since decoders smooth halved chroma.

    ``file`` is ``picture`` as another JPEG, which gives the metadata, and what is returned where that cannot be done,
    with a note where jpeglib is installed. ``picture`` and ``before``, which is what ``source`` shows, are ``(H, W)``
    grey or ``(H, W, 3)`` BGR.
    """
    try:
        import jpeglib
    except ImportError:
        return file
    planes: list[Any]
    changed = picture != before
    if picture.ndim == 3:  # numpy's any() over so short an axis takes ten times as long
        changed = changed[..., 0] | changed[..., 1] | changed[..., 2]
    try:
        with _ONE_AT_A_TIME, tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.jpg"
            path.write_bytes(b"\xff\xd8" + _parted(source, b"\xee")[1])  # Adobe's segment says what the colours are
            jpeg = jpeglib.read_dct(path)
            factors = np.asarray(jpeg.samp_factor)
            planes = [jpeg.Y] if picture.ndim == 2 else [jpeg.Y, jpeg.Cb, jpeg.Cr]
            if jpeg.jpeg_color_space.name != ("JCS_GRAYSCALE" if picture.ndim == 2 else "JCS_YCbCr"):
                raise ValueError("its colours are no YCbCr")
            if (factors.max(axis=0) % factors).any():
                raise ValueError("its chroma is sampled in uneven steps")
            _renew(planes, [jpeg.qt[number] for number in jpeg.quant_tbl_no], factors, picture, changed)
            jpeg.qt = 0  # as they stand in the file
            jpeg.write_dct(path, flags=["+OPTIMIZE_CODING"])
            data = b"\xff\xd8" + _parted(file.data)[0] + _parted(path.read_bytes())[1]
    except Exception as error:  # hostile bytes, read by another library
        reason = error if isinstance(error, ValueError) else "libjpeg does not read its coefficients"
        return replace(file, notes=(*file.notes, f"all of the JPEG was encoded anew: {reason}"))
    notes = [note for note in file.notes if note != ODD_SAMPLING]
    notes += ["it was progressive and is not any more"] * jpeg.progressive_mode
    return replace(file, data=data, notes=tuple(notes))


def _renew(
    planes: list[NDArray[np.int16]],
    tables: list[NDArray[np.uint16]],
    factors: NDArray[np.int64],
    picture: NDArray[np.uint8],
    changed: NDArray[np.bool_],
) -> None:
    """Quantise anew, in place, the blocks ``(rows, columns, 8, 8)`` of each plane that hold a changed pixel."""
    most = factors.max(axis=0) if len(planes) > 1 else factors[0] // factors[0]
    high, wide = 8 * most
    columns = -(-picture.shape[1] // wide)
    for top in range(0, picture.shape[0], high):
        if not changed[top : top + high].any():
            continue
        beyond = (0, max(0, top + high - picture.shape[0])), (0, columns * wide - picture.shape[1])
        strip = np.pad(picture[top : top + high], (*beyond, *[(0, 0)] * (picture.ndim - 2)), "edge").astype(np.float32)
        marked = np.pad(changed[top : top + high], beyond)
        for number, (plane, table) in enumerate(zip(planes, tables, strict=False)):
            v, h = factors[number] if len(planes) > 1 else (1, 1)
            down, right = high // (8 * v), wide // (8 * h)
            samples = strip @ _YCC[number] if picture.ndim == 3 else strip
            samples = samples.reshape(8 * v, down, -1, right).mean(axis=(1, 3)) - 128 * (number == 0)
            blocks = samples.reshape(v, 8, -1, 8).swapaxes(1, 2)
            new = np.rint(_DCT @ blocks @ _DCT.T / table)
            hit: NDArray[np.bool_] = marked.reshape(v, 8 * down, -1, 8 * right).max(axis=(1, 3))
            place = plane[top // high * v : top // high * v + v]
            hit = hit[: place.shape[0], : place.shape[1]]
            place[hit] = new[: hit.shape[0], : hit.shape[1]][hit]


def _parted(data: bytes, *kept: bytes) -> tuple[bytes, bytes]:
    """What stands before the first scan and is metadata (APPn, comments); and all the rest, with those of ``kept``."""
    metadata, rest, at = b"", b"", 2
    while (found := _SEGMENT.search(data, at)) is not None and found[1] != b"\xda":
        end = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
        segment = b"\xff" + data[found.end() - 1 : end]
        if (0xE0 <= found[1][0] <= 0xEF or found[1] == b"\xfe") and found[1] not in kept:
            metadata += segment
        else:
            rest += segment
        at = end
    return metadata, rest + data[found.start() :] if found else rest
