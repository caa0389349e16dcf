"""A photograph is written as it was: depth, JPEG settings, compression; and what is not taken is named."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restore_sdk.errors import ImageError, OutputError
from restore_sdk.files.formats.jpeg import read_encoding
from restore_sdk.files.photo import Photo, open_photo
from tests.conftest import make_photo


def deep(height: int = 50, width: int = 70) -> NDArray[np.uint16]:
    """A picture that uses all of its 16 bits."""
    rng = np.random.default_rng(0)
    return make_photo(height, width).astype(np.uint16) * 257 + rng.integers(0, 100, (height, width, 3), np.uint16)


def write(path: Path, pixels: NDArray[np.generic], *options: int) -> Photo:
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())  # type: ignore[call-overload]
    return open_photo(path)


@pytest.mark.parametrize(
    ("suffix", "form"),
    [(".png", "colour"), (".png", "grey"), (".png", "alpha"), (".tiff", "colour"), (".tiff", "grey")],
)
def test_sixteen_bits_stay(tmp_path: Path, suffix: str, form: str) -> None:
    pixels = deep()
    if form == "alpha":
        pixels = np.dstack((pixels, np.full(pixels.shape[:2], 40_000, np.uint16)))
    photo = write(tmp_path / f"a{suffix}", pixels[..., 0] if form == "grey" else pixels)
    restored = photo.eight.copy()
    assert restored.dtype == np.uint8
    hole = (slice(10, 20), slice(15, 40))
    restored[hole] = 255 - restored[hole]
    result = photo.with_restored(restored)
    assert result.dtype == np.uint16
    outside = np.ones(result.shape[:2], bool)
    outside[hole] = False
    assert np.array_equal(result[outside], photo.pixels[outside])
    expected = restored[hole].astype(np.uint16) * 257
    if form == "alpha":
        expected[..., 3] = 40_000  # which no 8 bits have: alpha is not restored
    assert np.array_equal(result[hole], expected)
    file = photo.encode(f"b{suffix}", result)
    assert file.lossless
    assert np.array_equal(cv2.imdecode(np.frombuffer(file.data, np.uint8), cv2.IMREAD_UNCHANGED), result)
    with pytest.raises(OutputError, match="alpha channel" if form == "alpha" else "16 bits"):
        photo.encode("b.jpg", result)


def test_eight_of_sixteen_bits_are_rounded(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 65_406, 65_407, 65_535]], np.uint16)
    assert write(tmp_path / "a.png", values).eight.tolist() == [[0, 0, 1, 1, 254, 255, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_tiffs_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    """OpenCV does that; what is right is EXIF's definition (Pillow's own turning of 16 bits is not always)."""
    grey = np.ascontiguousarray(deep(20, 30)[..., 0])
    Image.fromarray(grey).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    turned = grey.T if orientation >= 5 else grey
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    assert np.array_equal(open_photo(tmp_path / "a.tif").pixels, turned[::rows, ::columns])


@pytest.mark.parametrize("quality", [30, 75, 90, 95])
@pytest.mark.parametrize("sampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_keeps_its_settings(tmp_path: Path, quality: int, sampling: int, progressive: bool) -> None:
    smooth = cv2.GaussianBlur(make_photo(200, 300), (0, 0), 2)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=quality, subsampling=sampling, progressive=progressive)
    photo = open_photo(tmp_path / "a.jpg")
    file = photo.encode("b.jpg", photo.pixels)
    assert read_encoding(file.data) == read_encoding((tmp_path / "a.jpg").read_bytes()) == photo.jpeg
    assert photo.jpeg is not None
    assert photo.jpeg.exact
    assert (file.lossless, file.quality) == (False, quality)
    # Its own tables again: known pixels hardly change, and less than at a higher quality.
    drift, finer = (
        cv2.PSNR(cv2.imdecode(np.frombuffer(data, np.uint8), 1), photo.pixels)  # type: ignore[call-overload]
        for data in (file.data, photo.encode("b.jpg", photo.pixels, quality=min(99, quality + 5)).data)
    )
    assert drift > 53
    assert drift > finer + 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_keeps_the_axis_of_its_colours(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(make_photo(40, 60)).save(tmp_path / "a.jpg", subsampling="4:2:2", exif=exif)
    photo = open_photo(tmp_path / "a.jpg")
    file = read_encoding(photo.encode("b.jpg", photo.pixels).data)
    assert file is not None
    assert file.sampling == ((1, 2) if orientation >= 5 else (2, 1))


def test_tables_that_are_nobody_s(tmp_path: Path) -> None:
    for value, least in ((1, 100), (2, 98), (7, 93)):
        Image.fromarray(make_photo(64, 64)).save(tmp_path / "a.jpg", qtables=[[value] * 64, [value] * 64])
        photo = open_photo(tmp_path / "a.jpg")
        assert photo.jpeg is not None
        assert photo.jpeg.luma >= least
        assert photo.jpeg.exact == (value == 1)  # quality 100 is all ones
    chroma = io.BytesIO()
    Image.fromarray(make_photo(64, 64)).save(chroma, "JPEG", qtables=[[1] * 64, [99] * 64])
    (tmp_path / "b.jpg").write_bytes(chroma.getvalue())
    photo = open_photo(tmp_path / "b.jpg")
    written = read_encoding(photo.encode("c.jpg", photo.pixels).data)
    assert photo.jpeg is not None
    assert written is not None
    assert (written.luma, written.chroma) == (photo.jpeg.luma, photo.jpeg.chroma)
    assert written.chroma < 60 < written.luma


def test_a_grey_jpeg_stays_grey(tmp_path: Path) -> None:
    Image.fromarray(make_photo(64, 64)[..., 0]).save(tmp_path / "a.jpg", quality=80)
    photo = open_photo(tmp_path / "a.jpg")
    file = photo.encode("b.jpg", photo.pixels)
    with Image.open(io.BytesIO(file.data)) as image:
        assert (image.mode, file.quality) == ("L", 80)


def test_quality_where_it_is_asked_for(tmp_path: Path) -> None:
    photo = write(tmp_path / "a.png", make_photo(64, 64))
    assert photo.encode("b.jpg", photo.pixels).quality == 95
    assert photo.encode("b.jpg", photo.pixels, quality=50).quality == 50
    webp = photo.encode("b.webp", photo.pixels, quality=80)
    assert (webp.lossless, webp.quality) == (False, 80)
    assert b"VP8 " in webp.data
    webp = photo.encode("b.webp", photo.pixels)
    assert (webp.lossless, webp.quality) == (True, None)
    assert np.array_equal(cv2.imdecode(np.frombuffer(webp.data, np.uint8), 1), photo.pixels)


@pytest.mark.parametrize(("compression", "written"), [(1, 1), (5, 5), (8, 8), (32773, 32773), (7, 5)])
def test_a_tiff_keeps_its_compression(tmp_path: Path, compression: int, written: int) -> None:
    names = {1: None, 5: "tiff_lzw", 8: "tiff_adobe_deflate", 32773: "packbits", 7: "jpeg"}
    Image.fromarray(make_photo(64, 64)).save(tmp_path / "a.tif", compression=names[compression])
    photo = open_photo(tmp_path / "a.tif")
    with Image.open(io.BytesIO(photo.encode("b.tif", photo.pixels).data)) as image:
        assert image.tag_v2[259] == written  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(image)[..., ::-1], photo.pixels)


class TestRefused:
    """With what it is and what to do."""

    def refused(self, path: Path, message: str) -> None:
        with pytest.raises(ImageError, match=message) as caught:
            open_photo(path)
        assert caught.value.hint

    def test_cmyk(self, tmp_path: Path) -> None:
        for suffix in (".jpg", ".tif"):
            Image.fromarray(make_photo(20, 20)).convert("CMYK").save(tmp_path / f"a{suffix}")
            self.refused(tmp_path / f"a{suffix}", "CMYK")

    def test_pages(self, tmp_path: Path) -> None:
        page = Image.fromarray(make_photo(20, 20))
        page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
        self.refused(tmp_path / "a.tif", "several pages")

    def test_a_small_version_is_no_page(self, tmp_path: Path) -> None:
        page = Image.fromarray(make_photo(20, 20))
        small = page.resize((5, 5))
        small.encoderinfo = {"tiffinfo": {254: 1}}
        page.save(tmp_path / "a.tif", save_all=True, append_images=[small])
        with Image.open(tmp_path / "a.tif") as image:
            image.seek(1)
            assert image.tag_v2.get(254) == 1  # type: ignore[attr-defined]
        assert open_photo(tmp_path / "a.tif").pixels.shape == (20, 20, 3)

    def test_lab(self, tmp_path: Path) -> None:
        from PIL import ImageCms

        lab = ImageCms.profileToProfile(
            Image.fromarray(make_photo(20, 20)),
            ImageCms.createProfile("sRGB"),
            ImageCms.createProfile("LAB"),
            outputMode="LAB",
        )
        assert lab is not None
        lab.save(tmp_path / "a.tif")
        self.refused(tmp_path / "a.tif", "colours other than")

    def test_hdr(self, tmp_path: Path) -> None:
        write(tmp_path / "a.png", deep())
        data = (tmp_path / "a.png").read_bytes()
        for transfer, hdr in ((13, False), (16, True), (18, True)):
            chunk = b"\0\0\0\4cICP" + bytes((9, transfer, 0, 1)) + b"\0\0\0\0"
            (tmp_path / "b.png").write_bytes(data[:33] + chunk + data[33:])
            if hdr:
                self.refused(tmp_path / "b.png", "HDR")
        (tmp_path / "c.tif").write_bytes(cv2.imencode(".tiff", deep().astype(np.float32) / 65_535)[1].tobytes())
        self.refused(tmp_path / "c.tif", "floating-point|is HDR")  # older OpenCV writes LogLuv

    def test_twelve_bits(self, tmp_path: Path) -> None:
        Image.fromarray(make_photo(20, 20)).save(tmp_path / "a.jpg")
        data = bytearray((tmp_path / "a.jpg").read_bytes())
        data[data.index(b"\xff\xc0") + 4] = 12
        (tmp_path / "a.jpg").write_bytes(data)
        self.refused(tmp_path / "a.jpg", "more than 8 bits")

    def test_raw(self, tmp_path: Path) -> None:
        Image.fromarray(make_photo(20, 20)).save(tmp_path / "a.tif", tiffinfo={50706: b"\1\4\0\0"})
        self.refused(tmp_path / "a.tif", "raw")

    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (b"GIF89a" + bytes(20), "a GIF"),
            (bytes(4) + b"ftypheic" + bytes(20), "a HEIC"),
            (bytes(4) + b"ftypavif" + bytes(20), "an AVIF"),
            (bytes(4) + b"ftypisom" + bytes(20), "a video"),
            (b"8BPS" + bytes(20), "a Photoshop file"),
            (b"#?RADIANCE\n", "a Radiance picture, which is HDR"),
            (b"v/1\x01" + bytes(20), "an OpenEXR, which is HDR"),
            (b"\n <!DOCTYPE html>", "a web page"),
            (b"<?xml version", "an SVG or XML"),
            (b"%PDF-1.7", "a PDF"),
        ],
    )
    def test_other_formats_are_named(self, tmp_path: Path, data: bytes, name: str) -> None:
        (tmp_path / "a.png").write_bytes(data)
        self.refused(tmp_path / "a.png", f"no image of a known format, but {name}")
