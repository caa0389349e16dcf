"""Restore every photograph of a folder that has a mask beside it, one engine for all.

    python examples/batch.py [IN_DIR [OUT_DIR]]

The mask of NAME_damaged.png is NAME_mask.png. Without arguments: this folder, into restored/ in the current folder.
`stream` reads a few pairs ahead and yields the results in order, so a folder of any length fits in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restore_sdk import RestoreEngine

Pixels = NDArray[np.uint8]


def main() -> None:
    """Find the pairs, stream them through the engine, write the results."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("restored")
    photos = sorted(source.glob("*_damaged.png"))
    if not photos:
        sys.exit(f"no *_damaged.png in {source}")
    target.mkdir(parents=True, exist_ok=True)

    def pairs() -> Iterator[tuple[Pixels, Pixels]]:
        for photo in photos:
            mask = photo.with_name(photo.name.replace("_damaged", "_mask"))
            yield read(photo, cv2.IMREAD_COLOR), read(mask, cv2.IMREAD_GRAYSCALE)

    with RestoreEngine(slots=2) as engine:
        for photo, restored in zip(photos, engine.stream(pairs(), color="bgr"), strict=True):
            out = target / photo.name.replace("_damaged", "")
            if not cv2.imwrite(str(out), restored):
                sys.exit(f"cannot write {out}")
            print(out)


def read(path: Path, flags: int) -> Pixels:
    """An image file as OpenCV reads it, or a clear end."""
    picture = cv2.imread(str(path), flags)
    if picture is None:
        sys.exit(f"cannot read {path}")
    return picture


if __name__ == "__main__":
    main()
