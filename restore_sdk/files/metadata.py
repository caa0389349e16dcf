"""What a file says about its photograph, read by Pillow and written by Pillow into another file.

Kept: EXIF, the ICC colour profile, XMP, the resolution; and where the format stays the same what only that has:
comments and IPTC in JPEG, text and colour chunks in PNG, IPTC in TIFF. What is left out is noted.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import IFD, Base

from restore_sdk.files.check import Format, check_exif, png_chunks

#: PNG chunks that say something about the picture and nothing about how its pixels are stored.
_PNG_KEPT = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt", b"tIME")
_PNG_XMP = b"XML:com.adobe.xmp"

#: EXIF's and XMP's own place in PNG is another; here some programs hide them, with their orientation and thumbnail.
_PNG_HIDDEN = re.compile(rb"raw profile type", re.IGNORECASE)

#: Tags of a TIFF's directory that describe the photograph and not how its pixels are stored.
_TIFF_KEPT = (269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 318, 319, 33432)
_TIFF_XMP, _TIFF_IPTC, _TIFF_ICC, _TIFF_OFFSETS = 700, 33723, 34675, 273

_EXIF, _MORE_XMP = b"Exif\0\0", b"http://ns.adobe.com/xmp/extension/\0"

#: IPTC among Photoshop's resources: its number, and its header in a JPEG.
_IPTC, _IPTC_HEAD = 0x0404, b"Photoshop 3.0\x008BIM\x04\x04\0\0"

#: Largest EXIF and XMP that fit into a segment of a JPEG.
_JPEG_LIMITS = {"exif": 65_527, "xmp": 65_504}

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")

_PILLOW_LOCK = threading.Lock()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Pillow without its warnings and its own limit of pixels: ours is checked. Both are global, so one at a time."""
    with _PILLOW_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@dataclass(frozen=True, slots=True)
class JpegSettings:
    """How a JPEG was encoded: quantisation tables of luma and chroma as Pillow orders them, chroma sampling (0: 4:4:4,
    1: 4:2:2, 2: 4:2:0; -1: another, or grey), and whether in several passes."""

    tables: tuple[tuple[int, ...], ...]
    subsampling: int
    progressive: bool

    @classmethod
    def of(cls, image: JpegImagePlugin.JpegImageFile) -> JpegSettings | None:
        """Those of an opened file; ``None`` where it does not have its tables."""
        used = [image.quantization.get(layer[3]) for layer in image.layer[:2]]
        tables = tuple(tuple(table) for table in used if table is not None)
        if len(tables) != len(used):
            return None
        return cls(tables, JpegImagePlugin.get_sampling(image), bool(image.info.get("progressive")))


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says about its photograph, for the picture as it is stored.

    ``exif`` is a TIFF structure, ``icc`` a colour profile, ``xmp`` a packet, each empty where there is none. ``parts``
    are what only ``format`` has, kind and content, as it is written there; ``notes`` say what was left out.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    format: Format = "png"
    parts: tuple[tuple[bytes, bytes], ...] = ()
    notes: tuple[str, ...] = ()

    def upright(self, orientation: int) -> Metadata:
        """The same for the picture turned upright."""
        swapped = orientation >= 5
        return replace(
            self,
            exif=_exif_upright(self.exif, swapped=swapped) if self.exif and orientation > 1 else self.exif,
            xmp=_XMP_ORIENTATION.sub(rb"\g<1>1", self.xmp),
            dpi=self.dpi[::-1] if self.dpi is not None and swapped else self.dpi,
        )


