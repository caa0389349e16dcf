"""What a network costs: parameters, and multiply-accumulates of its convolutions at 256 x 256."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.config import Config
from training.networks.stages import EdgeStage, RepairStage


def cost(stage: str, config: Config) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one deployed stage (``edge`` or ``repair``), batch 1."""
    generator = config.build(stage)
    return cost_of(EdgeStage(generator)) if stage == "edge" else cost_of(RepairStage(generator), planes=2)


def cost_of(network: nn.Module, planes: int = 1) -> tuple[int, int]:
    """The same of any network that takes an image and a mask, or with two planes edges as well, as the stages do."""
    image = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    plane = torch.zeros(1, 256, 256, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image, *[plane] * planes)
    return sum(each.numel() for each in network.parameters()), counter.get_total_flops() // 2
