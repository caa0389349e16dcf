import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from restore_sdk.errors import ImageError, MaskError, ShapeError
from restore_sdk.imaging.image import (
    CANNY_HIGH,
    CANNY_LOW,
    CANNY_SIGMA,
    Color,
    as_hole,
    as_pixels,
    canny_edges,
    like_pixels,
    to_rgb,
)
from restore_sdk.tiling.plan import plan
from tests.conftest import make_photo


def as_rgb(image: object, color: Color = "rgb") -> NDArray[np.uint8]:
    return to_rgb(as_pixels(image, color), color)


def test_colour_orders(photo: NDArray[np.uint8]) -> None:
    assert np.array_equal(as_rgb(photo), photo)
    assert np.array_equal(as_rgb(photo[..., ::-1], "bgr"), photo)
    assert as_rgb(photo) is not photo
    assert as_rgb(photo[..., ::-1]).flags.c_contiguous


def test_grey_is_repeated_and_alpha_dropped(photo: NDArray[np.uint8]) -> None:
    grey = photo[..., 0]
    assert np.array_equal(as_rgb(grey), np.dstack([grey] * 3))
    assert np.array_equal(as_rgb(grey[..., None]), np.dstack([grey] * 3))
    assert np.array_equal(as_rgb(np.dstack((photo, grey))), photo)
    assert np.array_equal(as_rgb(np.dstack((photo[..., ::-1], grey)), "bgr"), photo)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4)])
def test_like_pixels_is_the_inverse(shape: tuple[int, ...], color: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(like_pixels(as_rgb(pixels, color), pixels, color), pixels)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_pil_images(mode: str, photo: NDArray[np.uint8]) -> None:
    image = Image.fromarray(photo).convert(mode)
    assert np.array_equal(as_pixels(image), np.asarray(image))
    with pytest.raises(ImageError, match="BGR"):
        as_pixels(image, "bgr")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32.*\* 255"),
        (np.zeros((4, 4, 3), np.float64), "float64"),
        (np.zeros((4, 4, 3), np.uint16), r"uint16.*/ 257"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.zeros((3, 40, 40), np.uint8), "channels last"),
        (np.zeros((1, 4, 4, 3), np.uint8), "one image a call"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((4,), np.uint8), r"\(4,\)"),
        (np.zeros((), np.uint8), r"\(\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        ([[1, 2], [3, 4]], "list"),
        (None, "NoneType"),
        ("photo.png", "str"),
        (Image.new("P", (4, 4)), "'P'"),
        (Image.new("CMYK", (4, 4)), "'CMYK'"),
        (Image.new("I;16", (4, 4)), "'I;16'"),
    ],
)
def test_images_that_are_refused(image: object, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        as_pixels(image)
    assert caught.value.hint


def test_unknown_colour_order(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="gbr"):
        as_pixels(photo, "gbr")  # type: ignore[arg-type]


def test_masks(mask: NDArray[np.uint8]) -> None:
    hole = mask > 127
    for form in (mask, hole, mask[..., None], Image.fromarray(mask), Image.fromarray(mask).convert("1")):
        found, box = as_hole(form, (256, 256))
        assert np.array_equal(found, hole)
        outside = found.copy()
        outside[box] = False
        assert found[box].any()
        assert not outside.any()
    assert as_hole(hole, (256, 256))[0] is not hole


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 300), width=st.integers(1, 300), marks=st.integers(0, 6))
def test_where_a_mask_is_not_black(seed: int, height: int, width: int, marks: int) -> None:
    """Few pixels of any value, so that holes begin and end anywhere."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height + 1, width), np.uint8)  # a row more than can be marked
    mask[rng.integers(0, height, marks), rng.integers(0, width, marks)] = rng.integers(1, 256, marks)
    if marks:
        mask[rng.integers(0, height), rng.integers(0, width)] = 255
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("restore_sdk.imaging.image._SMALL", 0)  # look into small ones, too
        hole, box = as_hole(mask, mask.shape)
    assert np.array_equal(hole, mask > 127)
    assert np.array_equal(as_hole(mask, mask.shape)[0], hole)
    rows, columns = np.nonzero(mask)
    wanted = (
        (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)) if marks else (slice(0, 0),) * 2
    )
    assert box == wanted
    assert plan(hole, within=box).waves == plan(hole).waves


def test_the_hole_of_a_large_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((2200, 2000), np.uint8)
    mask[2100:, :10] = mask[700:720, 900:] = 255
    hole, _ = as_hole(mask, mask.shape)
    assert np.array_equal(hole, mask > 127)
    hole[:] = True  # its own, and for writing
    assert not as_hole(np.zeros_like(mask), mask.shape)[0].any()

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr("restore_sdk.imaging.image.mmap.mmap", refuse)
    with pytest.raises(MemoryError, match="Cannot allocate memory"):
        as_hole(mask, mask.shape)


def test_the_threshold_of_a_mask() -> None:
    values = np.array([[0, 127, 128, 255]], np.uint8)
    assert as_hole(values, (1, 4))[0].tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("suffix", ["jpeg", "png"])
def test_pil_images_of_damaged_files(photo: NDArray[np.uint8], suffix: str) -> None:
    data = io.BytesIO()
    Image.fromarray(photo[..., 0]).save(data, suffix)
    half = data.getvalue()[: len(data.getvalue()) // 2]
    with pytest.raises(ImageError, match="cannot be decoded") as caught:
        as_pixels(Image.open(io.BytesIO(half)))
    assert caught.value.hint
    with pytest.raises(MaskError, match="cannot be decoded"):
        as_hole(Image.open(io.BytesIO(half)), (256, 256))


def test_pil_images_are_encoded_once(photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = Image.Image.tobytes, []
    monkeypatch.setattr(Image.Image, "tobytes", lambda self, *rest: calls.append(1) or real(self, *rest))
    assert np.array_equal(as_pixels(Image.fromarray(photo)), photo)
    assert len(calls) == 1


def test_an_empty_mask_is_fine() -> None:
    for dtype in (np.uint8, bool):
        hole, box = as_hole(np.zeros((3, 4), dtype), (3, 4))
        assert hole.shape == (3, 4)
        assert not hole.any()
        assert box == (slice(0, 3), slice(0, 4)), "a small mask is taken whole"


@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        (np.full((4, 6), 255, np.uint8), MaskError, "whole image"),
        (np.ones((4, 6), bool), MaskError, "whole image"),
        (np.ones((4, 6), np.uint8), MaskError, "0/1 mask"),
        (np.full((4, 6), 90, np.uint8), MaskError, "highest: 90"),
        (np.ma.masked_array(np.ones((4, 6), np.uint8), mask=True), MaskError, "highest: 1"),
        (np.zeros((6, 4), np.uint8), ShapeError, "4 x 6 px, the image 6 x 4 px"),
        (np.zeros((4, 6, 3), np.uint8), MaskError, "one channel"),
        (np.zeros((1, 4, 6), np.uint8), MaskError, r"\(1, 4, 6\)"),
        (np.zeros((4, 6), np.float32), MaskError, "float32"),
        (np.zeros((4, 6), np.int64), MaskError, "int64"),
        (np.zeros((4, 6), np.uint16), MaskError, "uint16"),
        ([[0]], MaskError, "list"),
        (None, MaskError, "NoneType"),
        (Image.new("RGB", (6, 4)), MaskError, "'RGB'"),
    ],
)
def test_masks_that_are_refused(mask: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        as_hole(mask, (4, 6))
    assert caught.value.hint  # type: ignore[attr-defined]


def canny_reference(image: NDArray[np.uint8], hole: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """The definition of the edges that models are trained on; ``canny_edges`` must equal it bit by bit."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if hole is None or not hole.any():
        smooth = cv2.GaussianBlur(grey, (0, 0), CANNY_SIGMA)
    else:
        known = (~hole).astype(np.float32)
        weight = cv2.GaussianBlur(known, (0, 0), CANNY_SIGMA)
        smooth = cv2.GaussianBlur(grey * known, (0, 0), CANNY_SIGMA)
        np.divide(smooth, weight, out=smooth, where=weight > 1e-4)
    dx = cv2.Sobel(smooth, cv2.CV_16S, 1, 0, ksize=3)
    dy = cv2.Sobel(smooth, cv2.CV_16S, 0, 1, ksize=3)
    if hole is not None:
        dx[hole] = 0
        dy[hole] = 0
    return cv2.Canny(dx, dy, CANNY_LOW, CANNY_HIGH, L2gradient=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 300), st.floats(0, 1))