def read_metadata(image: ImageFile.ImageFile, data: bytes, notes: list[str]) -> tuple[Metadata, int]:
    """The metadata of an opened image, and its orientation; what is broken is left out, with a note in ``notes``.

    A TIFF is not to be loaded before: Pillow then turns it upright, and forgets how it lay.
    """
    kind: Format = image.format.lower()  # type: ignore[union-attr,assignment]
    exif, xmp = image.info.get("exif") or b"", (kind != "tiff" and image.info.get("xmp")) or b""
    parts: list[tuple[bytes, bytes]] = []
    try:
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            parts = _jpeg_parts(image)
        elif kind == "png":
            chunks = png_chunks(data)
            exif = next((content for name, content in chunks if name == b"eXIf"), exif)  # also behind the pixels
            chunks = [chunk for chunk in chunks if chunk[0] in _PNG_KEPT]
            parts = [chunk for chunk in chunks if not _PNG_HIDDEN.match(chunk[1])]
            if len(parts) < len(chunks):
                notes.append("metadata in text chunks of ImageMagick's kind was left out")
            parts = [chunk for chunk in parts if not chunk[1].startswith(_PNG_XMP)]
        elif isinstance(image, TiffImagePlugin.TiffImageFile):
            # Pillow gives these by their types, of which programs write several; and would itself turn by XMP.
            xmp, iptc = (image.tag_v2._tagdata.get(tag, b"") for tag in (_TIFF_XMP, _TIFF_IPTC))
            image.info.pop("xmp", None)
            parts = [(b"IPTC", iptc)] if iptc else []
            exif = _tiff_exif(image)
    except Exception:  # hostile bytes, read by Pillow
        notes.append("its metadata is damaged and was left out in part")
    exif = exif.removeprefix(_EXIF)
    orientation: Any = None
    dpi = image.info.get("dpi")
    if (kind == "jpeg" and image.info.get("jfif_unit") not in (1, 2)) or (kind == "tiff" and dpi == (1, 1)):
        dpi = None  # Pillow takes it from EXIF, where it stays, or makes up one
    try:
        if exif:
            thumbnail, found = check_exif(exif), Image.Exif()
            found.load(exif)
            orientation = found.get(Base.Orientation)
            # Without its thumbnail, which shows the damage; and what cannot be written is found out here.
            written = found.tobytes().removeprefix(_EXIF)
            exif = written if thumbnail else exif
    except Exception:  # hostile bytes, read and written by Pillow
        exif = b""
        notes.append("its EXIF is damaged and was left out")
    if orientation not in range(1, 9):
        orientation = int(match[2]) if (match := _XMP_ORIENTATION.search(xmp)) else 1
    icc = image.info.get("icc_profile") or b""
    if "icc_profile" in image.info and not icc:
        notes.append("its colour profile is incomplete and was left out")
    if dpi is not None and not all(1 <= value <= 65_535 for value in dpi):
        dpi = None
    return Metadata(exif, icc, xmp_without_thumbnails(xmp), dpi, kind, tuple(parts), tuple(notes)), orientation


def _jpeg_parts(image: JpegImagePlugin.JpegImageFile) -> list[tuple[bytes, bytes]]:
    parts = [(b"\xfe", content) for name, content in image.applist if name == "COM"]
    parts += [(b"\xe1", content) for name, content in image.applist if content.startswith(_MORE_XMP)]
    iptc = image.info.get("photoshop", {}).get(_IPTC, b"")
    if iptc:  # it was in one segment, and fits into one again
        parts.append((b"\xed", _IPTC_HEAD + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)))
    return parts


def _exif_upright(block: bytes, *, swapped: bool) -> bytes:
    """An EXIF block for the upright picture: orientation 1; sizes and resolutions change places when ``swapped``."""
    with quiet_pillow():  # of what is truncated in the block
        exif = Image.Exif()
        exif.load(block)
        if Base.Orientation in exif:
            exif[Base.Orientation] = 1
        exif_ifd = exif.get_ifd(IFD.Exif) if IFD.Exif in exif else {}
        for directory, first, second in (
            (exif, Base.ImageWidth, Base.ImageLength),
            (exif, Base.XResolution, Base.YResolution),
            (exif_ifd, Base.ExifImageWidth, Base.ExifImageHeight),
        ):
            if swapped and first in directory and second in directory:
                directory[first], directory[second] = directory[second], directory[first]
        return exif.tobytes().removeprefix(_EXIF)


def xmp_without_thumbnails(xmp: bytes) -> bytes:
    """An XMP packet without small versions of the damaged picture."""
    for space in (b"xmp", b"xap"):
        before, _, inner = xmp.partition(b"<" + space + b":Thumbnails")
        _, closed, after = inner.rpartition(b"</" + space + b":Thumbnails>")
        xmp = before + after if closed else xmp
    return xmp


