"""Channel, spatial and global attention, in forms that are cheap and safe in FP16.

Channel and spatial attention after CBAM (Woo et al., ECCV 2018); global attention after the transformer (Vaswani et
al., NeurIPS 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.layers import BoundedReLU, ConvAct, conv


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


class GlobalAttention(nn.Module):
    """Lets every position of a small map look at every other: self-attention, then a feed-forward, both residual.

    A convolution reaches a hole's middle only step by step; here an eye that is known tells the missing one across the
    face at once. The learned embedding of positions holds where on an aligned face a position lies. The feed-forward
    mixes neighbours by a depthwise convolution (PVT v2: Wang et al., 2022). No normalisation; the last convolutions of
    both residuals begin at zero, so that the module starts as the identity.

    ``(N, C, size, size)`` to the same shape; the size is fixed by the embedding.

    Args:
        channels: C.
        size: height and width of the map.
        heads: of the attention; C is a multiple.
    """

    def __init__(self, channels: int, size: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Parameter(0.1 * torch.randn(1, channels, size, size))
        self.query_key_value = conv(channels, 3 * channels, 1, gain=0.7)
        self.project = conv(channels, channels, 1, gain=0.0)
        hidden = 3 * channels // 2
        self.widen = conv(channels, hidden, 1)
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        nn.init.dirac_(self.mix.weight, groups=hidden)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]
        self.act = BoundedReLU()
        self.narrow = conv(hidden, channels, 1, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        depth = channels // self.heads
        mixed = self.query_key_value(x + self.position)
        query, key, value = mixed.reshape(n, 3, self.heads, depth, height * width).unbind(1)
        weights = torch.softmax((query * depth**-0.5).transpose(-1, -2) @ key, dim=-1)
        gathered = (value @ weights.transpose(-1, -2)).reshape(n, channels, height, width)
        x = x + self.project(gathered)
        return x + self.narrow(self.act(self.mix(self.widen(x))))
