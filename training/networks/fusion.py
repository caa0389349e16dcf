"""Bidirectional gated fusion of texture and structure features (CTSDG: Guo, Yang and Huang, ICCV 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.layers import ConvAct, conv


class BidirectionalGatedFusion(nn.Module):
    """Lets texture and structure inform one another through two learned gates, then joins them.

    With ``c = [texture, structure]``::

        texture'   = texture   + a * (sigmoid(conv(c)) * structure)
        structure' = structure + b * (sigmoid(conv(c)) * texture)
        output     = act(conv([texture', structure']))

    ``a`` and ``b`` are learned from 0, one a channel. All tensors are ``(N, C, H, W)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.structure_gate = nn.Sequential(conv(2 * channels, channels, 1), nn.Sigmoid())
        self.texture_gate = nn.Sequential(conv(2 * channels, channels, 1), nn.Sigmoid())
        self.a = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.join = ConvAct(2 * channels, channels, 1)

    def forward(self, texture: Tensor, structure: Tensor) -> Tensor:
        both = torch.cat((texture, structure), dim=1)
        fused_texture = texture + self.a * (self.structure_gate(both) * structure)
        fused_structure = structure + self.b * (self.texture_gate(both) * texture)
        joined: Tensor = self.join(torch.cat((fused_texture, fused_structure), dim=1))
        return joined


class PlainFusion(nn.Module):
    """What gated fusion is compared with: both features joined by one convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.join = ConvAct(2 * channels, channels, 1)

    def forward(self, texture: Tensor, structure: Tensor) -> Tensor:
        joined: Tensor = self.join(torch.cat((texture, structure), dim=1))
        return joined
