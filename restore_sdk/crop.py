"""From a picture of any size to the model's square and back.

The model sees one square: the hole with what surrounds it. :func:`plan_crops` chooses it, :func:`cut` brings it to
the model's size, :func:`paste` puts the restored hole, and nothing but the hole, back into the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore_sdk._opencv import cv2
from restore_sdk.errors import MaskError
from restore_sdk.image import MODEL_SIZE, Color, like_pixels, to_rgb

#: Wanted side of the square, in sides of the hole's bounding box.
CONTEXT = 1.75

#: A square that must be smaller than wanted to stay inside the picture is still good from this many sides on.
LEAST_CONTEXT = 1.25


@dataclass(frozen=True, slots=True)
class Crop:
    """A box of the picture, and the place that it takes in the model's square, all in pixels.

    The box ``height x width`` at ``(y, x)`` lies inside the picture. Scaled to ``inner_height x inner_width``, it lies
    at ``(top, left)`` in the square; what the square holds beside it is the box reflected at its borders.
    """

    y: int
    x: int
    height: int
    width: int
    top: int = 0
    left: int = 0
    inner_height: int = MODEL_SIZE
    inner_width: int = MODEL_SIZE

    @property
    def resized(self) -> bool:
        """Whether pixels are scaled on the way in and out."""
        return (self.height, self.width) != (self.inner_height, self.inner_width)

    @property
    def padded(self) -> bool:
        """Whether the box fills less than the square."""
        return (self.inner_height, self.inner_width) != (MODEL_SIZE, MODEL_SIZE)

    @property
    def box(self) -> tuple[slice, slice]:
        """The box as an index into the picture."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    @property
    def inner(self) -> tuple[slice, slice]:
        """The box's place as an index into the square."""
        return slice(self.top, self.top + self.inner_height), slice(self.left, self.left + self.inner_width)


def plan_crops(hole: NDArray[np.bool_]) -> list[Crop]:
    """Squares that together cover the hole; in this version always one, or none for an empty hole.

    The square is centred on the hole's bounding box and shifted into the picture. Its side is the larger of 256 and
    1.75 times the box, at most the picture's shorter side if that still is 1.25 times the box, else at most the
    longer one: then it stands out of the picture, and the part outside is filled by reflection. A 256 x 256 picture is
    always taken as it is. Squares of another side than 256 are scaled, so a hole wider than about 146 px is
    restored at less than the picture's resolution.

    Args:
        hole: ``(H, W)`` bool.
    """
    x, y, width, height = cv2.boundingRect(hole.view(np.uint8))
    if width == 0:
        return []
    rows, columns = hole.shape
    longest, shortest = max(height, width), min(rows, columns)
    limit = shortest if shortest >= LEAST_CONTEXT * longest else max(rows, columns)
    side = min(max(MODEL_SIZE, math.ceil(CONTEXT * longest)), limit)
    y, height, top, inner_height = _span(y, height, rows, side)
    x, width, left, inner_width = _span(x, width, columns, side)
    return [Crop(y, x, height, width, top, left, inner_height, inner_width)]


def _span(start: int, length: int, available: int, side: int) -> tuple[int, int, int, int]:
    """Along one axis: the box's start and length in the picture, and its place and length in the square."""
    if side <= available:
        centred = start + length // 2 - side // 2
        return min(max(centred, 0), available - side), side, 0, MODEL_SIZE
    inner = max(1, round(available * MODEL_SIZE / side))
    return 0, available, (MODEL_SIZE - inner) // 2, inner


