"""Channel and spatial attention (CBAM: Woo et al., ECCV 2018), in a form that is cheap and cannot overflow FP16."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.layers import ConvAct, conv


class ChannelAttention(nn.Module):
    """Weighs every channel by a gate computed from its mean over the image.

    CBAM adds a max-pooled branch; it costs more than the rest of the module together on a CPU. A mean cannot exceed
    what it is taken of, and runtimes accumulate it in float32.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Sequential(ConvAct(channels, hidden, 1), conv(hidden, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(self.pool(x))
        return x * gate


class SpatialAttention(nn.Module):
    """Weighs every position by a gate computed from the channels around it.

    CBAM summarises the channels by their mean and maximum; here a learned 1x1 projection to two maps takes their
    place, which runtimes keep in their blocked layout.
    """

    def __init__(self, channels: int, kernel: int = 7) -> None:
        super().__init__()
        self.summary = conv(channels, 2, 1, gain=0.5)
        self.gate = nn.Sequential(conv(2, 1, kernel, gain=0.5), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(self.summary(x))
        return x * gate


class ChannelSpatialAttention(nn.Module):
    """Channel attention, then spatial attention, as a residual: ``x + scale * spatial(channel(x))``.

    ``scale`` is learned from 0, so that the module starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention(channels)
        self.scale = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.spatial(self.channel(x))
