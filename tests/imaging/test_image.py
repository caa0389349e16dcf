"""Arrays: what is an image, what is a mask, PSNR."""

import io
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restore_sdk.errors import ImageError, MaskError, ShapeError
from restore_sdk.imaging.image import (
    Color,
    as_pixels,
    like_pixels,
    mask_values,
    masked_pixels,
    to_rgb,
)
from restore_sdk.imaging.quality import Drift, psnr
from training.measures import l1, ssim


def as_mask(mask: object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    return masked_pixels(mask_values(mask, shape))


def as_rgb(image: object, color: Color = "rgb") -> NDArray[np.uint8]:
    return to_rgb(as_pixels(image, color), color)


def test_colour_orders(photo: NDArray[np.uint8]) -> None:
    """Grey is repeated, alpha dropped."""
    assert np.array_equal(as_rgb(photo), photo)
    assert np.array_equal(as_rgb(photo[..., ::-1], "bgr"), photo)
    assert as_rgb(photo) is not photo
    assert as_rgb(photo[..., ::-1]).flags.c_contiguous
    grey = photo[..., 0]
    assert np.array_equal(as_rgb(grey), np.dstack([grey] * 3))
    assert np.array_equal(as_rgb(grey[..., None]), np.dstack([grey] * 3))
    assert np.array_equal(as_rgb(np.dstack((photo, grey))), photo)
    assert np.array_equal(as_rgb(np.dstack((photo[..., ::-1], grey)), "bgr"), photo)
    with pytest.raises(ImageError, match="gbr"):
        as_pixels(photo, "gbr")  # type: ignore[arg-type]


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4)])
def test_like_pixels_is_the_inverse(shape: tuple[int, ...], color: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(like_pixels(as_rgb(pixels, color), pixels, color), pixels)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_pil_images(mode: str, photo: NDArray[np.uint8]) -> None:
    image = Image.fromarray(photo).convert(mode)
    assert np.array_equal(as_pixels(image), np.asarray(image))
    with pytest.raises(ImageError, match="BGR"):
        as_pixels(image, "bgr")


def test_masks(mask: NDArray[np.uint8]) -> None:
    masked = mask > 127
    for form in (mask, masked, mask[..., None], Image.fromarray(mask), Image.fromarray(mask).convert("1")):
        assert np.array_equal(as_mask(form, (256, 256)), masked)
    assert as_mask(masked, (256, 256)) is not masked
    threshold = np.array([[0, 127, 128, 255]], np.uint8)
    assert as_mask(threshold, (1, 4)).tolist() == [[False, False, True, True]]
    for dtype in (np.uint8, bool):
        empty = as_mask(np.zeros((3, 4), dtype), (3, 4))
        assert (empty.shape, empty.any()) == ((3, 4), False)


@pytest.mark.parametrize("suffix", ["jpeg", "png"])
def test_pil_images_of_damaged_files(photo: NDArray[np.uint8], suffix: str) -> None:
    data = io.BytesIO()
    Image.fromarray(photo[..., 0]).save(data, suffix)
    half = data.getvalue()[: len(data.getvalue()) // 2]
    with pytest.raises(ImageError, match="cannot be decoded"):
        as_pixels(Image.open(io.BytesIO(half)))
    with pytest.raises(MaskError, match="cannot be decoded"):
        as_mask(Image.open(io.BytesIO(half)), (256, 256))


metrics = pytest.importorskip("skimage.metrics")


@pytest.mark.parametrize("shape", [(64, 64), (7, 7, 3), (9, 200, 4)])
def test_psnr_is_that_of_skimage(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    first = rng.integers(0, 256, shape, dtype=np.uint8)
    second = np.clip(first + rng.normal(0, 20, shape), 0, 255).astype(np.uint8)
    assert psnr(first, second) == pytest.approx(metrics.peak_signal_noise_ratio(first, second), abs=1e-4)


def test_known_values() -> None:
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    assert psnr(black, white) == 0
    assert psnr(white, white) == math.inf
    assert l1(black, white) == 1
    assert l1(white, black) == 1  # no wrap-around in uint8
    assert ssim(white, white) == 1
    one_off = black.copy()
    one_off[0, 0, 0] = 51
    assert l1(black, one_off) == pytest.approx(0.2 / black.size)
    assert psnr(black, one_off) == pytest.approx(10 * math.log10(255**2 * black.size / 51**2))


def test_drift_is_pooled_over_all_pictures() -> None:
    """A picture without error counts as one without error; a mean of dB would be infinite."""
    reference = np.full((3, 8, 8), 100, np.uint8)
    result = reference.copy()
    result[1] += 1
    result[2] += 10
    together, apart = Drift().add(reference, result), Drift()
    for one, other in zip(reference, result, strict=True):
        apart.add(one[None], other[None])
    for drift in (together, apart):
        assert drift.pooled_db == pytest.approx(psnr(reference, result))
        assert drift.worst_db == pytest.approx(psnr(reference[2], result[2]))
        assert (drift.pictures, drift.worst_picture) == (3, 2)
        assert drift.within(32.8, 28.1)
        assert not drift.within(33.0, 28.1)
        assert not drift.within(32.8, 28.2)
        assert str(drift) == "32.9 dB over all pictures, 28.1 dB in the worst (number 2)"
    equal = Drift().add(reference, reference)
    assert equal.to_json() == {"pooled_db": None, "worst_db": None, "worst_picture": 0}
    assert str(equal) == "equal"
    assert equal.within(60, 60)


@pytest.mark.parametrize("measure", [psnr, Drift().add])
def test_arrays_that_cannot_be_compared(measure: object) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    for pair in ((image, image[:7]), (image, image.astype(np.float32)), (image[:0], image[:0])):
        with pytest.raises(ShapeError):
            measure(*pair)  # type: ignore[operator]
