"""The border of a hole, for masks that were drawn by hand: grown outwards, and run out inwards."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.errors import MaskError

#: Rows that are worked on at a time, so that memory stays small beside the picture's.
_ROWS = 512


def dilate(hole: NDArray[np.bool_], pixels: int) -> None:
    """Grow the hole, in place, by every pixel that is at most ``pixels`` away from it (Euclidean).

    Raises:
        MaskError: nothing known is left.
    """
    if pixels == 0 or not hole.any():
        return
    before = hole.copy()
    for rows, halo, columns in _strips(before, pixels):
        distance = cv2.distanceTransform((~before[halo, columns]).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        hole[rows, columns] = distance[rows.start - halo.start : rows.stop - halo.start] <= pixels
    if hole.all():
        raise MaskError(f"dilated by {pixels} px, the mask marks the whole image", "dilate less")


def feather(picture: NDArray[np.uint8], source: NDArray[np.uint8], hole: NDArray[np.bool_], pixels: int) -> None:
    """Blend ``source`` into ``picture``, in place, over the outermost ``pixels`` of the hole, from within.

    The share of ``picture`` is ``d / (pixels + 1)``, where ``d`` is the distance to the nearest known pixel: known
    pixels, and the hole deeper than that, stay as they are.
    """
    if pixels == 0 or not hole.any():
        return
    for rows, halo, columns in _strips(hole, pixels):
        inside = np.ascontiguousarray(hole[halo, columns]).view(np.uint8)
        if inside.all():  # no known pixel in reach
            continue
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        share = distance[rows.start - halo.start : rows.stop - halo.start] / np.float32(pixels + 1)
        soft = (share > 0) & (share < 1)
        new, old = picture[rows, columns], source[rows, columns][soft].astype(np.float32)
        mix = share[soft].reshape(-1, *[1] * (picture.ndim - 2))
        new[soft] = np.rint(old + mix * (new[soft] - old)).astype(np.uint8)


def _strips(hole: NDArray[np.bool_], reach: int) -> Iterator[tuple[slice, slice, slice]]:
    """The hole's bounding box, ``reach`` larger, in strips: rows, the same with what lies in reach, and columns."""
    x, y, width, height = cv2.boundingRect(hole.view(np.uint8))
    bottom = min(hole.shape[0], y + height + reach)
    columns = slice(max(0, x - reach), min(hole.shape[1], x + width + reach))
    for top in range(max(0, y - reach), bottom, _ROWS):
        end = min(top + _ROWS, bottom)
        yield slice(top, end), slice(max(0, top - reach), min(hole.shape[0], end + reach)), columns
