import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from restore_sdk.crop import Crop, cut, paste, paste_edges, plan_crops
from restore_sdk.errors import MaskError
from tests.conftest import make_photo


def hole_in(height: int, width: int, y: int, x: int, rows: int, columns: int) -> NDArray[np.bool_]:
    hole = np.zeros((height, width), bool)
    hole[y : y + rows, x : x + columns] = True
    return hole


def test_no_hole_no_crop() -> None:
    assert plan_crops(np.zeros((300, 200), bool)) == []


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (255, 255, 1, 1), (100, 90, 50, 60), (0, 0, 256, 255), (10, 0, 3, 256)])
def test_an_aligned_256_photo_is_taken_as_it_is(box: tuple[int, int, int, int]) -> None:
    assert plan_crops(hole_in(256, 256, *box)) == [Crop(0, 0, 256, 256)]


def test_a_small_hole_is_seen_at_the_picture_s_resolution_and_centred() -> None:
    (crop,) = plan_crops(hole_in(2000, 3000, 1000, 1500, 40, 60))
    assert crop == Crop(1020 - 128, 1530 - 128, 256, 256)
    assert not crop.resized
    assert not crop.padded


def test_a_hole_at_the_border_shifts_the_square_inside() -> None:
    (crop,) = plan_crops(hole_in(600, 500, 590, 0, 10, 10))
    assert crop == Crop(344, 0, 256, 256)


def test_a_large_hole_gets_context() -> None:
    (crop,) = plan_crops(hole_in(2000, 3000, 500, 500, 400, 300))
    assert (crop.height, crop.width) == (700, 700)
    assert crop.resized
    assert not crop.padded


def test_a_hole_that_leaves_little_context_takes_the_whole_width() -> None:
    (crop,) = plan_crops(hole_in(800, 1000, 100, 100, 600, 600))
    assert (crop.height, crop.width) == (800, 800)


def test_a_hole_as_wide_as_the_picture_reaches_out_of_it() -> None:
    (crop,) = plan_crops(hole_in(1000, 4000, 0, 1000, 1000, 1000))
    assert (crop.height, crop.width) == (1000, 1750)
    assert crop.padded
    assert crop.inner_width == 256


@st.composite
def holes(draw: st.DrawFn) -> NDArray[np.bool_]:
    height, width = draw(st.integers(1, 700)), draw(st.integers(1, 700))
    y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    rows, columns = draw(st.integers(1, height - y)), draw(st.integers(1, width - x))
    return hole_in(height, width, y, x, rows, columns)


@settings(max_examples=300, deadline=None)
@given(holes())
def test_the_crop_covers_the_hole_and_fits(hole: NDArray[np.bool_]) -> None:
    (crop,) = plan_crops(hole)
    outside = hole.copy()
    outside[crop.box] = False
    assert not outside.any()
    assert 0 <= crop.y <= crop.y + crop.height <= hole.shape[0]
    assert 0 <= crop.x <= crop.x + crop.width <= hole.shape[1]
    assert 0 <= crop.top <= crop.top + crop.inner_height <= 256
    assert 0 <= crop.left <= crop.left + crop.inner_width <= 256
    assert min(crop.inner_height, crop.inner_width) >= 1


@settings(max_examples=60, deadline=None)
@given(holes(), st.integers(0, 1000))
def test_nothing_under_the_hole_reaches_a_known_pixel_of_the_square(hole: NDArray[np.bool_], seed: int) -> None:
    (crop,) = plan_crops(hole)
    photo = make_photo(*hole.shape, seed)
    other = photo.copy()
    other[hole] = np.random.default_rng(seed).integers(0, 256, (int(hole.sum()), 3))
    try:
        first, missing = cut(photo, hole, crop)
    except MaskError:
        return
    second, _ = cut(other, hole, crop)
    assert first.shape == (256, 256, 3)
    assert missing.shape == (256, 256)
    assert missing.any()
    assert first.flags.c_contiguous
    assert missing.flags.c_contiguous
    assert np.array_equal(first[~missing], second[~missing])


@settings(max_examples=60, deadline=None)
@given(holes(), st.sampled_from([(), (1,), (3,), (4,)]), st.sampled_from(["rgb", "bgr"]))
def test_paste_changes_the_hole_alone(hole: NDArray[np.bool_], channels: tuple[int, ...], color: str) -> None:
    (crop,) = plan_crops(hole)
    picture = np.full((*hole.shape, *channels), 7, np.uint8)
    paste(picture, hole, crop, np.full((256, 256, 3), 200, np.uint8), color)  # type: ignore[arg-type]
    expected = np.full_like(picture, 7)
    expected[hole] = 200
    if channels == (4,):
        expected[..., 3] = 7
    assert np.array_equal(picture, expected)


def test_colours_keep_their_place(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    hole = mask > 127
    (crop,) = plan_crops(hole)
    red = np.zeros((256, 256, 3), np.uint8)
    red[..., 0] = 255
    for color, place in (("rgb", 0), ("bgr", 2)):
        picture = photo.copy()
        paste(picture, hole, crop, red, color)  # type: ignore[arg-type]
        assert (picture[hole][:, place] == 255).all()
        assert (np.delete(picture[hole], place, axis=1) == 0).all()


@pytest.mark.parametrize("size", [(256, 256), (90, 60), (512, 512), (1000, 300), (1, 9000)])
def test_a_known_square_comes_back_where_it_was(size: tuple[int, int]) -> None:
    photo = make_photo(*size)
    hole = np.zeros(size, bool)
    hole[size[0] // 3 : size[0] // 3 + max(1, size[0] // 4), size[1] // 4 : size[1] // 2] = True
    (crop,) = plan_crops(hole)
    square, _ = cut(photo, hole, crop)
    again = photo.copy()
    paste(again, hole, crop, square)
    assert np.array_equal(again[~hole], photo[~hole])
    assert np.abs(again.astype(int) - photo)[hole].mean() < 12  # the noise is lost in scaling, nothing else


def test_a_picture_of_extreme_shape_costs_no_more_than_itself() -> None:
    hole = np.zeros((1, 200_000), bool)
    hole[0, 5000:-5000] = True
    (crop,) = plan_crops(hole)
    square, missing = cut(np.zeros((1, 200_000, 3), np.uint8), hole, crop)  # the square itself would take 120 GB
    assert square.shape == (256, 256, 3)
    assert missing.any()


def test_dust_that_leaves_nothing_known_is_refused() -> None:
    hole = np.zeros((1024, 1024), bool)
    hole[::4, ::4] = True
    (crop,) = plan_crops(hole)
    with pytest.raises(MaskError, match="no known pixel"):
        cut(make_photo(1024, 1024), hole, crop)


def test_edges_in_the_photograph_s_frame() -> None:
    hole = hole_in(600, 500, 300, 200, 20, 30)
    (crop,) = plan_crops(hole)
    frame = paste_edges((600, 500), crop, np.full((256, 256), 9, np.uint8))
    assert frame.shape == (600, 500)
    assert (frame[crop.box] == 9).all()
    assert np.count_nonzero(frame) == 256 * 256
