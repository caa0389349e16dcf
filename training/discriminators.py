"""What judges while a stage is trained; never exported.

Spectral normalisation after Miyato et al., ICLR 2018; patches after Isola et al., CVPR 2017.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

#: Logits of patches at one or more sizes ``(N, 1, h, w)``, and the features of every layer (or none).
Verdict = tuple[list[Tensor], list[Tensor]]


def _leaky(*layers: nn.Module) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in layers[:-1]:
        parts += [spectral_norm(layer), nn.LeakyReLU(0.2)]
    return nn.Sequential(*parts, spectral_norm(layers[-1]))


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of 56 px of a 256 px map.

    The first layers of the 70 x 70 PatchGAN work at full and half size and cost most of it; a pixel unshuffle by 4
    takes their place.

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

    def forward(self, x: Tensor) -> Verdict:
        features = []
        x = self.unshuffle(x)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return [self.judge(x)], features


class SmallDiscriminator(nn.Module):
    """Judges pixels of a 64 px picture beside its hole: patches, and the whole."""

    def __init__(self, channels: int = 4, width: int = 48) -> None:
        super().__init__()
        self.near = _leaky(
            nn.Conv2d(4 * channels, width, 3, padding=1),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        )
        self.patch = spectral_norm(nn.Conv2d(2 * width, 1, 3, padding=1))
        self.far = _leaky(
            nn.Conv2d(2 * width, 3 * width, 4, 2, 1),
            nn.Conv2d(3 * width, 3 * width, 4, 2, 1),
            nn.Conv2d(3 * width, 1, 4),
        )

    def forward(self, x: Tensor) -> Verdict:
        near = F.leaky_relu(self.near(F.pixel_unshuffle(x, 2)), 0.2)
        return [self.patch(near), self.far(near)], []


class ProjectedDiscriminator(nn.Module):
    """Judges frozen features, which know what photographs are made of, by patches of every scale and as a whole.

    After "Projected GANs converge faster" (Sauer et al., NeurIPS 2021): fixed random projections mix channels and
    scales.

    Args:
        scale: what the features of each scale are multiplied by, ascending strides, to be about 1 in size.
        channels: of the features.
        mixed: channels after the projections.
        width: of the heads.
        whole: side of the deepest features where a verdict on all of them is wanted, ``0`` for none.
    """

    def __init__(
        self, scale: list[float], channels: list[int], mixed: tuple[int, ...], width: int = 64, whole: int = 4
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)

        def fixed(outputs: int, inputs: int) -> Tensor:
            return torch.randn(outputs, inputs, 1, 1, generator=generator) * inputs**-0.5

        for i, (given, wanted) in enumerate(zip(channels, mixed, strict=True)):
            self.register_buffer(f"across{i}", fixed(wanted, given) * scale[i])
            if i:
                self.register_buffer(f"down{i - 1}", fixed(mixed[i - 1], wanted))
        self.heads = nn.ModuleList(
            _leaky(
                nn.Conv2d(each, width, 3, 2 if i == 0 else 1, 1),
                nn.Conv2d(width, width, 3, padding=1),
                nn.Conv2d(width, 1, 3, padding=1),
            )
            for i, each in enumerate(mixed)
        )
        self.whole = _leaky(nn.Conv2d(mixed[-1], 128, 3, padding=1), nn.Conv2d(128, 1, whole)) if whole else None

    def forward(self, features: list[Tensor]) -> Verdict:
        mixed: list[Tensor] = []
        for i in reversed(range(len(features))):
            here = F.conv2d(features[i], getattr(self, f"across{i}").to(features[i].dtype))
            if mixed:
                above = F.interpolate(mixed[0], size=here.shape[-2:], mode="nearest")
                here = (here + F.conv2d(above, getattr(self, f"down{i}").to(here.dtype))) * 0.7071
            mixed.insert(0, here)
        verdicts = [head(each) for head, each in zip(self.heads, mixed, strict=True)]
        if self.whole is not None:
            verdicts.append(self.whole(mixed[-1]))
        return verdicts, []
