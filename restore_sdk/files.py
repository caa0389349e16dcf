"""Image files: what is read, how large, which way up; and writing without ever leaving half a file.

Read and written: PNG, JPEG, WebP, BMP and TIFF, 8 bits a channel. The header's claimed size is checked before a pixel
is decoded. A photograph is turned upright as its EXIF orientation says, and written upright, without metadata;
colour profiles are not carried over, so a picture in a wide colour space comes out as if it were sRGB. JPEG is
written at quality 95 and so with loss, also outside the hole; the other formats keep every byte.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from restore_sdk._opencv import cv2
from restore_sdk.atomic import check_writable, write_file
from restore_sdk.errors import ImageError, InputError, MaskError, OutputError
from restore_sdk.header import Header, read_header

#: Largest picture that is decoded, in pixels, unless the caller says otherwise.
MAX_PIXELS = 100_000_000

#: Largest file that is read, in bytes.
MAX_BYTES = 512 * 1024 * 1024

#: JPEG quality; the other formats are written without loss.
JPEG_QUALITY = 95

_ENCODERS = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100 is lossless
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
}
LOSSY = (".jpg", ".jpeg")

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


def read_photo(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The picture in a file, upright: ``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGRA, as the file has it.

    Raises:
        ImageError: no such file, not readable, empty, no image of a known format, damaged, more than 8 bits a channel,
            animated, or larger than ``max_pixels``.
    """
    return _read(Path(path), max_pixels, "photo", ImageError)


def read_mask(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The mask in a file, upright, as ``(H, W)`` grey; colours are taken by their luma.

    Raises:
        MaskError: as :func:`read_photo`; or it has transparent pixels, which leave open what is to be repainted.
    """
    picture = _read(Path(path), max_pixels, "mask", MaskError)
    if picture.ndim == 2:
        return picture
    if picture.shape[2] == 4 and picture[..., 3].min() < 255:
        raise MaskError(f"the mask {path} has transparent pixels", "save it without alpha, white on black")
    code = cv2.COLOR_BGRA2GRAY if picture.shape[2] == 4 else cv2.COLOR_BGR2GRAY
    grey: NDArray[np.uint8] = cv2.cvtColor(picture, code)
    return grey


def encode_image(path: Path, picture: NDArray[np.uint8]) -> bytes:
    """A picture, grey, BGR or BGRA, as a file in the format of the name's extension.

    Raises:
        OutputError: an extension that is not written, alpha into a format without, or a picture too large for it.
    """
    check_suffix(path)
    check_alpha(path, picture)
    suffix = path.suffix.lower()
    try:
        encoded, data = cv2.imencode(suffix, picture, _ENCODERS[suffix])
    except cv2.error as error:
        raise OutputError(f"cannot encode {path.name}: {_short(error)}", "write a .png") from error
    if not encoded:
        raise OutputError(f"cannot encode {path.name}", "write a .png")
    return bytes(data)


def write_image(path: str | os.PathLike[str], picture: NDArray[np.uint8]) -> None:
    """Write a picture, grey, BGR or BGRA, in the format of the name's extension, in one step.

    Raises:
        OutputError: as :func:`encode_image`, or a place that cannot be written.
    """
    target = Path(path)
    check_output(target)
    write_file(target, encode_image(target, picture))


def check_suffix(path: Path) -> None:
    """Raise :class:`OutputError` unless the name's extension is one of a format that is written."""
    if path.suffix.lower() not in _ENCODERS:
        raise OutputError(f"cannot write {path.name}: unknown extension", f"use one of {' '.join(_ENCODERS)}")


def check_alpha(path: Path, picture: NDArray[np.uint8]) -> None:
    """Raise :class:`OutputError` when ``picture`` has an alpha channel that the format at ``path`` cannot keep."""
    suffix = path.suffix.lower()
    if picture.ndim == 3 and picture.shape[2] == 4 and suffix not in (".png", ".webp"):
        raise OutputError(f"{suffix} is not written with an alpha channel, and the photo has one", "write a .png")


def check_output(path: Path, *inputs: Path) -> None:
    """Raise unless an image may be written at ``path`` and it is none of ``inputs``; touches nothing.

    Raises:
        OutputError: an unknown extension, a folder that is missing or cannot be written, or the file is an input
            (by any name: links are followed).
    """
    check_suffix(path)
    check_writable(path)
    for other in inputs:
        if path.exists() and other.exists() and path.samefile(other):
            raise OutputError(f"the output {path} is the input {other}", "name another output file")


def _read(
    path: Path, max_pixels: int, what: Literal["photo", "mask"], kind: type[ImageError | MaskError]
) -> NDArray[np.uint8]:
    data = _read_bytes(path, what, kind)
    header = read_header(data)
    if header is None:
        raise kind(f"the {what} {path} is no image of a known format", "convert it to PNG or JPEG")
    _check_header(header, path, max_pixels, what, kind)
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise kind(f"the {what} {path} cannot be decoded: {_short(error)}", "save it again as PNG") from error
    if picture is None:
        raise kind(f"the {what} {path} is damaged or truncated", "get the file again")
    if picture.dtype != np.uint8:
        raise kind(f"the {what} {path} has {picture.dtype} channels, only 8 bits are taken", "convert it to 8 bits")
    if header.format == "tiff" and picture.ndim == 3 and picture.shape[2] == 4:
        # OpenCV multiplies the colours of a TIFF by its alpha: they would not come out as they were
        raise kind(f"the {what} {path} is a TIFF with alpha, which is not read exactly", "convert it to PNG")
    upright: NDArray[np.uint8] = _UPRIGHT[header.orientation](picture)
    return upright


def _read_bytes(path: Path, what: str, kind: type[InputError]) -> bytes:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise kind(f"the {what} {path} is no plain file", "name an image file")
        if facts.st_size > MAX_BYTES:
            raise kind(f"the {what} {path} has {facts.st_size} bytes, at most {MAX_BYTES} are read", "make it smaller")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except InputError:  # raised just above, and a ValueError too
        raise
    except FileNotFoundError as error:
        raise kind(f"the {what} {path} does not exist", "check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise kind(f"the {what} {path} cannot be read: {error}", "check the path and its permissions") from error
    if not data:
        raise kind(f"the {what} {path} is an empty file", "get the file again")
    return data


def _check_header(header: Header, path: Path, max_pixels: int, what: str, kind: type[InputError]) -> None:
    if header.width * header.height > max_pixels:
        raise kind(
            f"the {what} {path} has {header.width} x {header.height} px, over the limit of {max_pixels / 1e6:g} MP",
            "scale it down, or raise the limit with --max-megapixels",
        )
    if header.truncated:
        raise kind(f"the {what} {path} is damaged or truncated", "get the file again")
    if header.animated:
        raise kind(f"the {what} {path} is animated", "save one frame of it as PNG")


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160]
