"""One square of a picture: cut out for the model, and its hole pixels put back.

Which squares a picture needs is decided in :mod:`restore_sdk.plan`; :func:`cut` brings one to the model's size,
:func:`paste` puts the restored hole, and nothing but the hole, back into the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore_sdk._opencv import cv2
from restore_sdk.errors import MaskError
from restore_sdk.image import MODEL_SIZE, Color, like_pixels, to_rgb


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

    def to_json(self) -> dict[str, int]:
        """The box in JSON types."""
        return {"x": self.x, "y": self.y, "width": self.width, "height": self.height}

    @property
    def inner(self) -> tuple[slice, slice]:
        """The box's place as an index into the square."""
        return slice(self.top, self.top + self.inner_height), slice(self.left, self.left + self.inner_width)


def place(middle: tuple[float, float], side: int, shape: tuple[int, int]) -> Crop:
    """The square of ``side`` around ``middle`` (y, x), shifted into the picture.

    Where the picture is narrower than ``side``, the square holds all of it, and reflections of it beside.
    """
    y, height, top, inner_height = _span(middle[0], shape[0], side)
    x, width, left, inner_width = _span(middle[1], shape[1], side)
    return Crop(y, x, height, width, top, left, inner_height, inner_width)


def _span(middle: float, available: int, side: int) -> tuple[int, int, int, int]:
    """Along one axis: the box's start and length in the picture, and its place and length in the square."""
    if side <= available:
        return min(max(int(middle) - side // 2, 0), available - side), side, 0, MODEL_SIZE
    inner = max(1, round(available * MODEL_SIZE / side))
    return 0, available, (MODEL_SIZE - inner) // 2, inner


def cut(
    pixels: NDArray[np.uint8], missing: NDArray[np.bool_], crop: Crop, color: Color = "rgb"
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The crop as the model's square; what stands in the picture under the hole reaches no known pixel of it.

    Where the crop is scaled down, a pixel of the square is the mean of the known pixels under it, and hole where less
    than half of them are known. Where it is scaled up, a pixel is hole as soon as any pixel that it is made from is.

    Args:
        pixels: the picture in any form that :func:`restore_sdk.image.as_pixels` takes.
        missing: bool, ``crop.height x crop.width``: what is hole in the crop's box.

    Returns:
        ``(256, 256, 3)`` RGB ``uint8`` and ``(256, 256)`` bool, both contiguous.

    Raises:
        MaskError: scaled to the square, so dense a mask leaves nothing known.
    """
    square = to_rgb(pixels[crop.box], color)
    missing = np.ascontiguousarray(missing)
    if crop.resized:
        square, missing = _scaled(square, missing, crop.inner_height, crop.inner_width)
        if missing.all():
            raise MaskError(
                f"scaled to the model's {MODEL_SIZE} x {MODEL_SIZE}, the mask leaves no known pixel",
                "leave more of the picture around the hole, or restore it in smaller parts",
            )
    if crop.padded:
        square = _reflect(square, crop)
        missing = _reflect(missing.view(np.uint8), crop).view(np.bool_)
    return square, missing


def paste(
    picture: NDArray[np.uint8],
    hole: NDArray[np.bool_],
    crop: Crop,
    restored: NDArray[np.uint8],
    color: Color = "rgb",
    weight: NDArray[np.float32] | None = None,
) -> None:
    """Write the restored square's hole pixels into ``picture``, in place; every other byte stays.

    Args:
        picture: contiguous, in the form of the picture that was cut.
        hole: bool, ``crop.height x crop.width``: the pixels of the crop's box to write.
        restored: ``(256, 256, 3)`` RGB.
        weight: ``crop.height x crop.width``, 0..1: how much of the new pixel is taken, the rest is what the picture
            holds. ``None`` takes it all.
    """
    patch = restored[crop.inner]
    if crop.resized:
        patch = _resize(np.ascontiguousarray(patch), crop.height, crop.width, cv2.INTER_CUBIC)
    target = picture[crop.box]
    if weight is None:
        cv2.copyTo(like_pixels(patch, target, color), np.ascontiguousarray(hole).view(np.uint8), target)
        return
    old = target[hole].astype(np.float32)
    new = like_pixels(patch, target, color)[hole]
    share = weight[hole].reshape(-1, *[1] * (target.ndim - 2))
    target[hole] = np.rint(old + share * (new - old)).astype(np.uint8)


def paste_edges(frame: NDArray[np.uint8], crop: Crop, edges: NDArray[np.uint8]) -> None:
    """Add the square's edge map to ``frame``, ``(H, W)`` ``uint8`` in the picture's size, in place.

    Where crops overlap, the stronger edge stays.
    """
    patch = np.ascontiguousarray(edges[crop.inner])
    if crop.resized:
        patch = _resize(patch, crop.height, crop.width, cv2.INTER_LINEAR)
    np.maximum(frame[crop.box], patch, out=frame[crop.box])


def _resize(array: NDArray[np.uint8], height: int, width: int, enlarge: int) -> NDArray[np.uint8]:
    """Area averages on the way down, the interpolation ``enlarge`` on the way up."""
    shrinks = height <= array.shape[0] and width <= array.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else enlarge
    resized: NDArray[np.uint8] = cv2.resize(array, (width, height), interpolation=interpolation)
    return resized


def _scaled(
    square: NDArray[np.uint8], missing: NDArray[np.bool_], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    rows, columns = missing.shape
    if height <= rows and width <= columns:
        # Normalised convolution (Knutsson and Westin, CVPR 1993) with the footprint of the area average.
        known = np.where(missing, np.uint8(0), np.uint8(255))
        square[missing] = 0
        small = _resize(square, height, width, cv2.INTER_AREA)
        share = _resize(known, height, width, cv2.INTER_AREA)
        partly = (share >= 128) & (share < 255)
        small[partly] = np.minimum(np.rint(small[partly] * (255.0 / share[partly, None])), 255).astype(np.uint8)
        return small, share < 128
    # Linear where it grows: a wider kernel would carry what stands in the hole further into known pixels.
    weight: NDArray[np.float32] = cv2.resize(missing.astype(np.float32), (width, height))
    return _resize(square, height, width, cv2.INTER_LINEAR), weight > 0


def _reflect(square: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    bottom = MODEL_SIZE - crop.top - crop.inner_height
    right = MODEL_SIZE - crop.left - crop.inner_width
    whole: NDArray[np.uint8] = cv2.copyMakeBorder(square, crop.top, bottom, crop.left, right, cv2.BORDER_REFLECT_101)
    return whole
