"""Perceptual and style losses on VGG-19 features, for users who have its weights on disk; nothing is downloaded.

Perceptual: Johnson, Alahi and Fei-Fei, ECCV 2016. Style: Gatys, Ecker and Bethge, CVPR 2016. Layers as EdgeConnect.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.checkpoint import CheckpointError

#: Output channels of VGG-19's convolutions, ``0`` where a max pooling stands.
_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512)
#: Convolutions (counted from 0) after whose ReLU features are compared: relu1_1 ... relu5_1, and for style.
_CONTENT = (0, 2, 4, 8, 12)
_STYLE = (3, 7, 11, 13)


class VggLosses(nn.Module):
    """Maps two batches of images (-1..1, ``(N, 3, H, W)``) to their perceptual and style losses.

    Args:
        path: VGG-19's weights as safetensors, with torchvision's names (``features.0.weight`` and so on).

    Raises:
        CheckpointError: the file cannot be read or holds another network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in _LAYERS:
            if outputs:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        try:
            weights = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{path} cannot be read as safetensors ({error}). Convert torchvision's vgg19 with "
                "safetensors.torch.save_file(model.state_dict(), path)."
            ) from error
        wanted = self.state_dict()
        missing = [name for name, value in wanted.items() if weights.get(name, torch.empty(0)).shape != value.shape]
        if missing:
            raise CheckpointError(f"{path} is not VGG-19: {missing[0]} is missing or has another shape.")
        self.load_state_dict({name: weights[name] for name in wanted})
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            truth = self._activations(target)
        found = self._activations(output)
        perceptual = torch.stack([(found[i] - truth[i]).abs().mean() for i in _CONTENT]).sum()
        style = torch.stack([(_gram(found[i]) - _gram(truth[i])).abs().mean() for i in _STYLE]).sum()
        return perceptual, style

    def _activations(self, image: Tensor) -> list[Tensor]:
        x = ((image + 1.0) / 2.0 - self.mean) / self.std
        kept = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                kept.append(x)
        return kept


def _gram(features: Tensor) -> Tensor:
    n, c, h, w = features.shape
    with torch.autocast(features.device.type, enabled=False):  # sums of many products want float32
        flat = features.float().reshape(n, c, h * w)
        return flat @ flat.transpose(1, 2) / (c * h * w)
