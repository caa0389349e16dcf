"""What was built, read back from the engine itself; needs the device that it was built for."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

from restore_sdk.engines.failures import failure
from restore_sdk.engines.flavour import TensorRT
from restore_sdk.engines.trtlog import Capture
from restore_sdk.errors import BuildPrecisionError

#: How the inspector names the formats of tensors.
_FORMATS = (("float16", re.compile(r"FP16|Half", re.I)), ("float32", re.compile(r"FP32|Float(?!8|16)", re.I)))
_HEAVY = re.compile(r"conv|gemm|matrixmultiply|matmul", re.I)


def inspect(trt: TensorRT, plan: bytes, logger: Any, stage: str, log: Capture) -> tuple[dict[str, int], int]:
    """Load a plan on the current device: layers by floating-point type of their output, and scratch memory in bytes.

    Raises:
        BuildError: the engine that was just built does not load.
        BuildPrecisionError: a layer that does the arithmetic was built in FP32.
    """
    information, scratch = _read_back(trt, plan, logger, stage, log)  # an error must not keep the engine alive
    return measured_precision(information, stage), scratch


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
    for layer in layers:
        if not isinstance(layer, dict):  # names only: built without details
            continue
        for output in layer.get("Outputs", [])[:1]:
            kind = _kind(output)
            if kind is None:
                continue
            counts[kind] += 1
            # half operands with a sum in float32, as before a softmax, are half arithmetic
            operands = {_kind(each) for each in layer.get("Inputs", []) if _elements(each) != 1}
            if kind == "float32" and "float16" not in operands and _HEAVY.search(str(layer.get("LayerType"))):
                raise BuildPrecisionError(
                    f"the engine of stage {stage} computes {layer.get('Name')!r} in FP32",
                    "the FP16 graph was not honoured: report this with the output of: restore-sdk doctor --json",
                )
    return dict(sorted(counts.items()))


def _kind(tensor: dict[str, Any]) -> str | None:
    """Floating-point type of a tensor, as the inspector describes it."""
    shown = str(tensor.get("Format/Datatype"))
    return next((name for name, pattern in _FORMATS if pattern.search(shown)), None)


def _elements(tensor: dict[str, Any]) -> int | None:
    """How many numbers it has; ``None`` where that is not said. Matrix products list their scalar factors as well."""
    sizes = tensor.get("Dimensions")
    return math.prod(sizes) if isinstance(sizes, list) and all(isinstance(size, int) for size in sizes) else None
