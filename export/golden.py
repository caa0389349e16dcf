"""Golden vectors: a few damaged pictures with what the PyTorch reference makes of them in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.pictures import Image, drawn_face, mask_of
from export.runners import TorchStage

#: Shares of the picture that are missing, from a speck to almost all.
SHARES = (0.001, 0.05, 0.15, 0.3, 0.5, 0.85)


def golden_inputs(photos: Sequence[Image] = (), seed: int = 1) -> dict[str, NDArray[np.uint8]]:
    """``image`` ``(N, 256, 256, 3)`` and ``mask`` ``(N, 256, 256)``; photographs come in the middle."""
    images = [drawn_face(seed + i) for i in range(len(SHARES))]
    for i, photo in enumerate(photos[:3]):
        images[2 + i] = photo
    masks = [mask_of(share, seed + i) for i, share in enumerate(SHARES)]
    return {"image": np.stack(images), "mask": np.stack(masks)}


def golden_vectors(
    edge: TorchStage, repair: TorchStage, inputs: dict[str, NDArray[np.uint8]]
) -> dict[str, NDArray[np.uint8]]:
    """The inputs with ``completed_edges`` and ``restored``."""
    completed = edge(inputs["image"], inputs["mask"]).output
    restored = repair(inputs["image"], inputs["mask"], completed).output
    return {**inputs, "completed_edges": completed, "restored": restored}
