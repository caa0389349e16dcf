"""Pictures and masks that the code draws itself: for golden vectors and gates, free of anyone's rights."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from restore_sdk.imaging.image import MODEL_SIZE
from training.masks import DAMAGES, tears

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]


def drawn_face(seed: int) -> Image:
    """Something like a portrait: shaded ellipses for head, hair, eyes, nose and mouth before a gradient.

    Returns:
        ``(256, 256, 3)`` RGB ``uint8``, the same for the same seed.
    """
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0.0, 1.0, MODEL_SIZE)[:, None, None]
    ends = rng.uniform(30, 200, (2, 3))
    canvas = np.broadcast_to(ends[0] + ramp * (ends[1] - ends[0]), (MODEL_SIZE, MODEL_SIZE, 3)).astype(np.float32)
    canvas = np.ascontiguousarray(canvas)
    skin = np.array((210, 160, 130)) * rng.uniform(0.45, 1.1)
    hair = rng.uniform(15, 120) * np.array((1.0, 0.8, 0.6))
    x, y = 128 + rng.integers(-10, 11, 2)
    wide, high = int(rng.integers(62, 78)), int(rng.integers(84, 98))

    def ellipse(centre: tuple[int, int], axes: tuple[int, int], colour: NDArray[np.float64], turn: float = 0.0) -> None:
        cv2.ellipse(canvas, centre, axes, turn, 0, 360, np.clip(colour, 0, 255).tolist(), -1, cv2.LINE_AA)

    ellipse((x, y + 150), (wide + 40, 90), rng.uniform(20, 220, 3))  # shoulders
    ellipse((x, y - 18), (wide + 14, high + 10), hair)
    ellipse((x, y + 10), (wide, high), skin)
    for side in (-1, 1):
        eye = (x + side * 28, y - 6)
        ellipse((eye[0], eye[1] - 16), (15, 3), hair, turn=side * 6.0)
        ellipse(eye, (12, 6), np.array((235, 235, 230)))
        ellipse(eye, (5, 5), rng.uniform(20, 110, 3))
        ellipse(eye, (2, 2), np.array((10, 10, 10)))
    ellipse((x, y + 26), (7, 16), skin * 0.88)
    ellipse((x, y + 58), (24, 6), np.array((170, 70, 75)) * rng.uniform(0.7, 1.1))
    light = 1.0 + 0.25 * np.linspace(-1, 1, MODEL_SIZE)[None, :, None] * rng.choice((-1, 1))
    shaded: Image = np.clip(np.round(cv2.GaussianBlur(canvas, (0, 0), 0.8) * light), 0, 255).astype(np.uint8)
    return shaded


#: Without tears, which came later: the probes stay those that released models were gated by.
_KINDS = tuple(kind for kind, _ in DAMAGES if kind is not tears)


def mask_of(share: float, seed: int) -> Mask:
    """Random damage that covers about ``share`` of the picture: within a sixth of it, and 0 and 1 exactly.

    Returns:
        ``(256, 256)`` ``uint8``, 255 = hole.
    """
    mask: Mask = np.full((MODEL_SIZE, MODEL_SIZE), 255 if share >= 1.0 else 0, np.uint8)
    rng = np.random.default_rng(seed)
    if 0.0 < share < 0.01:
        side = max(1, round(MODEL_SIZE * share**0.5))
        x, y = rng.integers(0, MODEL_SIZE - side, 2)
        mask[y : y + side, x : x + side] = 255
        return mask
    while np.count_nonzero(mask) < 0.85 * share * mask.size:
        wider = mask.copy()
        _KINDS[int(rng.integers(len(_KINDS)))](wider, rng)
        if np.count_nonzero(wider) <= 1.15 * share * mask.size:
            mask = wider
    return mask
