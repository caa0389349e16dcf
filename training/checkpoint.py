"""Training state on disk: one safetensors file, with JSON in its header, written whole or not at all. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from restore_sdk._util.disk import write_file
from training import TrainingError


class CheckpointError(TrainingError):
    """A checkpoint cannot be read, or belongs to another configuration."""


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Save named tensors and JSON values, whole or not at all. Raises :class:`restore_sdk.errors.OutputError`."""
    contiguous = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    write_file(path, save(contiguous, {"json": json.dumps(meta)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load what :func:`save_tensors` wrote. Raises :class:`CheckpointError`."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist. Name a file that a training run has written.")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return tensors, json.loads((file.metadata() or {})["json"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is not a whole checkpoint ({error}). Remove it, or restore a copy.") from error


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add ``prefix.`` to every name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix.``, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(prefix + ".")}


def optimizer_tensors(optimizer: optim.Optimizer) -> dict[str, Tensor]:
    """The state of an Adam-like optimiser, flat: ``INDEX.KEY``."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{key}": value for i, values in state.items() for key, value in values.items()}


def load_optimizer(optimizer: optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of :func:`optimizer_tensors`."""
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    whole["state"] = state
    optimizer.load_state_dict(whole)


def load_module(module: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load weights by name, naming both sides where they differ. Raises :class:`CheckpointError`."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        name = differing[0]
        raise CheckpointError(
            f"{source} holds another network than the configuration asks for: {len(differing)} tensors differ, first "
            f"{name}: expected {expected.get(name)}, found {found.get(name)}. Use the run's own config.json, or "
            "another output folder."
        )
    module.load_state_dict(tensors)


def half_precision(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round weights to the half-precision numbers that are released. Raises where one does not fit."""
    halves = {name: tensor.to(torch.float16) for name, tensor in tensors.items()}
    for name, tensor in halves.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"The weight {name} does not fit in half precision.")
    return halves
