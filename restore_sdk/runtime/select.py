"""Which runtime serves a request, decided once when an engine opens."""

from __future__ import annotations

import importlib.util
import logging
from typing import Literal, get_args

from restore_sdk.bundle import Bundle
from restore_sdk.errors import EngineNotBuiltError, InputError, MissingDependencyError
from restore_sdk.runtime.base import StageRunner

Runtime = Literal["auto", "onnxruntime", "tensorrt"]

_LOG = logging.getLogger("restore_sdk")


def open_runner(
    runtime: Runtime, bundle: Bundle, *, device: int, slots: int, threads: int | None
) -> tuple[StageRunner, str]:
    """Open the runner for ``runtime``, and say why it was chosen.

    ``"auto"`` takes what serves best on this host; in this version that is ONNX Runtime everywhere. A runtime asked for
    by name is opened or raises: nothing else takes its place.

    Raises:
        InputError: there is no such runtime.
        MissingDependencyError: a package that the runtime needs is not installed.
        EngineNotBuiltError: the runtime needs an engine and none is there.
        BundleError: the bundle's graphs do not load.
        DeviceError: the runtime has no such device.
    """
    if runtime not in get_args(Runtime):
        raise InputError(f"there is no runtime {runtime!r}", f"choose one of {', '.join(get_args(Runtime))}")
    if runtime == "tensorrt":
        raise _no_tensorrt()
    from restore_sdk.runtime.onnxruntime import OnnxRunner  # loaded only where it is used

    reason = "asked for by name" if runtime == "onnxruntime" else "auto: no built engine, ONNX Runtime runs on the CPU"
    runner = OnnxRunner(bundle, slots=slots, threads=threads, device=device)
    _LOG.info("runtime onnxruntime (%s), bundle %s", reason, bundle.name)
    return runner, reason


def _no_tensorrt() -> MissingDependencyError | EngineNotBuiltError:
    missing = [name for name in ("tensorrt", "pycuda") if importlib.util.find_spec(name) is None]
    here = 'runtime="onnxruntime" runs on every host'
    if missing:
        return MissingDependencyError(f"runtime tensorrt needs {' and '.join(missing)}, not installed here", here)
    return EngineNotBuiltError("no TensorRT engine is built, and this version cannot build or run one yet", here)
