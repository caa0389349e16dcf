"""The trained model: from released weights, or read back from a bundle, which is their one home."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

from export import ExportError, GateError
from export.passes import WEIGHTS
from restore_sdk.bundle import Bundle
from training import checkpoint
from training.config import PARTS, Config, from_json
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
    edge, repair = _stages(networks, path)
    return Model(from_json(facts["config"]), edge, repair, {name: int(n) for name, n in facts["images"].items()})


def load_reference(path: str | os.PathLike[str] | None = None) -> tuple[EdgeStage, RepairStage]:
    """Both stages in float32, on the weights that the bundle's FP16 graphs hold as initialisers, bit for bit.

    Args:
        path: folder of the bundle; ``None`` for the one inside the wheel.

    Raises:
        ExportError: the bundle does not say how its networks are built.
        restore_sdk.errors.BundleError: no bundle, or not the files that its manifest names.
        training.checkpoint.CheckpointError: weights of other networks than the manifest describes.
        training.config.ConfigError: networks that this version cannot build.
    """
    bundle = Bundle.load(path)
    return _stages(_networks(bundle), bundle.path)


def save_reference(target: Path, path: str | os.PathLike[str] | None = None) -> None:
    """Write the weights of a bundle into one file, as a training run writes its own.

    Raises as :func:`load_reference`, and :class:`restore_sdk.errors.OutputError` where the file cannot be written.
    """
    bundle = Bundle.load(path)
    networks, facts = _networks(bundle), bundle.manifest.training
    if isinstance(networks, Faithful):
        raise ExportError(
            f"{bundle.name} has networks that the trainer no longer trains", "go on training from another bundle"
        )
    if not isinstance(facts.get("images_seen_by_part"), dict):
        raise ExportError(
            f"{bundle.path} does not state training.images_seen_by_part, from which training would go on counting",
            "export the bundle again with: python -m export",
        )
    tensors = {}
    for part in PARTS:
        tensors |= checkpoint.with_prefix(part, checkpoint.half_precision(networks.weights_of(part)))
    checkpoint.save_tensors(target, tensors, {"config": facts["config"], "images": facts["images_seen_by_part"]})


def _networks(bundle: Bundle) -> Networks | Faithful:
    values = bundle.manifest.training.get("config")
    if not isinstance(values, dict):
        raise ExportError(
            f"{bundle.path} does not state the configuration of its networks under training.config",
            "export the bundle again with: python -m export",
        )
    networks = Networks(from_json(values)) if "shape" in values else Faithful()
    for name, generator in (("edge", networks.edge), ("repair", networks.repair)):
        graph = onnx.load_from_string(bundle.read(bundle.file(name, "fp16"))).graph
        weights = {
            tensor.name.removeprefix(WEIGHTS): torch.from_numpy(numpy_helper.to_array(tensor).copy()).float()
            for tensor in graph.initializer
            if tensor.name.startswith(WEIGHTS)
        }
        kept = {key: value for key, value in weights.items() if key in generator.state_dict()}
        checkpoint.load_module(generator, kept, bundle.path)
    return networks


def _stages(networks: Networks | Faithful, source: Path) -> tuple[EdgeStage, RepairStage]:
    """The deployed stages, ready for inference. Raises :class:`GateError` where a weight is not finite."""
    broken = sorted(name for name, weight in networks.named_parameters() if not torch.isfinite(weight).all())
    if broken:
        raise GateError(
            f"{source}: {len(broken)} weights hold NaN or infinity, first {broken[0]}",
            "train again from the last valid checkpoint",
        )
    networks.eval().requires_grad_(False)
    return networks.stages()
