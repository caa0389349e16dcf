"""The edge generator: completes the edge map of a damaged image (stage one of Liu, Wei and Deng; after EdgeConnect)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.attention import ChannelSpatialAttention
from training.networks.dense import DenseResidualBlock, DenseResidualSkip
from training.networks.layers import ConvAct, Upsample, conv


class EdgeGenerator(nn.Module):
    """Damaged grey image, its edges and the mask in; the logits of an edge map out.

    Encoder and decoder meet at 1/4 of the size (pixel unshuffle and shuffle by 4), the body stands at 1/8 and 1/16.

    Args:
        width: channels at 1/4.
        body: channels at 1/8 and 1/16.
        growth: of the dense residual blocks in the body.
    """

    def __init__(self, width: int = 48, body: int = 96, growth: int = 48) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), ConvAct(3 * 16, width))
        self.down8 = ConvAct(width, body, stride=2)
        self.down16 = ConvAct(body, body, stride=2)
        self.body16 = nn.Sequential(
            DenseResidualBlock(body, growth, (1, 2, 4)), DenseResidualBlock(body, growth, (1, 2, 1))
        )
        self.up8 = Upsample(body, body)
        self.skip8 = DenseResidualSkip(body, growth, (1, 2, 1))
        self.attention = ChannelSpatialAttention(body)
        self.up4 = Upsample(body, width)
        self.head = nn.Sequential(ConvAct(width, width), conv(width, 16, gain=0.1), nn.PixelShuffle(4))

    def forward(self, grey: Tensor, edges: Tensor, hole: Tensor) -> Tensor:
        """All ``(N, 1, 256, 256)``: grey in -1..1 and edges 0..1, both filled or zero in the hole; hole 0 or 1.

        Returns logits of the same shape; their sigmoid is the probability of an edge.
        """
        quarter = self.stem(torch.cat((grey, edges, hole), dim=1))
        eighth = self.down8(quarter)
        deep = self.body16(self.down16(eighth))
        eighth = self.attention(self.skip8(eighth, self.up8(deep)))
        logits: Tensor = self.head(quarter + self.up4(eighth))
        return logits


class KnownEdges(nn.Module):
    """No edge stage, for comparison: nothing is completed, the repair stage sees the edges that are left."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(-20.0))

    def forward(self, _grey: Tensor, _edges: Tensor, hole: Tensor) -> Tensor:
        return self.logit + torch.zeros_like(hole)
