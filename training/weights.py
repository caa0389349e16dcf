"""Released weights: the moving averages of both stages, in half precision, in one safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.checkpoint import CheckpointError, load_module, load_tensors, under_prefix
from training.config import Config, from_json
from training.networks.stages import EdgeStage, RepairStage


def load_stages(path: Path) -> tuple[EdgeStage, RepairStage, Config, dict[str, Any]]:
    """Load ``weights.safetensors`` as deployable float32 stages in evaluation mode.

    Returns:
        The edge stage, the repair stage, the configuration they were trained with, and the file's other facts.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    tensors, meta = load_tensors(path)
    if "config" not in meta:
        raise CheckpointError(f"{path} holds no configuration. Name the weights.safetensors of a training run.")
    config = from_json(meta["config"])
    stages = {}
    for name in ("edge", "repair"):
        generator = config.build(name)
        load_module(generator, {key: value.float() for key, value in under_prefix(name, tensors).items()}, path)
        stages[name] = generator
    edge, repair = EdgeStage(stages["edge"]), RepairStage(stages["repair"])
    return edge.eval(), repair.eval(), config, {key: value for key, value in meta.items() if key != "config"}
