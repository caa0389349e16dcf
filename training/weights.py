"""Released weights: the moving averages of both stages, in half precision, in one safetensors file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from training import checkpoint
from training.checkpoint import CheckpointError, load_module, load_tensors, under_prefix
from training.config import Config, ConfigError, from_json
from training.networks.stages import EdgeStage, RepairStage


def state_path(run: Path, stage: str) -> Path:
    """Where a run keeps the newest state of a stage."""
    return run / f"{stage}.last.safetensors"


def save_weights(run: Path, path: Path) -> Path:
    """Write the moving averages of both stages, as a run has them now, in half precision, with the settings that each
    was last trained with.

    Works on a finished run and on one that is still going. Raises :class:`CheckpointError` where a stage has no state.
    """
    tensors: dict[str, Tensor] = {}
    images: dict[str, int] = {}
    config: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for stage in ("edge", "repair"):
        state, meta = load_tensors(state_path(run, stage))
        averages = checkpoint.half_precision(under_prefix("average", state))
        tensors |= checkpoint.with_prefix(stage, averages)
        images[stage], config = meta["images"], meta["config"]
        own[stage] = config[stage]
    if from_json(config).has_coarse and state_path(run, "coarse").exists():
        facts = checkpoint.load_facts(state_path(run, "coarse"))
        images["coarse"], own["coarse"] = facts["images"], facts["config"]["coarse"]
    checkpoint.save_tensors(path, tensors, {"config": config | own, "images": images})
    return path


def config_of(values: Any, source: Path) -> Config:
    """The configuration kept with weights. Raises :class:`CheckpointError` where this version cannot read it."""
    if values is None:
        raise CheckpointError(f"{source} holds no configuration. Name the weights.safetensors of a training run.")
    with _foreign_told(source):
        return from_json(values)


def generator_of(name: str, config: Config, weights: dict[str, Tensor], source: Path) -> Any:
    """The generator of a stage in float32, on its weights. Raises :class:`CheckpointError` where these do not fit it,
    or this version has no such network."""
    with _foreign_told(source):
        generator = config.build(name)
    load_module(generator, {key: tensor.float() for key, tensor in weights.items()}, source)
    return generator


@contextmanager
def _foreign_told(source: Path) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise CheckpointError(
            f"{source} holds networks that this version cannot build ({error}) Use the version that made them."
        ) from error


def load_stages(path: Path) -> tuple[EdgeStage, RepairStage, Config, dict[str, Any]]:
    """Load ``weights.safetensors`` as deployable float32 stages in evaluation mode.

    Returns:
        The edge stage, the repair stage, the configuration they were trained with, and the file's other facts.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    tensors, meta = load_tensors(path)
    config = config_of(meta.get("config"), path)
    edge, repair = (generator_of(name, config, under_prefix(name, tensors), path) for name in ("edge", "repair"))
    facts = {key: value for key, value in meta.items() if key != "config"}
    return EdgeStage(edge).eval(), RepairStage(repair).eval(), config, facts
