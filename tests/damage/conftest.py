"""Pictures with damage for the toy bundle's damage stage, which takes red for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def scratched(height: int, width: int, *boxes: tuple[int, int, int, int], level: int = 255) -> NDArray[np.uint8]:
    """A grey RGB picture, red in the boxes of (top, left, bottom, right)."""
    picture = np.full((height, width, 3), 120, np.uint8)
    for top, left, bottom, right in boxes:
        picture[top:bottom, left:right] = (level, 0, 0)
    return picture


def write(path: Path, rgb: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path
