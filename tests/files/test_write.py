"""A photograph is written as it was, never over an input; and masks from the photograph itself."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from restore_sdk.errors import ImageError, InputError, OutputError
from restore_sdk.files import (
    LOSSY_GROWTH,
    LOSSY_TOLERANCE,
    check_output,
    mask_of_alpha,
    mask_of_color,
    open_photo,
    parse_color,
    read_photo,
    write_image,
)
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


def camera(sampling: str, orientation: int, quality: int = 90, **more: Any) -> bytes:
    """A smooth JPEG of 307 x 202 px."""
    smooth = cv2.GaussianBlur(make_photo(202, 307), (0, 0), 2)
    exif, file = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    if sampling != "grey":
        more["subsampling"] = sampling
    picture = smooth[..., 0] if sampling == "grey" else smooth
    Image.fromarray(picture).save(file, "JPEG", quality=quality, exif=exif, **more)
    return file.getvalue()


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where jpeglib is not installed."""
    monkeypatch.setitem(sys.modules, "jpeglib", None)


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("quality", [30, 90, 100])
@pytest.mark.parametrize(
    ("sampling", "orientation", "progressive"), [("4:4:4", 1, False), ("4:2:2", 3, True), ("4:2:0", 6, False)]
)
def test_a_jpeg_keeps_its_settings(sampling: str, orientation: int, quality: int, progressive: bool) -> None:
    """And how it lies, so that known pixels hardly change, and less than at a higher quality."""
    source = camera(sampling, orientation, quality, progressive=progressive)
    photo = open_photo(source)
    file = photo.encode("b.jpg", photo.pixels)
    before, after = jpeg(source), jpeg(file.data)
    assert after.quantization == before.quantization
    assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before)
    assert bool(after.info.get("progressive")) == progressive
    assert (file.lossless, file.quality) == (False, None)
    drift, finer = (
        cv2.PSNR(open_photo(data).pixels, photo.pixels)
        for data in (file.data, photo.encode("b.jpg", photo.pixels, quality=min(99, quality + 5)).data)
    )
    assert drift > 53
    assert drift > finer + 1 or quality == 100


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0", "grey"])
def test_blocks_of_a_jpeg_without_a_new_pixel_keep_every_bit(sampling: str, orientation: int) -> None:
    pytest.importorskip("jpeglib")
    photo = open_photo(camera(sampling, orientation))
    pixels, new = photo.pixels.copy(), np.zeros(photo.pixels.shape[:2], np.uint8)
    new[70:90, 100:130] = new[-1, -1] = 1
    pixels[new > 0] = 200
    file = photo.encode("b.jpg", pixels)
    again = open_photo(file.data)
    assert (again.jpeg, again.orientation, file.notes) == (photo.jpeg, photo.orientation, ())
    beside = cv2.dilate(new, np.ones((35, 35))) > 0  # a block of 16 px, and one more by the smoothing of its chroma
    assert np.array_equal(again.pixels[~beside], photo.pixels[~beside])
    assert np.abs(again.pixels.astype(int) - pixels)[new > 0].mean() < 8
    assert cv2.PSNR(again.pixels, pixels) > 34
    assert np.array_equal(open_photo(photo.encode("b.jpg", photo.pixels).data).pixels, photo.pixels)


def test_a_jpeg_whose_blocks_cannot_be_kept_says_so() -> None:
    pytest.importorskip("jpeglib")
    settings = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x121111]  # 4:4:0
    anew = "all of the JPEG was encoded anew: its colours, sampling or tables are not ones that are written"
    for source, notes in (
        (camera("4:2:0", 1, progressive=True), ["it was progressive and is not any more"]),
        (camera("4:4:4", 1, keep_rgb=True), [anew]),
        (
            bytes(cv2.imencode(".jpg", make_photo(64, 64), settings)[1]),
            ["its chroma sampling is not one that is written: it became 4:4:4", anew],
        ),
    ):
        photo = open_photo(source)
        assert list(photo.encode("b.jpg", photo.pixels).notes) == notes


