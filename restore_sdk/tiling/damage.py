"""Finding damage: a photograph in, a proposal for its mask out.

The damage stage runs in overlapping windows at the photograph's own resolution, where scratches are thin, and once more
at half of it, where wide damage fits into its sight; the probability is their mean, the first counting twice: fewer
pixels of whole photographs are marked than with either alone, or with the larger of both. In a large scan damage may be
too wide for both: the same is done at a quarter, and the larger of the two taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.errors import InputError
from restore_sdk.imaging.image import Color, as_pixels, to_rgb

U8 = NDArray[np.uint8]
Sensitivity = Literal["low", "normal", "high"]

#: By sensitivity, of the probability in 1/255: what damage must reach somewhere, what is enough where it is
#: :data:`LONG`, and where it ends. What is taken for damage and is none is mostly small.
LEVELS: dict[Sensitivity, tuple[int, int, int]] = {
    "low": (248, 220, 90),
    "normal": (240, 180, 60),
    "high": (215, 140, 45),
}

#: Long damage: pixels of the longer side of its bounding box; in pictures of more than 1,024 px in proportion.
LONG = 64

#: Pictures are looked at once more at a quarter of their size from this shorter side on.
LARGE = 1024

#: Side of a window, how far from its border it is not trusted (the network sees about so far), and what divides it.
WINDOW, MARGIN, MULTIPLE = 1024, 64, 16

#: Damage of fewer pixels is none: grain.
MIN_PIXELS = 3

#: A photograph with a larger share of damage is not restored unasked.
TOO_MUCH = 0.5


@dataclass(frozen=True, slots=True)
class Damage:
    """A proposal for the mask of a photograph, to be looked at.

    Attributes:
        mask: ``(H, W)`` ``uint8``, 255 where damage was found, else 0; a pixel wider than the damage.
        probability: ``(H, W)`` ``uint8``, 255 where damage is certain.
        share: of the photograph's pixels in ``mask``, 0 to 1.
    """

    mask: U8
    probability: U8
    share: float


def find_damage(
    stage: Callable[[U8], U8], image: object, *, sensitivity: Sensitivity = "normal", color: Color = "rgb"
) -> Damage:
    """Find damage with a stage that :func:`restore_sdk.runtime.onnxruntime.open_extra` gives."""
    if sensitivity not in get_args(Sensitivity):
        raise InputError(f"sensitivity is {sensitivity!r}", "pass low, normal or high")
    pixels = to_rgb(as_pixels(image, color), color)
    height, width = pixels.shape[:2]
    half = _halved(pixels)
    chance = _at_two_scales(stage, pixels, half)
    if min(height, width) >= LARGE:
        quarter = _halved(half)
        wide = _at_two_scales(stage, quarter, _halved(quarter))
        np.maximum(chance, cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR), out=chance)
    mask = _components(chance, *LEVELS[sensitivity])
    return Damage(mask, chance, float(np.count_nonzero(mask)) / mask.size)


def _halved(pixels: U8) -> U8:
    height, width = pixels.shape[:2]
    half: U8 = cv2.resize(pixels, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    return half


def _at_two_scales(stage: Callable[[U8], U8], pixels: U8, half: U8) -> U8:
    chance = _windows(stage, pixels)
    height, width = chance.shape
    if min(height, width) >= 256:
        coarse = cv2.resize(_windows(stage, half), (width, height), interpolation=cv2.INTER_LINEAR)
        cv2.addWeighted(chance, 2 / 3, coarse, 1 / 3, 0, dst=chance)
    return chance


def _windows(stage: Callable[[U8], U8], pixels: U8) -> U8:
    """The probability for every pixel, from windows that overlap by twice the margin."""
    height, width = pixels.shape[:2]
    chance = np.empty((height, width), np.uint8)
    step = WINDOW - 2 * MARGIN
    for top in range(0, max(1, height - 2 * MARGIN), step):
        for left in range(0, max(1, width - 2 * MARGIN), step):
            window = pixels[top : top + WINDOW, left : left + WINDOW]
            down, across = window.shape[:2]
            padded = cv2.copyMakeBorder(window, 0, -down % MULTIPLE, 0, -across % MULTIPLE, cv2.BORDER_REPLICATE)
            found = stage(np.ascontiguousarray(padded)[np.newaxis])[0]
            y, x = MARGIN * (top > 0), MARGIN * (left > 0)
            chance[top + y : top + down, left + x : left + across] = found[y:down, x:across]
    return chance


def _components(chance: U8, seed: int, seed_of_long: int, edge: int) -> U8:
    """What is connected over ``edge`` and somewhere reaches its seed, a pixel wider: 255, else 0."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((chance >= edge).astype(np.uint8), connectivity=8)

    def reaching(least: int) -> NDArray[np.bool_]:
        return np.bincount(labels[chance >= least], minlength=len(stats)) > 0

    longer_side = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1)
    long = longer_side >= LONG * max(1.0, max(chance.shape) / 1024)
    strong = reaching(seed) | (reaching(seed_of_long) & long)
    strong &= stats[:, cv2.CC_STAT_AREA] >= MIN_PIXELS
    strong[0] = False
    mask: U8 = cv2.dilate(strong.astype(np.uint8)[labels] * 255, np.ones((3, 3), np.uint8))
    return mask
