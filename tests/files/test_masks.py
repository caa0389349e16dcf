"""Masks from the photograph itself."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restore_sdk.errors import ImageError, InputError
from restore_sdk.files.masks import LOSSY_GROWTH, LOSSY_TOLERANCE, mask_of_alpha, mask_of_color, parse_color

MAGENTA = (255, 0, 255)


def marked(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = photo.copy()
    picture[mask > 0] = MAGENTA
    return picture


def test_colours() -> None:
    assert parse_color("#ff00ff") == parse_color("F0F") == MAGENTA
    assert parse_color("#012345") == (1, 0x23, 0x45)
    for text in ("", "#", "magenta", "#ff00f", "#ff00ffff", "#gg0000", "# f0f", "\uff10\uff10\uff10"):
        with pytest.raises(InputError, match="no colour"):
            parse_color(text)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("alpha", [False, True])
def test_what_is_painted_over(photo: NDArray[np.uint8], mask: NDArray[np.uint8], order: str, alpha: bool) -> None:
    picture = marked(photo, mask)[..., :: 1 if order == "rgb" else -1]
    if alpha:
        picture = np.dstack((picture, picture[..., 0]))
    for colour in (MAGENTA, "#ff00ff"):
        found = mask_of_color(picture, colour, color=order)  # type: ignore[arg-type]
        assert found.dtype == np.bool_
        assert np.array_equal(found, mask > 0)


def test_tolerance_and_growth(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    picture = marked(photo, mask)
    picture[mask > 0] = (245, 10, 250)
    assert not mask_of_color(picture, MAGENTA, tolerance=9).any()
    assert np.array_equal(mask_of_color(picture, MAGENTA, tolerance=10), mask > 0)
    grown = mask_of_color(picture, MAGENTA, tolerance=10, growth=3)
    assert grown[57:60, 120].all()
    assert not grown[56, 120]
    for colour in ((300, -7, 0), (255, 0), (70000, 0, 0), (0.5, 0, 0)):
        with pytest.raises(InputError, match="is no colour"):
            mask_of_color(picture, colour)  # type: ignore[arg-type]
    for wrong in ({"tolerance": -1}, {"tolerance": 256}, {"growth": -1}):
        with pytest.raises(InputError, match="0 to 255"):
            mask_of_color(picture, MAGENTA, **wrong)


def test_grey(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    grey = np.minimum(photo[..., 0], 254)
    grey[mask > 0] = 255
    assert np.array_equal(mask_of_color(grey, "#ffffff"), mask > 0)
    with pytest.raises(ImageError, match="grey"):
        mask_of_color(grey, MAGENTA)


@pytest.mark.parametrize("quality", [75, 95])
def test_after_jpeg_the_defaults_find_the_mark_and_what_it_bled_into(
    photo: NDArray[np.uint8], mask: NDArray[np.uint8], quality: int
) -> None:
    def stored(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    clean, dirty = stored(photo), stored(marked(photo, mask))
    found = mask_of_color(dirty, MAGENTA, tolerance=LOSSY_TOLERANCE, growth=LOSSY_GROWTH)
    assert (found | (mask == 0)).all()
    bled = (np.abs(dirty.astype(int) - clean).max(axis=2) > 16) & (mask == 0)
    assert (bled & ~found).sum() < 0.25 * bled.sum()
    assert (found & (mask == 0)).sum() < 0.6 * (mask > 0).sum()


def test_what_is_erased(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    alpha = 255 - mask
    alpha[0, 0] = 254  # a soft brush
    found = mask_of_alpha(np.dstack((photo, alpha)))
    assert np.array_equal(found, alpha < 255)
    assert np.array_equal(found, mask_of_alpha(Image.fromarray(np.dstack((photo, alpha)))))
    with pytest.raises(ImageError, match="no alpha"):
        mask_of_alpha(photo)
