"""What first comes out of a device is looked at before anyone is served."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from restore_sdk.engines.sidecar import BUILD_AGAIN
from restore_sdk.errors import ExecutionError
from restore_sdk.imaging.image import HOLE_ABOVE, MODEL_SIZE
from restore_sdk.runtime.base import U8
from restore_sdk.runtime.pipeline import DeviceInference, Pipeline


def warm_up(pipelines: Sequence[Pipeline], max_batch: int) -> None:
    """Run every pipeline once, and look whether what comes out can be a restoration.

    An engine that fails in silence leaves its output as it was.

    Raises:
        ExecutionError: it cannot be one, or two pipelines differ.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (max_batch, MODEL_SIZE, MODEL_SIZE, 3), dtype=np.uint8)
    masks = np.zeros((max_batch, MODEL_SIZE, MODEL_SIZE), np.uint8)
    masks[:, MODEL_SIZE // 4 : MODEL_SIZE // 2, MODEL_SIZE // 4 : MODEL_SIZE // 2] = 255
    edges = (rng.integers(0, 8, masks.shape, dtype=np.uint8) == 0).astype(np.uint8) * np.uint8(255)
    edges[masks > HOLE_ABOVE] = 0
    first: DeviceInference | None = None
    for number, pipeline in enumerate(pipelines):
        for count in (1,) if number or max_batch == 1 else (max_batch, 1):
            result = pipeline.run(images[:count], masks[:count], edges[:count])
            for index in range(count):
                _check_sense(images[index], masks[index], result.restored[index], result.completed_edges[index])
        if first is not None and not (
            np.array_equal(first.restored, result.restored)
            and np.array_equal(first.completed_edges, result.completed_edges)
        ):
            raise ExecutionError("the warm-up gave two results for one input", "report it with: restore-sdk doctor")
        first = first or result


def _check_sense(image: U8, mask: U8, restored: U8, completed: U8) -> None:
    known = mask <= HOLE_ABOVE
    if restored.min() == restored.max() or completed.min() == completed.max():
        what = "a constant picture"
    elif not np.array_equal(restored[known], image[known]):
        what = "another picture outside the hole"
    else:
        return
    raise ExecutionError(f"the warm-up gave {what}: the engine does not compute the model", BUILD_AGAIN)
