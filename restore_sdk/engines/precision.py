"""In which precision an engine computes: read from the network before it is built, and from the engine afterwards."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.failures import failure
from restore_sdk.engines.trtlog import Capture
from restore_sdk.errors import BuildPrecisionError

#: Floating-point types by their name in TensorRT.
FLOATS = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "FP8": "float8"}

#: Layers that do the arithmetic; their type is the precision of a network.
HEAVY = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM")

#: The same in the words of the inspector of engines.
_FORMATS = (("float16", re.compile(r"FP16|Half", re.I)), ("float32", re.compile(r"FP32|Float(?!8|16)", re.I)))
_HEAVY = re.compile(r"conv|gemm|matrixmultiply|matmul", re.I)


def network_precision(network: Any) -> dict[str, int]:
    """How many layers give each floating-point type: in a strongly typed network, the type that they compute in."""
    counts = Counter(kind for _, kind in _layers(network))
    return {FLOATS[name]: count for name, count in sorted(counts.items()) if name in FLOATS}


def require_half(trt: TensorRT, network: Any, stage: str) -> None:
    """Raise :class:`BuildPrecisionError` unless convolutions and matrix products of the network are FP16."""
    layers = _layers(network)
    heavy = [kind for layer, kind in layers if layer in HEAVY]
    kinds = Counter(heavy or [kind for _, kind in layers if kind in FLOATS])
    wide = sum(count for name, count in kinds.items() if name != "HALF")
    if wide and (heavy or not kinds["HALF"]):
        found = ", ".join(f"{count} in {FLOATS.get(name, name)}" for name, count in sorted(kinds.items()))
        raise BuildPrecisionError(
            f"the FP16 graph of stage {stage} computes {found}: {trt.label} would build it so",
            "export the model again with: python -m export",
        )


def _layers(network: Any) -> list[tuple[str, str]]:
    """Type of each layer and of its first output, by their names in TensorRT."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return [(layer.type.name, layer.get_output(0).dtype.name) for layer in layers if layer.num_outputs]


def inspect(trt: TensorRT, plan: bytes, logger: Any, stage: str, log: Capture) -> tuple[dict[str, int], int]:
    """Load a plan on the current device: layers by floating-point type of their output, and workspace in bytes.

    Raises:
        BuildError: the engine that was just built does not load.
        BuildPrecisionError: a layer that does the arithmetic was built in FP32.
    """
    information, workspace = _read_back(trt, plan, logger, stage, log)  # an error must not keep the engine alive
    return measured_precision(information, stage), workspace


def _read_back(trt: TensorRT, plan: bytes, logger: Any, stage: str, log: Capture) -> tuple[str, int]:
    runtime = trt.module.Runtime(logger)
    engine = None
    if runtime is not None:
        runtime.engine_host_code_allowed = True  # version-compatible plans carry some; this one was just built here
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise failure(stage, trt.label, log.errors[-3:], parsing=False, facts="it was built, and does not load")
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.module.LayerInformationFormat.JSON) if inspector is not None else "{}"
    return str(text), int(engine.device_memory_size_v2)


def measured_precision(information: str, stage: str) -> dict[str, int]:
    """Count layers by type from the inspector's JSON.

    Layers fused by the compiler show the types at their edges only, which here are ``uint8``; those count for nothing.

    Raises:
        BuildPrecisionError: a convolution or matrix product gives FP32, of operands none of which is FP16.
    """
    try:
        layers = json.loads(information).get("Layers", [])
    except (ValueError, AttributeError):
        return {}
    counts: Counter[str] = Counter()
    for entry in layers:
        if not isinstance(entry, dict):  # names only: built without details
            continue
        kind = next((_kind(output) for output in entry.get("Outputs", [])), None)
        if kind is None:
            continue
        counts[kind] += 1
        # half operands with a sum in float32, as before a softmax, are half arithmetic
        operands = {_kind(each) for each in entry.get("Inputs", []) if _elements(each) != 1}
        if kind == "float32" and "float16" not in operands and _HEAVY.search(str(entry.get("LayerType"))):
            raise BuildPrecisionError(
                f"the engine of stage {stage} computes {entry.get('Name')!r} in FP32",
                "the FP16 graph was not honoured: report this with the output of: restore-sdk doctor --json",
            )
    return dict(sorted(counts.items()))


def _kind(tensor: dict[str, Any]) -> str | None:
    """Floating-point type of a tensor, as the inspector describes it."""
    text = str(tensor.get("Format/Datatype"))
    return next((name for name, pattern in _FORMATS if pattern.search(text)), None)


def _elements(tensor: dict[str, Any]) -> int | None:
    """How many numbers it has; ``None`` where that is not said. Matrix products list their scalar factors as well."""
    sizes = tensor.get("Dimensions")
    return math.prod(sizes) if isinstance(sizes, list) and all(isinstance(size, int) for size in sizes) else None
