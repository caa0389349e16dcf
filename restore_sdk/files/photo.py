"""A photograph from a file, with what is needed to write its restored version like it.

photo = open_photo("scan.tif")
result = engine.run(photo.eight, mask, color="bgr")
write_file(Path("restored.tif"), photo.encode("restored.tif", photo.with_restored(result.image)).data)
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_sdk.errors import ImageError
from restore_sdk.files.decode import Pixels, decode, to_eight
from restore_sdk.files.files import MAX_PIXELS, encode_image, format_of, is_lossy, read_image
from restore_sdk.files.formats import tags
from restore_sdk.files.formats.embed import embed
from restore_sdk.files.formats.header import Header
from restore_sdk.files.formats.jpeg import JpegEncoding, read_encoding
from restore_sdk.files.formats.metadata import Metadata, read_metadata


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file's bytes.

    Attributes:
        data: the bytes.
        lossless: whether every pixel comes out as it went in.
        quality: of a JPEG or WebP with loss.
        notes: what of the photograph's metadata is not in it.
    """

    data: bytes
    lossless: bool
    quality: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph as it was read.

    Attributes:
        pixels: upright; ``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGRA; 8 or 16 bits a channel.
        header: what the file claims.
        metadata: brought to the upright picture.
        jpeg: how a JPEG was encoded.
        tiff_compression: the compression of a TIFF, as its tag has it; 0 for other formats.
    """

    pixels: Pixels
    header: Header
    metadata: Metadata
    jpeg: JpegEncoding | None = None
    tiff_compression: int = 0

    @property
    def eight(self) -> NDArray[np.uint8]:
        """The pixels with 8 bits a channel, which is what the model takes."""
        return to_eight(self.pixels)

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
        whole = np.where(changed, restored.astype(np.uint16) * np.uint16(257), self.pixels)
        if whole.ndim == 3 and whole.shape[2] == 4:  # alpha is not restored
            whole[..., 3] = self.pixels[..., 3]
        return whole

    def encode(self, name: str | os.PathLike[str], pixels: Pixels, quality: int | None = None) -> Encoded:
        """A picture as a file that is like this photograph's, in the format of the name's extension.

        A JPEG that becomes a JPEG has the same quantisation tables (where they are libjpeg's), chroma sampling and
        passes, so that known pixels hardly change; any other photograph becomes a JPEG of quality 95. PNG, TIFF,
        WebP and BMP are without loss.

        Args:
            name: of the output file.
            pixels: the picture.
            quality: 1..100, of JPEG; of WebP, which is then with loss.

        Raises:
            OutputError: as :func:`restore_sdk.files.files.encode_image`.
        """
        path = Path(name)
        kind = format_of(path)
        encoded = encode_image(path, pixels, quality=quality, jpeg=self.jpeg, tiff_compression=self.tiff_compression)
        data, notes = embed(encoded, kind, self.metadata, grey=pixels.ndim == 2 and kind != "webp")
        if kind == "jpeg":
            found = read_encoding(data)
            quality = None if found is None else found.luma
        lossless = not is_lossy(path, quality)
        return Encoded(data, lossless, None if lossless else quality, (*self.metadata.notes, *notes))


def open_photo(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photograph with its metadata and how it was encoded.

    Raises:
        ImageError: no such file, not readable, empty, no image of a known format, damaged, CMYK, HDR, animated, of
            several pages, or larger than ``max_pixels``.
    """
    return _photo(*read_image(path, max_pixels, "photo", ImageError))


def photo_of(data: bytes, max_pixels: int = MAX_PIXELS) -> Photo:
    """The same of a file's bytes; raises :class:`restore_sdk.files.decode.UnfitError`."""
    return _photo(data, *decode(data, max_pixels))


def _photo(data: bytes, header: Header, pixels: Pixels) -> Photo:
    jpeg = read_encoding(data) if header.format == "jpeg" else None
    if jpeg is not None and header.orientation >= 5:  # turned by a quarter, and so are the places of its colours
        jpeg = replace(jpeg, sampling=jpeg.sampling[::-1])
    compression = 0
    if header.format == "tiff":
        compression = tags.integer(tags.first_directory(data), 259, tags.byte_order(data), 1)
    return Photo(pixels, header, read_metadata(data, header), jpeg, compression)
