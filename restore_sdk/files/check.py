"""What is refused before any library reads it: files that are no known image, or that ask for far more than they hold.

Decoders trust what a file says of itself: a few bytes may claim a chunk of 4 GB, thousands of passes over the picture
or a tile of any size. Each check here costs no more than a walk over the file.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Literal

from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

from restore_sdk.errors import InputError

Format = Literal["png", "jpeg", "webp", "bmp", "tiff", "avif", "heif"]

#: Scans of a progressive JPEG; writers make about ten. Each costs a pass over the whole picture, out of 14 bytes.
_MAX_SCANS = 100

#: Segments of a JPEG, whose EXIF Pillow joins with a copy of all for each; pages of a TIFF.
_MAX_PARTS = 1000

#: Hints that end in a command, of ImageMagick.
_AS_PNG, ONE_FRAME = "save it as PNG: magick IN OUT.png", "save one frame of it as PNG: magick 'IN[0]' OUT.png"
IN_RGB = "convert it to RGB, best with its colour profile: magick IN -colorspace sRGB OUT.png"
_IN_16 = "save it with 16 bits: magick IN -depth 16 OUT.png"

CMYK = "CMYK, for print, whose colours no formula brings back"

#: Pixels that a tile of a TIFF may have beyond those of the picture: all of a tile is decoded, however little is shown.
_TILE_PIXELS = 1 << 22

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # of a JPEG: what ends the pixels of a scan

#: Bytes of a TIFF value by its type.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

_PNG = b"\x89PNG\r\n\x1a\n"

#: First bytes of files that are not read, at an offset, and what they are.
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "a GIF"),
    (4, b"ftypavis", "an animated AVIF"),
    (4, b"ftypcrx", "a camera's raw file"),
    (4, b"ftyp", "a video"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (4, b"JXL \r\n\x87\n", "a JPEG XL"),
    (4, b"jP  \r\n\x87\n", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"v/1\x01", "an OpenEXR, which is HDR"),
    (0, b"#?R", "a Radiance picture, which is HDR"),
    *((0, start, "a BigTIFF") for start in (b"II+\0", b"MM\0+")),
    *((0, start, "a camera's raw file") for start in (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0")),
    (0, b"%PDF", "a PDF"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heif", b"mif1", b"msf1")


class InvalidImageError(InputError):
    """The bytes are no image that is taken; the message is to be put behind the file's name.

    ``format``: none that is read. ``size``: too many pixels.
    """


def truncated() -> InvalidImageError:
    """The error of a file whose end is missing."""
    return InvalidImageError("is damaged or truncated", "get the file again")


def unreadable(error: Exception) -> Exception:
    """What Pillow or OpenCV says, as an error of ours; want of memory stays what it is."""
    if isinstance(error, MemoryError):
        return error
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    if text.startswith("decoder error"):
        what = "cannot be decoded: it is damaged, or its compression is not read"
        return InvalidImageError(what, f"get the file again, or {_AS_PNG}")
    if "truncated" in text.lower() or isinstance(error, (struct.error, EOFError, IndexError)):
        return truncated()
    if re.search(r"unsupported|not supported|unknown pixel mode", text, re.IGNORECASE):
        return InvalidImageError(f"is of a kind that is not read: {text}", _AS_PNG)
    return InvalidImageError(f"cannot be decoded, it may be damaged: {text}", f"get the file again, or {_AS_PNG}")


def identify(data: bytes) -> Format:
    """The format of a file, by its first bytes."""
    if not data:
        raise InvalidImageError("is an empty file", "get the file again")
    starts: dict[bytes, Format] = {
        _PNG: "png",
        b"\xff\xd8\xff": "jpeg",
        b"BM": "bmp",
        b"II*\0": "tiff",
        b"MM\0*": "tiff",
    }
    for start, kind in starts.items():
        if data.startswith(start):
            return kind
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp" and (data[8:12] in _HEIF_BRANDS or data[8:12] == b"avif"):
        return "avif" if data[8:12] == b"avif" or b"avif" in data[16 : int.from_bytes(data[:4], "big")] else "heif"
    what = next((f", but {name}" for at, start, name in _FOREIGN if data.startswith(start, at)), "")
    hint = "convert it to PNG or JPEG" + (": magick 'IN[0]' OUT.png" if what else "")
    if data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")[:5].lower() in (b"<!doc", b"<html", b"<head", b"<body"):
        what = ", but a web page"
    raise InvalidImageError(f"is no image of a known format{what}", hint, "format")


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG that hold no pixels, from its header to its end; each lies within the file."""
    found: list[tuple[bytes, bytes]] = []
    at = len(_PNG)
    while True:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if at + 12 + length > len(data):
            raise truncated()
        if kind == b"IEND":
            return found
        if kind != b"IDAT":
            found.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length


