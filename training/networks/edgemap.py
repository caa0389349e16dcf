"""Edges of a picture as soft lines, in plain tensor operations, so that training and the exported graph share them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: ITU-R BT.601 luma, as OpenCV's RGB to grey.
LUMA = (0.299, 0.587, 0.114)

#: Standard deviation of the blur before the gradient, as Canny has it, and of the lines' profile, in pixels.
_BLUR, _LINE = 1.4, 1.0
#: Gradients (Sobel, grey in -1..1, 1 from black to white) at which a line begins, and is full.
_LOW, _HIGH = 0.04, 0.10


def _gaussian(sigma: float) -> Tensor:
    radius = round(2.5 * sigma)
    taps = torch.exp(-torch.arange(-radius, radius + 1.0).square() / (2.0 * sigma * sigma))
    return (taps / taps.sum()).half().float()  # half precision holds the very same numbers


def luma(image: Tensor) -> Tensor:
    """Luma of an RGB batch: ``(N, 3, H, W)`` to ``(N, 1, H, W)``, in the same range."""
    red, green, blue = image.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _for_blocks(filters: Tensor) -> Tensor:
    """Filters ``(C, 11, 11)`` of one channel as a convolution from 4 x 4 blocks to blocks, ``(16 C, 16, 4, 4)``:
    runtimes are many times as quick at one of many channels."""
    # filter, place in its block (y, x); place in the source's block (y, x), which block (y, x)
    out = torch.zeros(len(filters), 4, 4, 4, 4, 4, 4)
    for y in range(4):
        for x in range(4):
            wide = F.pad(filters, (x + 1, 4 - x, y + 1, 4 - y))
            out[:, y, x] = wide.view(-1, 4, 4, 4, 4).permute(0, 2, 4, 1, 3)
    return out.view(16 * len(filters), 16, 4, 4)


class EdgeMap(nn.Module):
    """Grey in -1..1, ``(N, 1, H, W)``, to lines in 0..1 of the same shape, about 3 px wide.

    Canny's steps (PAMI 1986) without its decisions: blur, Sobel, non-maximum suppression between interpolated
    neighbours, and a ramp for thresholds. Everything is continuous in the picture, so that rounding to half precision
    moves no line, and a line may be sure or faint.
    """

    def __init__(self) -> None:
        super().__init__()
        blur, line = _gaussian(_BLUR), _gaussian(_LINE)
        self.register_buffer(
            "line", (line[:, None] * line).half().float().view(1, 1, len(line), len(line)), persistent=False
        )
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8.0
        blurred = (blur[:, None] * blur).half().float().expand(2, 1, -1, -1)
        slopes = torch.stack((across, across.T)).unsqueeze(1)
        both = F.conv2d(blurred.transpose(0, 1), slopes.flip(2, 3), padding=2, groups=2)[0]
        self.register_buffer("slopes", _for_blocks(both).half().float(), persistent=False)

    line: Tensor
    slopes: Tensor

    def forward(self, grey: Tensor, hole: Tensor | None = None) -> Tensor:
        """``hole`` ``(N, 1, H, W)``: no line in it, nor at its rim, where a guess meets what is known."""
        blocks = F.pixel_unshuffle(F.pad(grey, (6,) * 4, mode="replicate"), 4)
        gx, gy = F.pixel_shuffle(F.conv2d(blocks, self.slopes), 4).split(1, dim=1)
        strength = (gx * gx + gy * gy + 1e-6).sqrt()
        if hole is not None:
            strength = strength * (1.0 - F.max_pool2d(hole, 3, 1, 1))
        ax, ay = torch.maximum(gx, -gx), torch.maximum(gy, -gy)
        slant = torch.minimum(ax, ay) / (torch.maximum(ax, ay) + 1e-3)
        # 1 where the gradient runs rather along x, and where both its parts have one sign; a step without a comparison,
        # which would cast
        flat, same = ((each * 16384.0 + 1.0).clamp(0.0, 1.0) for each in (ax - ay, gx * gy))
        around = F.pad(strength, (1, 1, 1, 1))

        def at(dx: int, dy: int) -> Tensor:
            height, width = strength.shape[-2:]
            return around[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

        def either(share: Tensor, one: Tensor, other: Tensor) -> Tensor:
            return other + share * (one - other)

        ahead, behind = either(flat, at(1, 0), at(0, 1)), either(flat, at(-1, 0), at(0, -1))
        falling, rising = either(flat, at(1, -1), at(-1, 1)), either(flat, at(-1, 1), at(1, -1))
        aslant_ahead, aslant_behind = either(same, at(1, 1), falling), either(same, at(-1, -1), rising)
        rival = torch.maximum(ahead + slant * (aslant_ahead - ahead), behind + slant * (aslant_behind - behind))
        ridge = ((strength - rival) / (0.1 * strength + 1e-3) + 0.5).clamp(0.0, 1.0)
        sure = ((strength - _LOW) * (1.0 / (_HIGH - _LOW))).clamp(0.0, 1.0)
        return (2.2 * F.conv2d(ridge * sure, self.line, padding=self.line.shape[-1] // 2)).clamp(max=1.0)
