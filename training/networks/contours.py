"""Where a face's features lie: points along its contours found from what is left of it, drawn as lines in the graph.

A mean of pixels is a smear, a mean of shapes is a face: the points of a hidden eye can be regressed, its picture cannot
(LaFIn: Yang et al., "Generative landmark guided face inpainting", PRCV 2020).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.networks.attention import GlobalAttention
from training.networks.layers import ConvAct, ResidualBlock

#: Contours as lines of points, by the numbers of MediaPipe's face mesh (478 points with irises), and whether closed.
CONTOURS: dict[str, tuple[tuple[int, ...], bool]] = {
    "lips_outer": (
        (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185), True),
    "lips_inner": (
        (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191), True),
    "left_eye": ((263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466), True),
    "right_eye": ((33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246), True),
    "left_iris": ((474, 475, 476, 477), True),
    "right_iris": ((471, 470, 469, 472), True),
    "left_brow": ((276, 283, 282, 295, 285, 336, 296, 334, 293, 300), True),
    "right_brow": ((46, 53, 52, 65, 55, 107, 66, 105, 63, 70), True),
    "bridge": ((168, 6, 197, 195, 5, 4), False),
    "nostrils": ((129, 98, 97, 2, 326, 327, 358), False),
    "jaw": (
        (389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93,
         234, 127, 162), False),
}  # fmt: skip

#: The mesh's numbers of all points, in the order of this module.
POINTS: tuple[int, ...] = tuple(point for points, _ in CONTOURS.values() for point in points)
#: Pairs of mesh points that a mirror exchanges.
_MIRRORED = (
    (61, 291), (146, 375), (91, 321), (181, 405), (84, 314), (185, 409), (40, 270), (39, 269), (37, 267),
    (78, 308), (95, 324), (88, 318), (178, 402), (87, 317), (191, 415), (80, 310), (81, 311), (82, 312),
    (263, 33), (249, 7), (390, 163), (373, 144), (374, 145), (380, 153), (381, 154), (382, 155), (362, 133),
    (398, 173), (384, 157), (385, 158), (386, 159), (387, 160), (388, 161), (466, 246),
    (474, 471), (475, 470), (476, 469), (477, 472),
    (276, 46), (283, 53), (282, 52), (295, 65), (285, 55), (336, 107), (296, 66), (334, 105), (293, 63), (300, 70),
    (129, 358), (98, 327), (97, 326),
    (389, 162), (356, 127), (454, 234), (323, 93), (361, 132),
    (288, 58), (397, 172), (365, 136), (379, 150), (378, 149), (400, 176), (377, 148),
)  # fmt: skip


def _mirror() -> tuple[int, ...]:
    other = dict(_MIRRORED) | {b: a for a, b in _MIRRORED}
    place = {point: i for i, point in enumerate(POINTS)}
    return tuple(place[other.get(point, point)] for point in POINTS)


#: For every point, the place of the one that a mirrored face has there.
MIRROR = _mirror()

#: Distance of the dots that a line is drawn of, as a share of the side: below it a row of dots is a line.
_SPACING = 1.0 / 256.0


def _dots() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each dot of the drawing, both ends of its segment and how far between them it lies (0 to 1).

    Segments get dots for the length that they have on a face that fills the picture; larger ones are drawn lighter.
    """
    ends, shares, start = [], [], 0
    for name, (points, closed) in CONTOURS.items():
        count = len(points)
        dots = 10 if name in ("jaw", "bridge") else 5
        for i in range(count if closed else count - 1):
            for k in range(dots):
                ends.append((start + i, start + (i + 1) % count))
                shares.append((k + 0.5) / dots)
        start += count
    return np.array(ends), np.array(shares, np.float32)


class ContourRaster(nn.Module):
    """Draws contours: ``(N, P, 2)`` points, x and y in 0..1 of the side, to ``(N, 1, size, size)`` in 0..1.

    A line is a row of Gaussian dots. Each dot is a product of a Gaussian in x and one in y, so all of them together are
    one product of matrices. A dot counts by the length that it stands for, so that a line is 1 at its middle, however
    long its segments are.

    Args:
        size: of the map.
        sigma: of the lines' profile, in pixels of the map.
    """

    def __init__(self, size: int, sigma: float) -> None:
        super().__init__()
        self.size, self.sigma = size, sigma
        ends, shares = _dots()
        mix = torch.zeros(len(shares), len(POINTS))
        mix[torch.arange(len(shares)), ends[:, 0]] = torch.from_numpy(1.0 - shares)
        mix[torch.arange(len(shares)), ends[:, 1]] += torch.from_numpy(shares)
        span = torch.zeros(len(shares), len(POINTS))
        first = np.flatnonzero(np.diff(np.r_[-1, ends[:, 0]]) != 0)
        counts = np.diff(np.r_[first, len(shares)]).repeat(np.diff(np.r_[first, len(shares)]))
        span[torch.arange(len(shares)), ends[:, 0]] = -1.0 / torch.from_numpy(counts).float()
        span[torch.arange(len(shares)), ends[:, 1]] += 1.0 / torch.from_numpy(counts).float()
        self.register_buffer("mix", mix, persistent=False)
        self.register_buffer("span", span, persistent=False)
        self.register_buffer("grid", torch.arange(size) + 0.5, persistent=False)

    mix: Tensor
    span: Tensor
    grid: Tensor

    def forward(self, points: Tensor) -> Tensor:
        places = self.mix @ points * self.size  # (N, D, 2), in pixels of the map
        length = (self.span @ points * self.size).square().sum(2, keepdim=True).clamp(min=1e-6).sqrt()
        weight = length / (self.sigma * math.sqrt(2.0 * math.pi))
        scale = 1.0 / (self.sigma * math.sqrt(2.0))
        offsets = (places.unsqueeze(3) - self.grid) * scale  # (N, D, 2, size)
        bells = torch.exp(-offsets.clamp(-8.0, 8.0).square())
        across, down = bells[:, :, 0], bells[:, :, 1] * weight
        return (down.transpose(1, 2) @ across).clamp(0.0, 1.0).unsqueeze(1)


class ShapeNetwork(nn.Module):
    """What is left of a face in; points along its contours, and whether there is a face, out.

    Args:
        width: channels at 1/16 of 256 px.
        body: channels at 1/32.
        blocks: of global attention at 1/32.
        shapes: how many directions the shape of a face may vary in.
    """

    def __init__(self, width: int = 64, body: int = 80, blocks: int = 2, shapes: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), ConvAct(4 * 16, width))
        self.down = nn.Sequential(ConvAct(width, body, stride=2), ResidualBlock(body))
        self.body = nn.Sequential(*(GlobalAttention(body, 8) for _ in range(blocks)))
        self.gather = ConvAct(body, 24, 1)
        self.shape = nn.Linear(24 * 64, shapes)
        self.points = nn.Linear(shapes, 2 * len(POINTS))
        self.presence = nn.Linear(shapes, 1)
        nn.init.normal_(self.points.weight, std=0.02)

    def forward(self, image: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """``image`` ``(N, 3, S, S)`` in -1..1, its hole filled by a smooth guess; ``hole`` ``(N, 1, S, S)``; S a power
        of two from 64 on. Points ``(N, P, 2)``, x and y in 0..1 of the side, and the logit of a face ``(N, 1)``."""
        small = torch.cat((image, hole), dim=1)
        while small.shape[-1] > 64:
            small = F.avg_pool2d(small, 2)
        code = self.shape(self.gather(self.body(self.down(self.stem(small)))).flatten(1))
        return self.points(code).view(-1, len(POINTS), 2), self.presence(code)