def check_png(data: bytes) -> None:
    """Raise for no header, chunks that leave the file, animations, HDR, and with 16 bits a transparent shade."""
    if data[12:16] != b"IHDR":
        raise truncated()
    for kind, content in png_chunks(data):
        if kind == b"acTL" and content[:4] != b"\0\0\0\1":
            raise InvalidImageError("is animated", ONE_FRAME)
        if kind == b"cICP" and content[1:2] in (b"\x10", b"\x12"):  # PQ and HLG of ITU-R BT.2100
            raise InvalidImageError("is HDR, which the model does not know", "save an SDR version of it")
        if kind == b"tRNS" and data[24] == 16:  # OpenCV makes alpha of it in colour, and drops it in grey
            raise InvalidImageError(
                "is a PNG of 16 bits in which one shade stands for transparent, which is not read",
                "save it without transparency: magick IN -alpha off OUT.png",
            )


def check_jpeg(data: bytes) -> None:
    """Raise for too many scans and segments, for more than 8 bits a channel, and where the end is missing."""
    at, scans, segments = 2, 0, 0
    while (found := _MARKER.search(data, at)) is not None:  # after a segment right here, after pixels further on
        at, marker, segments = found.end(), data[found.end() - 1], segments + 1
        if marker == 0xD9:
            return
        scans += marker == 0xDA
        if scans > _MAX_SCANS or segments > _MAX_PARTS:
            raise InvalidImageError("has more scans or segments than any real JPEG", "save it again as PNG")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and data[at + 2 : at + 3] > b"\x08":
            raise InvalidImageError("is a JPEG of more than 8 bits a channel", "save it as PNG of 16 bits")
        if marker not in (0x01, 0xD8):
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    raise truncated()  # decoders may fill up with grey what is missing


def tiff_directory(data: bytes, at: int) -> ImageFileDirectory_v2:
    """The directory at an offset of a TIFF structure, read by Pillow.

    Raises:
        ValueError, SyntaxError, struct.error: it is none, or its values together are longer than the file; Pillow
            before 13 would copy each of them.
    """
    order = "<" if data[:1] == b"I" else ">"
    (count,) = struct.unpack_from(order + "H", data, at)
    entries = list(struct.iter_unpack(order + "HHII", data[at + 2 : at + 2 + 12 * count]))
    if sum(_TYPE_BYTES.get(kind, 0) * values for _, kind, values, _ in entries) > len(data):
        raise ValueError("values that lie over one another")
    if sum(tag in (Base.ImageWidth, Base.ImageLength) for tag, *_ in entries) > 2:  # decoders take different ones
        raise ValueError("two sizes")
    directory, file = ImageFileDirectory_v2(data[:8]), io.BytesIO(data)
    file.seek(at)
    directory.load(file)
    return directory


def tiff_pages(data: bytes) -> list[ImageFileDirectory_v2]:
    """The directories of a TIFF structure, one a page; raises as :func:`tiff_directory`."""
    found: list[ImageFileDirectory_v2] = []
    starts, used, at = set[int](), 0, ImageFileDirectory_v2(data[:8]).next
    while at and at not in starts:
        starts.add(at)
        found.append(tiff_directory(data, at))
        used += sum(map(len, found[-1]._tagdata.values()))
        if used > len(data) or len(found) > _MAX_PARTS:
            raise ValueError("too many pages, or values that lie over one another")
        at = found[-1].next
    return found


def tiff_number(directory: ImageFileDirectory_v2, tag: int, default: int = 0) -> int:
    """The first value of a tag; ``default`` where that is missing, or no integer."""
    value = directory.get(tag)
    first = next(iter(value), None) if isinstance(value, tuple) else value
    return first if isinstance(first, int) else default


