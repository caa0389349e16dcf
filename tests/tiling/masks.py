"""Masks of all kinds, for property tests."""

import cv2
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray


def mask_in(height: int, width: int, y: int, x: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """A rectangular mask."""
    mask = np.zeros((height, width), bool)
    mask[y : y + rows, x : x + columns] = True
    return mask


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.bool_]:
    """One rectangle in a picture of any size."""
    height, width = draw(st.integers(1, 700)), draw(st.integers(1, 700))
    y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    rows, columns = draw(st.integers(1, height - y)), draw(st.integers(1, width - x))
    return mask_in(height, width, y, x, rows, columns)


@st.composite
def scratched(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Scratches, blots and specks in a picture of some size; something stays known."""
    height, width = draw(st.integers(200, 1100)), draw(st.integers(200, 1100))
    mask = np.zeros((height, width), np.uint8)
    points = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    for _ in range(draw(st.integers(0, 4))):
        cv2.line(mask, draw(points), draw(points), 1, draw(st.integers(1, 60)))
    for _ in range(draw(st.integers(0, 3))):
        cv2.circle(mask, draw(points), draw(st.integers(1, 150)), 1, -1)
    cv2.circle(mask, draw(points), 2, 1, -1)
    x, y = draw(points)
    mask[max(0, y - 60) : y + 60, max(0, x - 60) : x + 60] = 0
    if not mask.any():
        mask[0, 0] = 1
    return mask > 0
