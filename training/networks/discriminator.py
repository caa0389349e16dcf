"""The PatchGAN discriminators (Isola et al., CVPR 2017) with spectral normalisation (Miyato et al., ICLR 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of 56 px. Used in training only, never exported.

    The first layers of the 70 x 70 PatchGAN work at full and half size and cost most of it; a pixel unshuffle by 4
    takes their place, for a fraction of the work and a somewhat smaller patch.

    Args:
        channels: of the judged maps together: image or edges, and what they are conditioned on.
        width: of the first layer.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(4)
        self.layers = nn.ModuleList(
            spectral_norm(layer)
            for layer in (
                nn.Conv2d(16 * channels, width, 3, padding=1),
                nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
                nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            )
        )
        self.judge = spectral_norm(nn.Conv2d(2 * width, 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(N, channels, 256, 256)`` to logits ``(N, 1, 32, 32)`` and the features of every layer."""
        features = []
        x = self.unshuffle(x)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.judge(x), features