def _tiff_exif(image: TiffImagePlugin.TiffImageFile) -> bytes:
    """The tags that describe the photograph, as an EXIF block."""
    exif, stored = Image.Exif(), image.getexif()
    for tag in (*_TIFF_KEPT, Base.Orientation):
        if tag in image.tag_v2:
            exif[tag] = image.tag_v2[tag]
    for tag in (IFD.Exif, IFD.GPSInfo):
        if tag in image.tag_v2:
            exif.get_ifd(tag).update(stored.get_ifd(tag))
    return exif.tobytes() if len(exif) or exif.get_ifd(IFD.Exif) else b""


def save_options(kind: Format, metadata: Metadata, *, grey: bool) -> tuple[dict[str, Any], list[str]]:
    """What Pillow's ``save`` takes to write the metadata, and notes on what the format cannot hold.

    Of a TIFF the metadata is put in afterwards: :func:`into_tiff`.
    """
    notes: list[str] = []
    icc = metadata.icc
    if icc and icc[16:20] != (b"GRAY" if grey else b"RGB "):
        notes.append("its colour profile is not for pixels of this kind and was left out")
        icc = b""
    if metadata.parts and metadata.format != kind:
        notes.append(f"what only {metadata.format.upper()} holds (comments, text, IPTC) was left out")
    parts = metadata.parts if metadata.format == kind else ()
    options: dict[str, Any] = {"dpi": metadata.dpi, "icc_profile": icc, "exif": metadata.exif, "xmp": metadata.xmp}
    if kind == "jpeg":
        for name, limit in _JPEG_LIMITS.items():
            if len(options[name]) > limit:
                notes.append(f"its {name.upper()} is too large for a JPEG and was left out")
                del options[name]
        options["extra"] = b"".join(
            b"\xff" + mark + struct.pack(">H", len(content) + 2) + content for mark, content in parts
        )
    elif kind == "png":
        options["pnginfo"] = info = PngImagePlugin.PngInfo()
        for chunk, content in parts:
            info.add(chunk, content)
        if metadata.xmp:
            info.add(b"iTXt", _PNG_XMP + b"\0\0\0\0\0" + metadata.xmp)
    elif kind == "bmp":
        if metadata.exif or icc or metadata.xmp:
            notes.append("BMP holds no metadata but the resolution: it was left out")
        options = {"dpi": metadata.dpi}
    if kind in ("jpeg", "png") and options.get("exif"):
        options["exif"] = _EXIF + metadata.exif
    return {name: value for name, value in options.items() if value}, notes


def into_tiff(encoded: bytes, metadata: Metadata, icc: bytes) -> bytes:
    """A TIFF with metadata in it: a new directory is put before the file, and points into it."""
    original = TiffImagePlugin.TiffImageFile(io.BytesIO(encoded)).tag_v2
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=original.prefix)
    for tag in original:
        directory[tag], directory.tagtype[tag] = original[tag], original.tagtype[tag]
    directory.tagtype[_TIFF_OFFSETS] = 4  # they grow
    parts = [(_TIFF_IPTC, content) for _, content in metadata.parts if metadata.format == "tiff"]
    for tag, content in [(_TIFF_XMP, metadata.xmp), (_TIFF_ICC, icc), *parts]:
        if content:
            directory[tag], directory.tagtype[tag] = content, 1 if tag == _TIFF_XMP else 7
    if metadata.dpi is not None:
        directory[Base.XResolution], directory[Base.YResolution] = metadata.dpi
        directory[Base.ResolutionUnit] = 2
    if metadata.exif:
        exif = Image.Exif()
        exif.load(metadata.exif)
        for tag in _TIFF_KEPT:
            if tag in exif and tag not in directory:
                directory[tag] = exif[tag]
        for tag in (IFD.Exif, IFD.GPSInfo):
            if values := exif.get_ifd(tag):
                directory[tag] = {name: value for name, value in values.items() if not isinstance(value, dict)}
    file = io.BytesIO()
    directory.save(file)
    return file.getvalue() + encoded
