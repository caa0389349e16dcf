"""Pixels to image files, never leaving half a file.

Written are PNG, JPEG, WebP, BMP and TIFF, by Pillow; by OpenCV where a channel has 16 bits. JPEG is with loss, also
outside the mask; the other formats keep every byte.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restore_sdk._util.disk import check_writable, write_file
from restore_sdk._util.opencv import cv2
from restore_sdk.errors import OutputError
from restore_sdk.files.check import Format
from restore_sdk.files.metadata import JpegSettings, Metadata, into_tiff, quiet_pillow, save_options

#: Pixels as a file has them: ``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGRA, of 8 or 16 bits.
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

#: JPEG quality of what was no JPEG before.
JPEG_QUALITY = 95

#: jpeglib keeps what it reads in variables of its own.
_LIBJPEG_LOCK = threading.Lock()

FORMATS: dict[str, Format] = {
    **dict.fromkeys((".png", ".apng"), "png"),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".mpo"), "jpeg"),
    ".webp": "webp",
    **dict.fromkeys((".bmp", ".dib"), "bmp"),
    **dict.fromkeys((".tif", ".tiff"), "tiff"),
}

#: Extensions of formats that are read and not written.
_READ_ONLY = (".heic", ".heif", ".hif", ".avif")

#: LZW, of which the differences of neighbours are smaller.
_TIFF_LZW, _TIFF_OPTIONS = 5, {"compression": "tiff_lzw", "tiffinfo": {317: 2}}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file's bytes.

    Attributes:
        data: the bytes.
        lossless: whether every pixel comes out as it went in.
        quality: of a JPEG or WebP with loss, 1..100; ``None`` with a JPEG's own tables.
        notes: what of the photograph's file is not in it.
    """

    data: bytes
    lossless: bool
    quality: int | None
    notes: tuple[str, ...]


def write_image(path: str | os.PathLike[str], picture: Pixels) -> None:
    """Write a picture, grey, BGR or BGRA, in the format of the name's extension, in one step.

    Raises:
        OutputError: an extension that is not written, alpha or 16 bits into a format without, a picture too large for
            it, or a place that cannot be written.
    """
    target = Path(path)
    check_output(target)
    write_file(target, encode(target, picture).data)


def encode(
    path: Path,
    picture: Pixels,
    metadata: Metadata | None = None,
    *,
    quality: int | None = None,
    jpeg: JpegSettings | None = None,
) -> Encoded:
    """A picture, grey, BGR or BGRA, as a file in the format of the name's extension.

    Args:
        picture: 8 bits a channel; PNG and TIFF also take 16.
        quality: 1..100 of a JPEG, or of a WebP with loss; ``None``: that of ``jpeg`` or 95, and no loss in WebP.

    Raises as :func:`write_image`.
    """
    check_form(path, picture)
    kind, metadata = FORMATS[path.suffix.lower()], metadata or Metadata()
    grey = picture.ndim == 2 and kind != "webp"  # which knows no grey
    lossless = kind != "jpeg" and (kind != "webp" or quality is None)
    options, notes = save_options(kind, metadata, grey=grey)
    icc = options.get("icc_profile", b"")
    if kind == "tiff":
        options = dict(_TIFF_OPTIONS)
    elif kind == "png":
        options["compress_level"] = 3
    elif kind == "webp":
        options |= {"lossless": True, "exact": True} if quality is None else {"quality": quality}
    elif kind == "jpeg":
        if jpeg is not None:
            options |= {"subsampling": max(0, jpeg.subsampling), "progressive": jpeg.progressive}
            if jpeg.subsampling < 0 and not grey:
                notes.append("its chroma sampling is not one that is written: it became 4:4:4")
        if jpeg is not None and quality is None:
            options |= {"qtables": [list(table) for table in jpeg.tables], "optimize": True}
        else:
            quality = JPEG_QUALITY if quality is None else quality
            options["quality"] = quality
    try:
        data = _encode_16_bits(kind, picture, options) if picture.dtype == np.uint16 else _save(kind, picture, options)
        if kind == "tiff" and metadata != Metadata():
            with quiet_pillow():
                data = into_tiff(data, metadata, icc)
    except (OSError, ValueError, cv2.error) as error:
        raise OutputError(f"cannot encode {path.name}: {str(error).splitlines()[0][:160]}", "write a .png") from error
    return Encoded(data, lossless, None if lossless else quality, (*metadata.notes, *notes))


