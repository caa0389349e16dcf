"""Strangers' bytes to pixels and back: the header is checked before a pixel is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from restore_sdk.errors import ImageError, InputError, MaskError
from restore_sdk.files import check_form, encode_image
from restore_sdk.files.decode import UnfitError, check_bytes, decode, to_grey
from restore_sdk.files.formats.header import Header
from restore_sdk.files.photo import Encoded, Photo, photo_of
from restore_sdk.serve.problems import TooManyPixelsError, UnknownFormatError

Format = Literal["png", "jpeg", "webp"]
FORMATS: tuple[str, ...] = get_args(Format)


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


def decode_photo(data: bytes, max_pixels: int) -> Photo:
    """The photograph, upright, of 8 or 16 bits, with its metadata; raises as its header."""
    try:
        return photo_of(data, max_pixels)
    except UnfitError as error:
        raise _told(error, "photo") from error


def decode_mask(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The mask, upright, as ``(H, W)`` grey. A mask that is all black asks for nothing and is refused."""
    try:
        mask = to_grey(decode(data, max_pixels)[1])
    except UnfitError as error:
        raise _told(error, "mask") from error
    if not mask.any():
        raise MaskError("the mask is all black, so nothing is to be restored", "white is what to repaint")
    return mask


def check_answer(photo: Photo, kind: Format) -> None:
    """Raise :class:`OutputError` where the answer's format cannot keep what the photograph has: alpha, or 16 bits."""
    check_form(Path(f"photo.{kind}"), photo.pixels)


def encode(photo: Photo, restored: NDArray[np.uint8], kind: Format) -> Encoded:
    """The restored photograph as a file, in the depth and with the metadata of what was sent; see :class:`Photo`."""
    return photo.encode(f"photo.{kind}", photo.with_restored(restored))


def encode_edges(edges: NDArray[np.uint8]) -> bytes:
    """An edge map as a PNG."""
    return encode_image(Path("edges.png"), edges)


def _told(error: UnfitError, what: Literal["photo", "mask"]) -> InputError:
    """The error as the service answers it."""
    kinds: dict[str, type[InputError]] = {"format": UnknownFormatError, "size": TooManyPixelsError}
    kind = kinds.get(error.reason, ImageError if what == "photo" else MaskError)
    hint = error.hint.partition(", or raise the limit")[0]  # which the sender cannot
    return kind(f"the {what} {error.message}", hint)
