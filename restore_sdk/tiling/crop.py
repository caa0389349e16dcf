"""One tile of a picture: cut out for the model, and its restored pixels put back.

Which tiles a picture needs is decided in :mod:`restore_sdk.tiling.plan`; :func:`cut` brings one to the model's size,
:func:`paste` puts the masked pixels, and nothing else, back into the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.errors import MaskError
from restore_sdk.imaging.image import MODEL_SIZE, Color, like_pixels, to_rgb


@dataclass(frozen=True, slots=True)
class Crop:
    """A box of the picture, and the place that it takes in the model's input, all in pixels.

    The box ``height x width`` at ``(y, x)`` lies inside the picture. Scaled to ``inner_height x inner_width``, it lies
    at ``(top, left)`` in the input; what the input holds beside it is the box reflected at its borders.
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
        """Whether the box fills less than the model's input."""
        return (self.inner_height, self.inner_width) != (MODEL_SIZE, MODEL_SIZE)

    @property
    def box(self) -> tuple[slice, slice]:
        """The box as an index into the picture."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def to_json(self) -> dict[str, int]:
        """The box in JSON types."""
        return {"x": self.x, "y": self.y, "width": self.width, "height": self.height}

    @property
    def inner(self) -> tuple[slice, slice]:
        """The box's place as an index into the model's input."""
        return slice(self.top, self.top + self.inner_height), slice(self.left, self.left + self.inner_width)


def place(middle: tuple[float, float], side: int, shape: tuple[int, int]) -> Crop:
    """The crop of ``side`` around ``middle`` (y, x), shifted into the picture.

    Where the picture is narrower than ``side``, the crop holds all of it, and reflections of it beside.
    """
    y, height, top, inner_height = _span(middle[0], shape[0], side)
    x, width, left, inner_width = _span(middle[1], shape[1], side)
    return Crop(y, x, height, width, top, left, inner_height, inner_width)


def _span(middle: float, available: int, side: int) -> tuple[int, int, int, int]:
    """Along one axis: the box's start and length in the picture, and its place and length in the model's input."""
    if side <= available:
        return min(max(int(middle) - side // 2, 0), available - side), side, 0, MODEL_SIZE
    inner = max(1, round(available * MODEL_SIZE / side))
    return 0, available, (MODEL_SIZE - inner) // 2, inner


def cut(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_], crop: Crop, color: Color = "rgb"
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The crop in the model's size; masked pixels of the picture reach no known pixel of it.

    Where the crop is scaled down, a pixel is the mean of the known pixels under it, and masked where less than half of
    them are known. Where it is scaled up, a pixel is masked as soon as any pixel that it is made from is.

    ``pixels`` have any form that :func:`restore_sdk.imaging.image.as_pixels` takes; ``mask`` is ``crop.height x
    crop.width``. Returns ``(256, 256, 3)`` RGB ``uint8`` and ``(256, 256)`` bool, both contiguous, for reading: where
    nothing has to change they are the picture itself.

    Raises:
        MaskError: scaled to the model's size, so dense a mask leaves nothing known.
    """
    tile, mask = pixels[crop.box], np.ascontiguousarray(mask)
    if crop.resized:
        tile, mask = _scaled(tile, mask, crop.inner_height, crop.inner_width)
        if mask.all():
            raise MaskError(
                f"scaled to the model's {MODEL_SIZE} x {MODEL_SIZE}, the mask leaves no known pixel",
                "leave more of the picture unmasked, or restore it in smaller parts",
            )
    if color != "rgb" or tile.ndim != 3 or tile.shape[2] != 3:
        tile = to_rgb(tile, color)
    if crop.padded:
        below, right = MODEL_SIZE - crop.top - crop.inner_height, MODEL_SIZE - crop.left - crop.inner_width
        borders = crop.top, below, crop.left, right
        tile = cv2.copyMakeBorder(tile, *borders, cv2.BORDER_REFLECT_101)
        mask = cv2.copyMakeBorder(mask.view(np.uint8), *borders, cv2.BORDER_REFLECT_101).view(np.bool_)
    return np.ascontiguousarray(tile), mask


def paste(
    picture: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    crop: Crop,
    restored: NDArray[np.uint8],
    color: Color = "rgb",
    share: NDArray[np.float32] | None = None,
) -> None:
    """Write the restored tile's masked pixels into ``picture``, in place; every other byte stays.

    ``picture`` is contiguous; ``mask``, ``crop.height x crop.width``, says which pixels of the crop's box to write, and
    ``share``, of the same size, how much of each is new, 0..1, where that is not all; ``restored`` is ``(256, 256, 3)``
    RGB.
    """
    mask = np.ascontiguousarray(mask)
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = slice(top, top + height), slice(left, left + width)
    mask, target = mask[window], picture[crop.box][window]
    if not mask.size:
        return
    patch = like_pixels(_enlarged(restored, crop, window), target, color)
    if share is None:
        cv2.copyTo(patch, np.ascontiguousarray(mask).view(np.uint8), target)
    else:
        old, new = target[mask].astype(np.float32), patch[mask]
        mixed = old + share[window][mask].reshape(-1, *[1] * (old.ndim - 1)) * (new - old)
        target[mask] = np.rint(mixed).astype(np.uint8)


