"""The stage chain on ONNX Runtime, on the CPU: the runtime that works on every machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from restore_sdk.bundle import Bundle
from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.errors import BundleError, MissingDependencyError
from restore_sdk.runtime import MAX_THREADS, usable_cores
from restore_sdk.runtime.base import INPUTS, MAX_BATCH, U8, Inference, PooledRunner, host_buffers, mapped_errors
from restore_sdk.runtime.native import keep_in_children, no_telemetry

try:
    with no_telemetry():
        import onnxruntime as ort
except ImportError as error:
    if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):  # Ctrl-C while its library was loaded
        raise KeyboardInterrupt from error
    raise MissingDependencyError(
        f"ONNX Runtime cannot be imported: {error}", "run: pip install --force-reinstall onnxruntime"
    ) from error

PROVIDER = "CPUExecutionProvider"

_mapped_errors = partial(mapped_errors, hint="run: restore-sdk verify")


class OnnxRunner(PooledRunner):
    """Edge and repair stage on ONNX Runtime.

    The two sessions are shared by all slots, since a session may run in several threads at once; each slot has its own
    buffers, bound once. The edge stage writes its output into the very buffer from which the repair stage reads.

    Args:
        threads: threads that one call computes with at most, its own and those of its stage's pool, which all slots
            share; ``None`` takes so many, at most 8, that slots in one stage keep every core busy and no more.
    """

    def __init__(self, bundle: Bundle, slots: int = 1, threads: int | None = None) -> None:
        threads = threads or min(MAX_THREADS, max(1, usable_cores() - slots + 1))
        sessions = [_open_session(bundle, stage, threads) for stage in bundle.stages]
        facts = {
            "runtime": "onnxruntime",
            "runtime_version": ort.__version__,
            "providers": [PROVIDER],
            "device": "cpu",
            "precision": "fp32",
            "threads": threads,
        }
        super().__init__([_Slot(*sessions) for _ in range(slots)], MAX_BATCH, facts)


class _Slot:
    """Buffers of one caller at a time, bound to both stages."""

    def __init__(self, edge: Any, repair: Any) -> None:
        self._buffers = host_buffers(MAX_BATCH)
        self._edge, self._repair = edge, repair
        self._bindings: dict[int, tuple[Any, Any]] = {}  # by batch size

    def run(self, images: U8, masks: U8) -> Inference:
        count, buffers = len(images), self._buffers
        edge_binding, repair_binding = self._bindings.get(count) or self._bind(count)
        started = time.perf_counter()
        buffers["image"][:count], buffers["mask"][:count] = images, masks
        with _mapped_errors("the edge stage failed"):
            self._edge.run_with_iobinding(edge_binding)
        between = time.perf_counter()
        with _mapped_errors("the repair stage failed"):
            self._repair.run_with_iobinding(repair_binding)
        restored, completed = buffers["restored"][:count].copy(), buffers["completed_edges"][:count].copy()
        ended = time.perf_counter()
        return Inference(restored, completed, 1e3 * (between - started), 1e3 * (ended - between))

    def _bind(self, count: int) -> tuple[Any, Any]:
        # On the CPU an OrtValue made from an array shares the array's memory: filling the array fills the input,
        # and the value that the edge stage writes is the one that the repair stage reads.
        values = {name: ort.OrtValue.ortvalue_from_numpy(array[:count]) for name, array in self._buffers.items()}
        edge, repair = self._edge.io_binding(), self._repair.io_binding()
        for name in INPUTS:
            edge.bind_ortvalue_input(name, values[name])
        edge.bind_ortvalue_output("completed_edges", values["completed_edges"])
        for name in (*INPUTS, "completed_edges"):
            repair.bind_ortvalue_input(name, values[name])
        repair.bind_ortvalue_output("restored", values["restored"])
        self._bindings[count] = edge, repair
        return edge, repair

    def free(self) -> None:
        self._bindings, self._buffers = {}, {}
        self._edge = self._repair = None


def open_extra(bundle: Bundle, stage: StageSpec, threads: int | None = None) -> Callable[..., Any]:
    """One of :data:`restore_sdk.bundle.manifest.EXTRA_STAGES`: its inputs in their order to its only output, arrays."""
    session = _open_session(bundle, stage, threads or min(MAX_THREADS, usable_cores()))
    names = [spec.name for spec in stage.inputs]

    def run(*inputs: U8) -> Any:
        with _mapped_errors(f"the {stage.name} stage failed"):
            return session.run(None, dict(zip(names, inputs, strict=True)))[0]

    return run


def _open_session(bundle: Bundle, stage: StageSpec, threads: int) -> Any:
    graph = bundle.read(stage.files["fp32"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.use_deterministic_compute = True
    # Spinning as long as ONNX Runtime does by itself, a waiting thread holds a core that others need; sleeping at once,
    # it is woken for each of 380 operators. 20 us cost nobody a core (docs/lab/measurements.md), from 1.32 on.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "20")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    with _mapped_errors(f"ONNX Runtime {ort.__version__} cannot load the {stage.name} stage", BundleError):
        session = ort.InferenceSession(graph, options, providers=[PROVIDER])
    keep_in_children(session)
    inputs, outputs = (
        {tensor.name: (tensor.type.removeprefix("tensor(")[:-1], tuple(tensor.shape[1:])) for tensor in tensors}
        for tensors in (session.get_inputs(), session.get_outputs())
    )
    if mismatch := stage.mismatch(inputs, outputs):
        raise BundleError(f"the {stage.name} graph has {mismatch}", "export the bundle again")
    return session
