"""The callable class, called as Ray Data would; on a cluster it runs in ``test_ray``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.cluster import RestoreBatches
from restore_sdk.errors import BundleError, InputError, MaskError
from tests.conftest import make_photo


def batch(*sizes: tuple[int, int], **more: Any) -> dict[str, Any]:
    images = np.empty(len(sizes), dtype=object)
    masks = np.empty(len(sizes), dtype=object)
    for row, (height, width) in enumerate(sizes):
        images[row], masks[row] = make_photo(height, width, row), np.zeros((height, width), np.uint8)
        masks[row][height // 3 : height // 2, width // 3 : width // 2] = 255
    return {"image": images, "mask": masks, **more}


def test_one_size_and_many(toy_bundle: Bundle, engine: RestoreEngine) -> None:
    restore = RestoreBatches(toy_bundle.path)
    for sizes in (((90, 120),) * 3, ((90, 120), (256, 256), (40, 30))):
        given = batch(*sizes, name=np.arange(3))
        stacked = (
            {**given, "image": np.stack(given["image"]), "mask": np.stack(given["mask"])}
            if len(set(sizes)) == 1
            else given
        )
        found = restore(stacked)
        assert set(found) == {"image", "mask", "name", "restored"}
        for row in range(3):
            assert np.array_equal(found["restored"][row], engine(given["image"][row], given["mask"][row]))
        assert found["restored"].dtype == (np.uint8 if stacked is not given else object)


def test_options_reach_the_engine(toy_bundle: Bundle, engine: RestoreEngine) -> None:
    given = batch((90, 120))
    found = RestoreBatches(toy_bundle.path, color="bgr", dilate=5)(given)["restored"][0]
    assert np.array_equal(found, engine(given["image"][0], given["mask"][0], color="bgr", dilate=5))


def test_rows_that_cannot_be_used(toy_bundle: Bundle, engine: RestoreEngine) -> None:
    given = batch((90, 120), (60, 60), (40, 30))
    given["mask"][1] = np.full((60, 60), 255, np.uint8)
    with pytest.raises(MaskError, match="item 1"):
        RestoreBatches(toy_bundle.path)(given)
    found = RestoreBatches(toy_bundle.path, errors="column")(given)
    assert [bool(error) for error in found["error"]] == [False, True, False]
    assert found["error"][1].startswith("MaskError: ")
    assert found["restored"][1].shape == (0, 0, 3)
    for row in (0, 2):
        assert np.array_equal(found["restored"][row], engine(given["image"][row], given["mask"][row]))


def test_what_is_wrong_from_the_start(toy_bundle: Bundle) -> None:
    with pytest.raises(InputError, match="no column 'mask', but image"):
        RestoreBatches(toy_bundle.path)({"image": np.zeros((1, 9, 9, 3), np.uint8)})
    for column in ("raise", "column"):
        with pytest.raises(InputError, match="dilate"):
            RestoreBatches(toy_bundle.path, errors=column, dilate=5000)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="there is no option 'dialate'"):
            RestoreBatches(toy_bundle.path, errors=column, dialate=5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="errors"):
        RestoreBatches(toy_bundle.path, errors="ignore")  # type: ignore[arg-type]
    with pytest.raises(BundleError):
        RestoreBatches("nowhere")
