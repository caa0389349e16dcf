"""The PatchGAN discriminators (Isola et al., CVPR 2017) with spectral normalisation (Miyato et al., ICLR 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of 54 px. Used in training only, never exported.

    Half as wide as the 70 x 70 PatchGAN where it computes at full and half size, which costs most. A pixel unshuffle in
    the place of these layers costs as little, but it hardly sees the grid that the generators' pixel shuffle can leave.

    Args:
        channels: of the judged maps together: image or edges, and what they are conditioned on.
        width: of the first layer.
    """

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            spectral_norm(layer)
            for layer in (
                nn.Conv2d(channels, width, 4, stride=2, padding=1),
                nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
                nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
                nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            )
        )
        self.judge = spectral_norm(nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(N, channels, 256, 256)`` to logits ``(N, 1, 32, 32)`` and the features of every layer."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.judge(x), features
