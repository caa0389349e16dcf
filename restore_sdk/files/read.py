"""Image files to pixels, by Pillow; by OpenCV where a channel has 16 bits, which Pillow would cut to 8.

The claimed size is checked before a pixel is decoded. A picture is turned upright by the orientation in its EXIF (of a
TIFF: its tag), or, where that tells none, in its XMP.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ExifTags import Base

from restore_sdk._util.opencv import cv2
from restore_sdk.errors import ImageError, InputError, MaskError
from restore_sdk.files.check import (
    CMYK,
    IN_RGB,
    ONE_FRAME,
    Format,
    InvalidImageError,
    check_jpeg,
    check_png,
    choose_page,
    identify,
    tiff_number,
    truncated,
    unreadable,
)
from restore_sdk.files.metadata import JpegSettings, Metadata, quiet_pillow, read_metadata
from restore_sdk.files.write import FORMATS, Encoded, Pixels, encode, keep_blocks
from restore_sdk.imaging.image import MASKED_ABOVE

#: Largest picture that is decoded, in pixels, unless the caller says otherwise; largest file that is read, in bytes.
MAX_PIXELS, MAX_BYTES = 100_000_000, 512 * 1024 * 1024

# EXIF orientation: what brings the stored picture upright.
_UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda picture: picture,
    2: lambda picture: cv2.flip(picture, 1),
    3: lambda picture: cv2.rotate(picture, cv2.ROTATE_180),
    4: lambda picture: cv2.flip(picture, 0),
    5: cv2.transpose,
    6: lambda picture: cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE),
    7: lambda picture: cv2.flip(cv2.transpose(picture), -1),
    8: lambda picture: cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE),
}

_OPENERS: dict[Format, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,  # of an MPO, that is its first picture
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
}

#: Compressions of TIFF that lose something, by Pillow's names.
_TIFF_LOSSY = ("jpeg", "tiff_jpeg", "webp", "jpeg2000")

#: What a mode of Pillow is converted to. Others are refused.
_MODES = {
    **dict.fromkeys(("1", "L"), "L"),
    **dict.fromkeys(("RGB", "RGBX", "YCbCr", "P"), "RGB"),
    **dict.fromkeys(("RGBA", "LA", "RGBa", "PA"), "RGBA"),
}


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph as it was read, with what is needed to write its restored version like it.

    Attributes:
        pixels: upright; ``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGRA; 8 or 16 bits a channel.
        orientation: EXIF's 1..8: how the file has it; 1 is upright. ``metadata`` is as the file has it.
        lossy: its pixels went through an encoder with loss.
        source: the file's bytes, of a JPEG; without them none of its coefficients are kept.
    """

    pixels: Pixels
    format: Format
    orientation: int
    lossy: bool
    metadata: Metadata
    jpeg: JpegSettings | None = None
    source: bytes = field(default=b"", repr=False)

    @property
    def eight(self) -> NDArray[np.uint8]:
        """The pixels with 8 bits a channel, which is what the model takes: 65535 becomes 255, rounded."""
        if self.pixels.dtype == np.uint8:
            return self.pixels.view(np.uint8)
        return ((self.pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)

    def with_note(self, note: str) -> Photo:
        """The same, with one more note, the first among the notes of its files."""
        return replace(self, metadata=replace(self.metadata, notes=(note, *self.metadata.notes)))

    def with_restored(self, restored: NDArray[np.uint8]) -> Pixels:
        """What the model restored from :attr:`eight`, in the photograph's own depth.

        Of a photograph with 16 bits, every pixel that the model left alone is kept as it is; restored ones have steps
        of 8 bits.
        """
        if self.pixels.dtype == np.uint8:
            return restored
        changed = restored != self.eight
        if changed.ndim == 3:
            changed = changed.any(axis=2, keepdims=True)
        result = np.where(changed, restored.astype(np.uint16) * np.uint16(257), self.pixels)
        if result.ndim == 3 and result.shape[2] == 4:  # alpha is not restored
            result[..., 3] = self.pixels[..., 3]
        return result

    def encode(self, name: str | os.PathLike[str], pixels: Pixels, quality: int | None = None) -> Encoded:
        """A picture as a file that is like this photograph's, in the format of the name's extension.

        A JPEG that becomes a JPEG has the same quantisation tables, chroma sampling, passes and orientation, so that
        known pixels hardly change; with ``jpeglib`` installed, those of blocks without a new pixel do not change at
        all. Anything else is written upright, as a JPEG in quality 95. PNG, TIFF, WebP and BMP are without loss.

        Args:
            pixels: the picture, upright. ``quality``: 1..100, of JPEG; of WebP, which is then with loss.

        Raises:
            OutputError: an extension that is not written, alpha or 16 bits into a format without, or a picture too
                large for it.
        """
        path = Path(name)
        if self.format == "jpeg" and FORMATS.get(path.suffix.lower()) == "jpeg":
            turn = _UPRIGHT[{6: 8, 8: 6}.get(self.orientation, self.orientation)]
            turned = turn(pixels)
            file = encode(path, turned, self.metadata, quality=quality, jpeg=self.jpeg)
            if quality is not None or not self.source or pixels.shape != self.pixels.shape:
                return file
            changed = turned != turn(self.pixels)
            return keep_blocks(self.source, file, changed if changed.ndim == 2 else changed.any(axis=2))
        return encode(path, pixels, self.metadata.upright(self.orientation), quality=quality)


def open_photo(source: str | os.PathLike[str] | bytes, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photograph, a file or its bytes, with its metadata and how it was encoded.

    Raises:
        ImageError: no such file, not readable, empty, no image of a known format, damaged, CMYK, HDR, animated, of
            several pages, or larger than ``max_pixels``.
        InvalidImageError: the same of bytes.
    """
    with _bytes_of(source, "photo", ImageError) as data:
        return _decode(data, max_pixels)


def read_photo(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The picture in a file, upright: ``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGRA, as the file has it.

    Raises:
        ImageError: as :func:`open_photo`; or it has 16 bits a channel.
    """
    pixels = open_photo(path, max_pixels).pixels
    if pixels.dtype != np.uint8:
        raise ImageError(f"the photo {path} has 16 bits a channel, only 8 bits are taken here", "use open_photo")
    return pixels.view(np.uint8)


def read_mask(source: str | os.PathLike[str] | bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The mask in a file, or in its bytes, upright, as ``(H, W)`` grey of 8 bits; colours are taken by their luma.

    Raises:
        MaskError: as :func:`open_photo`; or it has transparent pixels, which leave open what is to be repainted, or is
            not black and has nothing white.
        InvalidImageError: the same of bytes.
    """
    with _bytes_of(source, "mask", MaskError) as data:
        mask = _decode(data, max_pixels).eight
        if mask.ndim == 3:
            if mask.shape[2] == 4 and mask[..., 3].min() < 255:
                raise InvalidImageError("has transparent pixels", "save it without alpha, white on black")
            mask = cv2.cvtColor(mask, cv2.COLOR_BGRA2GRAY if mask.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
        if 0 < (brightest := mask.max(initial=0)) <= MASKED_ABOVE:
            what = f"is not black, but nothing in it is white: its brightest grey is {brightest} of 255"
            raise InvalidImageError(what, "paint what is to be repainted white, above 127")
        return mask


@contextmanager
def _bytes_of(source: str | os.PathLike[str] | bytes, what: str, kind: type[InputError]) -> Iterator[bytes]:
    """A file's bytes; what is wrong with them is raised as ``kind``, with the file's name."""
    if isinstance(source, bytes):
        yield source
        return
    try:
        yield _read_bytes(Path(source))
    except InvalidImageError as error:
        raise kind(f"the {what} {source} {error.message}", error.hint) from error


def _read_bytes(path: Path) -> bytes:
    try:
        found = path.stat()
        data = path.read_bytes() if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_BYTES else None
    except FileNotFoundError as error:
        raise InvalidImageError("does not exist", "check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise InvalidImageError(f"cannot be read: {error}", "check the path and its permissions") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidImageError("is no plain file", "name an image file")
    if data is None:
        raise InvalidImageError(f"has more than {MAX_BYTES} bytes, the most that are read", "make it smaller")
    return data


def _open(data: bytes, max_pixels: int) -> tuple[Format, ImageFile.ImageFile, int, list[str]]:
    """Format, the image with nothing decoded, the bits of a channel (8: or fewer), and what is left out of it."""
    kind, bits, page, notes = identify(data), 8, 0, list[str]()
    opener = _OPENERS.get(kind) or _heif_opener()
    try:
        with quiet_pillow():
            if kind == "png":
                check_png(data)
                bits = data[24]
            elif kind == "jpeg":
                check_jpeg(data)
            elif kind == "tiff":
                page, directory, notes = choose_page(data)
                bits = tiff_number(directory, Base.BitsPerSample)
            image = opener(io.BytesIO(data))
            if page:
                image.seek(page)
    except InvalidImageError:
        raise
    except Exception as error:  # whatever a parser makes of hostile bytes
        raise unreadable(error) from error
    width, height = image.size
    if width * height > max_pixels:
        what = f"has {width} x {height} px, over the limit of {max_pixels / 1e6:g} MP"
        raise InvalidImageError(what, "scale it down, or raise the limit with --max-megapixels", "size")
    if page and bits == 16:
        what = "has its photograph of 16 bits behind a preview"
        raise InvalidImageError(what, f"save that page by itself: magick 'IN[{page}]' OUT.png")
    if "mpoffset" in image.info or (kind == "heif" and getattr(image, "n_frames", 1) > 1):
        notes.append("further pictures in it (previews, an HDR gain map) were left out")
    if kind in ("webp", "avif") and getattr(image, "n_frames", 1) > 1:
        raise InvalidImageError("is animated", ONE_FRAME)
    if image.info.get("bit_depth", 8) > 8:
        notes.append(f"of its {image.info['bit_depth']} bits a channel 8 were read")
    if image.mode not in _MODES and bits != 16:
        what = CMYK if image.mode == "CMYK" else f"in colours of kind {image.mode}, not grey or RGB"
        raise InvalidImageError(f"is {what}", IN_RGB)
    return kind, image, bits, notes


def readable_formats() -> list[Format]:
    """The formats that are read here: HEIC only where what opens it is installed."""
    found = [*_OPENERS]
    if find_spec("pillow_heif"):
        found.append("heif")
    return found


def _heif_opener() -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        what = "is no image of a known format, but a HEIC, for which a package is missing"
        raise InvalidImageError(what, "run: pip install pillow-heif; or convert it to PNG or JPEG", "format") from error
    return HeifImageFile


def _decode(data: bytes, max_pixels: int) -> Photo:
    kind, image, bits, notes = _open(data, max_pixels)
    try:
        decoded = image if bits == 16 or kind == "tiff" else _load(image)
        with quiet_pillow():
            metadata, orientation = read_metadata(image, data, notes)
            upright = getattr(image, "tag_v2", {}).get(Base.Orientation) in range(1, 9)  # Pillow and OpenCV turn by it
            if kind == "tiff" and bits != 16:  # only now: loaded, Pillow forgets how it lay
                decoded = _load(image)
        pixels = _decode_16_bits(data, image) if bits == 16 else _to_array(decoded)
    except InvalidImageError:
        raise
    except Exception as error:
        raise unreadable(error) from error
    compression = str(image.info.get("compression", "")) if kind == "tiff" else ""
    return Photo(
        _UPRIGHT[1 if upright else orientation](pixels),
        kind,
        orientation,
        lossy=kind in ("jpeg", "avif", "heif") or compression in _TIFF_LOSSY or (kind == "webp" and _is_lossy(data)),
        metadata=metadata,
        jpeg=JpegSettings.of(image) if isinstance(image, JpegImagePlugin.JpegImageFile) else None,
        source=data if kind == "jpeg" else b"",
    )


def _load(image: ImageFile.ImageFile) -> Image.Image:
    """The decoded image in grey, RGB or RGBA."""
    image.load()
    transparent = "transparency" in image.info and image.mode in ("P", "L", "RGB", "1")
    return image.convert("RGBA" if transparent else _MODES[image.mode])


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
    array = np.asarray(image)
    if array.ndim == 2:
        return np.array(array)
    swapped: NDArray[np.uint8] = cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    return swapped


def _decode_16_bits(data: bytes, image: Image.Image) -> Pixels:
    """The pixels of a PNG or TIFF with 16 bits a channel; a TIFF's are upright."""
    pixels: Pixels | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise truncated()
    width, height = pixels.shape[1::-1]
    if pixels.dtype != np.uint16 or (width, height) not in (image.size, image.size[::-1]):
        found, claimed = f"{width} x {height} px of {pixels.dtype}", f"{image.width} x {image.height} of 16 bits"
        raise InvalidImageError(f"is {found}, and claims {claimed}", "save it again")
    return pixels


def _is_lossy(webp: bytes) -> bool:
    at = 12
    for _ in range(64):
        if webp[at : at + 4] == b"VP8L":
            return False
        at += 8 + int.from_bytes(webp[at + 4 : at + 8], "little") + 1 & ~1
    return True
