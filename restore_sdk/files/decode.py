"""An image file's bytes to pixels: nothing is decoded before its header was looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.files.formats.header import Header, foreign_format, read_header

#: Pixels as a file has them: ``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGRA, of 8 or 16 bits.
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# EXIF orientation: what brings the stored picture upright.
_UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda picture: picture,
    2: lambda picture: cv2.flip(picture, 1),
    3: lambda picture: cv2.rotate(picture, cv2.ROTATE_180),
    4: lambda picture: cv2.flip(picture, 0),
    5: lambda picture: cv2.transpose(picture),
    6: lambda picture: cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE),
    7: lambda picture: cv2.flip(cv2.transpose(picture), -1),
    8: lambda picture: cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


class UnfitError(Exception):
    """The bytes are no picture that can be taken.

    Attributes:
        message: what is wrong, to be put behind the file's name.
        hint: what to do.
        reason: ``"format"``: none that is read; ``"size"``: too many pixels; ``"content"``: anything else.
    """

    def __init__(self, message: str, hint: str, reason: Literal["format", "size", "content"] = "content") -> None:
        super().__init__(message)
        self.message, self.hint, self.reason = message, hint, reason


def check_bytes(data: bytes, max_pixels: int) -> Header:
    """What the bytes claim to be, once that is something that is decoded; raises :class:`UnfitError`."""
    if not data:
        raise UnfitError("is an empty file", "get the file again")
    header = read_header(data)
    if header is None:
        other = foreign_format(data)
        what = "is no image of a known format" + ("" if other is None else f", but {other}")
        raise UnfitError(what, "convert it to PNG or JPEG", "format")
    if header.width * header.height > max_pixels:
        what = f"has {header.width} x {header.height} px, over the limit of {max_pixels / 1e6:g} MP"
        raise UnfitError(what, "scale it down, or raise the limit with --max-megapixels", "size")
    if header.unfit is not None:
        raise UnfitError(*header.unfit)
    return header


def decode(data: bytes, max_pixels: int) -> tuple[Header, Pixels]:
    """The header, and the picture upright; raises :class:`UnfitError`."""
    header = check_bytes(data, max_pixels)
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UnfitError(f"cannot be decoded: {first_line(error)}", "save it again as PNG") from error
    if picture is None:
        raise UnfitError("is damaged or truncated", "get the file again")
    if picture.dtype not in (np.uint8, np.uint16):
        raise UnfitError(f"has {picture.dtype} channels, only 8 and 16 bits are taken", "convert it to 16 bits")
    found, claimed = picture.shape[:2], (header.height, header.width)
    if found != claimed and (header.format != "tiff" or found[::-1] != claimed):  # OpenCV turns a TIFF itself
        raise UnfitError(f"is {found[1]} x {found[0]} px, and claims {header.width} x {header.height}", "save it again")
    if header.opaque and picture.ndim == 3:
        picture = picture[..., :3]
    upright: Pixels = _UPRIGHT[header.orientation](picture)
    return header, upright


def to_grey(picture: Pixels) -> NDArray[np.uint8]:
    """A mask's pixels, opaque, as ``(H, W)`` of 8 bits; colours are taken by their luma.

    Raises:
        UnfitError: some are transparent, which leaves open what is to be repainted.
    """
    eight = to_eight(picture)
    if eight.ndim == 2:
        return eight
    if eight.shape[2] == 4 and eight[..., 3].min() < 255:
        raise UnfitError("has transparent pixels", "save it without alpha, white on black")
    grey: NDArray[np.uint8] = cv2.cvtColor(eight, cv2.COLOR_BGRA2GRAY if eight.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
    return grey


def to_eight(picture: Pixels) -> NDArray[np.uint8]:
    """The same picture with 8 bits a channel: 65535 becomes 255, rounded."""
    if picture.dtype == np.uint8:
        return picture.view(np.uint8)
    eight: NDArray[np.uint8] = ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return eight


def first_line(error: Exception) -> str:
    """OpenCV's message without its tail."""
    return str(error).strip().splitlines()[0][:160]
