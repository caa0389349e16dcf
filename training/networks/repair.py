"""The repair generator: damaged image and completed edges in, the whole image out (stage two of Liu, Wei and Deng)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.attention import ChannelSpatialAttention
from training.networks.coarse import CoarseGenerator
from training.networks.layers import (
    BidirectionalGatedFusion,
    ConvAct,
    DenseResidualBlock,
    DenseResidualSkip,
    PlainFusion,
    PlainSkip,
    Upsample,
    conv,
)


class RepairGenerator(nn.Module):
    """Coarse to fine, from two encoders, texture and structure, joined by gated fusion, with attention.

    A coarse generator finds colours and large shapes; its guess takes the place of the smooth one. Encoder and decoder
    of the rest meet at 1/4 of the size (pixel unshuffle and shuffle by 4). Texture and structure are fused at 1/8,
    where the body stands; dense residual skips carry 1/8 and 1/4 features to the decoder.

    Args:
        width: channels at 1/4.
        body: channels at 1/8.
        growth: of the dense residual blocks in the body; those at 1/4 grow by half of it.
        blocks: dense residual blocks at 1/8, beside the skip.
        fine: channels at full size beside the picture itself.
        last: kernel of the dense residual blocks' last convolutions.
        coarse: the coarse generator.
        gated_fusion, dense_skips, attention: parts that the ablation takes away, one at a time.
    """

    def __init__(
        self,
        width: int = 64,
        body: int = 128,
        growth: int = 64,
        blocks: int = 1,
        fine: int = 5,
        last: int = 1,
        *,
        coarse: CoarseGenerator,
        gated_fusion: bool = True,
        dense_skips: bool = True,
        attention: bool = True,
    ) -> None:
        super().__init__()
        attend = ChannelSpatialAttention if attention else nn.Identity
        self.texture_stem = nn.Sequential(nn.PixelUnshuffle(4), ConvAct(4 * 16, width))
        self.structure_stem = nn.Sequential(nn.PixelUnshuffle(4), ConvAct(2 * 16, width // 2))
        self.texture_down = ConvAct(width, body, stride=2)
        self.structure_down = ConvAct(width // 2, body, stride=2)
        self.fusion = BidirectionalGatedFusion(body) if gated_fusion else PlainFusion(body)
        self.coarse = coarse
        # begins at zero: the coarse generator is trained first, and its features mean nothing to the rest yet
        self.from_coarse = conv(coarse.width, body, 1, gain=0.0)
        self.skip8 = DenseResidualSkip(body, growth, (1, 2, 1), last) if dense_skips else PlainSkip()
        self.body8 = nn.Sequential(*(DenseResidualBlock(body, growth, (1, 2, 1), last) for _ in range(blocks)))
        self.attention8 = attend(body)
        self.up4 = Upsample(body, width)
        self.skip4 = DenseResidualSkip(width, growth // 2, last=last) if dense_skips else PlainSkip()
        self.head = nn.Sequential(conv(width, 16 * (3 + fine), gain=0.1), nn.PixelShuffle(4))
        # after the pixel shuffle, where neighbouring blocks agree on what they paint; begins at zero
        self.polish = nn.Sequential(ConvAct(3 + fine + 1, 8), conv(8, 3, gain=0.0))
        # texture needs a seed: the same noise for every picture (MI-GAN: Sargsyan et al., ICCV 2023)
        plane = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(7))
        self.register_buffer("noise", plane.half().float(), persistent=False)

    noise: Tensor

    def forward(self, image: Tensor, edges: Tensor, hole: Tensor) -> Tensor:
        """What to add to ``image`` in the hole; elsewhere the result means nothing.

        Args:
            image: ``(N, 3, 256, 256)``, RGB in -1..1, the hole already filled by a smooth guess.
            edges: ``(N, 1, 256, 256)`` in 0..1, complete.
            hole: ``(N, 1, 256, 256)``, 1 where pixels are missing.

        Returns:
            ``(N, 3, 256, 256)``, the residual in the range of ``image``.
        """
        features, coarse = self.coarse_guess(image, edges, hole)
        noise = self.noise + 0.0 * hole  # of every picture, without asking for its shape
        return self.refine(image, edges, hole, features, coarse, noise)

    def coarse_guess(self, image: Tensor, edges: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """The coarse generator's features ``(N, C, 32, 32)``, and its residual at the size of ``image``."""
        features, residual = self.coarse(image, edges, hole)
        factor = image.shape[-1] / residual.shape[-1]
        return features, F.interpolate(residual, scale_factor=factor, mode="bilinear", align_corners=False)

    def refine(
        self, image: Tensor, edges: Tensor, hole: Tensor, features: Tensor, coarse: Tensor, noise: Tensor
    ) -> Tensor:
        """The rest of the stage, on the whole or on a square of it (channel attention sees what it is given). All of
        one size S, a multiple of 16, but for the ``features`` ``(N, C, S / 8, S / 8)``."""
        fine = self.painted(self.structure8(edges, hole), image, hole, features, coarse)
        return coarse + fine[:, :3] + self.polish(torch.cat((fine, noise), dim=1))

    def structure8(self, edges: Tensor, hole: Tensor) -> Tensor:
        """Structure features ``(N, body, S / 8, S / 8)``."""
        structure: Tensor = self.structure_down(self.structure_stem(torch.cat((edges, hole), dim=1)))
        return structure

    def painted(self, structure8: Tensor, image: Tensor, hole: Tensor, features: Tensor, coarse: Tensor) -> Tensor:
        """The stage from texture features to its head."""
        texture4 = self.texture_stem(torch.cat((image + hole * coarse, hole), dim=1))
        fused8 = self.fusion(self.texture_down(texture4), structure8)
        deep8 = self.skip8(fused8, self.from_coarse(features))
        up8 = self.attention8(self.deepened(deep8))
        fine: Tensor = self.head(self.skip4(texture4, self.up4(up8)))
        return fine

    def deepened(self, x: Tensor) -> Tensor:
        """The body at 1/8."""
        deep: Tensor = self.body8(x)
        return deep
