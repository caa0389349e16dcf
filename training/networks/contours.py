"""Where a face's features lie: points along its contours found from what is left of it, drawn as lines in the graph.

A mean of pixels is a smear, a mean of shapes is a face: the points of a hidden eye can be regressed, its picture cannot
(LaFIn: Yang et al., "Generative landmark guided face inpainting", PRCV 2020).
"""

from __future__ import annotations

import math
from itertools import accumulate

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
#: Where the points of each contour stand among them.
SPANS: dict[str, slice] = {
    name: slice(end - len(points), end)
    for (name, (points, _)), end in zip(
        CONTOURS.items(), accumulate(len(each) for each, _ in CONTOURS.values()), strict=True
    )
}
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

#: A face in the middle of its picture: x and y of its points in 256ths of the side, the medians of the training faces.
_MEAN = (
    100, 187, 103, 191, 106, 195, 112, 199, 119, 202, 128, 202, 137, 202, 144, 199, 150, 195, 153, 191, 156, 187,
    153, 185, 150, 184, 145, 182, 137, 181, 128, 182, 119, 181, 111, 182, 106, 184, 103, 185, 103, 188, 107, 189,
    110, 191, 115, 192, 121, 193, 128, 193, 135, 193, 141, 192, 146, 191, 149, 189, 153, 188, 150, 187, 146, 186,
    141, 186, 135, 187, 128, 187, 121, 187, 115, 186, 110, 186, 106, 187, 172, 121, 170, 123, 167, 124, 164, 125,
    159, 125, 154, 124, 150, 124, 147, 123, 145, 123, 147, 121, 151, 119, 156, 117, 161, 117, 166, 118, 169, 119,
    171, 120, 84, 121, 86, 123, 89, 124, 92, 125, 97, 125, 102, 124, 106, 124, 109, 123, 111, 123, 109, 121, 105,
    119, 100, 117, 95, 117, 90, 118, 87, 119, 85, 120, 166, 121, 160, 115, 153, 120, 160, 126, 90, 121, 96, 115,
    103, 120, 96, 126, 181, 110, 175, 106, 167, 104, 155, 105, 140, 110, 142, 102, 156, 100, 169, 99, 178, 102, 185,
    107, 75, 110, 81, 106, 89, 104, 101, 105, 116, 110, 114, 102, 100, 100, 87, 99, 78, 102, 71, 107, 128, 118, 128,
    126, 128, 133, 128, 140, 128, 147, 128, 156, 106, 158, 110, 165, 120, 167, 128, 168, 136, 167, 146, 165, 150,
    158, 197, 110, 198, 125, 198, 140, 197, 155, 194, 170, 190, 187, 184, 200, 177, 210, 167, 219, 159, 225, 151,
    230, 141, 234, 128, 236, 115, 234, 105, 230, 97, 225, 89, 219, 79, 210, 72, 200, 66, 187, 62, 170, 59, 155, 58,
    140, 58, 125, 59, 110,
)  # fmt: skip


def mean_face() -> Tensor:
    """``(P, 2)``, x and y in 0..1: what the points of a face are offsets from. Half precision holds it exactly."""
    return torch.tensor(_MEAN).view(-1, 2) / 256.0


def _dots() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each dot of the drawing, both ends of its segment and how far between them it lies (0 to 1).

    Segments of the mean face get a dot every 2 px of 256.
    """
    ends, shares = [], []
    places = 256.0 * mean_face()
    for name, (points, closed) in CONTOURS.items():
        start, count = SPANS[name].start, len(points)
        for i in range(count if closed else count - 1):
            end = start + i, start + (i + 1) % count
            dots = math.ceil(float((places[end[0]] - places[end[1]]).norm()) / 2.0)
            ends += [end] * dots
            shares += [(k + 0.5) / dots for k in range(dots)]
    return np.array(ends), np.array(shares, np.float32)


class ContourRaster(nn.Module):
    """Draws contours: ``(N, P, 2)`` offsets from :func:`mean_face`, to ``(N, 1, size, size)`` in 0..1.

    Places are offsets all the way: half precision has steps of an eighth of a pixel at 255, and of a 64th at 20.

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
        # half precision holds the very same numbers
        mix, span = mix.half().float(), span.half().float()
        place = (mix @ mean_face() * size).unsqueeze(2)
        coarse = (place * 8.0).round() / 8.0
        self.register_buffer("mix", mix, persistent=False)
        self.register_buffer("span", span, persistent=False)
        self.register_buffer("place", coarse, persistent=False)
        self.register_buffer("rest", (place - coarse).half().float(), persistent=False)
        self.register_buffer("reach", (span @ mean_face() * size).half().float(), persistent=False)
        self.register_buffer("grid", torch.arange(size) + 0.5, persistent=False)

    mix: Tensor
    span: Tensor
    place: Tensor
    rest: Tensor
    reach: Tensor
    grid: Tensor

    def forward(self, offsets: Tensor) -> Tensor:
        moved = self.rest + (self.mix @ (offsets * self.size)).unsqueeze(3)  # (N, D, 2, 1), in pixels of the map
        dx, dy = (self.reach + self.span @ (offsets * self.size)).split(1, dim=2)
        length = (dx * dx + dy * dy).clamp(min=1e-6).sqrt()
        weight = length / (self.sigma * math.sqrt(2.0 * math.pi))
        scale = 1.0 / (self.sigma * math.sqrt(2.0))
        away = ((self.place - self.grid) + moved) * scale  # (N, D, 2, size)
        # no farther: products of smaller numbers are denormal, and a CPU takes many times as long for these
        bells = torch.exp(-away.clamp(-4.0, 4.0).square())
        across, down = (each.squeeze(2) for each in bells.split(1, dim=2))
        return ((down * weight).transpose(1, 2) @ across).clamp(0.0, 1.0).unsqueeze(1)


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
        self.gather = ConvAct(body, 24, 1, leaky=True)
        self.shape = nn.Linear(24 * 64, shapes)
        self.points = nn.Linear(shapes, 2 * len(POINTS))
        self.presence = nn.Linear(shapes, 1)
        nn.init.normal_(self.points.weight, std=0.02)

    def forward(self, image: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """``image`` ``(N, 3, S, S)`` in -1..1, its hole filled by a smooth guess; ``hole`` ``(N, 1, S, S)``; S a power
        of two from 64 on. Offsets ``(N, P, 2)`` of the points from :func:`mean_face`, and the logit of a face
        ``(N, 1)``."""
        small = torch.cat((image, hole), dim=1)
        while small.shape[-1] > 64:
            small = F.avg_pool2d(small, 2)
        code = self.shape(self.gather(self.body(self.down(self.stem(small)))).flatten(1))
        return self.points(code).view(-1, len(POINTS), 2), self.presence(code)
