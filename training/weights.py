"""The networks of a model by part, and released weights: moving averages in half precision, one safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from training import checkpoint
from training.checkpoint import CheckpointError, load_module, load_tensors, under_prefix
from training.config import PARTS, Config, ConfigError, from_json
from training.networks.coarse import CoarseGenerator
from training.networks.contours import ShapeNetwork
from training.networks.edge import EdgeDrawer, EdgeGenerator
from training.networks.repair import RepairGenerator
from training.networks.stages import EdgeStage, RepairStage


class Networks(nn.Module):
    """Freshly initialised networks of all parts. Raises :class:`ConfigError` where a configuration makes none.

    The coarse generator is trained as a part of its own and lives in the repair generator.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        try:
            self.edge = EdgeGenerator(ShapeNetwork(**config.shape.network), EdgeDrawer(**config.edge.network))
            self.repair = RepairGenerator(coarse=CoarseGenerator(**config.coarse.network), **config.repair.network)
        except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
            raise ConfigError(f"These networks cannot be built: {error}.") from error

    def part(self, name: str) -> nn.Module:
        """The network of one of :data:`training.config.PARTS`."""
        places = {"shape": "edge.shape", "edge": "edge.drawer", "coarse": "repair.coarse", "repair": "repair"}
        return self.get_submodule(places[name])

    def weights_of(self, name: str) -> dict[str, Tensor]:
        """A part's own weights: the repair generator's without those of the coarse one, which is a part itself."""
        own: dict[str, Tensor] = self.part(name).state_dict()
        return {key: value for key, value in own.items() if name != "repair" or not key.startswith("coarse.")}

    def take(self, name: str, tensors: dict[str, Tensor], source: Path) -> None:
        """A part's own weights from a file, in whatever precision. Raises :class:`CheckpointError` where they do not
        fit."""
        own = {key: value.float() for key, value in tensors.items()}
        if name == "repair":
            own |= checkpoint.with_prefix("coarse", self.part("coarse").state_dict())
        load_module(self.part(name), own, source)

    def load(self, name: str, run: Path, init: Path | None = None) -> bool:
        """Take a part's moving average from a run's state, or else from released weights; where neither has it, it
        stays as it is, and the answer is false."""
        path, own = state_path(run, name), {}
        if path.exists():
            own = under_prefix("average", load_tensors(path)[0])
            load_module(self.part(name), own, path)
        elif init is not None:
            own = under_prefix(name, load_tensors(init)[0])
            if own:
                self.take(name, own, init)
        self.part(name).requires_grad_(False)
        return bool(own)

    def stages(self) -> tuple[EdgeStage, RepairStage]:
        """Both stages as they are deployed."""
        return EdgeStage(self.edge).eval(), RepairStage(self.repair).eval()


def state_path(run: Path, part: str) -> Path:
    """Where a run keeps the newest state of a part."""
    return run / f"{part}.safetensors"


def save_weights(run: Path, path: Path, discriminators: bool = False) -> Path:
    """Write the moving averages of all parts, as a run has them now, in half precision, with the settings that each
    was last trained with.

    With ``discriminators``, which a released model needs no more, a run can go on from the file (``--init``) where the
    checkpoints are not.

    Works on a finished run and on one that is still going. Raises :class:`CheckpointError` where a part has no state.
    """
    tensors: dict[str, Tensor] = {}
    images: dict[str, int] = {}
    config: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for part in PARTS:
        state, meta = load_tensors(state_path(run, part))
        averages = under_prefix("average", state)
        if part == "repair":  # its coarse generator is a part of its own
            averages = {key: value for key, value in averages.items() if not key.startswith("coarse.")}
        tensors |= checkpoint.with_prefix(part, checkpoint.half_precision(averages))
        if discriminators:
            for kind in ("discriminators", "helpers"):
                beside = checkpoint.half_precision(under_prefix(kind, state))
                tensors |= checkpoint.with_prefix(f"{kind}.{part}", beside)
        images[part], config = meta["seen"], meta["config"]
        own[part] = config[part]
    checkpoint.save_tensors(path, tensors, {"config": config | own, "images": images})
    return path


def load_networks(path: Path) -> tuple[Networks, dict[str, Any]]:
    """Load ``weights.safetensors``: the networks in float32, evaluation mode, and the file's facts.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    tensors, facts = load_tensors(path)
    if not isinstance(facts.get("config"), dict):
        raise CheckpointError(f"{path} holds no configuration. Name the weights.safetensors of a training run.")
    try:
        networks = Networks(from_json(facts["config"]))
    except ConfigError as error:
        raise CheckpointError(
            f"{path} holds networks that this version cannot build ({error}) Use the version that made them."
        ) from error
    for part in PARTS:
        networks.take(part, under_prefix(part, tensors), path)
    return networks.eval(), facts


def costs(config: Config) -> dict[str, tuple[int, int]]:
    """Parameters, and multiply-accumulates of convolutions and products, of each deployed stage at 256 x 256."""
    edge, repair = Networks(config).stages()
    image = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    plane = torch.zeros(1, 256, 256, dtype=torch.uint8)
    found = {}
    for name, stage, inputs in (("edge", edge, (image, plane)), ("repair", repair, (image, plane, plane))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            stage(*inputs)
        found[name] = (sum(each.numel() for each in stage.parameters()), counter.get_total_flops() // 2)
    return found
