"""Strangers' bytes to pixels and back: the header is checked before a pixel is decoded."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from restore_sdk._opencv import cv2
from restore_sdk.decode import UnfitError, check_bytes, decode, to_grey
from restore_sdk.errors import ImageError, InputError, MaskError, OutputError
from restore_sdk.files import JPEG_QUALITY
from restore_sdk.formats.header import Header
from restore_sdk.serve.problems import TooManyPixelsError, UnknownFormatError

Format = Literal["png", "jpeg", "webp"]
FORMATS: tuple[str, ...] = get_args(Format)

_ENCODERS: dict[Format, list[int]] = {
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
    "jpeg": [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
    "webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100 is lossless
}


def check_header(data: bytes, what: Literal["photo", "mask"], max_pixels: int) -> Header:
    """What the bytes claim to be, once that is something which is decoded.

    Raises:
        UnknownFormatError: no PNG, JPEG, WebP, BMP or TIFF.
        TooManyPixelsError: more than ``max_pixels``.
        ImageError, MaskError: empty, truncated, animated, CMYK, HDR, of several pages.
    """
    try:
        return check_bytes(data, max_pixels)
    except UnfitError as error:
        raise _told(error, what) from error


def decode_photo(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The photograph, upright: ``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGRA; raises as its header."""
    try:
        _, picture = decode(data, max_pixels)
    except UnfitError as error:
        raise _told(error, "photo") from error
    if picture.dtype != np.uint8:
        raise ImageError("the photo has 16 bits a channel, only 8 bits are taken", "convert it to 8 bits")
    return picture.view(np.uint8)


def decode_mask(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The mask, upright, as ``(H, W)`` grey. A mask that is all black asks for nothing and is refused."""
    try:
        mask = to_grey(decode(data, max_pixels)[1])
    except UnfitError as error:
        raise _told(error, "mask") from error
    if not mask.any():
        raise MaskError("the mask is all black, so nothing is to be restored", "white is what to repaint")
    return mask


def encode(picture: NDArray[np.uint8], kind: Format) -> bytes:
    """The picture, grey, BGR or BGRA, as a file; JPEG with loss, the others without."""
    if kind == "jpeg" and picture.ndim == 3 and picture.shape[2] == 4:
        raise OutputError("JPEG has no alpha channel, and the photo has one", "ask for png or webp")
    try:
        encoded, data = cv2.imencode(f".{kind}", picture, _ENCODERS[kind])
    except cv2.error as error:
        raise OutputError(f"cannot encode {picture.shape[1]} x {picture.shape[0]} px", "ask for png") from error
    if not encoded:
        raise OutputError(f"{picture.shape[1]} x {picture.shape[0]} px do not fit into {kind}", "ask for png")
    return bytes(data)


def _told(error: UnfitError, what: Literal["photo", "mask"]) -> InputError:
    """The error as the service answers it."""
    kinds: dict[str, type[InputError]] = {"format": UnknownFormatError, "size": TooManyPixelsError}
    kind = kinds.get(error.reason, ImageError if what == "photo" else MaskError)
    hint = error.hint.partition(", or raise the limit")[0]  # which the sender cannot
    return kind(f"the {what} {error.message}", hint)