def test_canny_is_the_one_that_models_are_trained_on(seed: int, height: int, width: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    image = make_photo(height, width, seed)
    blobs = rng.random((height // 16 + 1, width // 16 + 1)) < share
    hole = np.kron(blobs, np.ones((16, 16), bool))[:height, :width]
    alone = rng.random((height, width)) < 0.97  # known pixels far from each other
    for missing in (hole, alone):
        assert np.array_equal(canny_edges(image, missing), canny_reference(image, missing))
    assert np.array_equal(canny_edges(image), canny_reference(image, None))


def test_canny_sees_neither_the_hole_nor_its_outline(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    hole = mask > 127
    white, noise = photo.copy(), photo.copy()
    white[hole] = 255
    noise[hole] = np.random.default_rng(1).integers(0, 256, (int(hole.sum()), 3))
    assert np.array_equal(canny_edges(white, hole), canny_edges(noise, hole))
    flat = np.full((256, 256, 3), 90, np.uint8)
    flat[hole] = 255
    assert not canny_edges(flat, hole).any()
    assert canny_edges(flat).any()


@pytest.mark.parametrize(("mode", "hint"), [("I;16", "numpy.asarray"), ("F", "numpy.asarray"), ("LA", '"RGBA"')])
def test_the_hint_for_a_pil_image_loses_nothing(mode: str, hint: str) -> None:
    with pytest.raises(ImageError) as caught:
        as_pixels(Image.new(mode, (8, 8)))
    assert hint in str(caught.value)
