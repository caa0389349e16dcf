"""The golden vectors on engines that were just built, on the device that they were built for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restore_sdk.bundle import Bundle
from restore_sdk.engines.plan import BuildPlan
from restore_sdk.errors import DeviceError


def validate(bundle: Bundle, plans: Mapping[str, bytes], plan: BuildPlan) -> Mapping[str, Any]:
    """Run both stages as they will serve, compare with the reference; gives the figures, the device and the driver.

    Raises:
        DriftError: beyond the gate.
        MissingDependencyError: pycuda is not installed.
        EngineError, ExecutionError, OutOfMemoryError: the engines do not load or run.
    """
    from restore_sdk.runtime.golden import require_golden
    from restore_sdk.runtime.tensorrt import TensorRtRunner

    if plan.gpu is None:
        raise DeviceError("there is no GPU to run the golden vectors on", "run: restore-sdk doctor")
    runner = TensorRtRunner(bundle, plans["edge"], plans["repair"], plan.trt.module, device=plan.gpu.index)
    try:
        figures = require_golden(runner, bundle)
    finally:
        runner.close()
    return {**figures, "device": plan.gpu.model, "driver_cuda": plan.gpu.cuda, "tensorrt": plan.trt.version}
