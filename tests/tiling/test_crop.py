import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from restore_sdk.errors import MaskError
from restore_sdk.tiling.crop import Crop, blend, cut, paste, paste_edges
from restore_sdk.tiling.plan import plan
from tests.conftest import make_photo
from tests.tiling.holes import hole_in, holes


def only_crop(hole: NDArray[np.bool_]) -> Crop:
    (tile,) = plan(hole, 1).tiles
    return tile.crop


@settings(max_examples=60, deadline=None)
@given(holes(), st.integers(0, 1000))
def test_nothing_under_the_hole_reaches_a_known_pixel_of_the_square(hole: NDArray[np.bool_], seed: int) -> None:
    crop = only_crop(hole)
    photo = make_photo(*hole.shape, seed)
    other = photo.copy()
    other[hole] = np.random.default_rng(seed).integers(0, 256, (int(hole.sum()), 3))
    try:
        first, missing = cut(photo, hole[crop.box], crop)
    except MaskError:
        return
    second, _ = cut(other, hole[crop.box], crop)
    assert first.shape == (256, 256, 3)
    assert missing.shape == (256, 256)
    # Scaled down, a hole may be thinner than half a pixel of the square; two pixels of it hold one that is all hole.
    rows, columns = (np.count_nonzero(hole.any(axis=axis)) for axis in (1, 0))
    down = crop.inner_height < crop.height or crop.inner_width < crop.width
    if not down or min(rows * crop.inner_height / crop.height, columns * crop.inner_width / crop.width) >= 2:
        assert missing.any()
    assert first.flags.c_contiguous
    assert missing.flags.c_contiguous
    assert np.array_equal(first[~missing], second[~missing])


@settings(max_examples=60, deadline=None)
@given(holes(), st.sampled_from([(), (1,), (3,), (4,)]), st.sampled_from(["rgb", "bgr"]))
def test_paste_changes_the_hole_alone(hole: NDArray[np.bool_], channels: tuple[int, ...], color: str) -> None:
    crop = only_crop(hole)
    picture = np.full((*hole.shape, *channels), 7, np.uint8)
    paste(picture, hole[crop.box], crop, np.full((256, 256, 3), 200, np.uint8), color)  # type: ignore[arg-type]
    expected = np.full_like(picture, 7)
    expected[hole] = 200
    if channels == (4,):
        expected[..., 3] = 7
    assert np.array_equal(picture, expected)


def test_colours_keep_their_place(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    hole = mask > 127
    crop = only_crop(hole)
    red = np.zeros((256, 256, 3), np.uint8)
    red[..., 0] = 255
    for color, place in (("rgb", 0), ("bgr", 2)):
        picture = photo.copy()
        paste(picture, hole[crop.box], crop, red, color)  # type: ignore[arg-type]
        assert (picture[hole][:, place] == 255).all()
        assert (np.delete(picture[hole], place, axis=1) == 0).all()


@pytest.mark.parametrize("size", [(256, 256), (90, 60), (512, 512), (1000, 300), (1, 9000)])
def test_a_known_square_comes_back_where_it_was(size: tuple[int, int]) -> None:
    photo = make_photo(*size)
    hole = np.zeros(size, bool)
    hole[size[0] // 3 : size[0] // 3 + max(1, size[0] // 4), size[1] // 4 : size[1] // 2] = True
    crop = only_crop(hole)
    square, _ = cut(photo, np.zeros_like(hole)[crop.box], crop)
    again = photo.copy()
    paste(again, hole[crop.box], crop, square)
    assert np.array_equal(again[~hole], photo[~hole])
    assert np.abs(again.astype(int) - photo)[hole].mean() < 12  # the noise is lost in scaling, nothing else


def test_a_picture_of_extreme_shape_costs_no_more_than_itself() -> None:
    hole = np.zeros((1, 200_000), bool)
    hole[0, 5000:-5000] = True
    crop = only_crop(hole)
    square, missing = cut(
        np.zeros((1, 200_000, 3), np.uint8), hole[crop.box], crop
    )  # the square itself would take 120 GB
    assert square.shape == (256, 256, 3)
    assert missing.any()


def test_dust_is_swept_away_by_scaling_down() -> None:
    photo, hole = make_photo(1024, 1024), np.zeros((1024, 1024), bool)
    hole[::4, ::4] = True
    crop = only_crop(hole)
    damaged = photo.copy()
    damaged[hole] = 255
    square, missing = cut(damaged, hole[crop.box], crop)
    clean, _ = cut(photo, np.zeros_like(hole), crop)
    assert not missing.any()
    assert np.abs(square.astype(int) - clean).max() <= 2  # the mean of 15 noisy pixels of 16


def test_a_mask_that_leaves_too_little_known_is_refused() -> None:
    hole = np.ones((1024, 1024), bool)
    hole[::4, ::4] = False
    crop = only_crop(hole)
    with pytest.raises(MaskError, match="no known pixel"):
        cut(make_photo(1024, 1024), hole[crop.box], crop)


def test_a_share_of_the_new_pixels() -> None:
    picture, crop = np.full((256, 256, 4), 100, np.uint8), Crop(0, 0, 256, 256)
    hole = hole_in(256, 256, 10, 10, 20, 20)
    places = np.nonzero(hole)
    blend(picture, places, np.full(400, 0.25, np.float32), crop, np.full((256, 256, 3), 200, np.uint8))
    assert (picture[hole] == (125, 125, 125, 100)).all()
    assert (picture[~hole] == 100).all()


def test_edges_in_the_photograph_s_frame() -> None:
    hole = hole_in(600, 500, 300, 200, 20, 30)
    crop = only_crop(hole)
    frame = np.zeros((600, 500), np.uint8)
    paste_edges(frame, crop, np.full((256, 256), 9, np.uint8))
    assert (frame[crop.box] == 9).all()
    assert np.count_nonzero(frame) == 256 * 256