def test_tables_that_are_nobody_s_are_kept_and_grey_stays_grey(tmp_path: Path) -> None:
    tables = [[value] * 64 for value in (7, 99)]
    Image.fromarray(make_photo(64, 64)).save(tmp_path / "a.jpg", qtables=tables)
    photo = open_photo(tmp_path / "a.jpg")
    file = photo.encode("c.jpg", photo.pixels)
    assert [list(table) for table in jpeg(file.data).quantization.values()] == tables
    Image.fromarray(make_photo(64, 64)[..., 0]).save(tmp_path / "a.jpg", quality=80)
    photo = open_photo(tmp_path / "a.jpg")
    file = photo.encode("b.jpg", photo.pixels)
    assert jpeg(file.data).mode == "L"


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


MAGENTA = (255, 0, 255)


def marked(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = photo.copy()
    picture[mask > 0] = MAGENTA
    return picture


def test_colours() -> None:
    assert parse_color("#ff00ff") == parse_color("F0F") == MAGENTA
    assert parse_color("#012345") == (1, 0x23, 0x45)
    for text in ("", "#", "magenta", "#ff00f", "#ff00ffff", "#gg0000", "# f0f", "\uff10\uff10\uff10"):
        with pytest.raises(InputError, match="no colour"):
            parse_color(text)


def test_what_is_painted_over(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    picture = marked(photo, mask)
    for form, order in ((picture, "rgb"), (picture[..., ::-1], "bgr"), (np.dstack((picture, mask)), "rgb")):
        for colour in (MAGENTA, "#ff00ff"):
            assert np.array_equal(mask_of_color(form, colour, color=order), mask > 0)  # type: ignore[arg-type]
    picture[mask > 0] = (245, 10, 250)
    assert not mask_of_color(picture, MAGENTA, tolerance=9).any()
    assert np.array_equal(mask_of_color(picture, MAGENTA, tolerance=10), mask > 0)
    grown = mask_of_color(picture, MAGENTA, tolerance=10, growth=3)
    assert grown[57:60, 120].all()
    assert not grown[56, 120]
    for colour in ((300, -7, 0), (255, 0), (70000, 0, 0), (0.5, 0, 0)):
        with pytest.raises(InputError, match="is no colour"):
            mask_of_color(picture, colour)  # type: ignore[arg-type]
    for wrong in ({"tolerance": -1}, {"tolerance": 256}, {"growth": -1}):
        with pytest.raises(InputError, match="0 to 255"):
            mask_of_color(picture, MAGENTA, **wrong)


def test_grey(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    grey = np.minimum(photo[..., 0], 254)
    grey[mask > 0] = 255
    assert np.array_equal(mask_of_color(grey, "#ffffff"), mask > 0)
    with pytest.raises(ImageError, match="grey"):
        mask_of_color(grey, MAGENTA)


@pytest.mark.parametrize("quality", [75, 95])
def test_after_jpeg_the_defaults_find_the_mark_and_what_it_bled_into(
    photo: NDArray[np.uint8], mask: NDArray[np.uint8], quality: int
) -> None:
    def stored(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    clean, dirty = stored(photo), stored(marked(photo, mask))
    found = mask_of_color(dirty, MAGENTA, tolerance=LOSSY_TOLERANCE, growth=LOSSY_GROWTH)
    assert (found | (mask == 0)).all()
    bled = (np.abs(dirty.astype(int) - clean).max(axis=2) > 16) & (mask == 0)
    assert (bled & ~found).sum() < 0.25 * bled.sum()
    assert (found & (mask == 0)).sum() < 0.6 * (mask > 0).sum()


def test_what_is_erased(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    alpha = 255 - mask
    alpha[0, 0] = 254  # a soft brush
    found = mask_of_alpha(np.dstack((photo, alpha)))
    assert np.array_equal(found, alpha < 255)
    assert np.array_equal(found, mask_of_alpha(Image.fromarray(np.dstack((photo, alpha)))))
    with pytest.raises(ImageError, match="no alpha"):
        mask_of_alpha(photo)
