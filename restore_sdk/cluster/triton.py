"""Writing a model repository for NVIDIA Triton Inference Server.

OUT_DIR/
    restore-sdk.json          what this is, from which bundle, and the hash of every file
    restore_edge/             the edge stage
        config.pbtxt
        1/model.onnx
    restore_repair/           the repair stage, likewise
    restore/                  both as an ensemble: what clients ask for
        config.pbtxt
        1/ensemble.txt        object stores keep no empty folder, and Triton wants this one
    restore_with_edges/       the same, and it gives the completed edges, too

``config.pbtxt`` is the text form of Triton's protobuf message ``ModelConfig``: see Triton Inference Server, "Model
Configuration" and ``model_config.proto``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from restore_sdk import __version__
from restore_sdk._util.disk import check_owned, write_folder
from restore_sdk.bundle import Bundle
from restore_sdk.bundle.manifest import StageSpec, TensorSpec
from restore_sdk.runtime import FACTS, MODEL, MODEL_WITH_EDGES
from restore_sdk.tiling.request import check_int

MARKER = "restore-sdk.json"


def write_repository(
    path: str | os.PathLike[str],
    bundle: Bundle,
    *,
    precision: Literal["fp32", "fp16"] = "fp32",
    max_batch: int = 8,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    instances: int = 1,
    queue_delay_us: int = 0,
) -> dict[str, Any]:
    """Write a whole repository in one step; one that stands at ``path`` is replaced.

    Args:
        max_batch: most tiles in one run of a stage, 1 to 256.
        device: ``"auto"`` takes the GPUs where there are some, else the CPU.
        instances: copies of each stage that run at the same time, on each GPU or on the CPU.
        queue_delay_us: batching delay in microseconds: how long a stage waits for more requests. 0 takes those that
            wait anyway.

    Returns:
        Of JSON types: its folder, the models' names, the ensembles first, the largest batch, and files' SHA-256.

    Raises:
        OutputError: ``path`` cannot be written, or holds what is no repository of ours.
        BundleError (integrity): a graph is not what it should be.
        InputError: a number out of range.
    """
    target = Path(path)
    check_owned(target, MARKER, "model repository")
    check_int("instances", instances, 1, 64)
    check_int("queue_delay_us", queue_delay_us, 0, 10**6)
    check_int("max_batch", max_batch, 1, 256)
    models = [f"{MODEL}_{stage.name}" for stage in bundle.stages]
    content: dict[str, bytes] = {}
    for ensemble in (MODEL, MODEL_WITH_EDGES):
        config = _ensemble(models, bundle, edges=ensemble == MODEL_WITH_EDGES)
        content[f"{ensemble}/config.pbtxt"] = _pbtxt(ensemble, max_batch, config)
        content[f"{ensemble}/1/ensemble.txt"] = b"An ensemble has no file of its own: see ../config.pbtxt.\n"
    serving = {
        "instance_group": {"kind": _Enum(f"KIND_{device.upper()}"), "count": instances},
        "dynamic_batching": {"max_queue_delay_microseconds": queue_delay_us},
    }
    for model, stage in zip(models, bundle.stages, strict=True):
        content[f"{model}/config.pbtxt"] = _pbtxt(model, max_batch, {**_stage(stage), **serving})
        content[f"{model}/1/model.onnx"] = bundle.read(bundle.file(stage.name, precision))

    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(content.items())}
    facts = {"restore_sdk": __version__, "bundle": bundle.facts(), "files": hashes}
    write_folder(target, {**content, MARKER: (json.dumps(facts, indent=2) + "\n").encode()})
    names = [MODEL, MODEL_WITH_EDGES, *models]
    return {"path": str(target), "models": names, "max_batch": max_batch, "files": hashes}


def _stage(stage: StageSpec) -> dict[str, Any]:
    """A stage as a model of its own."""
    zeros = [{"key": tensor.name, "value": {**_form(tensor), "zero_data": True}} for tensor in stage.inputs]
    return {
        "backend": "onnxruntime",
        "default_model_filename": "model.onnx",
        "input": _tensors(stage.inputs),
        "output": _tensors(stage.outputs),
        # Ready only after a run: the first one allocates, and chooses kernels on a GPU.
        "model_warmup": {"name": "one empty tile", "batch_size": 1, "inputs": zeros},
    }


def _ensemble(models: Sequence[str], bundle: Bundle, *, edges: bool) -> dict[str, Any]:
    """The two stages in a row; tensors keep their names.

    With ``edges``, a client has to ask for both outputs: where the output of a stage is left out, Triton leaves out the
    stage, and what comes after it waits in vain.
    """
    edge, repair = bundle.stages

    def identity_map(tensors: Iterable[TensorSpec]) -> list[dict[str, str]]:
        return [{"key": tensor.name, "value": tensor.name} for tensor in tensors]

    steps = [
        {
            "model_name": model,
            "model_version": -1,
            "input_map": identity_map(stage.inputs),
            "output_map": identity_map(stage.outputs),
        }
        for model, stage in zip(models, (edge, repair), strict=True)
    ]
    return {
        "platform": "ensemble",
        "input": _tensors(edge.inputs),
        "output": _tensors((*repair.outputs, *(edge.outputs if edges else ()))),
        "ensemble_scheduling": {"step": steps},
        "parameters": {"key": FACTS, "value": {"string_value": json.dumps(bundle.facts())}},
    }


def _tensors(tensors: Iterable[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": tensor.name, **_form(tensor)} for tensor in tensors]


def _form(tensor: TensorSpec) -> dict[str, Any]:
    """Type and shape, without the first axis, which ``max_batch_size`` stands for."""
    return {"data_type": _Enum(f"TYPE_{tensor.dtype.upper()}"), "dims": list(tensor.shape[1:])}


class _Enum(str):
    """A value that stands without quotes."""


def _pbtxt(name: str, max_batch: int, config: Mapping[str, Any]) -> bytes:
    """A model's configuration in protobuf's text form."""
    fixed = {"max_batch_size": max_batch, "version_policy": {"latest": {"num_versions": 1}}}
    return ("\n".join(_lines({"name": name, **fixed, **config})) + "\n").encode("ascii")


def _lines(message: Mapping[str, Any]) -> list[str]:
    """One line a value; a list is a field that is repeated. Strings are ASCII, escaped alike in JSON and protobuf."""
    lines = []
    for name, value in message.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping):
                lines += [f"{name} {{", *(f"  {line}" for line in _lines(item)), "}"]
            else:
                lines.append(f"{name}: {item if isinstance(item, _Enum) else json.dumps(item)}")
    return lines
