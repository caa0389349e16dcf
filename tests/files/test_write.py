"""A photograph is written as it was: depth, JPEG settings, compression; never over an input."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from restore_sdk.errors import OutputError
from restore_sdk.files import check_output, open_photo, read_photo, write_image
from tests.conftest import make_photo
from tests.files.conftest import opened

LOSSLESS = [".png", ".webp", ".bmp", ".tiff", ".tif"]
ALPHA = np.dstack((make_photo(50, 70), make_photo(50, 70)[..., 0]))


def deep(height: int = 50, width: int = 70) -> NDArray[np.uint16]:
    """A picture that uses all of its 16 bits."""
    rng = np.random.default_rng(0)
    return make_photo(height, width).astype(np.uint16) * 257 + rng.integers(0, 100, (height, width, 3), np.uint16)


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("form", ["grey", "colour", "alpha"])
def test_round_trip(tmp_path: Path, suffix: str, form: str) -> None:
    picture = {"grey": ALPHA[..., 0], "colour": ALPHA[..., :3], "alpha": ALPHA}[form]
    if form == "alpha" and suffix == ".bmp":
        with pytest.raises(OutputError, match=r"alpha.*\.png"):
            write_image(tmp_path / "a.bmp", picture)
        return
    write_image(tmp_path / f"a{suffix}", picture)
    back = read_photo(tmp_path / f"a{suffix}")
    if suffix == ".webp" and form == "grey":  # WebP has no grey
        back = back[..., 0]
    assert np.array_equal(back, picture)  # colours of transparent pixels, too
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_what_a_format_cannot_keep_is_refused(tmp_path: Path) -> None:
    for name, picture, message in (
        ("a.jpg", ALPHA, "alpha"),
        ("a.webp", deep(), "16 bits"),
        ("a.jpg", deep(), "16 bits"),
        ("a.bmp", deep(), "16 bits"),
        ("a.tif", np.dstack((deep(), deep()[..., 0])), "alpha"),
        ("a.webp", np.zeros((1, 20_000, 3), np.uint8), "cannot encode"),
    ):
        with pytest.raises(OutputError, match=rf"{message}.*\.png"):
            write_image(tmp_path / name, picture)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "form"), [("png", "colour"), ("png", "grey"), ("png", "alpha"), ("tiff", "colour"), ("tiff", "grey")]
)
def test_sixteen_bits_stay(tmp_path: Path, suffix: str, form: str) -> None:
    alpha = np.dstack((deep(), np.full((50, 70), 40_000, np.uint16)))
    pixels = {"colour": deep(), "grey": deep()[..., 0], "alpha": alpha}[form]
    write_image(tmp_path / f"a.{suffix}", pixels)
    photo = open_photo(tmp_path / f"a.{suffix}")
    assert np.array_equal(photo.pixels, pixels)
    restored = photo.eight.copy()
    masked = (slice(10, 20), slice(15, 40))
    restored[masked] = 255 - restored[masked]
    result = photo.with_restored(restored)
    expected = photo.pixels.copy()
    expected[masked] = restored[masked].astype(np.uint16) * 257
    if form == "alpha":
        expected[..., 3] = 40_000  # which no 8 bits have: alpha is not restored
    assert np.array_equal(result, expected)
    file = photo.encode(f"b.{suffix}", result)
    assert file.lossless
    assert np.array_equal(cv2.imdecode(np.frombuffer(file.data, np.uint8), cv2.IMREAD_UNCHANGED), result)


def test_eight_of_sixteen_bits_are_rounded(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.array([[0, 128, 129, 257, 65_406, 65_407, 65_535]], np.uint16))
    assert open_photo(tmp_path / "a.png").eight.tolist() == [[0, 0, 1, 1, 254, 255, 255]]


def jpeg(data: bytes) -> JpegImagePlugin.JpegImageFile:
    image = opened(data)
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    return image


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("quality", [30, 75, 90, 95, 100])
@pytest.mark.parametrize("sampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_keeps_its_settings(
    tmp_path: Path, orientation: int, quality: int, sampling: int, progressive: bool
) -> None:
    """And how it lies, so that known pixels hardly change, and less than at a higher quality."""
    exif = Image.Exif()
    exif[274] = orientation
    smooth = cv2.GaussianBlur(make_photo(202, 307), (0, 0), 2)
    options = {"quality": quality, "subsampling": sampling, "progressive": progressive, "exif": exif}
    Image.fromarray(smooth).save(tmp_path / "a.jpg", **options)  # type: ignore[arg-type]
    photo = open_photo(tmp_path / "a.jpg")
    file = photo.encode("b.jpg", photo.pixels)
    before, after = jpeg((tmp_path / "a.jpg").read_bytes()), jpeg(file.data)
    assert after.quantization == before.quantization
    assert JpegImagePlugin.get_sampling(after) == sampling
    assert bool(after.info.get("progressive")) == progressive
    assert (file.lossless, file.quality) == (False, quality)
    drift, finer = (
        cv2.PSNR(open_photo(data).pixels, photo.pixels)
        for data in (file.data, photo.encode("b.jpg", photo.pixels, quality=min(99, quality + 5)).data)
    )
    assert drift > 53
    assert drift > finer + 1 or quality == 100


def test_tables_that_are_nobody_s_are_kept_and_grey_stays_grey(tmp_path: Path) -> None:
    tables = [[value] * 64 for value in (7, 99)]
    Image.fromarray(make_photo(64, 64)).save(tmp_path / "a.jpg", qtables=tables)
    photo = open_photo(tmp_path / "a.jpg")
    file = photo.encode("c.jpg", photo.pixels)
    assert [list(table) for table in jpeg(file.data).quantization.values()] == tables
    assert file.quality == 94
    Image.fromarray(make_photo(64, 64)[..., 0]).save(tmp_path / "a.jpg", quality=80)
    photo = open_photo(tmp_path / "a.jpg")
    file = photo.encode("b.jpg", photo.pixels)
    assert (jpeg(file.data).mode, file.quality) == ("L", 80)


def test_quality_where_it_is_asked_for(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", make_photo(64, 64))
    photo = open_photo(tmp_path / "a.png")
    for name, quality, expected in (
        ("b.jpg", None, (False, 95)),
        ("b.jpg", 50, (False, 50)),
        ("b.webp", 80, (False, 80)),
        ("b.webp", None, (True, None)),
    ):
        file = photo.encode(name, photo.pixels, quality)
        assert (file.lossless, file.quality) == expected
        assert open_photo(file.data).lossy != file.lossless
        stored = open_photo(file.data).jpeg
        assert name != "b.jpg" or (stored is not None and stored.quality == expected[1])


@pytest.mark.parametrize("deep_one", [False, True])
@pytest.mark.parametrize(
    ("name", "written"), [(None, 1), ("tiff_lzw", 5), ("tiff_adobe_deflate", 8), ("packbits", 32773), ("jpeg", 5)]
)
def test_a_tiff_keeps_its_compression(tmp_path: Path, name: str | None, written: int, deep_one: bool) -> None:
    Image.fromarray(make_photo(64, 64)).save(tmp_path / "a.tif", compression=name)
    photo = open_photo(tmp_path / "a.tif")
    pixels = deep(64, 64) if deep_one else photo.pixels
    data = photo.encode("b.tif", pixels).data
    assert Image.open(io.BytesIO(data)).tag_v2[259] == written  # type: ignore[attr-defined]
    assert np.array_equal(open_photo(data).pixels, pixels)


def test_outputs_that_are_refused(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    write_image(tmp_path / "a.png", photo)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "a.png")
    for name in ("a.png", "link.png", "hard.png", "../" + tmp_path.name + "/a.png"):
        with pytest.raises(OutputError, match="is the input"):
            check_output(tmp_path / name, tmp_path / "a.png")
    for name in ("b.gif", "b", "b.png.exe", ".png"):
        with pytest.raises(OutputError, match="unknown extension"):
            check_output(tmp_path / name)
    with pytest.raises(OutputError, match="does not exist"):
        check_output(tmp_path / "no" / "b.png")
    check_output(tmp_path / "b.png", tmp_path / "a.png")
    assert not (tmp_path / "b.png").exists()
