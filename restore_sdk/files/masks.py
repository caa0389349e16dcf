"""Masks from the photograph itself: damage that was erased, or painted over in one colour."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.errors import ImageError, InputError
from restore_sdk.imaging.image import Color, as_pixels

#: Of a picture that was stored with loss, where colours bleed: how far a marked pixel may be from the colour, and by
#: how many pixels the mask is grown. Measured on marks of 20 faces at JPEG quality 75 to 95: of marked pixels 0.1 % or
#: fewer are missed, and of the pixels around them that the colour has bled into, 1 to 17 %.
LOSSY_TOLERANCE, LOSSY_GROWTH = 64, 4


def parse_color(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of ``#ff00ff`` or ``#f0f``.

    Raises:
        InputError: it is written otherwise.
    """
    digits = text.removeprefix("#")
    if not re.fullmatch(r"[0-9a-fA-F]{6}|[0-9a-fA-F]{3}", digits):
        raise InputError(f"{text!r} is no colour", "write it as '#ff00ff': red, green, blue")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def mask_of_color(
    image: object, marked: tuple[int, int, int] | str, *, tolerance: int = 0, growth: int = 0, color: Color = "rgb"
) -> NDArray[np.bool_]:
    """What is painted over in one colour.

    Args:
        image: any form that :func:`restore_sdk.imaging.image.as_pixels` takes. Alpha is not looked at.
        marked: red, green and blue, 0..255, or as :func:`parse_color` takes it.
        tolerance: largest distance from it in each channel, 0..255.
        growth: pixels by which the mask is grown in every direction, for colours that bled (:data:`LOSSY_GROWTH`).
        color: channel order of ``image``.

    Returns:
        ``(H, W)`` bool, true where it is painted over.

    Raises:
        InputError: a colour, tolerance or growth out of its range.
        ImageError: the image's form is not taken, or it is grey and the colour is not.
    """
    rgb = parse_color(marked) if isinstance(marked, str) else tuple(marked)
    if len(rgb) != 3 or not all(level in range(256) for level in rgb):
        raise InputError(f"{marked!r} is no colour", "pass red, green and blue, whole numbers from 0 to 255")
    if not 0 <= tolerance <= 255 or not 0 <= growth <= 255:
        raise InputError(f"tolerance is {tolerance}, growth {growth}", "pass numbers from 0 to 255")
    pixels = as_pixels(image, color)
    target = np.array(rgb if color == "rgb" else rgb[::-1], np.int16)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        if len(set(rgb)) > 1:
            raise ImageError("the image is grey, and the mask's colour is not", "save the marked photograph in colour")
        target = target[:1]
    low, high = (np.clip(target + sign * tolerance, 0, 255).astype(float).tolist() for sign in (-1, 1))
    flat = np.ascontiguousarray(pixels if channels == 1 else pixels[..., :3])
    mask: NDArray[np.uint8] = cv2.inRange(flat, (*low,), (*high,))
    if growth:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * growth + 1, 2 * growth + 1))
        mask = cv2.dilate(mask, disc)
    result: NDArray[np.bool_] = mask > 0
    return result


def mask_of_alpha(image: object) -> NDArray[np.bool_]:
    """What is erased: pixels that are transparent, be it only a little, as at the border of a soft brush.

    Of an image ``(H, W, 4)`` ``uint8``, or PIL ``RGBA``, ``(H, W)`` bool; :class:`ImageError` without an alpha channel.
    """
    pixels = as_pixels(image)
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        raise ImageError("the image has no alpha channel", "erase the damage to transparency, and save as PNG or WebP")
    return np.less(pixels[..., 3], 255)