def keep_blocks(source: bytes, file: Encoded, changed: NDArray[np.bool_]) -> Encoded:
    """The JPEG ``file`` with the coefficients of ``source``, another JPEG, in all blocks without a changed pixel.

    A block is 8 x 8 px, of halved chroma 16 px wide or high. Beside a new one the colours of the nearest pixels change
    a little with it, since decoders smooth halved chroma. By libjpeg, with the package ``jpeglib`` (the extra
    ``jpeg``); without it ``file`` is returned as it is, and with a note where the two cannot be mixed.

    Args:
        changed: ``(H, W)``, as the files have it, not upright.
    """
    try:
        import jpeglib
    except ImportError:
        return file
    try:
        with _LIBJPEG_LOCK, tempfile.TemporaryDirectory() as folder:
            paths = Path(folder) / "old.jpg", Path(folder) / "new.jpg"
            for path, data in zip(paths, (source, file.data), strict=True):
                path.write_bytes(data)
            old, new = map(jpeglib.read_dct, paths)
            factors, tables = np.asarray(new.samp_factor), (each.qt[each.quant_tbl_no] for each in (old, new))
            if (
                old.jpeg_color_space.name != new.jpeg_color_space.name
                or not np.array_equal(factors, old.samp_factor)
                or not np.array_equal(*tables)
            ):
                raise ValueError("its colours, sampling or tables are not ones that are written")
            for name, (down, right) in zip(("Y", "Cb", "Cr"), 8 * factors.max(axis=0) // factors, strict=False):
                old_plane, new_plane = getattr(old, name), getattr(new, name)
                rows, columns = new_plane.shape[:2]
                touched = np.zeros((rows * down, columns * right), bool)
                touched[: changed.shape[0], : changed.shape[1]] = changed
                unchanged = ~touched.reshape(rows, down, columns, right).any(axis=(1, 3))
                new_plane[unchanged] = old_plane[unchanged]
            new.write_dct(paths[1], flags=["+OPTIMIZE_CODING"])
            data = paths[1].read_bytes()
    except Exception as error:  # hostile bytes, read by another library
        reason = error if isinstance(error, ValueError) else "libjpeg does not read its coefficients"
        return replace(file, notes=(*file.notes, f"all of the JPEG was encoded anew: {reason}"))
    sequential = ("it was progressive and is not any more",) * new.progressive_mode
    return replace(file, data=data, notes=(*file.notes, *sequential))


def check_suffix(path: Path) -> None:
    """Raise :class:`OutputError` unless the name's extension is one of a format that is written."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        why = f"{suffix} is read, and not written" if suffix in _READ_ONLY else "unknown extension"
        raise OutputError(f"cannot write {path.name}: {why}", f"use one of {' '.join(FORMATS)}; for a folder --format")


def check_form(path: Path, picture: Pixels) -> None:
    """Raise :class:`OutputError` when the format at ``path`` cannot keep the picture's alpha channel or depth."""
    check_suffix(path)
    suffix, kind = path.suffix.lower(), FORMATS[path.suffix.lower()]
    alpha, deep = picture.ndim == 3 and picture.shape[2] == 4, picture.dtype != np.uint8
    if alpha and (kind in ("jpeg", "bmp") or (kind == "tiff" and deep)):
        raise OutputError(f"{suffix} is not written with an alpha channel, and the photo has one", "write a .png")
    if deep and kind not in ("png", "tiff"):
        raise OutputError(f"{suffix} is not written with 16 bits a channel, and the photo has them", "write a .png")


def check_output(path: Path, *inputs: Path) -> None:
    """Raise :class:`OutputError` unless an image may be written at ``path``, and it is by no name one of ``inputs``."""
    check_suffix(path)
    check_writable(path)
    for other in inputs:
        if path.exists() and other.exists() and path.samefile(other):
            raise OutputError(f"the output {path} is the input {other}", "name another output file")


def _save(kind: Format, picture: Pixels, options: dict[str, Any]) -> bytes:
    if picture.ndim == 3:
        code = cv2.COLOR_BGR2RGB if picture.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        picture = cv2.cvtColor(np.ascontiguousarray(picture), code)
    elif kind == "webp":
        picture = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_GRAY2RGB)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def _encode_16_bits(kind: Format, picture: Pixels, options: dict[str, Any]) -> bytes:
    """A PNG or TIFF of 16 bits, by OpenCV; a PNG with the metadata that Pillow writes into another one."""
    settings = [cv2.IMWRITE_TIFF_COMPRESSION, _TIFF_LZW] if kind == "tiff" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    done, encoded = cv2.imencode(f".{kind}", np.ascontiguousarray(picture), settings)
    if not done:
        raise OSError("OpenCV says no reason")
    data = bytes(encoded)
    if kind == "tiff":
        return data
    model = _save("png", np.zeros((1, 1) if picture.ndim == 2 else (1, 1, 3), np.uint8), options)
    head = 33  # signature and first chunk
    return data[:head] + model[head : model.rindex(b"IDAT") - 4] + data[head:]  # the last: texts may hold the word
