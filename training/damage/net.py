"""The network of the damage stage: what EfficientNet-Lite0 sees, and a small decoder at the photograph's resolution.

The encoder is the first four stages of EfficientNet-Lite0 (Tan and Le, ICML 2019), trained on ImageNet, frozen here.
Beside it a trained path on pixels packed 2 x 2 keeps thin lines. A U-Net's decoder (Ronneberger et al. 2015) joins
them.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import features
from training.features import InvertedResidual

#: Kernel, stride, expansion, output channels and repeats of the encoder's stages.
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3))


#: Of what is below zero, this part passes, so that no pixel is without a gradient.
SLOPE = 0.1


def conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1, kernel: int = 3) -> nn.Sequential:
    """A convolution with batch normalisation and a leaky ReLU."""
    pad = dilation * (kernel // 2)
    layer = nn.Conv2d(inputs, outputs, kernel, stride, pad, dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE, inplace=True))


class DamageNet(nn.Module):
    """RGB scaled to [-1, 1], (N, 3, H, W) float, to the logit of damage by pixel, (N, 1, H, W).

    0.39 M parameters, 0.5 GMAC per 256 x 256 pixels; H and W are multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.stages = nn.ModuleList()
        inputs = 32
        for kernel, stride, expansion, outputs, repeats in STAGES:
            blocks = []
            for repeat in range(repeats):
                blocks.append(InvertedResidual(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
                inputs = outputs
            self.stages.append(nn.Sequential(*blocks))
        for part in (self.stem, self.stages):
            part.requires_grad_(False)
        self.fine = nn.Sequential(conv(28, 16), conv(16, 16))  # half of the resolution
        self.down = conv(16, 32, 2)
        self.four = conv(24, 32)
        self.eight = conv(40, 48, kernel=1)
        self.wide = nn.Sequential(conv(80, 64, kernel=1), conv(64, 64), conv(64, 64, dilation=2))
        self.lift = nn.ModuleList([conv(64, 48, kernel=1), conv(48, 32, kernel=1), conv(32, 16, kernel=1)])
        self.join = nn.ModuleList([conv(48, 48), conv(32, 32), conv(16, 16)])
        self.head = nn.Conv2d(16, 4, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            x = F.relu6(self.stem(image))
            seen = [x := stage(x) for stage in self.stages]
        fine = self.fine(torch.cat([F.pixel_unshuffle(image, 2), seen[0]], 1))
        skips = self.eight(seen[2]), self.four(seen[1]) + self.down(fine), fine
        x = self.wide(seen[3])
        for lift, join, skip in zip(self.lift, self.join, skips, strict=True):
            x = join(F.interpolate(lift(x), scale_factor=2.0, mode="nearest") + skip)
        return F.pixel_shuffle(self.head(x), 2)

    def load_encoder(self) -> None:
        """Fill the encoder; raises as :func:`training.features.load_weights`."""
        features.load_weights(0, self.stem, (block for stage in self.stages for block in stage))


def load_weights(path: str | PathLike[str]) -> DamageNet:
    """The network with the weights of a safetensors file (any float type), in evaluation mode."""
    from safetensors.torch import load_file

    net = DamageNet()
    found = net.load_state_dict({name: value.float() for name, value in load_file(path).items()}, strict=False)
    if lost := [name for name in (*found.missing_keys, *found.unexpected_keys) if "num_batches" not in name]:
        raise ValueError(f"{path} is not of this network: {', '.join(lost[:4])}")
    return net.eval()


def save_weights(net: DamageNet, path: Path, offset: float = 0.0) -> None:
    """Write the weights in half precision, with ``offset`` added to every logit."""
    from safetensors.torch import save_file

    state = {name: value.half() for name, value in net.state_dict().items() if "num_batches" not in name}
    state["head.bias"] = (net.head.bias.detach() + offset).half()
    save_file(state, path)
