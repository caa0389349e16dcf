"""The centred square of a photograph."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def square(image: Image, size: int = 256) -> Image:
    """The centred square of a picture, at ``size`` (CelebA-HQ at 1024 and its kin; 178 x 218 CelebA too)."""
    height, width = image.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    image = image[y : y + side, x : x + side]
    if side == size:
        return np.ascontiguousarray(image)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
