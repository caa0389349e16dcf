"""Arrays of every kind that numpy has: taken and treated as their plain copy, or refused in the SDK's words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ImageError, InputError, MaskError, ShapeError
from restore_sdk.imaging.image import as_hole
from tests.conftest import make_photo

PHOTO = make_photo(40, 50)
MASK = np.zeros((40, 50), np.uint8)
MASK[10:20, 15:30] = 255


class Strange(np.ndarray):
    """A subclass that a caller may have."""

    def __array_finalize__(self, other: object) -> None:
        self.note = getattr(other, "note", "strange")


def _read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    array = array.copy()
    array.setflags(write=False)
    return array


def _misaligned(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    memory = bytearray(array.nbytes + 1)
    view = np.frombuffer(memory, np.uint8, array.size, 1).reshape(array.shape)
    view[...] = array
    return view


def _spread(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every third pixel of something larger, its rows backwards in memory."""
    large = np.zeros((array.shape[0], 3 * array.shape[1], *array.shape[2:]), np.uint8)
    large[::-1, 1::3] = array
    return large[::-1, 1::3]


#: Another array with the very same values.
FORMS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "fortran": np.asfortranarray,
    "backwards": lambda array: np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1],
    "spread": _spread,
    "transposed": lambda array: np.ascontiguousarray(array.swapaxes(0, 1)).swapaxes(0, 1),
    "read-only": _read_only,
    "not aligned": _misaligned,
    "a buffer of bytes": lambda array: np.frombuffer(array.tobytes(), np.uint8).reshape(array.shape),
    "a subclass": lambda array: array.view(Strange),
    "masked": lambda array: np.ma.masked_array(array, array > 100),
    "a record's field": lambda array: np.rec.fromarrays([array.ravel(), array.ravel()], names="a,b").a.reshape(
        array.shape
    ),
}


@pytest.mark.parametrize("of_mask", FORMS)
@pytest.mark.parametrize("of_image", FORMS)
def test_forms_of_the_same_values(engine: RestoreEngine, of_image: str, of_mask: str) -> None:
    image, mask = FORMS[of_image](PHOTO), FORMS[of_mask](MASK)
    expected = engine(PHOTO, MASK, feather=3)
    restored = engine(image, mask, feather=3)
    assert type(restored) is np.ndarray
    assert restored.flags.c_contiguous
    assert restored.flags.owndata
    assert restored.flags.writeable
    assert np.array_equal(restored, expected)
    assert np.array_equal(np.asarray(image), PHOTO)  # and left as it was
    assert np.array_equal(np.asarray(mask), MASK)


@pytest.mark.parametrize("mode", ["r", "c"])
def test_memory_mapped_files(engine: RestoreEngine, tmp_path: Path, mode: str) -> None:
    np.save(tmp_path / "photo.npy", PHOTO)
    np.save(tmp_path / "mask.npy", MASK)
    before = (tmp_path / "photo.npy").read_bytes()
    photo, mask = (np.load(tmp_path / f"{name}.npy", mmap_mode=mode) for name in ("photo", "mask"))
    restored = engine(photo, mask)
    assert np.array_equal(restored, engine(PHOTO, MASK))
    assert not isinstance(restored, np.memmap)
    restored[:] = 0
    assert (tmp_path / "photo.npy").read_bytes() == before


def test_one_row_seen_many_times(engine: RestoreEngine) -> None:
    """Broadcast: zero strides, one pixel of memory behind the whole picture."""
    flat = np.broadcast_to(np.array([10, 200, 30], np.uint8), PHOTO.shape)
    assert np.array_equal(engine(flat, MASK), engine(np.array(flat), MASK))
    rolling = as_strided(PHOTO.ravel(), PHOTO.shape, (3, 6, 1))  # pixels that share their bytes
    assert np.array_equal(engine(rolling, MASK), engine(np.array(rolling), MASK))
    stripes = np.broadcast_to(MASK[12], MASK.shape)
    assert np.array_equal(engine(PHOTO, stripes), engine(PHOTO, np.array(stripes)))


@pytest.mark.parametrize("byte", [1, 2, 127, 128, 255])
def test_bool_masks_that_hold_any_byte(engine: RestoreEngine, byte: int) -> None:
    """``mask.view(bool)`` of a 0/255 mask: numpy calls every byte but 0 true, and so does the hole."""
    mask = np.where(MASK > 0, np.uint8(byte), np.uint8(0)).view(bool)
    hole, _ = as_hole(mask, MASK.shape)
    assert set(np.unique(hole.view(np.uint8))) == {0, 1}
    assert np.array_equal(engine(PHOTO, mask), engine(PHOTO, MASK > 0))
    assert np.array_equal(engine(PHOTO, np.asfortranarray(mask)), engine(PHOTO, MASK > 0))


@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 50, 3), np.nan, np.float32),
        np.full((40, 50, 3), np.inf, np.float64),
        PHOTO.astype(np.float16),
        PHOTO.astype(">u2"),
        PHOTO.astype(np.int8),
        PHOTO.astype(np.complex64),
        PHOTO.astype(object),
        PHOTO.astype("S3"),
        PHOTO.astype("datetime64[s]"),
        PHOTO > 100,
        np.zeros((40, 50), [("r", "u1"), ("g", "u1"), ("b", "u1")]),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((0, 50, 3), np.uint8),
        np.zeros((40, 0, 3), np.uint8),
        np.zeros((40, 50, 0), np.uint8),
        np.zeros((40, 50, 2), np.uint8),
        np.zeros((40, 50, 5), np.uint8),
        np.zeros((1, 40, 50, 3), np.uint8),
        np.zeros((40,), np.uint8),
        np.uint8(3),
        np.array(7, np.uint8),
        np.zeros((1,) * 32, np.uint8),
        b"\x89PNG",
        "portrait.png",
        None,
        PHOTO.tolist(),
        memoryview(PHOTO),
    ],
    ids=lambda image: f"{type(image).__name__} {getattr(image, 'dtype', '')} {getattr(image, 'shape', '')}"[:40],
)
def test_images_that_are_none(engine: RestoreEngine, image: object) -> None:
    with pytest.raises(ImageError) as caught:
        engine(image, MASK)
    assert caught.value.hint
    with pytest.raises(InputError):
        engine.restore_batch([PHOTO, image], [MASK, MASK])
    assert np.array_equal(engine(PHOTO, MASK), engine(PHOTO, MASK))


@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        (np.full(MASK.shape, np.nan), MaskError),
        (MASK.astype(np.float32) / 255, MaskError),
        (MASK.astype(np.uint16), MaskError),
        (MASK.astype(object), MaskError),
        (np.zeros((0, 0), np.uint8), ShapeError),
        (np.zeros((40, 0), np.uint8), ShapeError),
        (np.zeros((40, 50, 3), np.uint8), MaskError),
        (np.zeros((2, 40, 50), np.uint8), MaskError),
        (np.ones(MASK.shape, bool), MaskError),
        (np.full(MASK.shape, 255, np.uint8), MaskError),
        (MASK // 255, MaskError),
        (MASK.T, ShapeError),
        (None, MaskError),
        (True, MaskError),
    ],
)
def test_masks_that_are_none(engine: RestoreEngine, mask: object, kind: type[InputError]) -> None:
    with pytest.raises(kind) as caught:
        engine(PHOTO, mask)
    assert caught.value.hint
