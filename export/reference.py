"""The PyTorch reference, read back from a bundle: the bundle is the one home of released weights."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

from export.errors import ExportError
from export.model import Stage, stage_of
from export.passes import WEIGHTS
from restore_sdk.bundle import Bundle
from training import checkpoint
from training.networks.stages import EdgeStage, RepairStage
from training.weights import config_of


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
    values = bundle.manifest.training.get("config")
    if not isinstance(values, dict):
        raise ExportError(
            f"{bundle.path} does not state the configuration of its networks under training.config",
            "export the bundle again with: python -m export",
        )
    config = config_of(values, bundle.path)
    stages: list[Stage] = []
    for name in ("edge", "repair"):
        graph = onnx.load_from_string(bundle.read(bundle.file(name, "fp16"))).graph
        weights = {
            tensor.name.removeprefix(WEIGHTS): torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in graph.initializer
            if tensor.name.startswith(WEIGHTS)
        }
        stages.append(stage_of(name, config, weights, bundle.path))
    edge, repair = stages
    assert isinstance(edge, EdgeStage)
    assert isinstance(repair, RepairStage)
    return edge, repair


def save_reference(target: Path, path: str | os.PathLike[str] | None = None) -> None:
    """Write the weights of a bundle into one file, as a training run writes its own.

    Raises as :func:`load_reference`, and ``OSError`` where the file cannot be written.
    """
    bundle = Bundle.load(path)
    facts = bundle.manifest.training
    if not isinstance(facts.get("images_seen_by_stage"), dict):
        raise ExportError(
            f"{bundle.path} does not state training.images_seen_by_stage, from which training would go on counting",
            "export the bundle again with: python -m export",
        )
    tensors = {}
    for name, stage in zip(("edge", "repair"), load_reference(path), strict=True):
        weights = checkpoint.half_precision(stage.generator.state_dict())
        tensors |= checkpoint.with_prefix(name, weights)
    checkpoint.save_tensors(target, tensors, {"config": facts["config"], "images": facts["images_seen_by_stage"]})
