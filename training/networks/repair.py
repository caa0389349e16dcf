"""The repair generator: damaged image and completed edges in, the whole image out (stage two of Liu, Wei and Deng)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.attention import ChannelSpatialAttention, GlobalAttention
from training.networks.dense import DenseResidualBlock, DenseResidualSkip, PlainSkip
from training.networks.fusion import BidirectionalGatedFusion, PlainFusion
from training.networks.layers import ConvAct, Upsample, conv


class RepairGenerator(nn.Module):
    """Two encoders, texture and structure, joined by gated fusion; a body of dense residual blocks with attention.

    Encoder and decoder meet at 1/4 of the size (pixel unshuffle and shuffle by 4). Texture and structure are fused at
    1/8, where the body begins; dense residual skips carry 1/8 and 1/4 features to the decoder.

    Args:
        width: channels at 1/4.
        body: channels at 1/8 and 1/16.
        growth: of the dense residual blocks in the body; those at 1/4 grow by half of it.
        blocks: dense residual blocks at 1/8, and at 1/16.
        global_blocks: global attention after this many of the blocks at 1/16; it fixes the size of images to 256 x 256.
        gated_fusion, dense_skips, attention: parts that the ablation takes away, one at a time.
    """

    def __init__(
        self,
        width: int = 64,
        body: int = 128,
        growth: int = 64,
        blocks: tuple[int, int] = (2, 2),
        *,
        global_blocks: int = 0,
        gated_fusion: bool = True,
        dense_skips: bool = True,
        attention: bool = True,
    ) -> None:
        super().__init__()
        attend = ChannelSpatialAttention if attention else _identity
        self.texture_stem = nn.Sequential(nn.PixelUnshuffle(4), ConvAct(4 * 16, width))
        self.structure_stem = nn.Sequential(nn.PixelUnshuffle(4), ConvAct(2 * 16, width // 2))
        self.texture_down = ConvAct(width, body, stride=2)
        self.structure_down = ConvAct(width // 2, body, stride=2)
        self.fusion = BidirectionalGatedFusion(body) if gated_fusion else PlainFusion(body)
        self.down16 = ConvAct(body, body, stride=2)
        self.body16 = nn.Sequential(*(DenseResidualBlock(body, growth, (1, 2, 4)) for _ in range(blocks[1])))
        self.global16 = nn.Sequential(*(GlobalAttention(body, 16) for _ in range(global_blocks if attention else 0)))
        self.attention16 = attend(body)
        self.up8 = Upsample(body, body)
        self.skip8 = DenseResidualSkip(body, growth, (1, 2, 1)) if dense_skips else PlainSkip()
        self.body8 = nn.Sequential(*(DenseResidualBlock(body, growth, (1, 2, 1)) for _ in range(blocks[0] - 1)))
        self.attention8 = attend(body)
        self.up4 = Upsample(body, width)
        self.skip4 = DenseResidualSkip(width, growth // 2) if dense_skips else PlainSkip()
        self.head = nn.Sequential(conv(width, 48, gain=0.1), nn.PixelShuffle(4))

    def forward(self, image: Tensor, edges: Tensor, hole: Tensor) -> Tensor:
        """What to add to ``image``.

        Args:
            image: ``(N, 3, 256, 256)``, RGB in -1..1, the hole already filled by a smooth guess.
            edges: ``(N, 1, 256, 256)`` in 0..1, complete.
            hole: ``(N, 1, 256, 256)``, 1 where pixels are missing.

        Returns:
            ``(N, 3, 256, 256)``, the residual in the range of ``image``.
        """
        texture4 = self.texture_stem(torch.cat((image, hole), dim=1))
        structure4 = self.structure_stem(torch.cat((edges, hole), dim=1))
        fused8 = self.fusion(self.texture_down(texture4), self.structure_down(structure4))
        deep = self.down16(fused8)
        for i, block in enumerate(self.body16):
            deep = block(deep)
            if i < len(self.global16):
                deep = self.global16[i](deep)
        deep = self.attention16(deep)
        up8 = self.attention8(self.body8(self.skip8(fused8, self.up8(deep))))
        residual: Tensor = self.head(self.skip4(texture4, self.up4(up8)))
        return residual


def _identity(_channels: int) -> nn.Identity:
    return nn.Identity()
