"""The trained model: released weights in, the two PyTorch stages out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from export.errors import GateError
from training.checkpoint import load_tensors, under_prefix
from training.config import Config
from training.networks.stages import EdgeStage, RepairStage
from training.weights import config_of, generator_of

Stage = EdgeStage | RepairStage


@dataclass(frozen=True)
class Model:
    """Both stages in float32, on weights that are half-precision numbers, with what they were trained by."""

    config: Config
    edge: EdgeStage
    repair: RepairStage
    #: Images that each stage was trained on, by its name.
    images: dict[str, int]

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in the order in which they run."""
        return {"edge": self.edge, "repair": self.repair}


def load_model(path: Path) -> Model:
    """Read what ``python -m training fit`` wrote.

    Raises:
        training.checkpoint.CheckpointError: no such file, or weights of another network than its header describes.
        GateError: a weight is not a finite number.
    """
    tensors, meta = load_tensors(path)
    config = config_of(meta.get("config"), path)
    edge, repair = (stage_of(name, config, under_prefix(name, tensors), path) for name in ("edge", "repair"))
    assert isinstance(edge, EdgeStage)
    assert isinstance(repair, RepairStage)
    return Model(config, edge, repair, {name: int(count) for name, count in meta["images"].items()})


def stage_of(name: str, config: Config, weights: dict[str, Tensor], source: Path) -> Stage:
    """A deployed stage in float32 on the weights of its generator, ready for inference."""
    broken = sorted(key for key, tensor in weights.items() if not torch.isfinite(tensor).all())
    if broken:
        raise GateError(
            f"{source}: {len(broken)} weights of the {name} stage hold NaN or infinity, first {broken[0]}",
            "train again from the last sound checkpoint",
        )
    generator = generator_of(name, config, weights, source)
    stage: Stage = EdgeStage(generator) if name == "edge" else RepairStage(generator)
    return stage.eval().requires_grad_(False)
