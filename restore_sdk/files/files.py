"""Image files: what is read, how large, which way up; and writing without ever leaving half a file.

Read and written: PNG, JPEG, WebP, BMP and TIFF. The header's claimed size is checked before a pixel is decoded. A
photograph is turned upright as its EXIF orientation says. JPEG is with loss, also outside the hole; the other formats
keep every byte. Pixels only: :mod:`restore_sdk.files.photo` also carries metadata over.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.atomic import check_writable, write_file
from restore_sdk._util.opencv import cv2
from restore_sdk._util.reading import read_at_most
from restore_sdk.errors import ImageError, InputError, MaskError, OutputError
from restore_sdk.files.decode import Pixels, UnfitError, decode, first_line, to_grey
from restore_sdk.files.formats.header import Format, Header
from restore_sdk.files.formats.jpeg import JpegEncoding

#: Largest picture that is decoded, in pixels, unless the caller says otherwise.
MAX_PIXELS = 100_000_000

#: Largest file that is read, in bytes.
MAX_BYTES = 512 * 1024 * 1024

#: JPEG quality of what was no JPEG before.
JPEG_QUALITY = 95

_FORMATS: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".webp": "webp",
    ".bmp": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
}

#: Compressions of TIFF that are kept: none, LZW, Deflate, PackBits; any other becomes LZW.
_TIFF_LZW, _TIFF_KEPT = 5, {1: 1, 5: 5, 8: 8, 32946: 8, 32773: 32773}

#: OpenCV's names of chroma samplings.
_SAMPLINGS = {
    (1, 1): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    (2, 1): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    (2, 2): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    (1, 2): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    (4, 1): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}


def read_photo(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The picture in a file, upright: ``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGRA, as the file has it.

    Raises:
        ImageError: as :func:`restore_sdk.files.open_photo`; or it has 16 bits a channel.
    """
    _, _, picture = read_image(path, max_pixels, "photo", ImageError)
    if picture.dtype != np.uint8:
        raise ImageError(
            f"the photo {path} has 16 bits a channel, only 8 bits are taken here",
            "use restore_sdk.files.open_photo",
        )
    return picture.view(np.uint8)


