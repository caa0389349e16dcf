"""Which runtime serves a request, decided once when an engine opens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from restore_sdk.bundle import Bundle
from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines.edition import EDITIONS
from restore_sdk.errors import DeviceError, InputError, RestoreError
from restore_sdk.runtime import RUNTIMES, Runtime
from restore_sdk.runtime.base import StageRunner

_CPU = "ONNX Runtime runs on the CPU"
_LOG = logging.getLogger("restore_sdk")


def open_runner(
    runtime: Runtime,
    bundle: Bundle,
    *,
    device: int = 0,
    slots: int = 1,
    threads: int | None = None,
) -> tuple[StageRunner, str]:
    """Open the runner for ``runtime``, and say why it was chosen.

    ``"auto"`` takes TensorRT where the engine store holds engines for this model, TensorRT and GPU, else ONNX Runtime;
    engines that are there and cannot be used are logged as a warning and named in the reason. It never takes OpenVINO:
    that a package gets installed, perhaps as a need of another, shall not change what a service computes. A runtime
    asked for by name is opened or raises: nothing else takes its place.

    Raises:
        InputError: there is no such runtime. MissingDependencyError: a package that it needs is not installed.
        EngineError: the runtime needs an engine, and none is there that may be loaded here.
        DriftError: the engine computes something else than the reference. BundleError: the graphs do not load.
        DeviceError: the runtime has no such device, or the CPU no instructions for the precision.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"there is no runtime {runtime!r}", f"choose one of {', '.join(RUNTIMES)}")
    runner: StageRunner | None = None
    reason = "asked for by name"
    if runtime == "auto":
        runner, reason = _built_engine(bundle, device=device, slots=slots)
    elif runtime in EDITIONS:
        from restore_sdk.runtime.tensorrt import open_tensorrt  # each is loaded only where it is used

        runner = open_tensorrt(bundle, runtime, device=device, slots=slots)
    if runner is None and device != 0:
        raise DeviceError(f"the CPU serves, there is no device {device} ({reason})", "leave device at 0")
    if runner is None and runtime.startswith("openvino"):
        from restore_sdk.runtime.openvino import PRECISIONS, OpenVinoRunner

        runner = OpenVinoRunner(bundle, slots, threads, PRECISIONS[runtime])
    if runner is None:
        from restore_sdk.runtime.onnxruntime import OnnxRunner

        runner = OnnxRunner(bundle, slots, threads)
    name = runner.info()["runtime"] if runtime == "auto" else runtime
    _LOG.info("runtime %s (%s), bundle %s", name, reason, bundle.name)
    return runner, reason


class ExtraStages:
    """Those of :data:`restore_sdk.bundle.manifest.EXTRA_STAGES` that are used, on ONNX Runtime, whatever restores: each
    is opened when it is first needed, for all threads."""

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        self._bundle, self._threads = bundle, threads
        self._opened: dict[str, Callable[..., Any]] = {}
        self._opening = threading.Lock()

    def __call__(self, spec: StageSpec) -> Callable[..., Any]:
        """The stage, see :func:`restore_sdk.runtime.onnxruntime.open_extra`."""
        with self._opening:
            if spec.name not in self._opened:
                from restore_sdk.runtime.onnxruntime import open_extra

                self._opened[spec.name] = open_extra(self._bundle, spec, self._threads)
            return self._opened[spec.name]


def _built_engine(bundle: Bundle, *, device: int, slots: int) -> tuple[StageRunner | None, str]:
    """A runner on engines from the store, or why there is none; costs nothing where nothing was built."""
    from restore_sdk.engines.store import EngineStore, graph_sha256

    required = {graph_sha256(bundle, spec.name) for spec in bundle.stages}
    try:
        entries = EngineStore().entries()
    except RestoreError as error:
        _LOG.warning("engine store: %s", error)
        return None, f"auto: the engine store cannot be used ({error.message}), {_CPU}"
    reasons = []
    for edition in EDITIONS:
        keys = [entry.sidecar.key for entry in entries if entry.sidecar is not None]
        if not required <= {key.onnx_sha256 for key in keys if key.edition == edition}:
            continue  # models may share a stage, so that the engine of one was built for another model
        from restore_sdk.runtime.tensorrt import open_tensorrt

        try:
            runner = open_tensorrt(bundle, edition, device=device, slots=slots)
        except RestoreError as error:
            _LOG.warning("runtime %s: a built engine cannot be used: %s", edition, error)
            reasons.append(f"{edition}: {error.message}")
        else:
            return runner, "auto: the engine store holds engines that fit this host"
    for invalid in (entry.error for entry in entries if entry.error is not None):
        _LOG.warning("engine store: %s", invalid)
        reasons.append(invalid.message)
    return None, f"auto: {'; '.join(reasons) or 'no built engine of this model'}, {_CPU}"
