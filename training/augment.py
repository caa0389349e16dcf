"""Random views of a face photograph, so that people's own pictures are no surprise to the model."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Rng = np.random.Generator

#: Weights of a sepia tone, RGB to RGB.
_SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)


#: How many of the views that are framed anew are made smaller than the original, beside those that chance makes so.
_SMALLER_ODDS = 0.25


def random_view(image: Image, rng: Rng, size: int = 256) -> Image:
    """One random view: mirrored, shifted, scaled, turned, and with other light and colours.

    ``(H, W, 3)`` RGB ``uint8`` in, ``(size, size, 3)`` out. Half of the views keep the original framing, but for the
    mirror, so that sharp pixels are not all resampled away.
    """
    return _colours(_frame(image, rng, size), rng)


def square(image: Image, size: int = 256) -> Image:
    """The centred square of a picture, at ``size`` (CelebA-HQ at 1024 and its kin; 178 x 218 CelebA too)."""
    height, width = image.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    image = image[y : y + side, x : x + side]
    if side == size:
        return np.ascontiguousarray(image)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def _frame(image: Image, rng: Rng, size: int) -> Image:
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.5:
        return square(np.ascontiguousarray(image), size)
    nearest = 3.0 if rng.random() < 0.15 else 1.3  # a scratch on a large photograph is served as a close-up
    if rng.random() < _SMALLER_ODDS:
        nearest = 1.0  # people's own crops leave more room around the face than the aligned ones
    zoom = size / min(height, width) * np.exp(rng.uniform(np.log(0.7), np.log(nearest)))
    turn = rng.normal(0, 9.0)
    if zoom < 1.0:  # area averages first: the warp samples points, and would alias
        image = cv2.resize(np.ascontiguousarray(image), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        height, width = image.shape[:2]
        zoom = 1.0
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom)
    matrix[:, 2] += np.array([size - width, size - height]) / 2 + rng.uniform(-0.17, 0.17, 2) * size
    return cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )


def _colours(image: Image, rng: Rng) -> Image:
    if rng.random() < 0.5:
        return image
    pixels = image.astype(np.float32) / 255.0
    kind = rng.random()
    if kind < 0.16:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        pixels = np.repeat(grey[..., None], 3, axis=2)
    elif kind < 0.28:
        pixels = pixels @ _SEPIA.T
    else:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
        pixels = grey + rng.uniform(0.5, 1.3) * (pixels - grey)
        pixels = pixels * rng.uniform(0.9, 1.1, 3).astype(np.float32)
    pixels = np.clip(pixels, 0.0, 1.0) ** np.float32(np.exp(rng.normal(0, 0.2)))
    contrast, light = rng.uniform(0.7, 1.2), rng.normal(0, 0.06)
    pixels = (pixels - 0.5) * np.float32(contrast) + np.float32(0.5 + light)
    return np.round(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)
