"""Building blocks shared by both stages, made for FP16: no normalisation, and every hidden activation function bounded.

Sums of bounded activations (residual streams, upsampled maps) have no hard bound of their own; the export measures the
largest value of every layer and refuses a model that comes near the end of the range.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

#: Upper bound of every hidden activation. Far above what trained networks reach, far below FP16's 65,504.
ACTIVATION_BOUND = 64.0


class BoundedReLU(nn.Module):
    """``clamp(x, 0, ACTIVATION_BOUND)``: a ReLU that cannot overflow FP16; runtimes fuse it into the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        # a clamp whose backward pass is one kernel; see docs/lab/experiments.md for what that saves
        return F.hardtanh(x, 0.0, ACTIVATION_BOUND)


class ConvAct(nn.Sequential):
    """A zero-padded convolution followed by :class:`BoundedReLU`; the spatial size is divided by ``stride``."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(conv(inputs, outputs, kernel, stride, dilation), BoundedReLU())


class ResidualBlock(nn.Module):
    """``x + conv(act(conv(x)))``, ``(N, C, H, W)`` to the same shape. Begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvAct(channels, channels)
        self.last = conv(channels, channels, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(self.first(x))


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, gain: float = 1.0
) -> nn.Conv2d:
    """A zero-padded convolution with He initialisation scaled by ``gain`` (He et al., ICCV 2015)."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation)
    nn.init.normal_(layer.weight, std=gain * math.sqrt(2.0 / (inputs * kernel * kernel)))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Upsample(nn.Sequential):
    """Twice the size by sub-pixel convolution (Shi et al., CVPR 2016): ``(N, C, H, W)`` to ``(N, outputs, 2H, 2W)``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(conv(inputs, 4 * outputs, kernel=1), nn.PixelShuffle(2))
