"""Arrays of every kind that numpy has, in every way that a request may be asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from PIL import Image

from export.writing import dump_manifest
from restore_sdk.bundle.manifest import parse_manifest
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ImageError, InputError, MaskError, RestoreError, ShapeError
from restore_sdk.imaging.image import mask_values, masked_pixels
from tests.attacks.caught import error_of
from tests.conftest import make_photo
from tests.fuzz.targets import seeds

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
    "a record's field": lambda array: np.rec.fromarrays([array.ravel()] * 2, names="a,b").a.reshape(array.shape),
}


@pytest.mark.parametrize("of_mask", FORMS)
@pytest.mark.parametrize("of_image", FORMS)
def test_forms_of_the_same_values(engine: RestoreEngine, of_image: str, of_mask: str) -> None:
    image, mask = FORMS[of_image](PHOTO), FORMS[of_mask](MASK)
    expected = engine(PHOTO, MASK, feather=3)
    restored = engine(image, mask, feather=3)
    assert type(restored) is np.ndarray
    assert restored.flags.carray
    assert restored.flags.owndata
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
    """``mask.view(bool)`` of a 0/255 mask: numpy calls every byte but 0 true, and so does the mask."""
    mask = np.where(MASK > 0, np.uint8(byte), np.uint8(0)).view(bool)
    masked, _ = masked_pixels(mask_values(mask, MASK.shape))
    assert set(np.unique(masked.view(np.uint8))) == {0, 1}
    assert np.array_equal(engine(PHOTO, mask), engine(PHOTO, MASK > 0))
    assert np.array_equal(engine(PHOTO, np.asfortranarray(mask)), engine(PHOTO, MASK > 0))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((40, 50, 3), np.nan, np.float32), r"float32.*\* 255"),
        (np.full((40, 50, 3), np.inf, np.float64), "float64"),
        (PHOTO.astype(np.float16), "float16"),
        (PHOTO.astype(np.uint16), r"uint16.*/ 257"),
        (PHOTO.astype(">u2"), "uint16|>u2"),
        (PHOTO.astype(np.int8), "int8"),
        (PHOTO.astype(np.complex64), "complex64"),
        (PHOTO.astype(object), "object"),
        (PHOTO.astype("S3"), "S3"),
        (PHOTO.astype("datetime64[s]"), "datetime64"),
        (PHOTO > 100, "bool"),
        (np.zeros((40, 50), [("r", "u1"), ("g", "u1"), ("b", "u1")]), ""),
        (np.zeros((0, 50, 3), np.uint8), "no pixels"),
        (np.zeros((40, 0, 3), np.uint8), "no pixels"),
        (np.zeros((40, 50, 0), np.uint8), ""),
        (np.zeros((40, 50, 2), np.uint8), r"\(40, 50, 2\)"),
        (np.zeros((40, 50, 5), np.uint8), r"\(40, 50, 5\)"),
        (np.zeros((3, 40, 50), np.uint8), "channels last"),
        (np.zeros((1, 40, 50, 3), np.uint8), "one image a call"),
        (np.zeros((40,), np.uint8), r"\(40,\)"),
        (np.uint8(3), ""),
        (np.array(7, np.uint8), r"\(\)"),
        (np.zeros((1,) * 32, np.uint8), ""),
        (b"\x89PNG", "bytes"),
        ("portrait.png", "str"),
        (None, "NoneType"),
        (PHOTO.tolist(), "list"),
        (memoryview(PHOTO), "memoryview"),
        (Image.new("P", (4, 4)), "'P'"),
        (Image.new("CMYK", (4, 4)), "'CMYK'"),
        (Image.new("I;16", (4, 4)), "'I;16'.*numpy.asarray"),
        (Image.new("F", (4, 4)), "'F'.*numpy.asarray"),
        (Image.new("LA", (4, 4)), "'LA'.*\"RGBA\""),
    ],
    ids=lambda image: f"{type(image).__name__} {getattr(image, 'dtype', '')} {getattr(image, 'shape', '')}"[:40],
)
def test_images_that_are_none(engine: RestoreEngine, image: object, message: str) -> None:
    with pytest.raises(ImageError, match=f"(?s){message}") as caught:
        engine(image, MASK)
    assert caught.value.hint
    with pytest.raises(InputError):
        engine.restore_batch([PHOTO, image], [MASK, MASK])
    assert np.array_equal(engine(PHOTO, MASK), engine(PHOTO, MASK))


@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        (np.full(MASK.shape, np.nan), MaskError, "float64"),
        (MASK.astype(np.float32) / 255, MaskError, "float32"),
        (MASK.astype(np.uint16), MaskError, "uint16"),
        (MASK.astype(np.int64), MaskError, "int64"),
        (MASK.astype(object), MaskError, "object"),
        (np.zeros((40, 0), np.uint8), ShapeError, "0 x 40 px"),
        (MASK.T, ShapeError, "40 x 50 px, the image 50 x 40 px"),
        (np.zeros((40, 50, 3), np.uint8), MaskError, "one channel"),
        (np.zeros((2, 40, 50), np.uint8), MaskError, r"\(2, 40, 50\)"),
        (np.ones(MASK.shape, bool), MaskError, "whole image"),
        (np.full(MASK.shape, 255, np.uint8), MaskError, "whole image"),
        (MASK // 255, MaskError, "0/1 mask"),
        (np.full(MASK.shape, 90, np.uint8), MaskError, "highest: 90"),
        (np.ma.masked_array(np.ones(MASK.shape, np.uint8), mask=True), MaskError, "highest: 1"),
        (None, MaskError, "NoneType"),
        (True, MaskError, "bool"),
        ([[0]], MaskError, "list"),
        (Image.new("RGB", (50, 40)), MaskError, "'RGB'"),
    ],
)
def test_masks_that_are_none(engine: RestoreEngine, mask: object, kind: type[InputError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        engine(PHOTO, mask)
    assert caught.value.hint


Pixels = NDArray[np.uint8]
Pair = tuple[Pixels, NDArray[np.generic]]

relaxed = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def pairs(draw: st.DrawFn, largest: int = 330) -> Pair:
    """A photograph of any accepted form and size, and a mask of any accepted form, with something masked and known."""
    height, width = draw(st.integers(1, largest)), draw(st.integers(2, largest))
    channels = draw(st.sampled_from([0, 1, 3, 4]))
    photo = make_photo(height, width, draw(st.integers(0, 9)))
    image = {0: photo[..., 0], 1: photo[..., :1], 3: photo, 4: np.dstack((photo, photo[..., 1]))}[channels]
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(1, 3))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        box = draw(st.integers(1, 90)), draw(st.integers(1, 90))
        mask[y : y + box[0], x : x + box[1]] = draw(st.integers(128, 255))
    mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = draw(st.integers(0, 127))
    return np.ascontiguousarray(image), (mask > 127) if draw(st.booleans()) else mask


@pytest.mark.filterwarnings("ignore:.*the mask")
@relaxed
@given(chosen=st.lists(pairs(160), min_size=2, max_size=6))
def test_the_same_alone_in_a_batch_in_a_stream_in_any_thread(engine: RestoreEngine, chosen: list[Pair]) -> None:
    sound = [pair for pair in chosen if error_of(MaskError, engine.restore, *pair) is None]
    alone = [engine.restore(*pair) for pair in sound]
    batch = engine.restore_batch([image for image, _ in sound], [mask for _, mask in sound])
    stream = list(engine.stream(sound))
    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(lambda pair: engine.restore(*pair), sound))
    for way in (batch, stream, threads):
        assert len(way) == len(alone)
        assert all(np.array_equal(one, other) for one, other in zip(way, alone, strict=True))


OPTIONS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3), st.binary(max_size=3)
)


@relaxed
@given(dilate=OPTIONS, feather=OPTIONS, max_crops=OPTIONS, color=OPTIONS)
def test_options_of_any_type(
    engine: RestoreEngine, dilate: object, feather: object, max_crops: object, color: object
) -> None:
    """Taken, or refused as a whole, in words."""
    photo, mask = make_photo(40, 50), np.zeros((40, 50), bool)
    mask[10:20, 10:20] = True
    for options in ({"dilate": dilate}, {"feather": feather}, {"max_crops": max_crops}, {"color": color}):
        error = error_of(RestoreError, lambda chosen=options: engine.restore(photo, mask, **chosen))  # type: ignore[misc]
        assert error is None or (isinstance(error, InputError) and error.hint)


@relaxed
@given(
    name=st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=200),
    count=st.integers(0, 2**63 - 1),
    quality=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_manifests_come_back_as_they_were(name: str, count: int, quality: object) -> None:
    manifest = parse_manifest(seeds("manifest")[0])
    stage = replace(manifest.stages[0], parameters=count)
    changed = replace(manifest, name=name, stages=(stage, manifest.stages[1]), quality={"table": quality})
    again = parse_manifest(dump_manifest(changed))
    assert again.name == name
    assert again.stages[0].parameters == count
    assert dict(again.quality) == {"table": quality}
    assert dump_manifest(again) == dump_manifest(changed)
