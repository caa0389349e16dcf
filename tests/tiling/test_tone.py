"""What has no colours gets none, whatever the model says; what has some is left as the model made it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk.imaging.image import Color, MaskWarning
from restore_sdk.tiling.request import Request, RestoreOptions
from tests.conftest import make_photo

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
    with pytest.warns(MaskWarning):
        assert (restored(greys(), color, nearly_all) == 114).all()
    noise = np.random.default_rng(0).normal(0, 1.5, (256, 256, 3))
    sepia = np.clip(greys() * [1, 0.9, 0.7] + [10, 5, 20] + noise, 0, 255).astype(np.uint8)
    level = (114 - 0.299 * 10 - 0.587 * 5 - 0.114 * 20) / (0.299 + 0.587 * 0.9 + 0.114 * 0.7)
    found = restored(sepia[..., :: 1 if color == "rgb" else -1], color)[:, :: 1 if color == "rgb" else -1]
    assert np.abs(found - [level + 10, 0.9 * level + 5, 0.7 * level + 20]).max() < 4


def test_a_grey_photograph_with_a_coloured_stamp_stays_grey_around_the_hole() -> None:
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
