"""Building blocks of both stages, made for FP16: no normalisation, and every hidden activation function bounded.

Sums of bounded activations (residual streams, upsampled maps) have no hard bound of their own; the export measures the
largest value of every layer and refuses a model that comes near the end of the range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Upper bound of every hidden activation. Far above what trained networks reach, far below FP16's 65,504.
ACTIVATION_BOUND = 64.0


class BoundedReLU(nn.Module):
    """``clamp(x, 0, ACTIVATION_BOUND)``: a ReLU that cannot overflow FP16; runtimes fuse it into the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        # a clamp whose backward pass is one kernel; see docs/lab/experiments.md for what that saves
        return F.hardtanh(x, 0.0, ACTIVATION_BOUND)


class BoundedLeakyReLU(nn.Module):
    """A fifth of the input below zero, and never beyond ``ACTIVATION_BOUND``: unlike a ReLU it cannot die."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(F.hardtanh(x, -ACTIVATION_BOUND, ACTIVATION_BOUND), 0.2)


#: Share of its channels below which an activation counts as dead.
LEAST_HEARD = 0.1


@contextmanager
def heard_layers(network: nn.Module) -> Iterator[dict[str, float]]:
    """Of each activation that runs while the context lasts, by name, the share of channels that ever give more than 0.

    A channel that does not has died: its gradients are zero for good, and nothing below it is heard. No loss tells,
    since what lies beside it learns to do without. The shares are there when the context has ended.
    """
    channels: dict[str, Tensor] = {}
    heard: dict[str, float] = {}

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hear(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            now = (output > 0.0).transpose(0, 1).flatten(1).any(1)
            channels[name] = channels[name] | now if name in channels else now

        return hear

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if isinstance(module, BoundedReLU):
                hooks.callback(module.register_forward_hook(hook(name)).remove)
        yield heard
        heard |= {name: float(each.float().mean()) for name, each in channels.items()}


class ConvAct(nn.Sequential):
    """A zero-padded convolution followed by :class:`BoundedReLU`; the spatial size is divided by ``stride``.

    ``leaky`` takes :class:`BoundedLeakyReLU`: at 8 x 8, where few places give gradients, most of the ReLUs died.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, leaky: bool = False
    ) -> None:
        activation = BoundedLeakyReLU() if leaky else BoundedReLU()
        super().__init__(conv(inputs, outputs, kernel, stride, dilation), activation)


class ResidualBlock(nn.Module):
    """``x + conv(act(conv(x)))``, ``(N, C, H, W)`` to the same shape. Begins as the identity.

    Args:
        channels: C.
        leaky: as in :class:`ConvAct`.
    """

    def __init__(self, channels: int, leaky: bool = False) -> None:
        super().__init__()
        self.first = ConvAct(channels, channels, leaky=leaky)
        self.last = conv(channels, channels, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(self.first(x))


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, gain: float = 1.0
) -> nn.Conv2d:
    """A zero-padded convolution with He initialisation scaled by ``gain`` (He et al., ICCV 2015)."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation)
    nn.init.normal_(layer.weight, std=gain * math.sqrt(2.0 / (inputs * kernel * kernel)))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Upsample(nn.Sequential):
    """Twice the size by sub-pixel convolution (Shi et al., CVPR 2016): ``(N, C, H, W)`` to ``(N, outputs, 2H, 2W)``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(conv(inputs, 4 * outputs, kernel=1), nn.PixelShuffle(2))


class DenseResidualBlock(nn.Module):
    """Every layer sees the outputs of all before it; the last one's output is added to the input (RRDB: Wang et al.,
    ESRGAN, ECCVW 2018).

    ``(N, C, H, W)`` to the same shape. ESRGAN scales the residual by a fixed 0.2; here the last convolution starts at
    0.2 of its usual size, which is the same at initialisation and costs no operator.

    Args:
        channels: C.
        growth: channels that each inner layer adds.
        dilations: of each 3x3 layer, the last one included, which counts only where ``last`` is 3; wide ones let a
            hole be filled from far away.
        last: kernel of the last convolution; 1 as in RDN (Zhang et al., CVPR 2018), a ninth of its cost.
    """

    def __init__(self, channels: int, growth: int, dilations: Sequence[int] = (1, 2, 1), last: int = 3) -> None:
        super().__init__()
        *inner, dilation = dilations
        self.layers = nn.ModuleList(
            ConvAct(channels + i * growth, growth, dilation=each) for i, each in enumerate(inner)
        )
        self.last = conv(channels + len(inner) * growth, channels, last, dilation=dilation, gain=0.2)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for layer in self.layers:
            features = torch.cat((features, layer(features)), dim=1)
        return x + self.last(features)


class DenseResidualSkip(nn.Module):
    """Carries encoder features to the decoder through a dense residual block instead of a plain copy.

    ``skip`` and ``up`` are both ``(N, C, H, W)``; the block refines their sum, so that what the skip knows (detail of
    known pixels) and what the decoder knows (content of the hole) are reconciled before they are used.
    """

    def __init__(self, channels: int, growth: int, dilations: Sequence[int] = (1, 1, 1), last: int = 3) -> None:
        super().__init__()
        self.block = DenseResidualBlock(channels, growth, dilations, last)

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        refined: Tensor = self.block(skip + up)
        return refined


class PlainSkip(nn.Module):
    """What a dense residual skip is compared with: the sum of both, as in a U-Net with additions."""

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        return skip + up


class BidirectionalGatedFusion(nn.Module):
    """Lets texture and structure inform one another through two learned gates, then joins them (CTSDG: Guo, Yang and
    Huang, ICCV 2021).

    With ``c = [texture, structure]``::

        texture'   = texture   + a * (sigmoid(conv(c)) * structure)
        structure' = structure + b * (sigmoid(conv(c)) * texture)
        output     = act(conv([texture', structure']))

    ``a`` and ``b`` are learned from 0, one a channel. All tensors are ``(N, C, H, W)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.structure_gate = nn.Sequential(conv(2 * channels, channels, 1), nn.Sigmoid())
        self.texture_gate = nn.Sequential(conv(2 * channels, channels, 1), nn.Sigmoid())
        self.a = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.join = ConvAct(2 * channels, channels, 1)

    def forward(self, texture: Tensor, structure: Tensor) -> Tensor:
        both = torch.cat((texture, structure), dim=1)
        fused_texture = texture + self.a * (self.structure_gate(both) * structure)
        fused_structure = structure + self.b * (self.texture_gate(both) * texture)
        joined: Tensor = self.join(torch.cat((fused_texture, fused_structure), dim=1))
        return joined


class PlainFusion(nn.Module):
    """What gated fusion is compared with: both features joined by one convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.join = ConvAct(2 * channels, channels, 1)

    def forward(self, texture: Tensor, structure: Tensor) -> Tensor:
        joined: Tensor = self.join(torch.cat((texture, structure), dim=1))
        return joined
