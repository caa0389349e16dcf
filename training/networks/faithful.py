"""The networks of the ``faithful`` model (1.6), trained for the smallest error: what its bundle was exported from.

They are the deployed model's but for these places: the edge stage knows no contours, and its lines are a pixel wide;
the coarse generator is smaller, hears structure at 1/8 only, and paints at 1/8; nothing comes after the pixel shuffles.
They are built to compare a bundle with its reference; the trainer trains the newer ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.attention import GlobalAttention
from training.networks.edge import EdgeDrawer
from training.networks.edgemap import luma
from training.networks.layers import ConvAct, ResidualBlock, Upsample, conv
from training.networks.repair import RepairGenerator
from training.networks.stages import EdgeStage, RepairStage

#: Standard deviation of the blur before the gradient, in pixels.
_BLUR = 1.4
#: Gradients at which a line begins and is full, of Sobel on grey in 0..255. Canny's thresholds, 40 and 100, take weak
#: pixels where they touch strong ones; between the two, without looking for that, restored pictures came out alike.
_LOW, _HIGH = 50.0, 90.0
#: Least bend of a ridge: an even slope has none.
_LEAST_BEND = 0.01
#: Pixels that one product filters, and half as many on either side that it sees beyond them.
_BLOCK = 32


class SharpEdgeMap(nn.Module):
    """Grey in -1..1, ``(N, 1, S, S)`` with S a multiple of 32, to lines in 0..1 of the same shape, a pixel wide.

    Canny's steps (PAMI 1986) without its decisions: blur, Sobel, non-maximum suppression, and a ramp in the place of
    two thresholds. A parabola is laid through the gradient's strength, along the gradient; a pixel is on a line by how
    near the parabola's top is, 0 from a pixel on. All is continuous in the picture, so that rounding to half precision
    moves no line.
    """

    def __init__(self) -> None:
        super().__init__()
        gauss = torch.exp(-torch.arange(-6.0, 7.0).square() / (2.0 * _BLUR**2))
        blurred, sloped = (_product(gauss / gauss.sum(), taps) for taps in ([1.0, 2.0, 1.0], [1.0, 0.0, -1.0]))
        sloped = sloped * (127.5 / (_HIGH - _LOW))
        # Half precision holds the very same numbers.
        self.register_buffer("rows", torch.stack((sloped, blurred)).mT.half().float(), persistent=False)
        self.register_buffer("columns", torch.stack((blurred, sloped)).unsqueeze(1).half().float(), persistent=False)

    rows: Tensor
    columns: Tensor

    def forward(self, grey: Tensor, hole: Tensor) -> Tensor:
        """``grey`` filled in the hole, as by :func:`training.networks.stages.pull_push`; ``hole`` ``(N, 1, S, S)``, 1
        where pixels are missing: no line is there, and none is seen of its rim."""
        gx, gy = self._gradient(grey).split(1, dim=1)
        xx, yy = gx * gx, gy * gy
        strength = (xx + yy).sqrt() * (1.0 - hole)
        around, size = F.pad(strength, (1, 1, 1, 1)), strength.shape[-1]

        def at(dx: int, dy: int) -> Tensor:
            return around[..., 1 + dy : 1 + dy + size, 1 + dx : 1 + dx + size]

        left, right, above, below = at(-1, 0), at(1, 0), at(0, -1), at(0, 1)
        twist = at(1, 1) + at(-1, -1) - (at(1, -1) + at(-1, 1))
        twice = strength + strength
        bend = (twice - (left + right)) * xx + (twice - (above + below)) * yy - twist * (0.5 * gx * gy)
        slope = (right - left) * gx + (below - above) * gy
        slope = torch.maximum(slope, -slope) * strength + _LEAST_BEND
        ridge = (1.0 - 0.5 * slope / bend.clamp(min=0.5 * _LEAST_BEND)).clamp(0.0, 1.0)
        return ridge * (strength - _LOW / (_HIGH - _LOW)).clamp(0.0, 1.0)

    def _gradient(self, grey: Tensor) -> Tensor:
        """Sobel of the blurred picture, ``(N, 2, S, S)``, along x and y; where a line is full it is 1 more
        than where it begins.

        Both are filters of 15 taps, along x and then along y. Each is a product of small matrices over blocks and what
        lies around them: runtimes are quicker at that than at long, thin convolutions of a single channel.
        """
        size, half = grey.shape[-1], _BLOCK // 2
        blocks, padded = size // _BLOCK, size + _BLOCK
        wide = F.pad(grey, (half,) * 4, mode="reflect").reshape(-1, 1, padded, blocks + 1, _BLOCK)
        seen = torch.cat((wide[..., :-1, :], wide[..., 1:, :]), dim=-1).reshape(-1, 1, padded * blocks, 2 * _BLOCK)
        high = torch.matmul(seen, self.rows).reshape(-1, 2, blocks + 1, _BLOCK, size)
        seen = torch.cat((high[:, :, :-1], high[:, :, 1:]), dim=-2)
        return torch.matmul(self.columns, seen).reshape(-1, 2, size, size)


def _product(taps: Tensor, by: list[float]) -> Tensor:
    """``(32, 64)``: its product with 64 pixels in a row is the middle 32, filtered with ``taps`` and then ``by``."""
    both = F.conv1d(taps[None, None], torch.tensor(by)[None, None], padding=2)[0, 0]
    first = _BLOCK // 2 - len(both) // 2
    return torch.stack([F.pad(both, (first + at, 2 * _BLOCK - len(both) - first - at)) for at in range(_BLOCK)])


class FaithfulEdges(EdgeDrawer):
    """Edges from the damaged grey image, its edges and the mask; takes and gives what
    :class:`training.networks.edge.EdgeGenerator` does."""

    def __init__(self, width: int = 48) -> None:
        super().__init__(width, last=3)
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), ConvAct(3 * 16, width))
        self.head = nn.Sequential(ConvAct(width, width), conv(width, 16, gain=0.1), nn.PixelShuffle(4))
        del self.join
        self.lines = SharpEdgeMap()

    def forward(self, guess: Tensor, hole: Tensor) -> Tensor:  # type: ignore[override]
        grey = luma(guess)
        known = self.lines(grey, hole)
        return known + hole * torch.sigmoid(self.drawn(torch.cat((grey, known, hole), dim=1)))


class _Coarse(nn.Module):
    def __init__(self, width: int = 48, body: int = 96, structure: int = 128) -> None:
        super().__init__()
        self.width = width
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), ConvAct(4 * 4, width))
        self.listen = conv(structure, width, 1)
        self.down16 = ConvAct(width, body, stride=2)
        self.encoder16 = nn.Sequential(*(ResidualBlock(body) for _ in range(2)))
        self.down32 = ConvAct(body, body, stride=2)
        self.body32 = nn.Sequential(
            *(ResidualBlock(body) for _ in range(3)), *(GlobalAttention(body, 8) for _ in range(2))
        )
        self.up16 = Upsample(body, body)
        self.decoder16 = nn.Sequential(*(ResidualBlock(body) for _ in range(2)))
        self.up8 = Upsample(body, width)
        self.refine8 = ResidualBlock(width)
        self.head = nn.Sequential(conv(width, 12, gain=0.1), nn.PixelShuffle(2))

    def forward(self, image: Tensor, hole: Tensor, structure: Tensor) -> tuple[Tensor, Tensor]:
        small = torch.cat((image, hole), dim=1)
        for _ in range(2):
            small = F.avg_pool2d(small, 2)
        eighth = self.stem(small) + self.listen(structure)
        sixteenth = self.encoder16(self.down16(eighth))
        deep = self.body32(self.down32(sixteenth))
        features = self.refine8(eighth + self.up8(self.decoder16(sixteenth + self.up16(deep))))
        residual = F.interpolate(self.head(features), scale_factor=4.0, mode="bilinear", align_corners=False)
        return features, residual


class FaithfulRepair(RepairGenerator):
    """The repair generator with the smaller coarse one; takes and gives what :class:`RepairGenerator` does.

    Its body runs twice at 1/16 before, where it sees four times as far in area for a quarter of the work; weights are
    shared, after recursive networks (Kim et al., DRCN, CVPR 2016).
    """

    def __init__(self, width: int = 64, body: int = 128) -> None:
        super().__init__(width, body, last=3, coarse=_Coarse())  # type: ignore[arg-type]
        self.shift16 = nn.Parameter(torch.zeros(1, body, 1, 1))
        self.scale16 = nn.Parameter(torch.zeros(1, body, 1, 1))
        self.head = nn.Sequential(conv(width, 48, gain=0.1), nn.PixelShuffle(4))
        del self.polish

    def forward(self, image: Tensor, edges: Tensor, hole: Tensor) -> Tensor:
        structure8 = self.structure8(edges, hole)
        features, coarse = self.coarse(image, hole, structure8)
        return coarse + self.painted(structure8, image, hole, features, coarse)

    def deepened(self, x: Tensor) -> Tensor:
        begin = deep = F.avg_pool2d(x, 2) + self.shift16
        for _ in range(2):
            deep = self.body8(deep)
        found = F.interpolate((deep - begin) * self.scale16, scale_factor=2.0, mode="bilinear", align_corners=False)
        return super().deepened(x + found)


class Faithful(nn.Module):
    """Both networks, as :class:`training.weights.Networks` has the newer ones."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.repair = FaithfulEdges(), FaithfulRepair()

    def stages(self) -> tuple[EdgeStage, RepairStage]:
        """Both stages as they are deployed."""
        return EdgeStage(self.edge).eval(), RepairStage(self.repair).eval()