def check_exif(block: bytes) -> bool:
    """Whether an EXIF block has a thumbnail; raises as :func:`tiff_directory` for each directory that is read of it."""
    root, *others = tiff_pages(block)
    for tag in {IFD.Exif, IFD.GPSInfo} & set(root):
        below = tiff_directory(block, tiff_number(root, tag))
        if IFD.Interop in below:
            tiff_directory(block, tiff_number(below, IFD.Interop))
    return bool(others)


def choose_page(data: bytes) -> tuple[int, ImageFileDirectory_v2, list[str]]:
    """Of a TIFF: the number and directory of the page that is the photograph, and notes on those left out.

    Small versions and transparency masks are none. Beside the photograph there may be one grey page of its size, as the
    infrared one of a scanner.
    """
    try:
        pages = tiff_pages(data)
    except (ValueError, SyntaxError, struct.error) as error:
        what = "a directory beyond its end" if isinstance(error, struct.error) else error
        raise InvalidImageError(f"is a damaged TIFF: {what}", "get the file again") from error
    full = [page for page in pages if not tiff_number(page, Base.NewSubfileType) & 0b101] or pages
    if not full:
        raise truncated()
    colour = [page for page in full if tiff_number(page, Base.SamplesPerPixel, 1) >= 3]
    photo = colour[0] if len(colour) == 1 else full[0]
    sizes = {(tiff_number(page, Base.ImageWidth), tiff_number(page, Base.ImageLength)) for page in full}
    if len(full) > 1 and (len(colour) != 1 or len(sizes) > 1):
        raise InvalidImageError(f"has {len(full)} pages", "save each as a file of its own: magick IN OUT-%d.png")
    notes = ["its grey page (infrared, as scanners write) was left out"] if len(full) > 1 else []
    if len(pages) > len(full):
        notes.append("smaller versions in it (previews) were left out")
    _check_page(photo)
    return next(number for number, page in enumerate(pages) if page is photo), photo, notes


def _check_page(page: ImageFileDirectory_v2) -> None:
    """Raise for a page that Pillow, or with 16 bits OpenCV, reads wrong or not at all."""
    colours = tiff_number(page, Base.PhotometricInterpretation)
    compression = tiff_number(page, Base.Compression, 1)
    samples, form = tiff_number(page, Base.SamplesPerPixel, 1), tiff_number(page, Base.SampleFormat, 1)
    bits = page.get(Base.BitsPerSample) or (1,)
    deep, known = max(bits) > 8, {*bits} in ({1}, {2}, {4}, {8}, {16})
    tile = tiff_number(page, Base.TileWidth) * tiff_number(page, Base.TileLength)
    size = tiff_number(page, Base.ImageWidth) * tiff_number(page, Base.ImageLength)
    small_one = Base.SubIFDs in page and tiff_number(page, Base.NewSubfileType) & 1  # the large one stands below it
    in_planes = samples > 1 and tiff_number(page, Base.PlanarConfiguration, 1) == 2
    plain = (colours, samples) in ((1, 1), (2, 3)) and Base.ExtraSamples not in page and not in_planes
    hdr = form == 3 or colours in (32844, 32845)
    low_palette = colours == 3 and max(page.get(Base.ColorMap, (256,))) < 256  # as some old programs write
    for refused, what, hint in (
        (small_one or Base.DNGVersion in page or colours in (32803, 34892), "a camera's raw file", "develop it first"),
        (compression not in COMPRESSION_INFO, f"a TIFF of compression {compression}, not read", _AS_PNG),
        (tile > size + _TILE_PIXELS, "a TIFF in tiles much larger than its picture", _AS_PNG),
        (hdr, "HDR (floating point or LogLuv); only 8 and 16 bits are taken", "save it with 16 bits"),
        (low_palette, "a TIFF whose palette has 8 bits, not 16", _AS_PNG),
        (not known, f"of {max(bits)} bits a channel, only 8 and 16 bits are taken", _IN_16),
        (form == 2, "a TIFF of numbers with a sign", "save it with unsigned ones"),
        (deep and not plain, "a TIFF of 16 bits that is not plain grey or RGB (alpha, planes, white as zero)", _AS_PNG),
    ):
        if refused:
            raise InvalidImageError(f"is {what}", hint)
