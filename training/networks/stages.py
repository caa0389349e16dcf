"""The two stages as they are deployed: ``uint8`` in, ``uint8`` out, with all that lies between inside the graph.

A stage holds its generator and carries normalisation, the first guess, masking, composition and rounding, so that a
host only has to copy bytes. Casts from and to ``uint8`` stand at the very edges, as TensorRT demands. Arithmetic runs
in the dtype of the generator's weights; in FP16 every step outside the generator is exact (integers up to 2,048) or a
mean of at most four numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.contours import ShapeNetwork, mean_face
from training.networks.edge import EdgeGenerator
from training.networks.repair import RepairGenerator


def to_unit(image: Tensor) -> Tensor:
    """0..255 to -1..1."""
    return image * (1.0 / 127.5) - 1.0


def pull_push(image: Tensor, hole: Tensor) -> Tensor:
    """Fill the hole by averages of known pixels, taken from the finest level of a pyramid that has any (pull-push:
    Gortler et al., "The Lumigraph", SIGGRAPH 1996).

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


class _Stage(nn.Module):
    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    @property
    def dtype(self) -> torch.dtype:
        return next(self.generator.parameters()).dtype

    def _maps(self, *maps: Tensor) -> tuple[Tensor, ...]:
        return tuple(each.to(self.dtype).unsqueeze(1) for each in maps)

    def _image(self, image: Tensor) -> Tensor:
        return image.to(self.dtype).permute(0, 3, 1, 2)


def hole_of(mask: Tensor) -> Tensor:
    """1 where a 0..255 mask is above 127, else 0 (integers in, so the clamp is a comparison)."""
    return (mask - 127.0).clamp(0.0, 1.0)


class EdgeStage(_Stage):
    """Completes the edges of a damaged image.

    ``image`` ``(N, 256, 256, 3)`` and ``mask`` ``(N, 256, 256)``, both ``uint8``; above 127 in ``mask`` is a hole.
    Returns ``completed_edges`` ``(N, 256, 256)`` ``uint8``, 255 for a sure line: those of the known part of the image,
    and in the hole those that the generator draws, and the contours of the face.
    """

    generator: EdgeGenerator

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        (soft_mask,) = self._maps(mask)
        hole = hole_of(soft_mask)
        completed = self.generator(pull_push(to_unit(self._image(image)), hole), hole)
        return (255.0 * completed).round().squeeze(1).to(torch.uint8)


class RepairStage(_Stage):
    """Restores a damaged image with the help of its completed edges.

    ``image`` ``(N, 256, 256, 3)``, ``mask`` and ``completed_edges`` ``(N, 256, 256)``, all ``uint8``. Returns
    ``restored``, like ``image``; outside the hole it is equal to ``image``, byte for byte.
    """

    generator: RepairGenerator

    def forward(self, image: Tensor, mask: Tensor, completed_edges: Tensor) -> Tensor:
        soft_mask, edges = self._maps(mask, completed_edges)
        pixels = self._image(image)
        hole = hole_of(soft_mask)
        # around zero, where FP16 is finest: 127.5 less is exact, and so is half a step less before rounding
        guess = pull_push(pixels - 127.5, hole)
        residual = self.generator(guess * (1.0 / 127.5), edges * (1.0 / 255.0), hole)
        painted = ((guess + 127.5 * residual - 0.5).round() + 128.0).clamp(0.0, 255.0)
        restored = pixels * (1.0 - hole) + painted * hole
        return restored.permute(0, 2, 3, 1).to(torch.uint8)


class FaceStage(_Stage):
    """Says how a face has to be framed for the other stages, from its contours.

    ``image`` ``(N, 256, 256, 3)`` and ``mask`` ``(N, 256, 256)``, both ``uint8``. Returns ``face`` ``(N, 4)`` float32:
    how sure it is of a face, 0..1; the middle of its frame, x and y, and the frame's side, in sides of the image. The
    frame is the square in which the mean face fits the contours best, by least squares, unturned.
    """

    generator: ShapeNetwork
    middle: Tensor
    around: Tensor

    def __init__(self, generator: ShapeNetwork) -> None:
        super().__init__(generator)
        mean = mean_face()
        around = mean - mean.mean(0)
        self.register_buffer("middle", mean.mean(0), persistent=False)
        self.register_buffer("around", around / around.square().sum(), persistent=False)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        (soft_mask,) = self._maps(mask)
        known = 1.0 - hole_of(soft_mask)
        # means of what is known, at the size that the network sees; what is unknown there is guessed there
        share = F.avg_pool2d(known, 4)
        small = F.avg_pool2d(to_unit(self._image(image)) * known, 4) / share.clamp(min=1.0 / 16.0)
        offsets, presence = self.generator(pull_push(small, (1.0 - 16.0 * share).clamp(min=0.0)), 1.0 - share)
        moved = offsets.mean(1)
        side = 1.0 + (offsets * self.around).sum((1, 2)).unsqueeze(1)
        centre = moved + self.middle + side * (0.5 - self.middle)
        return torch.cat((torch.sigmoid(presence), centre, side), dim=1)
