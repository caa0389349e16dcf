"""Which runtime serves a request, decided once when an engine opens."""

from __future__ import annotations

import logging
import os
from typing import Any, Literal, get_args

from restore_sdk.bundle import Bundle
from restore_sdk.errors import InputError, RestoreError
from restore_sdk.runtime.base import StageRunner

Runtime = Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "openvino-int8", "tensorrt", "tensorrt_rtx"]

_EDITIONS: tuple[Literal["tensorrt", "tensorrt_rtx"], ...] = ("tensorrt", "tensorrt_rtx")

_LOG = logging.getLogger("restore_sdk")


def open_model(
    runtime: Runtime | StageRunner,
    bundle: Bundle | str | os.PathLike[str] | None,
    *,
    device: int = 0,
    slots: int = 1,
    threads: int | None = None,
    cuda_graph: bool = False,
) -> tuple[StageRunner, dict[str, Any]]:
    """A runner for a bundle, or the one that is handed in, and what to say of the choice, of JSON types.

    Raises:
        InputError: a runner was handed in, and with it what it has already. The rest as :func:`open_runner`.
    """
    if isinstance(runtime, str):
        opened = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        runner, reason = open_runner(
            runtime, opened, device=device, slots=slots, threads=threads, cuda_graph=cuda_graph
        )
        facts = {**opened.facts(), "path": str(opened.path)}
        return runner, {"asked": runtime, "reason": reason, "bundle": facts}
    if (bundle, device, slots, threads, cuda_graph) != (None, 0, 1, None, False):
        raise InputError(
            "a runner that is handed in brings its bundle, device, slots and threads", "pass them to the runner"
        )
    return runtime, {"asked": "handed in", "reason": "handed in"}


def open_runner(
    runtime: Runtime, bundle: Bundle, *, device: int, slots: int, threads: int | None, cuda_graph: bool = False
) -> tuple[StageRunner, str]:
    """Open the runner for ``runtime``, and say why it was chosen.

    ``"auto"`` takes TensorRT where the engine store holds engines for this model, TensorRT and GPU, else ONNX Runtime;
    engines that are there and cannot be used are logged as a warning and named in the reason. It never takes OpenVINO:
    that a package gets installed, perhaps as a need of another, shall not change what a service computes. A runtime
    asked for by name is opened or raises: nothing else takes its place.

    Args:
        cuda_graph: on TensorRT, queue the chain as one CUDA graph; see
            :class:`restore_sdk.runtime.tensorrt.TensorRtRunner`. ``"auto"`` leaves it aside where ONNX Runtime serves.

    Raises:
        InputError: there is no such runtime, or a CUDA graph was asked for on a CPU.
        MissingDependencyError: a package that the runtime needs is not installed.
        EngineNotBuiltError: the runtime needs an engine and none is there.
        EngineIncompatibleError, EngineIntegrityError: there is one that may not be loaded here.
        DriftError: the engine computes something else than the reference.
        BundleError: the bundle's graphs do not load.
        DeviceError: the runtime has no such device, or the CPU no instructions for the precision.
    """
    if runtime not in get_args(Runtime):
        raise InputError(f"there is no runtime {runtime!r}", f"choose one of {', '.join(get_args(Runtime))}")
    if cuda_graph and runtime not in ("auto", *_EDITIONS):
        raise InputError(f"runtime {runtime} has no CUDA graph", "leave it out, or choose a TensorRT runtime")
    runner: StageRunner | None
    if runtime in _EDITIONS:
        from restore_sdk.runtime.tensorrt import open_tensorrt  # loaded only where it is used

        runner = open_tensorrt(bundle, runtime, device=device, slots=slots, graph=cuda_graph)
        _LOG.info("runtime %s (asked for by name), bundle %s", runtime, bundle.name)
        return runner, "asked for by name"
    reason = "asked for by name"
    if runtime == "auto":
        runner, reason = _built_engine(bundle, device=device, slots=slots, cuda_graph=cuda_graph)
        if runner is not None:
            _LOG.info("runtime %s (%s), bundle %s", runner.info()["runtime"], reason, bundle.name)
            return runner, reason
        reason = f"auto: {reason}, ONNX Runtime runs on the CPU"
    if runtime in ("openvino", "openvino-bf16", "openvino-int8"):
        from restore_sdk.runtime.openvino import PRECISIONS, OpenVinoRunner  # an extra

        precision = PRECISIONS[runtime]
        runner = OpenVinoRunner(bundle, slots=slots, threads=threads, device=device, precision=precision)
    else:
        from restore_sdk.runtime.onnxruntime import OnnxRunner

        runner = OnnxRunner(bundle, slots=slots, threads=threads, device=device)
    _LOG.info("runtime %s (%s), bundle %s", "onnxruntime" if runtime == "auto" else runtime, reason, bundle.name)
    return runner, reason


def _built_engine(
    bundle: Bundle, *, device: int, slots: int, cuda_graph: bool
) -> tuple[StageRunner, str] | tuple[None, str]:
    """A runner on engines from the store, or why there is none; costs nothing where nothing was built."""
    from restore_sdk.engines.store import EngineStore, graph_sha256

    wanted = {graph_sha256(bundle, spec.name): spec.name for spec in bundle.stages}
    try:
        entries = EngineStore().entries()
    except RestoreError as error:
        _LOG.warning("engine store: %s", error)
        return None, f"the engine store cannot be used ({error.message})"
    sidecars = [entry.sidecar for entry in entries if entry.sidecar is not None]
    built = {
        edition: {each.key.onnx_sha256 for each in sidecars if each.key.edition == edition} for edition in _EDITIONS
    }
    reasons = []
    if not any(wanted.keys() <= hashes for hashes in built.values()):
        for unsound in (entry.error for entry in entries if entry.error is not None):
            _LOG.warning("engine store: %s", unsound)
            reasons.append(unsound.message)
    for edition in _EDITIONS:
        missing = [stage for graph, stage in wanted.items() if graph not in built[edition]]
        if len(missing) == len(wanted):
            continue
        if missing:  # models may share a stage, so that its engine was built for another one
            reasons.append(f"{edition}: no built engine of stage {', '.join(missing)}")
            continue
        from restore_sdk.runtime.tensorrt import open_tensorrt

        try:
            runner = open_tensorrt(bundle, edition, device=device, slots=slots, graph=cuda_graph)
        except RestoreError as error:
            _LOG.warning("runtime %s: a built engine cannot be used: %s", edition, error)
            reasons.append(f"{edition}: {error.message}")
        else:
            return runner, "auto: the engine store holds engines that fit this host"
    return None, "; ".join(reasons) if reasons else "no built engine"
