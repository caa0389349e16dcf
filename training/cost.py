"""What a network costs: parameters, and multiply-accumulates of its convolutions and products at 256 x 256."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import Config
from training.weights import Networks


def costs(config: Config) -> dict[str, tuple[int, int]]:
    """Parameters and multiply-accumulates of each deployed stage, batch 1."""
    edge, repair = Networks(config).stages()
    image = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    plane = torch.zeros(1, 256, 256, dtype=torch.uint8)
    found = {}
    for name, stage, inputs in (("edge", edge, (image, plane)), ("repair", repair, (image, plane, plane))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            stage(*inputs)
        found[name] = (sum(each.numel() for each in stage.parameters()), counter.get_total_flops() // 2)
    return found