def cut(
    pixels: NDArray[np.uint8], hole: NDArray[np.bool_], crop: Crop, color: Color = "rgb"
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The crop as the model's square.

    A pixel of the square is hole as soon as any pixel it was made from is: what stands in the picture under the hole
    reaches no known pixel of the square.

    Args:
        pixels: the picture in any form that :func:`restore_sdk.image.as_pixels` takes.
        hole: ``(H, W)`` bool.

    Returns:
        ``(256, 256, 3)`` RGB ``uint8`` and ``(256, 256)`` bool, both contiguous.

    Raises:
        MaskError: scaled to the square, so fine or dense a mask leaves nothing known.
    """
    square = to_rgb(pixels[crop.box], color)
    missing = np.ascontiguousarray(hole[crop.box])
    if crop.resized:
        # Linear where it grows: a wider kernel would carry what stands in the hole further into known pixels.
        square = _resize(square, crop.inner_height, crop.inner_width, cv2.INTER_LINEAR)
        missing = _touched(missing, crop.inner_height, crop.inner_width)
    if crop.padded:
        square = _reflect(square, crop)
        missing = _reflect(missing.view(np.uint8), crop).view(np.bool_)
    if crop.resized and missing.all():
        raise MaskError(
            "scaled to the model's 256 x 256, the mask leaves no known pixel",
            "leave more of the picture around the hole, or restore it in smaller parts",
        )
    return square, missing


def paste(
    picture: NDArray[np.uint8],
    hole: NDArray[np.bool_],
    crop: Crop,
    restored: NDArray[np.uint8],
    color: Color = "rgb",
) -> None:
    """Write the restored square's hole pixels into ``picture``, in place; every other byte stays.

    Args:
        picture: contiguous, in the form of the picture that was cut.
        hole: ``(H, W)`` bool.
        restored: ``(256, 256, 3)`` RGB.
    """
    patch = restored[crop.inner]
    if crop.resized:
        patch = _resize(np.ascontiguousarray(patch), crop.height, crop.width, cv2.INTER_CUBIC)
    target = picture[crop.box]
    mask = np.ascontiguousarray(hole[crop.box]).view(np.uint8)
    cv2.copyTo(like_pixels(patch, target, color), mask, target)


def paste_edges(shape: tuple[int, int], crop: Crop, edges: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The square's edge map in the picture's frame: ``(H, W)`` ``uint8``, zero outside the crop."""
    frame = np.zeros(shape, np.uint8)
    patch = np.ascontiguousarray(edges[crop.inner])
    frame[crop.box] = _resize(patch, crop.height, crop.width, cv2.INTER_LINEAR) if crop.resized else patch
    return frame


def _resize(array: NDArray[np.uint8], height: int, width: int, enlarge: int) -> NDArray[np.uint8]:
    """Area averages on the way down, the interpolation ``enlarge`` on the way up."""
    shrinks = height <= array.shape[0] and width <= array.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else enlarge
    resized: NDArray[np.uint8] = cv2.resize(array, (width, height), interpolation=interpolation)
    return resized


def _touched(hole: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """The hole at another size: every pixel that :func:`_resize` makes from at least one hole pixel."""
    rows, columns = hole.shape
    mask = hole.view(np.uint8)
    if height <= rows and width <= columns:
        # A target pixel averages a footprint of rows/height by columns/width around its centre; the maximum over at
        # least that footprint, read at the centre.
        reach_y, reach_x = math.ceil(rows / height / 2), math.ceil(columns / width / 2)
        grown: NDArray[np.uint8] = cv2.dilate(mask, np.ones((2 * reach_y + 1, 2 * reach_x + 1), np.uint8))
        ys = ((np.arange(height) + 0.5) * rows / height).astype(np.intp)
        xs = ((np.arange(width) + 0.5) * columns / width).astype(np.intp)
        return grown[np.ix_(ys, xs)].view(np.bool_)
    weight: NDArray[np.float32] = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    touched: NDArray[np.bool_] = weight > 0
    return touched


def _reflect(square: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    bottom = MODEL_SIZE - crop.top - crop.inner_height
    right = MODEL_SIZE - crop.left - crop.inner_width
    whole: NDArray[np.uint8] = cv2.copyMakeBorder(square, crop.top, bottom, crop.left, right, cv2.BORDER_REFLECT_101)
    return whole
