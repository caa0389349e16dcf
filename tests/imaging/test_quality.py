import math

import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk.errors import ShapeError
from restore_sdk.imaging.quality import Drift, l1, psnr, ssim

metrics = pytest.importorskip("skimage.metrics")


@pytest.fixture(params=[(40, 50, 3), (64, 64), (7, 7, 3), (9, 200, 4)], ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(3)
    first = rng.integers(0, 256, request.param, dtype=np.uint8)
    second = np.clip(first + rng.normal(0, 20, request.param), 0, 255).astype(np.uint8)
    return first, second


def test_psnr_is_skimage_s(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    assert psnr(*pair) == pytest.approx(metrics.peak_signal_noise_ratio(*pair, data_range=255), abs=1e-4)


def test_ssim_is_skimage_s_default(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    channel_axis = -1 if pair[0].ndim == 3 else None
    expected = metrics.structural_similarity(*pair, channel_axis=channel_axis, data_range=255)
    assert ssim(*pair) == pytest.approx(expected, abs=1e-9)


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


@pytest.mark.parametrize("measure", [psnr, ssim, l1, Drift().add])
def test_arrays_that_cannot_be_compared(measure: object) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ShapeError):
        measure(image, image[:7])  # type: ignore[operator]
    with pytest.raises(ShapeError):
        measure(image, image.astype(np.float32))  # type: ignore[operator]
    with pytest.raises(ShapeError):
        measure(image[:0], image[:0])  # type: ignore[operator]


def test_ssim_needs_a_window() -> None:
    with pytest.raises(ShapeError, match="7 x 7"):
        ssim(np.zeros((6, 9), np.uint8), np.zeros((6, 9), np.uint8))
