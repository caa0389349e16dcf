"""Dense residual blocks (RRDB: Wang et al., ESRGAN, ECCVW 2018) and the dense residual skip connection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.layers import ConvAct, conv


class DenseResidualBlock(nn.Module):
    """Every layer sees the outputs of all before it; the last one's output is added to the input.

    ``(N, C, H, W)`` to the same shape. ESRGAN scales the residual by a fixed 0.2; here the last convolution starts at
    0.2 of its usual size, which is the same at initialisation and costs no operator.

    Args:
        channels: C.
        growth: channels that each inner layer adds.
        dilations: of each 3x3 layer, the last one included, which counts only where ``last`` is 3; wide ones let a
            hole be filled from far away.
        last: kernel of the last convolution; 1 as in RDN (Zhang et al., CVPR 2018), a ninth of its cost.
    """

    def __init__(self, channels: int, growth: int, dilations: Sequence[int] = (1, 2, 1), last: int = 3) -> None:
        super().__init__()
        *inner, dilation = dilations
        self.layers = nn.ModuleList(
            ConvAct(channels + i * growth, growth, dilation=each) for i, each in enumerate(inner)
        )
        self.last = conv(channels + len(inner) * growth, channels, last, dilation=dilation, gain=0.2)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for layer in self.layers:
            features = torch.cat((features, layer(features)), dim=1)
        return x + self.last(features)


class DenseResidualSkip(nn.Module):
    """Carries encoder features to the decoder through a dense residual block instead of a plain copy.

    ``skip`` and ``up`` are both ``(N, C, H, W)``; the block refines their sum, so that what the skip knows (detail of
    known pixels) and what the decoder knows (content of the hole) are reconciled before they are used.
    """

    def __init__(self, channels: int, growth: int, dilations: Sequence[int] = (1, 1, 1), last: int = 3) -> None:
        super().__init__()
        self.block = DenseResidualBlock(channels, growth, dilations, last)

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        refined: Tensor = self.block(skip + up)
        return refined


class PlainSkip(nn.Module):
    """What a dense residual skip is compared with: the sum of both, as in a U-Net with additions."""

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        return skip + up
