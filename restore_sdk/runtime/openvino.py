"""The stage chain on OpenVINO, on the CPU: an extra, in float32, bfloat16, or bfloat16 with 8-bit integers."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Literal

import numpy as np

from restore_sdk._util.terminal import install_command
from restore_sdk.bundle import Bundle
from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.errors import BundleError, DeviceError, MissingDependencyError
from restore_sdk.runtime import MAX_THREADS, Runtime, usable_cores
from restore_sdk.runtime.base import MAX_BATCH, U8, Inference, PooledRunner, host_buffers, mapped_errors
from restore_sdk.runtime.native import keep_in_children, no_telemetry

try:
    with no_telemetry():
        import openvino as ov
except ImportError as error:
    raise MissingDependencyError(f"OpenVINO does not load: {error}", f"run: {install_command('openvino')}") from error

Precision = Literal["fp32", "bf16", "int8"]

DEVICE = "CPU"

#: As in ``2026.4.1``; what follows in OpenVINO's own text is the build.
VERSION = ov.get_version().split("-")[0]

#: The precision of each runtime that :mod:`restore_sdk.runtime.select` names.
PRECISIONS: dict[Runtime, Precision] = {"openvino": "fp32", "openvino-bf16": "bf16", "openvino-int8": "int8"}

#: What each precision is called by OpenVINO: the value of its hint, and the capability that the CPU must have. With
#: ``int8`` that is the precision of what the graph does not compute in 8 bits.
_HINTS: dict[Precision, tuple[str, str]] = {"fp32": ("f32", "FP32"), "bf16": ("bf16", "BF16"), "int8": ("bf16", "BF16")}

_mapped_errors = partial(mapped_errors, hint="run: restore-sdk verify --runtime openvino")


class OpenVinoRunner(PooledRunner):
    """Edge and repair stage on OpenVINO.

    The two compiled stages are shared by all slots; each slot has a request of each stage and its own buffers, bound
    once. The edge stage writes its output into the very buffer from which the repair stage reads.

    Args:
        threads: threads that one call computes with; ``None`` takes so many, at most 8, that all slots together keep
            the cores of this process busy and no more.
        precision: ``"fp32"``; ``"bf16"``: convolutions in bfloat16, on a CPU that has instructions for it; ``"int8"``:
            those that the bundle's 8-bit graphs name in integers, the others in bfloat16.

    Raises:
        DeviceError: a CPU without instructions for the precision.
        BundleError: a graph does not load, or the bundle has no 8-bit graphs.
    """

    def __init__(
        self, bundle: Bundle, slots: int = 1, threads: int | None = None, precision: Precision = "fp32"
    ) -> None:
        threads = threads or min(MAX_THREADS, max(1, usable_cores() // slots))
        core = ov.Core()
        if precision not in offers(core)[1]:
            raise DeviceError(
                f"OpenVINO finds no instructions for {precision} in this CPU (AVX-512 BF16 or AMX for bf16)",
                "choose runtime openvino or onnxruntime",
            )
        stages = [_compile(core, bundle, stage, precision, slots, slots * threads) for stage in bundle.stages]
        facts = {
            "runtime": "openvino",
            "runtime_version": VERSION,
            "device": "cpu",
            "precision": precision,
            "threads": threads,
        }
        super().__init__([_Slot(*stages) for _ in range(slots)], MAX_BATCH, facts)


def _compile(core: Any, bundle: Bundle, stage: StageSpec, precision: Precision, slots: int, threads: int) -> Any:
    """A stage for requests in as many streams as there are slots; raises unless it computes in the precision."""
    graph = bundle.read(bundle.file(stage.name, "int8" if precision == "int8" else "fp32"))
    hint, _ = _HINTS[precision]
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": str(slots),
        "INFERENCE_NUM_THREADS": threads,
        # Pinned, the threads of two processes would share some cores and leave others idle.
        "ENABLE_CPU_PINNING": False,
    }
    with _mapped_errors(f"OpenVINO {VERSION} cannot load the {stage.name} stage", BundleError):
        model = core.read_model(graph)
        inputs, outputs = (
            {
                port.any_name: (port.element_type.to_dtype().name, tuple(port.partial_shape.get_max_shape())[1:])
                for port in ports
            }
            for ports in (model.inputs, model.outputs)
        )
        # OpenVINO drops an input that no operator reads
        dropped = {spec.name: (spec.dtype, spec.shape[1:]) for spec in stage.inputs}
        if mismatch := stage.mismatch({**dropped, **inputs}, outputs):
            raise BundleError(f"the {stage.name} graph has {mismatch}", "export the bundle again")
        model.reshape({port.any_name: [1, *list(port.partial_shape)[1:]] for port in model.inputs})
        compiled = core.compile_model(model, DEVICE, options)
        found = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    keep_in_children(compiled)
    if found != hint:
        raise DeviceError(
            f"asked OpenVINO for {hint}, it computes the {stage.name} stage in {found}",
            "choose another runtime; run: restore-sdk doctor",
        )
    if precision == "int8" and not _eight_bit(compiled):
        raise DeviceError(
            f"asked OpenVINO for 8-bit integers, it computes no convolution of the {stage.name} stage in them",
            "choose runtime openvino-bf16",
        )
    return compiled


class _Slot:
    """Buffers of one caller at a time, bound to both stages.

    The images of a batch are computed one after another, by a graph compiled for one: with shapes known, OpenVINO plans
    layouts and memory once, and a larger batch gained nothing (docs/lab/measurements.md).
    """

    def __init__(self, edge: Any, repair: Any) -> None:
        self._buffers = host_buffers(1)
        # A tensor with shared memory uses the array's own: filling the array fills the input, and what the edge
        # stage writes is what the repair stage reads.
        tensors = {name: ov.Tensor(array, shared_memory=True) for name, array in self._buffers.items()}
        self._requests = []
        for compiled in (edge, repair):
            request = compiled.create_infer_request()
            for port in (*compiled.inputs, *compiled.outputs):
                request.set_tensor(port, tensors[port.any_name])
            self._requests.append(keep_in_children(request))

    def run(self, images: U8, masks: U8) -> Inference:
        edge, repair = self._requests
        buffers = self._buffers
        restored, completed = np.empty_like(images, order="C"), np.empty_like(masks, order="C")
        edge_seconds = repair_seconds = 0.0
        for index in range(len(images)):
            started = time.perf_counter()
            buffers["image"][0], buffers["mask"][0] = images[index], masks[index]
            with _mapped_errors("the edge stage failed"):
                edge.infer(share_outputs=True)
            between = time.perf_counter()
            with _mapped_errors("the repair stage failed"):
                repair.infer(share_outputs=True)
            restored[index], completed[index] = buffers["restored"][0], buffers["completed_edges"][0]
            edge_seconds += between - started
            repair_seconds += time.perf_counter() - between
        return Inference(restored, completed, 1e3 * edge_seconds, 1e3 * repair_seconds)

    def free(self) -> None:
        self._requests, self._buffers = [], {}


def offers(core: Any = None) -> tuple[str, tuple[Precision, ...]]:
    """OpenVINO's version, and the precisions that this CPU has instructions for."""
    with _mapped_errors("OpenVINO finds no CPU", DeviceError):
        capabilities = (core or ov.Core()).get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    return VERSION, tuple(precision for precision, (_, needed) in _HINTS.items() if needed in capabilities)


def _eight_bit(compiled: Any) -> int:
    """How many convolutions OpenVINO computes on bytes, from its own account of the compiled graph."""
    facts = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    return sum(
        each["layerType"].astype(str) == "Convolution" and each["runtimePrecision"].astype(str) in ("u8", "i8")
        for each in facts
    )
