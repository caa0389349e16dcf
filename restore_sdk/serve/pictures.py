"""Strangers' bytes to pixels and back: the header is checked before a pixel is decoded."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from restore_sdk._opencv import cv2
from restore_sdk.errors import ImageError, InputError, MaskError, OutputError
from restore_sdk.files import _UPRIGHT, JPEG_QUALITY
from restore_sdk.header import Header, read_header
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
        ImageError, MaskError: empty, truncated or animated.
    """
    kind: type[InputError] = ImageError if what == "photo" else MaskError
    if not data:
        raise kind(f"the {what} is empty", "send an image file")
    header = read_header(data)
    if header is None:
        raise UnknownFormatError(f"the {what} is no image of a known format", "send PNG, JPEG, WebP, BMP or TIFF")
    if header.width * header.height > max_pixels:
        raise TooManyPixelsError(
            f"the {what} has {header.width} x {header.height} px, over the limit of {max_pixels / 1e6:g} MP",
            "scale it down",
        )
    if header.truncated:
        raise kind(f"the {what} is damaged or truncated", "send the whole file")
    if header.animated:
        raise kind(f"the {what} is animated", "send one frame of it as PNG")
    return header


def decode_photo(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The photograph, upright: ``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGRA; raises as its header."""
    return _decode(data, "photo", max_pixels)


def decode_mask(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The mask, upright, as ``(H, W)`` grey. A mask that is all black asks for nothing and is refused."""
    mask = _decode(data, "mask", max_pixels)
    if mask.ndim == 3:
        if mask.shape[2] == 4 and mask[..., 3].min() < 255:
            raise MaskError("the mask has transparent pixels", "send it without alpha, white on black")
        mask = cv2.cvtColor(mask, cv2.COLOR_BGRA2GRAY if mask.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
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


def _decode(data: bytes, what: Literal["photo", "mask"], max_pixels: int) -> NDArray[np.uint8]:
    header = check_header(data, what, max_pixels)
    kind: type[InputError] = ImageError if what == "photo" else MaskError
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise kind(f"the {what} cannot be decoded", "save it again as PNG") from error
    if picture is None:
        raise kind(f"the {what} is damaged or truncated", "send the whole file")
    if picture.dtype != np.uint8:
        raise kind(f"the {what} has {picture.dtype} channels, only 8 bits are taken", "convert it to 8 bits")
    if header.format == "tiff" and picture.ndim == 3 and picture.shape[2] == 4:
        # OpenCV multiplies the colours of a TIFF by its alpha: they would not come out as they were
        raise kind(f"the {what} is a TIFF with alpha, which is not read exactly", "convert it to PNG")
    upright: NDArray[np.uint8] = _UPRIGHT[header.orientation](picture)
    return upright
