"""Large and much damaged photographs: what no number of crops, threads or batches may change."""

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from restore_sdk import RestoreEngine
from restore_sdk.errors import InputError, MaskError
from tests.conftest import make_photo
from tests.tiling.masks import scratched

common = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@common
@given(
    scratched(),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from([1, 5, 64]),
)
def test_outside_the_mask_every_byte_stays(
    engine: RestoreEngine,
    masked: NDArray[np.bool_],
    channels: tuple[int, ...],
    seed: int,
    dilate: int,
    feather: int,
    most: int,
) -> None:
    photo = np.random.default_rng(seed).integers(0, 256, (*masked.shape, *channels), dtype=np.uint8)
    known = ~masked
    if dilate:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilate + 1, 2 * dilate + 1))
        grown = cv2.distanceTransform(known.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= dilate
        assert np.count_nonzero(grown ^ (cv2.dilate(masked.view(np.uint8), disc) > 0)) < grown.size / 4
        known = ~grown
    before = photo.copy(), masked.copy()
    restored = engine(photo, masked, dilate=dilate, feather=feather, max_crops=most)
    assert np.array_equal(photo, before[0])
    assert np.array_equal(masked, before[1])
    assert not np.shares_memory(restored, photo)
    assert restored.shape == photo.shape
    assert restored.dtype == np.uint8
    assert restored.flags.c_contiguous
    assert restored.flags.owndata
    assert np.array_equal(restored[known], photo[known])
    if channels == (4,):
        assert np.array_equal(restored[..., 3], photo[..., 3])


@common
@given(scratched(), st.integers(0, 20), st.sampled_from([3, 64]))
def test_what_stands_in_the_mask_is_never_seen(
    engine: RestoreEngine, masked: NDArray[np.bool_], dilate: int, most: int
) -> None:
    photo = make_photo(*masked.shape)
    other = photo.copy()
    other[masked] = 255 - other[masked]
    first, second = (engine(picture, masked, dilate=dilate, max_crops=most) for picture in (photo, other))
    assert np.array_equal(first, second)


def test_crops_run_into_each_other_without_a_seam(engine: RestoreEngine) -> None:
    """The toy model fills a mask with the mean of its crop, so a seam would be a step between two crops' means."""
    photo = np.zeros((600, 2000, 3), np.uint8)
    photo[:] = np.linspace(0, 250, 2000, dtype=np.float32).astype(np.uint8)[None, :, None]
    masked = np.zeros((600, 2000), bool)
    masked[300:306] = True
    result = engine.run(photo, masked)
    assert len(result.crops) > 8
    line = result.image[303, :, 0].astype(int)
    assert np.ptp(line) > 150  # it follows the photograph
    assert np.abs(np.diff(line)).max() <= 4  # 22 grey levels a crop, over ramps of 32 px


def test_levels_run_into_each_other_without_a_seam(engine: RestoreEngine) -> None:
    photo = np.full((1000, 1000, 3), 40, np.uint8)
    photo[480:520] = 90  # the close surroundings of the scratch
    masked = np.zeros((1000, 1000), np.uint8)
    cv2.line(masked, (0, 500), (999, 500), 1, 5)
    cv2.circle(masked, (500, 500), 90, 1, -1)
    result = engine.run(photo, masked > 0)
    assert {crop.width for crop in result.crops} >= {256}
    assert max(crop.width for crop in result.crops) > 600
    assert np.abs(np.diff(result.image[500, :, 0].astype(int))).max() <= 4


def test_dilate_reaches_over_a_rim_that_the_mask_missed(engine: RestoreEngine) -> None:
    photo = np.full((400, 500, 3), 60, np.uint8)
    photo[100:140, 100:160] = 255
    mask = np.zeros((400, 500), np.uint8)
    mask[104:136, 104:156] = 255
    assert (engine(photo, mask)[101, 101:150] == 255).all()
    assert engine(photo, mask, dilate=6).max() < 200  # the toy model cannot return the photograph's 255


def test_feather_blends_inside_only(engine: RestoreEngine) -> None:
    photo = np.full((400, 500, 3), 60, np.uint8)
    photo[200:] = 160
    mask = np.zeros((400, 500), np.uint8)
    mask[100:160, 100:200] = 255
    hard, soft = engine(photo, mask), engine(photo, mask, feather=9)
    fill = int(hard[130, 150, 0])
    assert fill != 60
    assert np.array_equal(soft[mask < 128], photo[mask < 128])
    assert np.array_equal(soft[112:148, 112:188], hard[112:148, 112:188])
    ramp = soft[130, 99:112, 0].astype(float)
    assert ramp == pytest.approx(60 + (fill - 60) * np.clip(np.arange(13) / 10, 0, 1), abs=0.51)


def test_bad_arguments(engine: RestoreEngine) -> None:
    photo, mask = np.zeros((40, 50, 3), np.uint8), np.zeros((40, 50), np.uint8)
    mask[3, 3] = 255
    for name in ("dilate", "feather", "max_crops"):
        for value in (-1, 1.5, True, "2", 10**9):
            with pytest.raises(InputError, match=name):
                engine(photo, mask, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="detail is 'more'"):
        engine(photo, mask, detail="more")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="max_crops is 0"):
        engine.stream([], max_crops=0)
    with pytest.raises(MaskError, match="dilated by 200 px"):
        engine(photo, mask, dilate=200)
    empty = np.zeros_like(mask)
    assert np.array_equal(engine(photo, empty, dilate=9, feather=9), photo)
