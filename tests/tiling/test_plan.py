"""Which tiles a mask and its faces get: cover, scale, number, the limits of each, and how they are cut and pasted."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.errors import InputError, MaskError
from restore_sdk.tiling.crop import Crop, cut, paste
from restore_sdk.tiling.plan import MAX_CROPS, Frame, Plan, frames, plan
from tests.conftest import make_photo
from tests.tiling.masks import mask_in, masks, scratched


def crops(found: Plan) -> list[Crop]:
    return [tile.crop for tile in found.tiles]


def test_no_mask_no_crop() -> None:
    assert plan(np.zeros((300, 200), bool)) == Plan()


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (255, 255, 1, 1), (100, 90, 50, 60), (0, 0, 256, 255), (10, 0, 3, 256)])
def test_an_aligned_256_photo_is_taken_as_it_is(box: tuple[int, int, int, int]) -> None:
    assert crops(plan(mask_in(256, 256, *box))) == [Crop(0, 0, 256, 256)]


@pytest.mark.parametrize(
    ("shape", "box", "size", "resized", "padded", "place"),
    [
        ((2000, 3000), (1000, 1500, 40, 60), (256, 256), False, False, (892, 1402)),  # small: at full resolution
        ((600, 500), (590, 0, 10, 10), (256, 256), False, False, (344, 0)),  # in a corner: shifted inside
        ((2000, 3000), (600, 1300, 200, 200), (800, 800), True, False, None),  # wide: four times, in whole blocks
        ((800, 1000), (100, 100, 600, 600), (800, 992), True, True, None),  # with little around it: all there is
        ((40, 3000), (4, 100, 31, 31), (40, 248), True, True, None),  # a narrow picture: what lies around
        ((100, 250), (4, 100, 30, 30), (100, 240), True, True, None),
        ((300, 2000), (4, 100, 100, 100), (300, 416), True, True, None),
        ((100, 250), (40, 100, 10, 10), (100, 100), True, False, None),  # small in a narrow one: close
        ((1000, 4000), (0, 1000, 1000, 1000), (1000, 4000), True, True, None),  # as wide as the picture
    ],
)
def test_one_part_gets_one_tile(
    shape: tuple[int, int],
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    resized: bool,
    padded: bool,
    place: tuple[int, int] | None,
) -> None:
    (crop,) = crops(plan(mask_in(*shape, *box)))
    assert (crop.height, crop.width, crop.resized, crop.padded) == (*size, resized, padded)
    assert place in (None, (crop.y, crop.x))


def test_where_squares_had_to_grow_a_lone_mask_is_still_seen_close() -> None:
    mask = np.zeros((1000, 12_000), bool)
    for x in range(500, 12_000, 2500):
        mask[350:650, x : x + 300] = True
    alone = [crop for crop in crops(plan(mask, max_crops=4)) if np.count_nonzero(mask[crop.box]) == 300 * 300]
    assert alone
    assert all(crop.width == 1216 for crop in alone)  # four times 300 in whole blocks of four


def test_masks_far_apart_get_a_crop_each_and_neighbours_share_one() -> None:
    mask = np.zeros((1500, 2000), bool)
    for y, x in ((100, 100), (130, 180), (1200, 200), (700, 1800)):
        mask[y : y + 20, x : x + 30] = True
    found = crops(plan(mask))
    assert len(found) == 3
    assert all((crop.height, crop.width) == (256, 256) for crop in found)


def test_a_long_scratch_is_covered_at_the_picture_s_resolution() -> None:
    mask = np.zeros((3000, 4000), np.uint8)
    cv2.line(mask, (0, 0), (3999, 2999), 1, 9)
    found = crops(plan(mask > 0))
    assert 20 <= len(found) <= 40
    assert all((crop.height, crop.width) == (256, 256) for crop in found)


def test_a_scratch_through_a_wide_mask_is_restored_after_it() -> None:
    mask = np.zeros((1200, 1200), np.uint8)
    cv2.line(mask, (0, 600), (1199, 600), 1, 7)
    cv2.circle(mask, (600, 600), 100, 1, -1)
    found = plan(mask > 0)
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
    mask = np.zeros((3000, 4000), np.uint8)
    for x in range(100, 4000, 300):
        cv2.line(mask, (x, 0), (x - 80, 2999), 1, 5)
    native, capped = plan(mask > 0, 10_000).tiles, plan(mask > 0).tiles
    assert {tile.crop.width for tile in native} == {256}
    assert len(native) > MAX_CROPS >= len(capped) > MAX_CROPS / 4
    assert min(tile.crop.width for tile in capped) > 256
    (one,) = crops(plan(mask > 0, 1))
    assert (one.height, one.width) == (3000, 4000)


@settings(max_examples=60, deadline=None)
@given(st.one_of(masks(), scratched()), st.sampled_from([1, 3, 64]))
def test_every_mask_pixel_is_someone_s_and_every_crop_fits(mask: NDArray[np.bool_], most: int) -> None:
    found = plan(mask, most)
    assert 1 <= len(found.tiles) <= most
    covered = np.zeros(mask.shape, np.float32)
    for wave in found.waves:
        for tile in wave:
            crop = tile.crop
            assert 0 <= crop.y <= crop.y + crop.height <= mask.shape[0]
            assert 0 <= crop.x <= crop.x + crop.width <= mask.shape[1]
            assert 0 <= crop.top <= crop.top + crop.inner_height <= 256
            assert 0 <= crop.left <= crop.left + crop.inner_width <= 256
            assert min(crop.inner_height, crop.inner_width) >= 1
            levels = found.level_of(crop)
            own = tile.share()
            covered[crop.box] += own if levels is None else own * (levels == tile.level)
    assert covered[mask].min() > 0.49
    assert [tile.level for tile in found.tiles] == sorted((tile.level for tile in found.tiles), reverse=True)


def only_crop(mask: NDArray[np.bool_]) -> Crop:
    (tile,) = plan(mask, 1).tiles
    return tile.crop


@pytest.mark.parametrize("size", [(256, 256), (90, 60), (512, 512), (1000, 300), (1, 9000)])
def test_a_known_square_comes_back_where_it_was(size: tuple[int, int]) -> None:
    photo = make_photo(*size)
    mask = np.zeros(size, bool)
    mask[size[0] // 3 : size[0] // 3 + max(1, size[0] // 4), size[1] // 4 : size[1] // 2] = True
    crop = only_crop(mask)
    square, _ = cut(photo, np.zeros_like(mask)[crop.box], crop)
    again = photo.copy()
    paste(again, mask[crop.box], crop, square)
    assert np.array_equal(again[~mask], photo[~mask])
    assert np.abs(again.astype(int) - photo)[mask].mean() < 12  # the noise is lost in scaling, nothing else


def test_a_picture_of_extreme_shape_costs_no_more_than_itself() -> None:
    mask = np.zeros((1, 200_000), bool)
    mask[0, 5000:-5000] = True
    crop = only_crop(mask)
    square, missing = cut(
        np.zeros((1, 200_000, 3), np.uint8), mask[crop.box], crop
    )  # the square itself would take 120 GB
    assert square.shape == (256, 256, 3)
    assert missing.any()


def test_dust_is_swept_away_by_scaling_down() -> None:
    photo, mask = make_photo(1024, 1024), np.zeros((1024, 1024), bool)
    mask[::4, ::4] = True
    crop = only_crop(mask)
    damaged = photo.copy()
    damaged[mask] = 255
    square, missing = cut(damaged, mask[crop.box], crop)
    clean, _ = cut(photo, np.zeros_like(mask), crop)
    assert not missing.any()
    assert np.abs(square.astype(int) - clean).max() <= 2  # the mean of 15 noisy pixels of 16


def test_a_mask_that_leaves_too_little_known_is_refused() -> None:
    mask = np.ones((1024, 1024), bool)
    mask[::4, ::4] = False
    crop = only_crop(mask)
    with pytest.raises(MaskError, match="no known pixel"):
        cut(make_photo(1024, 1024), mask[crop.box], crop)


#: A photo with two faces, damaged by a scratch across both.
BOXES = [(128.0, 144.0, 96.0, 128.0), (608.0, 272.0, 96.0, 128.0)]
PHOTO, SCRATCH = make_photo(700, 900), np.zeros((700, 900), np.uint8)
cv2.line(SCRATCH, (0, 150), (899, 380), 255, 8)


def test_frames_are_those_of_the_training() -> None:
    (frame,) = frames([(400, 300, 80, 110)], (1000, 1000))
    assert frame.x == 440
    assert 340 < frame.y < 355  # above the middle: hair is inside, the neck is not
    assert 1.8 < frame.side / 80 < 2.2
    assert frames([(1, 2, 30, 40), (100, 90, 30, 40)], (300, 300)) == frames(
        np.array([(100, 90, 30, 40), (1, 2, 30, 40), (1, 2, 30, 40)]), (300, 300)
    )


@pytest.mark.parametrize(
    ("faces", "what"),
    [
        ([(1, 2, 3)], "no box"),
        (["face"], "no box"),
        ([7], "no box"),
        ([(10**400, 2, 3, 4)], "no box"),
        ([(1, 2, 0, 5)], "no area"),
        ([(1, 2, float("nan"), 5)], "no area"),
        ([(900, 2, 30, 40)], "outside the picture of 300 x 200"),
        (5, "the face 5 is no box"),
    ],
)
def test_bad_boxes(engine: RestoreEngine, faces: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        engine(make_photo(200, 300), mask_in(200, 300, 10, 10, 5, 5), faces=faces)


def test_damage_in_a_small_face_is_shown_in_its_frame() -> None:
    mask = mask_in(1000, 1500, 480, 300, 12, 900)  # one scratch across both faces
    faces = [Frame(480.0, 400.0, 160), Frame(490.0, 1000.0, 200)]
    found = plan(mask, faces=faces)
    last = found.waves[-1]
    assert [(tile.crop.height, tile.crop.width) for tile in last] == [(160, 160), (200, 200)]
    assert [(tile.crop.y, tile.crop.x) for tile in last] == [(400, 320), (390, 900)]
    assert {tile.crop.width for tile in found.tiles if tile not in last} == {256}
    assert found.tiles[-1].level == 0 < found.tiles[0].level


def test_thick_damage_in_a_large_face_is_shown_in_its_frame() -> None:
    mask = mask_in(1600, 1200, 700, 480, 110, 120)
    face = Frame(750.0, 600.0, 700)
    (tile,) = plan(mask, faces=[face]).tiles
    assert (tile.crop.y, tile.crop.x, tile.crop.width) == (400, 250, 700)
    (spot,) = plan(mask_in(1600, 1200, 700, 480, 20, 20), faces=[face]).tiles
    assert spot.crop.width == 256  # thin damage keeps the photograph's resolution


def test_faces_without_damage_change_nothing() -> None:
    mask = mask_in(1000, 1500, 50, 50, 200, 20)
    assert plan(mask, faces=[Frame(700.0, 1000.0, 150)]) == plan(mask)
    assert plan(mask, faces=[Frame(100.0, 60.0, 20)]) == plan(mask)  # too small to help
    assert plan(mask, faces=frames([(-5e299, -5e299, 1e300, 1e300)], mask.shape)) == plan(mask)


@pytest.mark.filterwarnings("ignore:the face around")
@settings(max_examples=30, deadline=None)
@given(
    scratched(), st.lists(st.tuples(*[st.floats(0, 1)] * 2, st.floats(10, 500)), max_size=5), st.sampled_from([1, 64])
)
def test_with_any_faces_everything_is_restored(
    engine: RestoreEngine, mask: NDArray[np.bool_], found: list[tuple[float, float, float]], most: int
) -> None:
    """Each mask pixel is written (the toy model cannot return the photograph's 255), every other one stays."""
    height, width = mask.shape
    boxes = [(x * (width - 1) - side / 2, y * (height - 1) - side / 2, side, side) for y, x, side in found]
    photo = make_photo(height, width) // 4
    photo[mask] = 255
    restored = engine(photo, mask, faces=boxes, max_crops=most)
    assert np.array_equal(restored[~mask], photo[~mask])
    assert restored[mask].max() < 200
    assert np.array_equal(restored, engine(photo, mask, faces=boxes[::-1], max_crops=most))


def test_every_method_takes_boxes(toy_bundle: Bundle) -> None:
    photo, mask = PHOTO, SCRATCH
    with RestoreEngine(toy_bundle, slots=2) as engine, ThreadPoolExecutor(4) as pool:
        given, plain = engine(photo, mask, faces=BOXES), engine(photo, mask)
        assert not np.array_equal(given, plain)
        assert np.array_equal(engine(photo, mask, faces=np.array(BOXES)), given)  # type: ignore[arg-type]
        for images in (
            engine.restore_batch([photo] * 2, [mask] * 2, faces=BOXES),
            engine.stream([(photo, mask)] * 2, faces=BOXES),
            pool.map(lambda _: engine(photo, mask, faces=BOXES), range(8)),
        ):
            assert all(np.array_equal(image, given) for image in images)
        hole = np.zeros(photo.shape[:2], bool)
        hole[20:-20, 20:-20] = True
        height, width = hole.shape
        (note,) = engine.run(photo, hole, faces=[(width / 2 - 20, height / 2 - 20, 40, 40)]).notes[-1:]
        assert "frames no tile: the damage is too large" in note


def test_the_command(tmp_path: Path, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    for name, picture in (("photo.png", PHOTO[..., ::-1]), ("mask.png", SCRATCH)):
        (tmp_path / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    line = ["restore", tmp_path / "photo.png", "--mask", tmp_path / "mask.png", "-o", tmp_path / "out.png"]
    words = [str(word) for word in (*line, "--bundle", toy_bundle.path)]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words, "--faces", "1,2,3,x"])
    assert stopped.value.code == 2
    assert cli.main([*words, "--faces", "9000,2,30,40"]) == 2
    assert "outside the picture" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
    assert cli.main([*words, *(f"--faces={','.join(map(str, box))}" for box in BOXES)]) == 0
    with RestoreEngine(toy_bundle) as engine:
        framed = engine(PHOTO, SCRATCH, faces=BOXES)
    assert np.array_equal(cv2.imread(str(tmp_path / "out.png"))[..., ::-1], framed)
