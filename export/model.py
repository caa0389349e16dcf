"""The trained model: released weights in, the two PyTorch stages out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from export.errors import GateError
from training.config import Config, from_json
from training.networks.faithful import Faithful
from training.networks.stages import EdgeStage, RepairStage
from training.weights import Networks, load_networks

Stage = EdgeStage | RepairStage


@dataclass(frozen=True)
class Model:
    """Both stages in float32, on weights that are half-precision numbers, with what they were trained by."""

    config: Config
    edge: EdgeStage
    repair: RepairStage
    #: Images that each part was trained on, by its name.
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
    networks, facts = load_networks(path)
    edge, repair = checked_stages(networks, path)
    return Model(from_json(facts["config"]), edge, repair, {name: int(n) for name, n in facts["images"].items()})


def checked_stages(networks: Networks | Faithful, source: Path) -> tuple[EdgeStage, RepairStage]:
    """The deployed stages, ready for inference. Raises :class:`GateError` where a weight is not finite."""
    broken = sorted(name for name, weight in networks.named_parameters() if not torch.isfinite(weight).all())
    if broken:
        raise GateError(
            f"{source}: {len(broken)} weights hold NaN or infinity, first {broken[0]}",
            "train again from the last valid checkpoint",
        )
    networks.eval().requires_grad_(False)
    return networks.stages()
