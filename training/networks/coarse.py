"""The coarse generator: decides at 64 px what is in the hole; the rest of the repair stage then paints it at 256 px.

Coarse to fine after Yu et al. ("Generative image inpainting with contextual attention", CVPR 2018), with a U-Net
(Ronneberger et al., MICCAI 2015) at 1/4, 1/8, 1/16 and 1/32 of the size. What a hidden half of a face looks like is a
question of few pixels, and at few pixels a network can be trained on it a hundred times as long.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.attention import GlobalAttention
from training.networks.layers import ConvAct, ResidualBlock, Upsample, conv

#: Height and width at which the coarse generator sees an image of any size, and edges of any size.
COARSE_SIZE, EDGE_SIZE = 64, 128


class CoarseGenerator(nn.Module):
    """A smooth guess, the hole and completed edges in; what the guess lacks at 64 px, and features for the rest, out.

    Args:
        widths: channels at 1/4, 1/8, 1/16 and 1/32 of 256 px.
        blocks: residual blocks at 1/8 and 1/16 on the way up (and one at 1/16 on the way down), and at 1/32.
        global_blocks: global attention at 1/32 (8 x 8), between the residual blocks.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (24, 64, 128, 144),
        blocks: tuple[int, int, int] = (1, 2, 3),
        global_blocks: int = 3,
    ) -> None:
        super().__init__()
        fine, eighth, sixteenth, deep = widths
        self.width = eighth
        self.stem = ConvAct(4 * 4 + 16, eighth)
        self.near = ConvAct(4 + 4, fine)
        self.down16 = ConvAct(eighth, sixteenth, stride=2)
        self.encoder16 = ResidualBlock(sixteenth)
        self.down32 = ConvAct(sixteenth, deep, stride=2)
        body: list[nn.Module] = []
        for i in range(max(blocks[2], global_blocks)):
            body += [ResidualBlock(deep)] if i < blocks[2] else []
            body += [GlobalAttention(deep, COARSE_SIZE // 8)] if i < global_blocks else []
        self.body32 = nn.Sequential(*body)
        self.up16 = Upsample(deep, sixteenth)
        self.decoder16 = nn.Sequential(*(ResidualBlock(sixteenth) for _ in range(blocks[1])))
        self.up8 = Upsample(sixteenth, eighth)
        self.decoder8 = nn.Sequential(*(ResidualBlock(eighth) for _ in range(blocks[0])))
        self.up4 = Upsample(eighth, fine)
        # after the pixel shuffle: neighbouring blocks have to agree on what they paint
        self.head = nn.Sequential(ConvAct(fine, fine), conv(fine, 3, gain=0.1))

    def forward(self, image: Tensor, edges: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and what to add to ``image`` at 64 px.

        Args:
            image: ``(N, 3, S, S)``, RGB in -1..1, the hole already filled by a smooth guess; S is 128 or 256.
            edges: ``(N, 1, S, S)`` in 0..1; what is known outside the hole it sees in the image itself.
            hole: ``(N, 1, S, S)``, 1 where pixels are missing.

        Returns:
            Features ``(N, widths[1], 32, 32)``, and the residual ``(N, 3, 64, 64)`` in the range of ``image``.
        """
        small = torch.cat((image, hole), dim=1)
        while small.shape[-1] > COARSE_SIZE:
            small = F.avg_pool2d(small, 2)
        edges = edges * hole
        while edges.shape[-1] > EDGE_SIZE:
            edges = F.avg_pool2d(edges, 2)
        lines = F.pixel_unshuffle(edges, 2)
        near = self.near(torch.cat((small, lines), dim=1))
        at8 = self.stem(torch.cat((F.pixel_unshuffle(small, 2), F.pixel_unshuffle(lines, 2)), dim=1))
        at16 = self.encoder16(self.down16(at8))
        deep = self.body32(self.down32(at16))
        features = self.decoder8(at8 + self.up8(self.decoder16(at16 + self.up16(deep))))
        return features, self.head(near + self.up4(features))
