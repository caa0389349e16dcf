"""Arrays of every kind that numpy has, in every way that a request may be asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ImageError, InputError, MaskError, ShapeError
from tests.conftest import make_photo

Pixels = NDArray[np.uint8]

PHOTO = make_photo(40, 50)
MASK = np.zeros((40, 50), np.uint8)
MASK[10:20, 15:30] = 255


def _read_only(array: Pixels) -> Pixels:
    array = array.copy()
    array.setflags(write=False)
    return array


def _spread(array: Pixels) -> Pixels:
    """Every third pixel of something larger, its rows backwards in memory."""
    large = np.zeros((array.shape[0], 3 * array.shape[1], *array.shape[2:]), np.uint8)
    large[::-1, 1::3] = array
    return large[::-1, 1::3]


#: Another array with the very same values.
FORMS: dict[str, Callable[[Pixels], Pixels]] = {
    "fortran": np.asfortranarray,
    "spread": _spread,
    "read-only": _read_only,
    "a subclass, masked": lambda array: np.ma.masked_array(array, array > 100),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_of_the_same_values(engine: RestoreEngine, form: Callable[[Pixels], Pixels]) -> None:
    image, mask = form(PHOTO), form(MASK)
    expected = engine(PHOTO, MASK, feather=3)
    restored = engine(image, mask, feather=3)
    assert type(restored) is np.ndarray
    assert restored.flags.carray
    assert restored.flags.owndata
    assert np.array_equal(restored, expected)
    assert np.array_equal(np.asarray(image), PHOTO)  # and left as it was
    assert np.array_equal(np.asarray(mask), MASK)


def test_one_row_seen_many_times(engine: RestoreEngine) -> None:
    """Broadcast: zero strides, one pixel of memory behind the whole picture."""
    flat = np.broadcast_to(np.array([10, 200, 30], np.uint8), PHOTO.shape)
    assert np.array_equal(engine(flat, MASK), engine(np.array(flat), MASK))
    stripes = np.broadcast_to(MASK[12], MASK.shape)
    assert np.array_equal(engine(PHOTO, stripes), engine(PHOTO, np.array(stripes)))


@pytest.mark.parametrize("byte", [1, 255])
def test_bool_masks_that_hold_any_byte(engine: RestoreEngine, byte: int) -> None:
    """``mask.view(bool)`` of a 0/255 mask: numpy calls every byte but 0 true, and so does the mask."""
    mask = np.where(MASK > 0, np.uint8(byte), np.uint8(0)).view(bool)
    assert np.array_equal(engine(PHOTO, mask), engine(PHOTO, MASK > 0))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((40, 50, 3), np.nan, np.float32), r"float32.*\* 255"),
        (PHOTO.astype(np.uint16), r"uint16.*/ 257"),
        (PHOTO.astype(object), "object"),
        (PHOTO > 100, "bool"),
        (np.zeros((40, 50), [("r", "u1"), ("g", "u1"), ("b", "u1")]), ""),
        (np.zeros((0, 50, 3), np.uint8), "no pixels"),
        (np.zeros((40, 50, 2), np.uint8), r"\(40, 50, 2\)"),
        (np.zeros((3, 40, 50), np.uint8), "channels last"),
        (np.zeros((1, 40, 50, 3), np.uint8), "one image a call"),
        (np.zeros((40,), np.uint8), r"\(40,\)"),
        (np.array(7, np.uint8), r"\(\)"),
        (b"\x89PNG", "bytes"),
        (None, "NoneType"),
        (memoryview(PHOTO), "memoryview"),
        (Image.new("P", (4, 4)), "'P'"),
        (Image.new("I;16", (4, 4)), "'I;16'.*numpy.asarray"),
        (Image.new("LA", (4, 4)), "'LA'.*\"RGBA\""),
    ],
    ids=lambda image: f"{type(image).__name__} {getattr(image, 'dtype', '')} {getattr(image, 'shape', '')}"[:40],
)
def test_images_that_are_none(engine: RestoreEngine, image: object, message: str) -> None:
    with pytest.raises(ImageError, match=f"(?s){message}"):
        engine(image, MASK)
    with pytest.raises(InputError):
        engine.restore_batch([PHOTO, image], [MASK, MASK])


@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        (np.full(MASK.shape, np.nan), MaskError, "float64"),
        (MASK.astype(np.float32) / 255, MaskError, "float32"),
        (MASK.T, ShapeError, "40 x 50 px, the image 50 x 40 px"),
        (np.zeros((40, 50, 3), np.uint8), MaskError, "one channel"),
        (np.ones(MASK.shape, bool), MaskError, "whole image"),
        (np.full(MASK.shape, 255, np.uint8), MaskError, "whole image"),
        (MASK // 255, MaskError, "0/1 mask"),
        (np.ma.masked_array(np.ones(MASK.shape, np.uint8), mask=True), MaskError, "highest: 1"),
        (None, MaskError, "NoneType"),
        (Image.new("RGB", (50, 40)), MaskError, "'RGB'"),
    ],
)
def test_masks_that_are_none(engine: RestoreEngine, mask: object, kind: type[InputError], message: str) -> None:
    with pytest.raises(kind, match=message):
        engine(PHOTO, mask)
