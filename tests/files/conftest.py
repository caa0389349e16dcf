"""Files with all kinds of metadata, written by Pillow, which also judges what comes out."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin

from tests.conftest import make_photo

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="A title">'
    b"<xmp:Thumbnails><rdf:li>c2VjcmV0</rdf:li></xmp:Thumbnails></rdf:Description></x:xmpmeta>"
)


@functools.cache
def profile() -> bytes:
    """A real colour profile, of RGB; made once, since it holds the second in which it was made."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block(orientation: int = 6, thumbnail: bytes = b"") -> bytes:
    """EXIF as a camera writes it: make, orientation, date and sizes in a directory below, a position, a thumbnail."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x9C9B] = "A camera", orientation, b"T\0i\0t\0l\0e\0\0\0"
    below = exif.get_ifd(0x8769)
    below[0x9003], below[0xA002], below[0xA003] = "2001:02:03 04:05:06", 60, 40
    exif.get_ifd(0x8825)[1] = "N"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    if not thumbnail:
        return block
    # A second directory at the end, as the first one's successor: compressed, at an offset, so many bytes.
    order = "little" if block[:2] == b"II" else "big"
    first = int.from_bytes(block[4:8], order)
    link = first + 2 + 12 * int.from_bytes(block[first : first + 2], order)
    at = len(block) + len(block) % 2

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    entries = [(0x0103, 3, 6), (0x0201, 4, at + 2 + 36 + 4), (0x0202, 4, len(thumbnail))]
    directory = number(3, 2)
    for tag, kind, value in entries:
        field = number(value, 2) + b"\0\0" if kind == 3 else number(value, 4)
        directory += number(tag, 2) + number(kind, 2) + number(1, 4) + field
    directory += number(0, 4)
    return block[:link] + number(at, 4) + block[link + 4 :].ljust(at - link - 4, b"\0") + directory + thumbnail


def tiff_tags(orientation: int) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The same in TIFF's own directory."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[271], tags[274], tags[315], tags[33432] = "A camera", orientation, "A person", "2001"
    tags[700], tags[33723] = XMP, b"\x1c\x02\x05\0\5title"
    return tags


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return make_photo(40, 60)


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path, picture: NDArray[np.uint8]) -> Save:
    """Save the picture, or another one, with everything that its format holds."""

    def write(name: str, pixels: NDArray[Any] | None = None, orientation: int = 6, **more: Any) -> Path:
        suffix = Path(name).suffix
        options: dict[str, Any] = {"icc_profile": profile(), "dpi": (300, 150)}
        if suffix == ".tif":
            options["tiffinfo"] = tiff_tags(orientation)
        else:
            options |= {"exif": b"Exif\0\0" + exif_block(orientation, b"a small damaged picture"), "xmp": XMP}
        if suffix == ".jpg":
            options |= {"comment": b"a comment", "quality": 90}
        if suffix == ".webp":
            options["lossless"] = True
        if suffix == ".png":
            from PIL.PngImagePlugin import PngInfo

            info = PngInfo()
            info.add_text("Title", "a text")
            info.add_text("Raw profile type exif", "hidden")
            info.add_itxt("XML:com.adobe.xmp", XMP.decode())
            options["pnginfo"] = info
        image = Image.fromarray(picture if pixels is None else pixels)
        image.save(tmp_path / name, **(options | more))
        return tmp_path / name

    return write


def opened(data: bytes) -> Image.Image:
    """The file, decoded by Pillow."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
