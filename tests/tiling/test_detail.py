"""Grain and detail of the surroundings, in what a toy model fills with the mean of its tile."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk import RestoreEngine
from restore_sdk.tiling.detail import add_detail
from restore_sdk.tiling.plan import plan
from tests.tiling.holes import hole_in

SCRATCH = hole_in(400, 900, 200, 0, 6, 900)
BLOT = hole_in(1200, 1000, 400, 350, 300, 310)


def grainy(shape: tuple[int, ...], sigma: float = 8, blur: float = 0) -> NDArray[np.uint8]:
    grain = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    if blur:
        grain = cv2.GaussianBlur(grain, (0, 0), blur).reshape(shape)
    return np.clip(np.rint(120 + sigma * grain / grain.std()), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("blur", [0, 1.2])
@pytest.mark.parametrize("hole", [SCRATCH, BLOT, hole_in(200, 200, 60, 60, 50, 60)], ids=["scratch", "blot", "small"])
def test_grain_inside_is_as_outside(engine: RestoreEngine, hole: NDArray[np.bool_], blur: float) -> None:
    photo = grainy((*hole.shape, 3), blur=blur)
    without, result = engine.run(photo, hole, detail="none"), engine.run(photo, hole)
    assert without.image[hole].std() < 3
    assert 0.8 <= result.image[hole].std() / photo[~hole].std() <= 1.2
    assert np.array_equal(result.image[~hole], photo[~hole])
    assert (without.detail, result.detail) == ("none", "match")


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
@pytest.mark.parametrize("hole", [SCRATCH, BLOT], ids=["scratch", "blot"])
def test_every_form_of_image(engine: RestoreEngine, hole: NDArray[np.bool_], channels: tuple[int, ...]) -> None:
    photo = np.broadcast_to(grainy((*hole.shape, 1)), (*hole.shape, 4)).copy()
    photo[..., 3] = np.arange(hole.shape[1]) % 256
    photo = photo[..., 0].copy() if channels == () else photo[..., : channels[0]].copy()
    restored = engine(photo, hole)
    assert 0.8 <= restored.reshape(*hole.shape, -1)[hole][:, :1].std() / 8 <= 1.2
    if channels in ((3,), (4,)):
        assert np.ptp(restored[..., :3], axis=2).max() == 0  # what is grey stays grey
    if channels == (4,):
        assert np.array_equal(restored[..., 3], photo[..., 3])


@pytest.mark.parametrize("hole", [SCRATCH, BLOT], ids=["scratch", "blot"])
def test_what_is_clean_stays_as_the_model_gave_it(engine: RestoreEngine, hole: NDArray[np.bool_]) -> None:
    flat = np.full((*hole.shape, 3), 90, np.uint8)
    drawn = flat.copy()
    for x in range(20, hole.shape[1], 90):  # sharp edges all around, but a drawing has no grain
        cv2.circle(drawn, (x, 40), 30, (250, 20, 20), -1)
        cv2.putText(drawn, "abc", (x, hole.shape[0] - 30), 0, 2, (10, 10, 10), 3)
    shaded = flat + np.linspace(0, 99, hole.shape[1]).astype(np.uint8)[:, None]
    for picture in (flat, drawn, shaded):
        result = engine.run(picture, hole)
        apart = result.image[hole].astype(int) - engine(picture, hole, detail="none")[hole]
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
    hole = hole_in(400, 2000, 190, 0, 20, 2000)
    result = engine.run(photo, hole)
    assert len(result.crops) > 8
    along = result.image[190:210].reshape(20, 50, 40, 3).std(axis=(0, 2, 3))
    assert 0.7 * 8 <= along.min() <= along.max() <= 1.4 * 8


@pytest.fixture
def threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.usefixtures("threads")
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
    photo, hole = grainy((*size, 3)), np.ones(size, bool)
    hole[0, 0] = False
    if left == "a rim":
        hole[:2] = hole[-2:] = hole[:, :2] = hole[:, -2:] = False
    if left == "half":
        hole[size[0] // 2 :] = False
    for each in (photo, np.full_like(photo, 255), np.zeros_like(photo)):
        picture, tiles = each.copy(), plan(hole).tiles
        for tile in tiles:
            add_detail(picture, hole[tile.crop.box], hole[tile.crop.box], tile)
        assert np.array_equal(picture[~hole], each[~hole])
