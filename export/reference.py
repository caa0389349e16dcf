"""The PyTorch reference, read back from a bundle: the bundle is the one home of released weights."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

from export.errors import ExportError
from export.model import checked_stages
from export.passes import WEIGHTS
from restore_sdk.bundle import Bundle
from training import checkpoint
from training.checkpoint import CheckpointError
from training.config import PARTS, ConfigError, from_json
from training.networks.faithful import Faithful
from training.networks.stages import EdgeStage, RepairStage
from training.weights import Networks


def load_reference(path: str | os.PathLike[str] | None = None) -> tuple[EdgeStage, RepairStage]:
    """Both stages in float32, on the weights that the bundle's FP16 graphs hold as initialisers, bit for bit.

    Args:
        path: folder of the bundle; ``None`` for the one inside the wheel.

    Raises:
        ExportError: the bundle does not say how its networks are built.
        restore_sdk.errors.BundleError: no bundle, or not the files that its manifest names.
        training.checkpoint.CheckpointError: weights of other networks than the manifest describes, or than this version
            can build.
    """
    bundle = Bundle.load(path)
    networks = _networks(bundle)
    return checked_stages(networks, bundle.path)


def _networks(bundle: Bundle) -> Networks | Faithful:
    values = bundle.manifest.training.get("config")
    if not isinstance(values, dict):
        raise ExportError(
            f"{bundle.path} does not state the configuration of its networks under training.config",
            "export the bundle again with: python -m export",
        )
    networks: Networks | Faithful
    try:
        networks = Networks(from_json(values)) if "shape" in values else Faithful()
    except ConfigError as error:
        raise CheckpointError(f"{bundle.path} holds networks that this version cannot build: {error}") from error
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


def save_reference(target: Path, path: str | os.PathLike[str] | None = None) -> None:
    """Write the weights of a bundle into one file, as a training run writes its own.

    Raises as :func:`load_reference`, and ``OSError`` where the file cannot be written.
    """
    bundle = Bundle.load(path)
    networks = _networks(bundle)
    if isinstance(networks, Faithful):
        raise ExportError(
            f"{bundle.name} has networks that the trainer no longer trains", "go on training from another bundle"
        )
    facts = bundle.manifest.training
    if not isinstance(facts.get("images_seen_by_part"), dict):
        raise ExportError(
            f"{bundle.path} does not state training.images_seen_by_part, from which training would go on counting",
            "export the bundle again with: python -m export",
        )
    tensors = {}
    for part in PARTS:
        tensors |= checkpoint.with_prefix(part, checkpoint.half_precision(networks.weights_of(part)))
    checkpoint.save_tensors(target, tensors, {"config": facts["config"], "images": facts["images_seen_by_part"]})