def read_mask(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The mask in a file, upright, as ``(H, W)`` grey of 8 bits; colours are taken by their luma.

    Raises:
        MaskError: as :func:`restore_sdk.files.open_photo`; or it has transparent pixels, which leave open what is to
            be repainted.
    """
    _, _, picture = read_image(path, max_pixels, "mask", MaskError)
    try:
        return to_grey(picture)
    except UnfitError as error:
        raise MaskError(f"the mask {path} {error.message}", error.hint) from error


def read_image(
    path: str | os.PathLike[str], max_pixels: int, what: str, kind: type[InputError]
) -> tuple[bytes, Header, Pixels]:
    """A file's bytes, its header and its picture; what is wrong is raised as ``kind``, of a ``what``."""
    data = _read_bytes(Path(path), what, kind)
    try:
        return data, *decode(data, max_pixels)
    except UnfitError as error:
        raise kind(f"the {what} {path} {error.message}", error.hint) from error


def encode_image(
    path: Path,
    picture: Pixels,
    *,
    quality: int | None = None,
    jpeg: JpegEncoding | None = None,
    tiff_compression: int = 0,
) -> bytes:
    """A picture, grey, BGR or BGRA, as a file in the format of the name's extension.

    Args:
        path: its name.
        picture: 8 bits a channel; PNG and TIFF also take 16.
        quality: 1..100 of a JPEG, or of a WebP with loss; ``None``: that of ``jpeg`` or 95, and no loss in WebP.
        jpeg: how the photograph was encoded, where it was a JPEG.
        tiff_compression: that of the photograph, where it was a TIFF.

    Raises:
        OutputError: an extension that is not written, alpha or 16 bits into a format without, colours of transparent
            pixels into WebP, or a picture too large for it.
    """
    check_form(path, picture)
    kind = format_of(path)
    if kind == "png":
        options = [cv2.IMWRITE_PNG_COMPRESSION, 3]
    elif kind == "jpeg":
        options = _jpeg_options(quality, jpeg)
    elif kind == "webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, 101 if quality is None else quality]  # above 100 is lossless
    elif kind == "tiff":
        options = [cv2.IMWRITE_TIFF_COMPRESSION, _TIFF_KEPT.get(tiff_compression, _TIFF_LZW)]
    else:
        options = []
    try:
        encoded, data = cv2.imencode(f".{kind}", np.ascontiguousarray(picture), options)
    except cv2.error as error:
        raise OutputError(f"cannot encode {path.name}: {first_line(error)}", "write a .png") from error
    if not encoded:
        raise OutputError(f"cannot encode {path.name}", "write a .png")
    return bytes(data)


def write_image(path: str | os.PathLike[str], picture: Pixels) -> None:
    """Write a picture, grey, BGR or BGRA, in the format of the name's extension, in one step.

    Raises:
        OutputError: as :func:`encode_image`, or a place that cannot be written.
    """
    target = Path(path)
    check_output(target)
    write_file(target, encode_image(target, picture))


def format_of(path: Path) -> Format:
    """The format that a name's extension stands for."""
    return _FORMATS[path.suffix.lower()]


def is_lossy(path: Path, quality: int | None) -> bool:
    """Whether a file of this name, written with this quality, loses something of the pixels."""
    kind = format_of(path)
    return kind == "jpeg" or (kind == "webp" and quality is not None)


def check_suffix(path: Path) -> None:
    """Raise :class:`OutputError` unless the name's extension is one of a format that is written."""
    if path.suffix.lower() not in _FORMATS:
        raise OutputError(f"cannot write {path.name}: unknown extension", f"use one of {' '.join(_FORMATS)}")


def check_form(path: Path, picture: Pixels) -> None:
    """Raise :class:`OutputError` when the format at ``path`` cannot keep the picture's alpha channel or depth."""
    check_suffix(path)
    suffix, kind = path.suffix.lower(), format_of(path)
    if picture.ndim == 3 and picture.shape[2] == 4 and kind not in ("png", "webp"):
        raise OutputError(f"{suffix} is not written with an alpha channel, and the photo has one", "write a .png")
    if picture.ndim == 3 and picture.shape[2] == 4 and kind == "webp" and not picture[..., 3].all():
        # The encoder gives such pixels what colours it likes.
        raise OutputError(
            f"{suffix} does not keep the colours of transparent pixels, and the photo has some", "write a .png"
        )
    if picture.dtype != np.uint8 and kind not in ("png", "tiff"):
        raise OutputError(f"{suffix} is not written with 16 bits a channel, and the photo has them", "write a .png")


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


def _jpeg_options(quality: int | None, jpeg: JpegEncoding | None) -> list[int]:
    sampling = _SAMPLINGS.get(jpeg.sampling) if jpeg is not None else None
    options = [] if sampling is None else [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    if jpeg is not None and jpeg.progressive:
        options += [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    if quality is not None or jpeg is None:
        return [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY if quality is None else quality, *options]
    options += [cv2.IMWRITE_JPEG_QUALITY, jpeg.luma, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    if jpeg.chroma != jpeg.luma:
        options += [cv2.IMWRITE_JPEG_LUMA_QUALITY, jpeg.luma, cv2.IMWRITE_JPEG_CHROMA_QUALITY, jpeg.chroma]
    return options


def _read_bytes(path: Path, what: str, kind: type[InputError]) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise kind(f"the {what} {path} is no plain file", "name an image file")
        with path.open("rb") as file:
            data = read_at_most(file, MAX_BYTES)
    except InputError:  # raised just above, and a ValueError too
        raise
    except FileNotFoundError as error:
        raise kind(f"the {what} {path} does not exist", "check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise kind(f"the {what} {path} cannot be read: {error}", "check the path and its permissions") from error
    if data is None:
        raise kind(f"the {what} {path} has more than {MAX_BYTES} bytes, the most that are read", "make it smaller")
    return data
