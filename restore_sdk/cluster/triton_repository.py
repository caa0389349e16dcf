"""Writing a model repository for NVIDIA Triton Inference Server.

OUT_DIR/
    restore-sdk.json          what this is, from which bundle, and the hash of every file
    restore_edge/             the edge stage
        config.pbtxt
        1/model.onnx          or model.plan, or model.sm86.plan and the like
    restore_repair/           the repair stage, likewise
    restore/                  both as an ensemble: what clients ask for
        config.pbtxt
        1/ensemble.txt        object stores keep no empty folder, and Triton wants this one
    restore_with_edges/       the same, and it gives the completed edges, too
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from restore_sdk import __version__
from restore_sdk._util.atomic import check_folder, write_folder
from restore_sdk.bundle import Bundle
from restore_sdk.cluster.triton_config import Serving, ensemble_config, stage_config
from restore_sdk.cluster.triton_plans import ANY, choose_plans
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import InputError, OutputError
from restore_sdk.runtime.tritonnames import MODEL, MODEL_WITH_EDGES

MARKER = "restore-sdk.json"

#: Squares in one run of an ONNX graph: where nothing is said, and at most.
BATCH, MOST_BATCH = 8, 256

Backend = Literal["onnxruntime", "tensorrt"]
Precision = Literal["fp32", "fp16"]

_ENSEMBLE = b"An ensemble has no file of its own: see ../config.pbtxt.\n"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that was written.

    Attributes:
        path: its folder. ``models``: the ensembles' names first, then the stages'.
        max_batch: most squares that one request may hold.
        tensorrt: version of the TensorRT that the server must have; ``None`` with ONNX graphs.
        files: SHA-256 by path in the folder.
        unproven: stages with a plan on which the golden vectors never ran.
        arguments: what the server must be told besides the folder.
    """

    path: Path
    models: tuple[str, ...]
    max_batch: int
    tensorrt: str | None
    files: Mapping[str, str]
    unproven: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


def write_repository(
    path: str | os.PathLike[str],
    bundle: Bundle,
    *,
    backend: Backend = "onnxruntime",
    precision: Precision = "fp32",
    max_batch: int | None = None,
    serving: Serving | None = None,
    store: EngineStore | None = None,
    tensorrt: str | None = None,
) -> Repository:
    """Write a whole repository in one step; one that stands at ``path`` is replaced.

    Args:
        path: the folder to write; its parent must exist.
        backend: ``"onnxruntime"`` with the bundle's graphs, ``"tensorrt"`` with the plans of ``store``.
        precision: of the ONNX graphs; plans are in half precision always.
        max_batch: most squares in one run of a stage; ``None`` takes 8, or what the plans take.
        serving: how Triton is to run the stages.
        store: where the plans are; ``None`` is the user's.
        tensorrt: take plans of this version, as in ``"10.13.3.9"``.

    Raises:
        OutputError: ``path`` cannot be written, or holds what is no repository of ours.
        BundleIntegrityError, EngineIntegrityError: a graph or a plan is not what it should be.
        EngineNotBuiltError, EngineIncompatibleError: see :func:`restore_sdk.cluster.triton_plans.choose_plans`.
        InputError: a batch out of range, or plans on a CPU.
    """
    target, serving = Path(path), serving or Serving()
    check_target(target)
    version, most = None, MOST_BATCH
    unproven: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    stages: Mapping[str, Mapping[str, bytes]]
    if backend == "onnxruntime":
        stages = {stage.name: {ANY: bundle.read(bundle.file(stage.name, precision))} for stage in bundle.stages}
        batch = BATCH if max_batch is None else max_batch
    else:
        if serving.device == "cpu":
            raise InputError("a TensorRT plan does not run on a CPU", "choose the device gpu, or onnxruntime")
        serving = replace(serving, device="gpu")
        plans = choose_plans(bundle, store or EngineStore(), tensorrt)
        stages, version, most = plans.data, plans.version, plans.max_batch
        unproven = plans.unproven
        if plans.version_compatible:
            arguments = ("--backend-config=tensorrt,version-compatible=true",)
        batch = most if max_batch is None else max_batch
    if not 1 <= batch <= most:
        raise InputError(f"max_batch is {batch}", f"pass 1 to {most}, the most that these models take")
    models = [f"{MODEL}_{stage.name}" for stage in bundle.stages]
    content: dict[str, bytes] = {}
    for name in (MODEL, MODEL_WITH_EDGES):
        config = ensemble_config(name, models, bundle, batch, edges=name == MODEL_WITH_EDGES)
        content |= {f"{name}/config.pbtxt": config.encode(), f"{name}/1/ensemble.txt": _ENSEMBLE}
    suffix = "onnx" if backend == "onnxruntime" else "plan"
    for model, stage in zip(models, bundle.stages, strict=True):
        names = {cc: f"model{cc and '.sm' + cc.replace('.', '')}.{suffix}" for cc in stages[stage.name]}
        content[f"{model}/config.pbtxt"] = stage_config(model, stage, backend, names, batch, serving).encode()
        content |= {f"{model}/1/{names[cc]}": data for cc, data in stages[stage.name].items()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(content.items())}
    facts = {
        "restore_sdk": __version__,
        "bundle": bundle.facts(),
        "tensorrt": version,
        "unproven": unproven,
        "arguments": arguments,
        "files": hashes,
    }
    write_folder(target, {**content, MARKER: (json.dumps(facts, indent=2) + "\n").encode()})
    return Repository(target, (MODEL, MODEL_WITH_EDGES, *models), batch, version, hashes, unproven, arguments)


def check_target(path: Path) -> None:
    """Raise :class:`OutputError` unless nothing, an empty folder, or a repository of ours stands at ``path``."""
    check_folder(path)
    hint = "choose another folder, or remove this one"
    try:
        items = [item for item in path.rglob("*") if item.is_symlink() or not item.is_dir()]
        found = {item.relative_to(path).as_posix() for item in items}
        if not found and not (path.exists() and any(path.iterdir())):
            return
        marker: Any = json.loads((path / MARKER).read_bytes()) if MARKER in found else None
        listed = set(marker["files"])
    except (OSError, ValueError, TypeError, KeyError):
        raise OutputError(f"{path} exists and is no model repository of restore-sdk", hint) from None
    foreign = sorted(found - listed - {MARKER})
    if foreign:
        raise OutputError(f"{path} holds more than was written there: {', '.join(foreign[:5])}", hint)
