"""What a stage costs: parameters, and multiply-accumulates of its convolutions at 256 x 256."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import Config
from training.networks.stages import EdgeStage, RepairStage


def cost(stage: str, config: Config) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one deployed stage (``edge`` or ``repair``), batch 1."""
    generator = config.build(stage)
    deployed = EdgeStage(generator) if stage == "edge" else RepairStage(generator)  # type: ignore[arg-type]
    image = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    plane = torch.zeros(1, 256, 256, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        deployed(image, plane, plane)
    return sum(each.numel() for each in generator.parameters()), counter.get_total_flops() // 2
