"""Which squares a hole gets: cover, scale, number, and the limits of each."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from restore_sdk.tiling.crop import Crop
from restore_sdk.tiling.plan import MAX_CROPS, Box, Plan, plan
from tests.tiling.holes import hole_in, holes, scratched


def crops(found: Plan) -> list[Crop]:
    return [tile.crop for tile in found.tiles]


def test_no_hole_no_crop() -> None:
    assert plan(np.zeros((300, 200), bool)) == Plan()


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (255, 255, 1, 1), (100, 90, 50, 60), (0, 0, 256, 255), (10, 0, 3, 256)])
def test_an_aligned_256_photo_is_taken_as_it_is(box: tuple[int, int, int, int]) -> None:
    assert crops(plan(hole_in(256, 256, *box))) == [Crop(0, 0, 256, 256)]


def test_a_small_hole_is_seen_at_the_picture_s_resolution_and_centred() -> None:
    (crop,) = crops(plan(hole_in(2000, 3000, 1000, 1500, 40, 60)))
    assert crop == Crop(1020 - 128, 1530 - 128, 256, 256)
    assert not crop.resized
    assert not crop.padded


def test_a_hole_at_the_border_shifts_the_square_inside() -> None:
    assert crops(plan(hole_in(600, 500, 590, 0, 10, 10))) == [Crop(344, 0, 256, 256)]


def test_a_wide_hole_gets_context_by_its_thickness() -> None:
    (crop,) = crops(plan(hole_in(2000, 3000, 600, 1300, 200, 200)))
    assert 800 <= crop.height <= 832  # four times, in blocks of four pixels
    assert crop.height == crop.width
    assert crop.resized
    assert not crop.padded


def test_a_hole_that_leaves_little_context_is_shown_with_all_there_is() -> None:
    (crop,) = crops(plan(hole_in(800, 1000, 100, 100, 600, 600)))
    assert (crop.height, crop.width) == (800, 992)  # in multiples of 32


@pytest.mark.parametrize(
    ("shape", "side", "width"), [((40, 3000), 31, 248), ((100, 250), 30, 240), ((300, 2000), 100, 416)]
)
def test_a_narrow_picture_is_shown_with_what_lies_around_the_hole(
    shape: tuple[int, int], side: int, width: int
) -> None:
    (crop,) = crops(plan(hole_in(*shape, 4, 100, side, side)))
    assert (crop.height, crop.width) == (shape[0], width)


def test_where_squares_had_to_grow_a_lone_hole_is_still_seen_close() -> None:
    hole = np.zeros((1000, 12_000), bool)
    for x in range(500, 12_000, 2500):
        hole[350:650, x : x + 300] = True
    alone = [crop for crop in crops(plan(hole, max_crops=4)) if np.count_nonzero(hole[crop.box]) == 300 * 300]
    assert alone
    assert all(crop.width == 1216 for crop in alone)  # four times 300 in whole blocks of four


def test_a_small_hole_in_a_narrow_picture_is_seen_close() -> None:
    (crop,) = crops(plan(hole_in(100, 250, 40, 100, 10, 10)))
    assert (crop.height, crop.width) == (100, 100)


def test_a_hole_as_wide_as_the_picture_reaches_out_of_it() -> None:
    (crop,) = crops(plan(hole_in(1000, 4000, 0, 1000, 1000, 1000)))
    assert (crop.height, crop.width) == (1000, 4000)
    assert crop.padded
    assert crop.inner_width == 256


def test_holes_far_apart_get_a_crop_each_and_neighbours_share_one() -> None:
    hole = np.zeros((1500, 2000), bool)
    for y, x in ((100, 100), (130, 180), (1200, 200), (700, 1800)):
        hole[y : y + 20, x : x + 30] = True
    found = crops(plan(hole))
    assert len(found) == 3
    assert all((crop.height, crop.width) == (256, 256) for crop in found)


def test_a_long_scratch_is_covered_at_the_picture_s_resolution() -> None:
    hole = np.zeros((3000, 4000), np.uint8)
    cv2.line(hole, (0, 0), (3999, 2999), 1, 9)
    found = crops(plan(hole > 0))
    assert 20 <= len(found) <= 40
    assert all((crop.height, crop.width) == (256, 256) for crop in found)


def test_a_scratch_through_a_wide_hole_is_restored_after_it() -> None:
    hole = np.zeros((1200, 1200), np.uint8)
    cv2.line(hole, (0, 600), (1199, 600), 1, 7)
    cv2.circle(hole, (600, 600), 100, 1, -1)
    found = plan(hole > 0)
    assert found.levels is not None
    (wide,), thin = found.waves
    assert wide.level > 0
    assert wide.crop.width >= 700
    assert len(thin) >= 4
    assert all(tile.level == 0 and tile.crop.width == 256 for tile in thin)
    levels = found.level_of(wide.crop)
    assert levels is not None
    assert levels[600 - wide.crop.y, 600 - wide.crop.x] == wide.level


def test_the_number_of_crops_is_capped_by_coarser_ones() -> None:
    hole = np.zeros((3000, 4000), np.uint8)
    for x in range(100, 4000, 300):
        cv2.line(hole, (x, 0), (x - 80, 2999), 1, 5)
    native, capped = plan(hole > 0, 10_000).tiles, plan(hole > 0).tiles
    assert {tile.crop.width for tile in native} == {256}
    assert len(native) > MAX_CROPS >= len(capped) > MAX_CROPS / 4
    assert min(tile.crop.width for tile in capped) > 256
    (one,) = crops(plan(hole > 0, 1))
    assert (one.height, one.width) == (3000, 4000)


@settings(max_examples=60, deadline=None)
@given(st.one_of(holes(), scratched()), st.sampled_from([1, 3, 64]))
def test_every_hole_pixel_is_someone_s_and_every_crop_fits(hole: NDArray[np.bool_], most: int) -> None:
    found = plan(hole, most)
    assert 1 <= len(found.tiles) <= most
    covered = np.zeros(hole.shape, np.float32)
    for wave in found.waves:
        for tile in wave:
            crop = tile.crop
            assert 0 <= crop.y <= crop.y + crop.height <= hole.shape[0]
            assert 0 <= crop.x <= crop.x + crop.width <= hole.shape[1]
            assert 0 <= crop.top <= crop.top + crop.inner_height <= 256
            assert 0 <= crop.left <= crop.left + crop.inner_width <= 256
            assert min(crop.inner_height, crop.inner_width) >= 1
            levels = found.level_of(crop)
            own = tile.share(tuple(np.indices((crop.height, crop.width))))  # type: ignore[arg-type]
            covered[crop.box] += own if levels is None else own * (levels == tile.level)
    assert covered[hole].min() > 0.49
    assert [tile.level for tile in found.tiles] == sorted((tile.level for tile in found.tiles), reverse=True)


def test_one_tile_weighs_all() -> None:
    (tile,) = plan(hole_in(600, 500, 300, 200, 20, 30)).tiles
    assert tile.cell == Box()
    assert (tile.share((np.arange(256), np.arange(256))) == 1).all()
