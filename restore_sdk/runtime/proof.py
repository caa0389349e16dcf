"""The golden vectors on engines that were just built, on the device that they were built for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restore_sdk.bundle import Bundle
from restore_sdk.engines.order import Order
from restore_sdk.errors import DeviceError


def prove(bundle: Bundle, plans: Mapping[str, bytes], order: Order) -> Mapping[str, Any]:
    """Run both stages as they will serve, compare with the reference; gives the figures, the device and the driver.

    Raises:
        DriftError: beyond the gate.
        MissingDependencyError: pycuda is not installed.
        EngineError, ExecutionError, OutOfMemoryError: the engines do not load or run.
    """
    from restore_sdk.runtime.golden import require_golden
    from restore_sdk.runtime.tensorrt import TensorRtRunner

    if order.gpu is None:
        raise DeviceError("there is no GPU to run the golden vectors on", "run: restore-sdk doctor")
    runner = TensorRtRunner(bundle, plans["edge"], plans["repair"], order.trt.module, device=order.gpu.index)
    try:
        figures = require_golden(runner, bundle)
    finally:
        runner.close()
    return {**figures, "device": order.gpu.model, "driver_cuda": order.gpu.cuda, "tensorrt": order.trt.version}
