"""The edges of what is known of a picture, in plain tensor operations: training and the exported graph share them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Standard deviation of the blur before the gradient, in pixels.
_BLUR = 1.4
#: Gradients at which a line begins and is full, of Sobel on grey in 0..255. Canny's thresholds, 40 and 100, take weak
#: pixels where they touch strong ones; between the two, without looking for that, restored pictures came out alike.
_LOW, _HIGH = 50.0, 90.0
#: Least bend of a ridge: an even slope has none.
_LEAST_BEND = 0.01
#: Pixels that one product filters, and half as many on either side that it sees beyond them.
_BLOCK = 32


class EdgeMap(nn.Module):
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
        """``grey`` filled in the hole, as by :func:`training.networks.prefill.pull_push`; ``hole`` ``(N, 1, S, S)``, 1
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
