"""The coarse generator: colours and large shapes of the hole, found at a quarter of the size.

Coarse to fine after Yu et al. ("Generative image inpainting with contextual attention", CVPR 2018), with a U-Net
(Ronneberger et al., MICCAI 2015) at 1/8, 1/16 and 1/32 of the size. Most of the error of wide holes is in low
frequencies, and those are cheap to learn here: this network is trained first, alone, on small pictures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.attention import GlobalAttention
from training.networks.layers import ConvAct, ResidualBlock, Upsample, conv

#: Height and width at which the coarse generator sees an image of any size.
COARSE_SIZE = 64


class CoarseGenerator(nn.Module):
    """A smooth guess and the hole in; what is lacking of the guess in low frequencies, and features for the rest, out.

    Args:
        width: channels at 1/8 of 256 px.
        body: channels at 1/16 and 1/32.
        blocks: residual blocks on either side at 1/16, and at 1/32.
        global_blocks: global attention at 1/32 (8 x 8), after the residual blocks.
        structure: channels of the structure features at 1/8 that it may be given.
    """

    def __init__(
        self,
        width: int = 48,
        body: int = 96,
        blocks: tuple[int, int] = (2, 3),
        *,
        global_blocks: int = 2,
        structure: int = 128,
    ) -> None:
        super().__init__()
        self.width, self.structure = width, structure
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), ConvAct(4 * 4, width))
        # begins at zero: the network is trained without structure first, and listens to it by and by
        self.listen = conv(structure, width, 1, gain=0.0)
        self.down16 = ConvAct(width, body, stride=2)
        self.encoder16 = nn.Sequential(*(ResidualBlock(body) for _ in range(blocks[0])))
        self.down32 = ConvAct(body, body, stride=2)
        self.body32 = nn.Sequential(
            *(ResidualBlock(body) for _ in range(blocks[1])),
            *(GlobalAttention(body, COARSE_SIZE // 8) for _ in range(global_blocks)),
        )
        self.up16 = Upsample(body, body)
        self.decoder16 = nn.Sequential(*(ResidualBlock(body) for _ in range(blocks[0])))
        self.up8 = Upsample(body, width)
        self.refine8 = ResidualBlock(width)
        self.head = nn.Sequential(conv(width, 12, gain=0.1), nn.PixelShuffle(2))

    def forward(self, image: Tensor, hole: Tensor, structure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features, and what to add to ``image``.

        Args:
            image: ``(N, 3, S, S)``, RGB in -1..1, the hole already filled by a smooth guess; S is 64, 128 or 256.
            hole: ``(N, 1, S, S)``, 1 where pixels are missing.
            structure: features of edges and hole, ``(N, structure, 32, 32)``; ``None`` for none.

        Returns:
            Features ``(N, width, 32, 32)``, and the residual ``(N, 3, S, S)`` in the range of ``image``, smooth.
        """
        small = torch.cat((image, hole), dim=1)
        while small.shape[-1] > COARSE_SIZE:
            small = F.avg_pool2d(small, 2)
        eighth = self.stem(small)
        if structure is not None:
            eighth = eighth + self.listen(structure)
        sixteenth = self.encoder16(self.down16(eighth))
        deep = self.body32(self.down32(sixteenth))
        features = self.refine8(eighth + self.up8(self.decoder16(sixteenth + self.up16(deep))))
        factor = image.shape[-1] / COARSE_SIZE
        residual = F.interpolate(self.head(features), scale_factor=factor, mode="bilinear", align_corners=False)
        return features, residual


class CoarseRepair(nn.Module):
    """The coarse generator alone in the place of a repair generator, to measure it while it is trained."""

    def __init__(self, coarse: CoarseGenerator) -> None:
        super().__init__()
        self.coarse = coarse

    def forward(self, image: Tensor, _edges: Tensor, hole: Tensor) -> Tensor:
        _, residual = self.coarse(image, hole)
        return residual