def paste_edges(frame: NDArray[np.uint8], crop: Crop, edges: NDArray[np.uint8]) -> None:
    """Add the tile's edge map to ``frame``, ``(H, W)`` ``uint8`` in the picture's size, in place.

    Where crops overlap, the stronger edge stays.
    """
    patch = np.ascontiguousarray(edges[crop.inner])
    if crop.resized:
        shrinks = crop.height <= crop.inner_height and crop.width <= crop.inner_width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        patch = cv2.resize(patch, (crop.width, crop.height), interpolation=interpolation)
    np.maximum(frame[crop.box], patch, out=frame[crop.box])


def _scaled(
    tile: NDArray[np.uint8], mask: NDArray[np.bool_], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    rows, columns = mask.shape
    if height <= rows and width <= columns:
        # Normalised convolution (Knutsson and Westin, CVPR 1993) with the footprint of the area average.
        known = np.where(mask, np.uint8(0), np.uint8(255))
        small = shrunk(cv2.bitwise_and(tile, tile, mask=known), height, width)
        share = shrunk(known, height, width)
        partly = (share >= 128) & (share < 255)
        factor = (255.0 / share[partly]).reshape(-1, *[1] * (small.ndim - 2))
        small[partly] = np.minimum(np.rint(small[partly] * factor), 255).astype(np.uint8)
        return small, share < 128
    # Linear where it grows: a wider kernel would carry masked pixels further into known ones.
    weight: NDArray[np.float32] = cv2.resize(mask.astype(np.float32), (width, height))
    larger: NDArray[np.uint8] = cv2.resize(tile, (width, height), interpolation=cv2.INTER_LINEAR)
    return larger, weight > 0


def shrunk(array: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Area averages. Halving first, as often as it goes, takes a tenth of the time, and differs by rounding only."""
    rows, columns = array.shape[:2]
    while rows % 2 == columns % 2 == 0 and rows >= 2 * height and columns >= 2 * width:
        rows, columns = rows // 2, columns // 2
        array = cv2.resize(array, (columns, rows), interpolation=cv2.INTER_AREA)
    small: NDArray[np.uint8] = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
    return small


def _enlarged(restored: NDArray[np.uint8], crop: Crop, window: tuple[slice, slice]) -> NDArray[np.uint8]:
    """The window of the crop's box, from the restored tile; of a large crop no more is scaled up than it takes."""
    patch = restored[crop.inner]
    if not crop.resized:
        return np.ascontiguousarray(patch[window])
    from_y, at_y, height = _aligned(window[0], crop.height, crop.inner_height)
    from_x, at_x, width = _aligned(window[1], crop.width, crop.inner_width)
    source = np.ascontiguousarray(patch[from_y, from_x])
    shrinks = height <= source.shape[0] and width <= source.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    larger = cv2.resize(source, (width, height), interpolation=interpolation)
    rows, columns = (slice(each.start - at, each.stop - at) for each, at in zip(window, (at_y, at_x), strict=True))
    return np.ascontiguousarray(larger[rows, columns])


def _aligned(window: slice, length: int, inner: int) -> tuple[slice, int, int]:
    """Along one axis: a part of the tile that scales to whole pixels of the box and holds the window with a margin.

    Returns the part, where it starts in the box, and its length there. ``inner`` pixels of the tile are ``length`` of
    the box, so ``inner / g`` are ``length / g``, where ``g`` is the greatest common divisor.
    """
    steps = math.gcd(length, inner)
    small, large = inner // steps, length // steps
    margin = 2 if small == 1 else 1  # a cubic kernel reaches two pixels far
    first = max(0, window.start // large - margin)
    last = min(steps, -(-window.stop // large) + margin)
    return slice(first * small, last * small), first * large, (last - first) * large


def pooled(mask: NDArray[np.bool_], cell: int) -> NDArray[np.uint8]:
    """Which cells of ``cell x cell`` pixels hold something masked, as 1; the last ones may be cut off."""
    cells = np.zeros([-(-length // cell) for length in mask.shape], np.uint8)
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    if width:
        top, left = y // cell, x // cell
        part = mask[top * cell : y + height, left * cell : x + width]
        rows, columns = (-(-length // cell) for length in part.shape)
        padded = np.zeros((rows * cell, columns * cell), bool)
        padded[: part.shape[0], : part.shape[1]] = part
        tall = padded.reshape(rows, cell, columns * cell).any(axis=1)
        cells[top : top + rows, left : left + columns] = tall.reshape(rows, columns, cell).any(axis=2)
    return cells
