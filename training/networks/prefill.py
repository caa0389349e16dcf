"""A smooth first guess for the hole: the pull-push pyramid of Gortler et al., "The Lumigraph", SIGGRAPH 1996."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pull_push(image: Tensor, hole: Tensor) -> Tensor:
    """Fill the hole by averages of known pixels, taken from the finest level of a pyramid that has any.

    Networks that start from a smooth guess only have to learn what it lacks. Every division is by a count from 1 to 4,
    so the result is as exact in FP16 as the pixels are.

    Args:
        image: ``(N, C, S, S)``; what stands in the hole is ignored. S is a power of two: the pyramid ends at one pixel.
        hole: ``(N, 1, S, S)``, 1 where pixels are missing and 0 elsewhere.

    Returns:
        ``(N, C, S, S)``: known pixels unchanged. Where nothing at all is known, zeros.
    """
    known = 1.0 - hole
    colours, weights = [image * known], [known]
    for _ in range(image.shape[-1].bit_length() - 1):
        count = 4.0 * F.avg_pool2d(weights[-1], 2)
        colours.append(4.0 * F.avg_pool2d(colours[-1], 2) / count.clamp(min=1.0))
        weights.append(count.clamp(max=1.0))
    filled = colours.pop()
    weights.pop()
    while colours:
        finer = F.interpolate(filled, scale_factor=2.0, mode="bilinear", align_corners=False)
        colour, weight = colours.pop(), weights.pop()
        filled = colour + (1.0 - weight) * finer
    return filled
