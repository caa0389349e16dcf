"""The stage chain on TensorRT: both stages on one GPU, one address between them, one wait a request.

Both editions, ``tensorrt`` and ``tensorrt_rtx``, run here; they differ in the name of the module.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from restore_sdk.bundle import Bundle
from restore_sdk.engines.driver import device_facts
from restore_sdk.engines.edition import Edition, load, require_driver, require_installed
from restore_sdk.engines.plan import BuildPlan
from restore_sdk.engines.sidecar import BUILD_AGAIN
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.errors import ClosedError, DriftError, RestoreError
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.runtime.base import U8, Inference, PooledRunner, check_batch
from restore_sdk.runtime.cuda import Gpu
from restore_sdk.runtime.fork import release
from restore_sdk.runtime.golden import require_golden
from restore_sdk.runtime.pipeline import Pipeline, free_all
from restore_sdk.runtime.trtstage import TrtStage, make_runtime

_LOG = logging.getLogger("restore_sdk")


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
        self._closed = True  # until everything stands
        self._closing = threading.RLock()
        self._facts = dict(facts or {})
        self._process = os.getpid()
        self._version, self._edition = str(trt.__version__), trt.__name__
        self._gpu = Gpu(device)
        self._runtime: Any = None
        self._stages: list[TrtStage] = []
        pipelines: list[Pipeline] = []
        with self._gpu.current("the engines cannot be loaded"):
            try:
                before, _ = self._gpu.memory()
                self._runtime = make_runtime(trt)
                for plan, spec in zip((edge, repair), bundle.stages, strict=True):
                    self._stages.append(TrtStage(trt, self._runtime, plan, spec))
                max_batch = min(stage.max_batch for stage in self._stages)
                self._workspace_bytes = slots * max(stage.workspace_bytes for stage in self._stages)
                for _ in range(slots):
                    pipelines.append(Pipeline(self._gpu, *self._stages))
                _warm_up(pipelines, max_batch)
                self._memory_bytes = max(0, before - self._gpu.memory()[0])
            except BaseException:
                with suppress(Exception):  # the failure that brought us here is the one to report
                    free_all(*pipelines, *self._stages)
                release(self._runtime)
                self._runtime = None
                raise
        super().__init__(pipelines, max_batch)
        self._closed = False

    def infer(self, images: U8, masks: U8) -> Inference:
        """Restore a batch, as :meth:`StageRunner.infer`; after a fork it raises ``ClosedError``."""
        if os.getpid() != self._process:
            raise ClosedError("the engine was opened before this process forked", "open one in each process")
        check_batch(images, masks, self.max_batch)
        with self._pool.take() as pipeline, self._gpu.current("the request failed"):
            return pipeline.run(images, masks)

    def info(self) -> dict[str, Any]:
        """Facts about the runner, of JSON types."""
        facts = self._gpu.facts
        return {
            "runtime": self._edition,
            "runtime_version": self._version,
            "device": facts.name,
            "device_index": facts.index,
            "compute_capability": facts.compute_capability,
            "driver_cuda": facts.cuda,
            "precision": "fp16",
            "slots": self.slots,
            "max_batch": self.max_batch,
            "workspace_bytes": self._workspace_bytes,
            "device_memory_bytes": self._memory_bytes,
            **self._facts,
        }

    def close(self) -> None:
        """Wait for running calls, then free buffers, contexts and engines, in this order. Idempotent."""
        if os.getpid() != self._process:  # a lock that another thread held at the fork is never given back
            return
        with self._closing:
            pipelines = self._pool.close()
            if self._closed:
                return
            self._closed = True
            with self._gpu.current("the engines cannot be freed"):
                try:
                    free_all(*pipelines, *self._stages)
                finally:
                    release(self._runtime)
                    self._stages, self._runtime = [], None

    def __del__(self) -> None:
        # Freeing needs the context of a thread that nobody can vouch for here; close() is the way.
        if not getattr(self, "_closed", True) and os.getpid() == self._process:
            warnings.warn("a TensorRT engine was not closed; use `with` or close()", ResourceWarning, stacklevel=2)


def open_tensorrt(
    bundle: Bundle,
    edition: Edition = "tensorrt",
    *,
    device: int = 0,
    slots: int = 1,
    store: EngineStore | None = None,
) -> TensorRtRunner:
    """A runner on the engines that the store holds for this bundle, TensorRT and GPU.

    The golden vectors run first: an engine may have been built ahead of time, elsewhere, or under another driver.

    Raises as :func:`restore_sdk.runtime.select.open_runner`; OutOfMemoryError, ExecutionError: the GPU cannot take it.
    """
    # The driver first: without one no package helps, and some builds of TensorRT end the process.
    facts = device_facts(device)
    require_installed(edition, "pycuda")
    trt = load(edition)
    require_driver(trt, facts)
    store = store or EngineStore()
    edge, repair = (store.find(bundle, spec.name, trt, facts) for spec in bundle.stages)
    told = {"engines": [_describe(engine) for engine in (edge, repair)]}
    runner = None
    try:
        runner = TensorRtRunner(bundle, edge.plan, repair.plan, trt.module, device=device, slots=slots, facts=told)
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
    """Run both stages as they will serve, compare with the reference; gives the figures, the device and the driver.

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
    sidecar = engine.sidecar
    return {
        "stage": sidecar.key.stage,
        "target": sidecar.target,
        "plan_bytes": sidecar.plan_bytes,
        "plan_sha256": sidecar.plan_sha256,
        "precision": dict(sidecar.precision),
        "build": {name: value for name, value in sidecar.build.items() if name != "log"},
        "validation": dict(sidecar.validation),
        "created": sidecar.created,
    }
