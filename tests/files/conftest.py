"""Files with all kinds of metadata, written by Pillow, which also judges what comes out."""

from __future__ import annotations

import functools
import io
import struct
import zlib
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
    order = "<" if block[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", block, 4)
    link, at = first + 2 + 12 * struct.unpack_from(order + "H", block, first)[0], len(block)
    entries = (3, *(0x0103, 3, 1, 6), *(0x0201, 4, 1, at + 42), *(0x0202, 4, 1, len(thumbnail)), 0)
    directory = struct.pack(order + "H HHIHxx HHII HHII I", *entries)
    return block[:link] + struct.pack(order + "I", at) + block[link + 4 :] + directory + thumbnail


TURN = 6
ICC = {1: profile()[:16] + b"GRAY" + profile()[20:], 3: profile()}


def packed(values: NDArray[Any], bits: int, order: str) -> list[bytes]:
    """Rows of whole bytes; ``order`` of those of 16 bits."""
    values = values.reshape(len(values), -1)
    if bits >= 8:
        return [row.tobytes() for row in values.astype(f"{order}u{bits // 8}")]
    single = values[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return [row.tobytes() for row in np.packbits(single.reshape(len(values), -1).astype(np.uint8), axis=1)]


def png(values: NDArray[Any], bits: int, kind: int, **chunks: bytes) -> bytes:
    """PNG of a colour type; turned, with a profile."""
    height, width = values.shape[:2]
    chunks = {"iCCP": b"p\0\0" + zlib.compress(ICC[1 if kind in (0, 4) else 3]), **chunks, "eXIf": exif_block(TURN)}
    parts = {"IHDR": struct.pack(">2I5B", width, height, bits, kind, 0, 0, 0), **chunks}
    parts |= {"IDAT": zlib.compress(b"".join(b"\0" + row for row in packed(values, bits, ">"))), "IEND": b""}
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in parts.items():
        body = name.encode() + content
        data += struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return data


def tiff(values: NDArray[Any], bits: int, colours: int, planes: bool = False, **more: Any) -> bytes:
    """TIFF of a photometric interpretation; turned, with a profile."""
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    flat = [values[..., number] for number in range(channels)] if planes else [values]
    strips = [b"".join(packed(each, bits, "<")) for each in flat]
    tags: dict[int, Any] = {256: width, 257: height, 258: (bits,) * channels, 259: 1, 262: colours, 274: TURN}
    tags |= {273: tuple(sum(map(len, strips[:number])) for number in range(len(strips)))}  # behind the directory
    tags |= {277: channels, 278: height, 279: tuple(map(len, strips)), 284: 2 if planes else 1}
    tags |= {34675: ICC[1 if colours < 2 else 3], **{int(name[1:]): value for name, value in more.items()}}
    directory, file = TiffImagePlugin.ImageFileDirectory_v2(), io.BytesIO()
    for tag, value in tags.items():
        directory[tag] = value
    directory.tagtype[273] = 4
    directory.save(file)
    return file.getvalue() + b"".join(strips)


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
