"""Ray Data's callable: called as Ray would, then in a pipeline on a real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_sdk import RestoreEngine, RestoreOptions
from restore_sdk.bundle import Bundle
from restore_sdk.cluster import RestoreBatches
from restore_sdk.errors import BundleError, InputError, MaskError
from tests.child import python
from tests.conftest import make_photo
from tests.docs.pages import ROOT, assert_restored

#: Ray then takes 127.0.0.1 for this host's address, and listens nowhere else; it tells nobody that it is used; and its
#: workers, which else are very nice to others, get their share of a busy machine.
ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}


def row(number: int, height: int, width: int) -> dict[str, np.ndarray]:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 3 : width // 2] = 255
    return {"image": make_photo(height, width, number), "mask": mask}


def batch(*sizes: tuple[int, int], **more: Any) -> dict[str, Any]:
    """As Ray Data has it: one array of pictures of one size, else an array of arrays."""
    rows = [row(number, *size) for number, size in enumerate(sizes)]
    columns: dict[str, Any] = {}
    for name in ("image", "mask"):
        columns[name] = np.empty(len(rows), dtype=object)
        columns[name][:] = [one[name] for one in rows]
        if len(set(sizes)) == 1:
            columns[name] = np.stack(columns[name])
    return {**columns, **more}


@pytest.mark.parametrize(
    ("sizes", "dtype"), [(((90, 120),) * 3, np.uint8), (((90, 120), (256, 256), (40, 30)), object)]
)
def test_one_size_and_many(toy_bundle: Bundle, engine: RestoreEngine, sizes: Any, dtype: Any) -> None:
    given = batch(*sizes, name=np.arange(3))
    found = RestoreBatches(toy_bundle.path)(given)
    assert set(found) == {"image", "mask", "name", "restored"}
    for number in range(3):
        assert np.array_equal(found["restored"][number], engine(given["image"][number], given["mask"][number]))
    assert found["restored"].dtype == dtype


def test_options_reach_the_engine(toy_bundle: Bundle, engine: RestoreEngine) -> None:
    given = batch((90, 120))
    found = RestoreBatches(toy_bundle.path, options=RestoreOptions(color="bgr"), dilate=5)(given)["restored"][0]
    assert np.array_equal(found, engine(given["image"][0], given["mask"][0], color="bgr", dilate=5))


def test_rows_that_cannot_be_used(toy_bundle: Bundle, engine: RestoreEngine) -> None:
    given = batch((90, 120), (60, 60), (40, 30))
    given["mask"][1] = np.full((60, 60), 255, np.uint8)
    with pytest.raises(MaskError, match="item 1"):
        RestoreBatches(toy_bundle.path)(given)
    found = RestoreBatches(toy_bundle.path, errors="column")(given)
    assert [error.partition(":")[0] for error in found["error"]] == ["", "MaskError", ""]
    assert found["restored"][1].shape == (0, 0, 3)
    for number in (0, 2):
        assert np.array_equal(found["restored"][number], engine(given["image"][number], given["mask"][number]))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"dilate": 5000}, InputError, "dilate"),
        ({"dialate": 5}, TypeError, "dialate"),
        ({"errors": "ignore"}, InputError, "errors"),
        ({"bundle": "nowhere"}, BundleError, "nowhere"),
    ],
)
def test_what_is_wrong_from_the_start(
    toy_bundle: Bundle, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        RestoreBatches(**{"bundle": toy_bundle.path, "errors": "column", **options})
    with pytest.raises(InputError, match="no column 'mask', but image"):
        RestoreBatches(toy_bundle.path, errors="column")({"image": np.zeros((1, 9, 9, 3), np.uint8)})


@pytest.mark.slow
def test_the_example_pipeline(tmp_path: Path) -> None:
    done = python(ROOT / "examples" / "ray_pipeline.py", "local", tmp_path / "restored", environment=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "restored").iterdir()
    assert_restored(written)
