"""The edge generator: completes the edge map of a damaged image (stage one of Liu, Wei and Deng; after EdgeConnect)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.attention import ChannelSpatialAttention
from training.networks.contours import ContourRaster, ShapeNetwork
from training.networks.edgemap import EdgeMap, luma
from training.networks.layers import ConvAct, DenseResidualBlock, DenseResidualSkip, Upsample, conv


class EdgeDrawer(nn.Module):
    """Damaged grey image, its edges, contours and the mask in; the logits of an edge map out.

    Encoder and decoder meet at 1/4 of the size (pixel unshuffle and shuffle by 4), the body stands at 1/8 and 1/16.

    Args:
        width: channels at 1/4.
        body: channels at 1/8 and 1/16.
        growth: of the dense residual blocks in the body.
        fine: channels at full size, after the pixel shuffle: there neighbouring blocks agree on a line.
        last: kernel of the dense residual blocks' last convolutions.
    """

    def __init__(self, width: int = 48, body: int = 96, growth: int = 48, fine: int = 6, last: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), ConvAct(4 * 16, width))
        self.down8 = ConvAct(width, body, stride=2)
        self.down16 = ConvAct(body, body, stride=2)
        self.body16 = nn.Sequential(
            DenseResidualBlock(body, growth, (1, 2, 4), last), DenseResidualBlock(body, growth, (1, 2, 1), last)
        )
        self.up8 = Upsample(body, body)
        self.skip8 = DenseResidualSkip(body, growth, (1, 2, 1), last)
        self.attention = ChannelSpatialAttention(body)
        self.up4 = Upsample(body, width)
        self.head = nn.Sequential(ConvAct(width, width), conv(width, 16 * fine, 1), nn.PixelShuffle(4))
        self.join = nn.Sequential(ConvAct(fine + 1, fine), conv(fine, 1, gain=0.1))
        assert self.join[1].bias is not None
        nn.init.constant_(self.join[1].bias, -2.0)

    def forward(self, grey: Tensor, edges: Tensor, contours: Tensor, hole: Tensor) -> Tensor:
        """All ``(N, 1, 256, 256)``: grey in -1..1, edges and contours 0..1, hole 0 or 1; grey is filled in the hole,
        edges are zero there.

        Returns logits of the same shape; their sigmoid is the strength of an edge.
        """
        fine = F.relu(self.drawn(torch.cat((grey, edges, contours, hole), dim=1)))
        logits: Tensor = self.join(torch.cat((fine, contours), dim=1))
        return logits

    def drawn(self, maps: Tensor) -> Tensor:
        """The network up to its head: ``(N, C, 256, 256)`` to ``(N, fine, 256, 256)``."""
        quarter = self.stem(maps)
        eighth = self.down8(quarter)
        deep = self.body16(self.down16(eighth))
        eighth = self.attention(self.skip8(eighth, self.up8(deep)))
        drawn: Tensor = self.head(quarter + self.up4(eighth))
        return drawn


class EdgeGenerator(nn.Module):
    """All of the edge stage that is learned: contours of the face, and edges drawn with their help.

    Args:
        shape: finds the contours.
        drawer: draws the edges.
    """

    def __init__(self, shape: ShapeNetwork, drawer: EdgeDrawer) -> None:
        super().__init__()
        self.shape, self.drawer = shape, drawer
        self.raster, self.lines = ContourRaster(256, 1.2), EdgeMap()

    def forward(self, guess: Tensor, hole: Tensor) -> Tensor:
        """Completed edges.

        Args:
            guess: ``(N, 3, 256, 256)``, RGB in -1..1, the hole filled by a smooth guess.
            hole: ``(N, 1, 256, 256)``, 1 where pixels are missing.

        Returns:
            ``(N, 1, 256, 256)`` in 0..1: lines of what is known; in the hole those that are drawn, and contours.
        """
        grey = luma(guess)
        known = self.lines(grey, hole) * (1.0 - hole)
        offsets, presence = self.shape(guess, hole)
        contours = self.raster(offsets) * torch.sigmoid(presence).view(-1, 1, 1, 1)
        drawn = torch.sigmoid(self.drawer(grey, known, contours, hole))
        return known + hole * (1.0 - (1.0 - drawn) * (1.0 - contours))
