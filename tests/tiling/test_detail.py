"""Grain, detail and tone: what the model cannot give, and what it must not."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk import RestoreEngine
from restore_sdk.imaging.image import Color, MaskWarning
from restore_sdk.tiling.detail import add_detail
from restore_sdk.tiling.plan import plan
from restore_sdk.tiling.request import Request, RestoreOptions
from tests.conftest import make_photo
from tests.tiling.masks import mask_in

SCRATCH = mask_in(400, 900, 200, 0, 6, 900)
BLOT = mask_in(1200, 1000, 400, 350, 300, 310)


def grainy(shape: tuple[int, ...], sigma: float = 8, blur: float = 0) -> NDArray[np.uint8]:
    grain = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    if blur:
        grain = cv2.GaussianBlur(grain, (0, 0), blur).reshape(shape)
    return np.clip(np.rint(120 + sigma * grain / grain.std()), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("blur", [0, 1.2])
@pytest.mark.parametrize("mask", [SCRATCH, BLOT, mask_in(200, 200, 60, 60, 50, 60)], ids=["scratch", "blot", "small"])
def test_grain_inside_is_as_outside(engine: RestoreEngine, mask: NDArray[np.bool_], blur: float) -> None:
    photo = grainy((*mask.shape, 3), blur=blur)
    without, result = engine.run(photo, mask, detail="none"), engine.run(photo, mask)
    assert without.image[mask].std() < 3
    assert 0.8 <= result.image[mask].std() / photo[~mask].std() <= 1.2
    assert np.array_equal(result.image[~mask], photo[~mask])
    assert (without.detail, result.detail) == ("none", "match")


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
@pytest.mark.parametrize("mask", [SCRATCH, BLOT], ids=["scratch", "blot"])
def test_every_form_of_image(engine: RestoreEngine, mask: NDArray[np.bool_], channels: tuple[int, ...]) -> None:
    photo = np.broadcast_to(grainy((*mask.shape, 1)), (*mask.shape, 4)).copy()
    photo[..., 3] = np.arange(mask.shape[1]) % 256
    photo = photo[..., 0].copy() if channels == () else photo[..., : channels[0]].copy()
    restored = engine(photo, mask)
    assert 0.8 <= restored.reshape(*mask.shape, -1)[mask][:, :1].std() / 8 <= 1.2
    if channels in ((3,), (4,)):
        assert np.ptp(restored[..., :3], axis=2).max() == 0  # what is grey stays grey
    if channels == (4,):
        assert np.array_equal(restored[..., 3], photo[..., 3])


@pytest.mark.parametrize("mask", [SCRATCH, BLOT], ids=["scratch", "blot"])
def test_what_is_clean_stays_as_the_model_gave_it(engine: RestoreEngine, mask: NDArray[np.bool_]) -> None:
    flat = np.full((*mask.shape, 3), 90, np.uint8)
    drawn = flat.copy()
    for x in range(20, mask.shape[1], 90):  # sharp edges all around, but a drawing has no grain
        cv2.circle(drawn, (x, 40), 30, (250, 20, 20), -1)
        cv2.putText(drawn, "abc", (x, mask.shape[0] - 30), 0, 2, (10, 10, 10), 3)
    shaded = flat + np.linspace(0, 99, mask.shape[1]).astype(np.uint8)[:, None]
    for picture in (flat, drawn, shaded):
        result = engine.run(picture, mask)
        apart = result.image[mask].astype(int) - engine(picture, mask, detail="none")[mask]
        assert np.abs(apart).max() <= (2 if picture is shaded else 0)
        assert apart.std() < 0.5
        assert (result.detail == "match") == apart.any()


def test_detail_of_what_looks_alike_comes_back(engine: RestoreEngine) -> None:
    fine = np.random.default_rng(1).choice([60, 180], (600, 500)).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    photo = np.dstack([fine] * 3)
    restored = engine(photo, BLOT)[BLOT].std(), engine(photo, BLOT, detail="none")[BLOT].std()
    assert restored[1] < 20
    assert 0.7 <= restored[0] / photo[BLOT].std() <= 1.2


def test_neighbouring_tiles_leave_no_seam_in_the_grain(engine: RestoreEngine) -> None:
    photo = grainy((400, 2000, 3))
    mask = mask_in(400, 2000, 190, 0, 20, 2000)
    result = engine.run(photo, mask)
    assert len(result.crops) > 8
    along = result.image[190:210].reshape(20, 50, 40, 3).std(axis=(0, 2, 3))
    assert 0.7 * 8 <= along.min() <= along.max() <= 1.4 * 8


@pytest.fixture
def threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.usefixtures("threads")
def test_patches_that_end_where_the_tile_does(engine: RestoreEngine) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (258, 443), dtype=np.uint8)
    mask = mask_in(258, 443, 68, 100, 184, 276)
    assert engine(photo, mask, dilate=0, feather=0, max_crops=1)[mask].std() > 3


def test_same_bytes_whatever_the_threads_and_the_order_of_channels(engine: RestoreEngine) -> None:
    photo, found = grainy((*BLOT.shape, 3), blur=0.7), []
    for count in (1, 4):
        cv2.setNumThreads(count)
        found += [engine(photo, BLOT), engine(photo[..., ::-1], BLOT, color="bgr")[..., ::-1]]
    assert all(np.array_equal(each, found[0]) for each in found)


@pytest.mark.parametrize(
    "size", [(1, 2), (2, 1), (7, 7), (15, 300), (16, 16), (17, 33), (64, 64), (300, 9), (700, 650)]
)
@pytest.mark.parametrize("left", ["a pixel", "a rim", "half"])
def test_little_that_is_known(engine: RestoreEngine, size: tuple[int, int], left: str) -> None:
    photo, mask = grainy((*size, 3)), np.ones(size, bool)
    mask[0, 0] = False
    if left == "a rim":
        mask[:2] = mask[-2:] = mask[:, :2] = mask[:, -2:] = False
    if left == "half":
        mask[size[0] // 2 :] = False
    for each in (photo, np.full_like(photo, 255), np.zeros_like(photo)):
        picture, tiles = each.copy(), plan(mask).tiles
        for tile in tiles:
            add_detail(picture, mask[tile.crop.box], mask[tile.crop.box], tile)
        assert np.array_equal(picture[~mask], each[~mask])


TINTED = np.full((256, 256, 3), (150, 100, 90), np.uint8)  # its luma is 114
MASK = np.zeros((256, 256), np.uint8)
MASK[100:130, 90:150] = 255


def restored(photo: NDArray[np.uint8], color: Color = "rgb", mask: NDArray[np.uint8] = MASK) -> NDArray[np.uint8]:
    request = Request(photo, mask, RestoreOptions(color=color, detail="none"))
    for tile in request.plan.tiles:
        request.sample(tile)
        request.put(tile, TINTED, mask)
    return request.finish()[mask > 0]


def greys() -> NDArray[np.uint8]:
    return np.dstack([make_photo(256, 256)[..., 0]] * 3)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_grey_stays_grey_and_a_print_keeps_its_tone(color: Color) -> None:
    assert (restored(greys(), color) == 114).all()
    nearly_all = np.full((256, 256), 255, np.uint8)
    nearly_all[253:] = 0
    assert (restored(greys(), color, nearly_all) == 114).all()
    noise = np.random.default_rng(0).normal(0, 1.5, (256, 256, 3))
    sepia = np.clip(greys() * [1, 0.9, 0.7] + [10, 5, 20] + noise, 0, 255).astype(np.uint8)
    level = (114 - 0.299 * 10 - 0.587 * 5 - 0.114 * 20) / (0.299 + 0.587 * 0.9 + 0.114 * 0.7)
    found = restored(sepia[..., :: 1 if color == "rgb" else -1], color)[:, :: 1 if color == "rgb" else -1]
    assert np.abs(found - [level + 10, 0.9 * level + 5, 0.7 * level + 20]).max() < 4


def test_a_grey_photograph_with_a_coloured_stamp_stays_grey_around_the_mask() -> None:
    photo = np.tile(greys(), (4, 4, 1))
    photo[700:] = (200, 40, 40)
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[100:120, 100:150] = 255
    request = Request(photo, mask, RestoreOptions())
    (tile,) = request.plan.tiles
    request.sample(tile)
    request.put(tile, TINTED, MASK)
    assert np.ptp(request.finish()[mask > 0], axis=1).max() == 0


def test_colours_are_those_of_the_model() -> None:
    assert (restored(make_photo(256, 256)) == TINTED[0, 0]).all()


def test_an_odd_mask_is_noted(engine: RestoreEngine) -> None:
    mask = np.full((256, 256), 255, np.uint8)
    mask[253:] = 0
    assert engine.run(greys(), mask).notes == ("the mask marks 100% of the picture; white is what to repaint",)
    assert engine.run(greys(), 255 - mask).notes == ()
    with pytest.warns(MaskWarning, match="marks 100%") as told:
        engine(greys(), mask)
    assert told[0].filename == __file__
    with pytest.warns(MaskWarning, match="item 1: the mask marks"):
        engine.restore_batch([greys()] * 2, [255 - mask, mask])
