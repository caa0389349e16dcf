"""Rows of a pipeline, for those who make it and for those who look at what comes out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.conftest import make_photo

ROWS = 36

#: Exit code of a pipeline whose cluster did not start.
NOT_STARTED = 3


def row(number: int, height: int = 256, width: int = 256) -> dict[str, NDArray[np.uint8]]:
    """A photograph and a mask; of every twelfth all is masked, so that it cannot be restored."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 3 : width // 2] = 255
    return {"image": make_photo(height, width, number), "mask": mask if number % 12 != 11 else mask | 255}
