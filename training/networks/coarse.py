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


class LookEncoder(nn.Sequential):
    """What a whole picture looks like: ``(N, 3, 64, 64)`` to ``(N, look)``, each number of mean 0 and variance 1 over
    pictures. Trained with, never exported."""

    def __init__(self, look: int) -> None:
        super().__init__(
            nn.PixelUnshuffle(4), ConvAct(48, 64), ConvAct(64, 96, stride=2), ConvAct(96, 96, stride=2), nn.Flatten(),
            nn.Linear(16 * 96, look), nn.BatchNorm1d(look, momentum=0.02, affine=False),
        )  # fmt: skip


def of_one_length(look: Tensor) -> Tensor:
    """``(N, look)`` with a mean square of 1: the mean of many looks is as long as any, so it is one."""
    return look * torch.rsqrt(look.square().mean(1, keepdim=True) + 1e-4)


class CoarseGenerator(nn.Module):
    """A smooth guess, the hole and completed edges in; what the guess lacks at 64 px, and features for the rest, out.

    Args:
        widths: channels at 1/4, 1/8, 1/16 and 1/32 of 256 px.
        blocks: residual blocks at 1/8 and 1/16 on the way up (and one at 1/16 on the way down), and at 1/32.
        global_blocks: global attention at 1/32 (8 x 8), between the residual blocks.
        look: numbers, at least 1, that say what the whole picture looks like; the body's last four layers hear them.
            What is hidden has many answers, and a network that sees only what is known paints their mean. In training
            it is told the true look of half of the pictures (:class:`LookEncoder`), and learns to guess it from what is
            known, after conditional variational autoencoders (Sohn et al., NeurIPS 2015) and BicycleGAN (Zhu et al.,
            NeurIPS 2017): a mean of pictures is no picture, but a mean of looks is a look.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (24, 64, 128, 144),
        blocks: tuple[int, int, int] = (1, 2, 3),
        global_blocks: int = 3,
        look: int = 32,
    ) -> None:
        super().__init__()
        fine, eighth, sixteenth, deep = widths
        self.width = eighth
        self.stem = ConvAct(4 * 4 + 16, eighth)
        self.near = ConvAct(4 + 4, fine)
        self.down16 = ConvAct(eighth, sixteenth, stride=2)
        self.encoder16 = ResidualBlock(sixteenth)
        # no activation: in models to 2.1 it had died, all channels, and no loss told
        self.down32 = conv(sixteenth, deep, stride=2)
        body: list[nn.Module] = []
        for i in range(max(blocks[2], global_blocks)):
            body += [ResidualBlock(deep, leaky=True)] if i < blocks[2] else []
            body += [GlobalAttention(deep, COARSE_SIZE // 8)] if i < global_blocks else []
        self.body32 = nn.Sequential(*body)
        self.look = look
        cells = (COARSE_SIZE // 8) ** 2
        self.guess_look = nn.Sequential(conv(deep, 16, 1, gain=0.5), nn.Flatten(), nn.Linear(16 * cells, look))
        self.spread = nn.Linear(look, 24 * cells)
        self.hear = conv(24, deep, 1, gain=0.5)
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
        features, residual, _ = self.decide(image, edges, hole)
        return features, residual

    def decide(
        self, image: Tensor, edges: Tensor, hole: Tensor, look: Tensor | None = None, told: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and the guessed look. ``look`` ``(N, look)`` takes its place where ``told`` ``(N, 1)`` is true."""
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
        deep = self.body32[:-4](self.down32(at16))
        guessed = self.guess_look(deep)
        chosen = of_one_length(guessed.detach())
        if look is not None and told is not None:
            chosen = torch.where(told, look, chosen)
        cells = self.spread(chosen).view(-1, 24, COARSE_SIZE // 8, COARSE_SIZE // 8)
        deep = self.body32[-4:](deep + self.hear(cells))
        features = self.decoder8(at8 + self.up8(self.decoder16(at16 + self.up16(deep))))
        return features, self.head(near + self.up4(features)), guessed
