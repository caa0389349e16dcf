"""The stage chain on TensorRT: both stages on one GPU, one address between them, one wait a request.

Both editions, ``tensorrt`` and ``tensorrt_rtx``, run here; they differ in the name of the module.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from restore_sdk.bundle import Bundle
from restore_sdk.engines.chain import BuildPlan
from restore_sdk.engines.driver import device_facts
from restore_sdk.engines.edition import Edition, load, require_driver
from restore_sdk.engines.sidecar import BUILD_AGAIN
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.errors import DriftError, RestoreError
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.runtime.base import PooledRunner, Slot
from restore_sdk.runtime.cuda import Gpu, free_all
from restore_sdk.runtime.golden import require_golden
from restore_sdk.runtime.native import release
from restore_sdk.runtime.pipeline import Pipeline
from restore_sdk.runtime.trtstage import TrtStage, make_runtime


class TensorRtRunner(PooledRunner):
    """Edge and repair stage on TensorRT; see :class:`restore_sdk.runtime.base.StageRunner`.

    Each of ``slots`` has a stream, buffers, contexts and a workspace of its own: the copies of one request overlap with
    the computing of another.

    Args:
        edge, repair: plans of both stages, which a store found valid and fit for this host.
        trt: the module ``tensorrt`` or ``tensorrt_rtx``.
        facts: what :meth:`info` says besides, of JSON types.

    Raises:
        DeviceError, MissingDependencyError: no GPU, no driver, no pycuda.
        EngineError: a plan is refused, or is an engine of something else.
        OutOfMemoryError: the device's memory does not suffice.
        ExecutionError: the first run failed.
    """

    def __init__(
        self,
        bundle: Bundle,
        edge: bytes,
        repair: bytes,
        trt: Any,
        *,
        device: int = 0,
        slots: int = 1,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._gpu = Gpu(device)
        self._runtime: Any = None
        self._stages: list[TrtStage] = []
        pipelines: list[Pipeline] = []
        with self._gpu.current("the engines cannot be loaded"):
            try:
                before, _ = self._gpu.cuda.mem_get_info()
                self._runtime = make_runtime(trt)
                for plan, spec in zip((edge, repair), bundle.stages, strict=True):
                    self._stages.append(TrtStage(trt, self._runtime, plan, spec))
                max_batch = min(stage.max_batch for stage in self._stages)
                for _ in range(slots):
                    pipelines.append(Pipeline(self._gpu, *self._stages))
                _warm_up(pipelines, max_batch)
                used = max(0, before - self._gpu.cuda.mem_get_info()[0])
            except BaseException:
                with suppress(Exception):  # the failure that brought us here is the one to report
                    self._free_all(pipelines)
                raise
        gpu = self._gpu.facts
        own_facts = {
            "runtime": trt.__name__,
            "runtime_version": str(trt.__version__),
            "device": gpu.name,
            "device_index": gpu.index,
            "compute_capability": gpu.compute_capability,
            "driver_cuda": gpu.cuda,
            "precision": "fp16",
            "device_memory_bytes": int(used),
        }
        super().__init__(pipelines, max_batch, {**own_facts, **(facts or {})})

    def close(self) -> None:
        """Wait for running calls, then free buffers, contexts and engines, in this order. Idempotent."""
        if self._gpu.forked:  # a lock that another thread held at the fork is never given back
            return
        if pipelines := self._close():
            with self._gpu.current("the engines cannot be freed"):
                self._free_all(pipelines)

    def _free_all(self, pipelines: Sequence[Slot]) -> None:
        stages, self._stages = self._stages, []
        try:
            free_all(*pipelines, *stages)
        finally:
            release(self._runtime)
            self._runtime = None

    def __del__(self) -> None:
        # Freeing needs the context of a thread that nobody can vouch for here; close() is the way.
        if getattr(self, "_stages", None) and not self._gpu.forked:
            warnings.warn("a TensorRT engine was not closed; use `with` or close()", ResourceWarning, stacklevel=2)


def open_tensorrt(
    bundle: Bundle,
    edition: Edition = "tensorrt",
    *,
    device: int = 0,
    slots: int = 1,
) -> TensorRtRunner:
    """A runner on the engines that the store holds for this bundle, TensorRT and GPU.

    The golden vectors run first: an engine may have been built ahead of time, elsewhere, or under another driver.

    Raises as :func:`restore_sdk.runtime.select.open_runner`; OutOfMemoryError, ExecutionError: the GPU cannot take it.
    """
    # The driver first: without one no package helps, and some builds of TensorRT end the process.
    facts = device_facts(device)
    trt = load(edition)
    require_driver(trt, facts)
    store = EngineStore()
    edge, repair = (store.find(bundle, spec.name, trt, facts) for spec in bundle.stages)
    about = {"engines": [_describe(engine) for engine in (edge, repair)]}
    runner = None
    try:
        runner = TensorRtRunner(bundle, edge.plan, repair.plan, trt.module, device=device, slots=slots, facts=about)
        require_golden(runner, bundle)
    except BaseException as error:
        if runner is not None:
            runner.close()
        if isinstance(error, DriftError) or (isinstance(error, RestoreError) and error.hint == BUILD_AGAIN):
            command = store.build_command(bundle, edition, device=device, force=True)
            error.hint = (
                f"build it again: {command}; if that does not mend it, report it with: restore-sdk doctor --json"
            )
        raise
    return runner


def validate(bundle: Bundle, plans: Mapping[str, bytes], plan: BuildPlan) -> Mapping[str, Any]:
    """Run both stages as they will serve, compare with the reference; returns the figures, the device and the driver.

    Raises:
        DriftError: beyond the gate. MissingDependencyError: pycuda is not installed.
        EngineError, ExecutionError, OutOfMemoryError: the engines do not load or run.
    """
    assert plan.gpu is not None, "golden vectors run on a GPU"
    runner = TensorRtRunner(bundle, plans["edge"], plans["repair"], plan.trt.module, device=plan.gpu.index)
    try:
        figures = require_golden(runner, bundle)
    finally:
        runner.close()
    return {**figures, "device": plan.gpu.model, "driver_cuda": plan.gpu.cuda, "tensorrt": plan.trt.version}


def _warm_up(pipelines: Sequence[Pipeline], max_batch: int) -> None:
    """Run every pipeline with the largest batch and with one image: kernels are loaded, and memory is taken."""
    images = np.zeros((max_batch, MODEL_SIZE, MODEL_SIZE, 3), np.uint8)
    masks = np.zeros(images.shape[:3], np.uint8)
    masks[:, : MODEL_SIZE // 2] = 255
    for pipeline in pipelines:
        for count in (max_batch, 1):
            pipeline.run(images[:count], masks[:count])


def _describe(engine: StoredEngine) -> dict[str, Any]:
    """What its sidecar says, without the log."""
    sidecar = engine.sidecar.to_json()
    build = {name: value for name, value in sidecar["build"].items() if name != "log"}
    return {"stage": engine.sidecar.key.stage, **sidecar, "build": build}
