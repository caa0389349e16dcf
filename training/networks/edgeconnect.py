"""The method that the field compares with, by its published layer sizes: a baseline for training, a peer for timing.

Source: Nazeri, Ng, Joseph, Qureshi and Ebrahimi, "EdgeConnect: Generative image inpainting with adversarial edge
learning", arXiv:1901.00212, 2019, and the layers of the authors' published code. Both generators have two
downsamplings, eight dilated residual blocks of 256 channels, two upsamplings, instance norm and reflection padding. The
published edge generator has spectral norm on its weights; that is folded into them after training, costs nothing, and
is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.edgemap import EdgeMap, luma
from training.networks.stages import hole_of, pull_push, to_unit

#: What both generators have and take at 256 x 256, as published: parameters, and multiply-accumulates.
PARAMETERS, MACS = 21.5e6, 96.7e9


class EdgeConnectGenerator(nn.Module):
    """One generator, before its last activation: ``(N, inputs, H, W)`` to ``(N, outputs, H, W)``, H and W by four.

    Args:
        inputs, outputs: channels. The edge generator has 3 (grey, edges, hole) and 1, the inpainting generator 4
            (RGB, edges) and 3.
        blocks: residual blocks.
        bias: of the convolutions in the residual blocks; the edge generator has none there.
        width: channels at full size; 64 as published.
    """

    def __init__(self, inputs: int, outputs: int, *, blocks: int = 8, bias: bool = True, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(inputs, width, 7),
            *_norm_act(width),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            *_norm_act(2 * width),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            *_norm_act(4 * width),
            *(_Block(4 * width, bias) for _ in range(blocks)),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1),
            *_norm_act(2 * width),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            *_norm_act(width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, outputs, 7),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class EdgeConnect(nn.Module):
    """Both generators in a row, with the contract of this project's stages: ``uint8`` in, ``uint8`` out.

    ``image`` ``(N, 256, 256, 3)`` and ``mask`` ``(N, 256, 256)``, above 127 is hole. Returns ``restored``, equal to
    ``image`` outside the hole byte for byte, and ``completed_edges``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.edge = EdgeConnectGenerator(3, 1, bias=False)
        self.repair = EdgeConnectGenerator(4, 3)
        self.known_edges = EdgeMap()

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        hole = hole_of(mask.float().unsqueeze(1))
        pixels = image.float().permute(0, 3, 1, 2)
        white = pixels * (1.0 - hole) + 255.0 * hole
        given = self.known_edges(pull_push(luma(to_unit(pixels)), hole), hole)
        seen = torch.cat((luma(white) / 255.0, given, hole), dim=1)
        completed = torch.sigmoid(self.edge(seen))
        painted = (torch.tanh(self.repair(torch.cat((white / 255.0, completed), dim=1))) + 1.0) * 127.5
        restored = (pixels * (1.0 - hole) + painted * hole).round()
        return restored.permute(0, 2, 3, 1).to(torch.uint8), (255.0 * completed).round().squeeze(1).to(torch.uint8)


class _Block(nn.Module):
    """A residual block; its first convolution sees every second pixel."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(2),
            nn.Conv2d(channels, channels, 3, dilation=2, bias=bias),
            *_norm_act(channels),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _norm_act(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(channels), nn.ReLU()
