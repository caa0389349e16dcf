"""One stage's graph to a plan, with any edition of TensorRT."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Any

from restore_sdk import __version__
from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines import network as networks
from restore_sdk.engines.driver import DeviceFacts, current
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.network import failure
from restore_sdk.engines.recipe import Recipe
from restore_sdk.engines.sidecar import Tensor
from restore_sdk.engines.trtlog import Capture, capture, logger
from restore_sdk.errors import BuildError

#: Takes what is going on; a part of it that changes often stands behind a colon.
Progress = Callable[[str], None]

_LOG = logging.getLogger("restore_sdk")

#: Lines of TensorRT's log that go into a sidecar.
LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class Built:
    """A plan and what is known about it; see :class:`restore_sdk.engines.sidecar.Sidecar` for the fields."""

    plan: bytes
    tensors: tuple[Tensor, ...]
    precision: dict[str, int]
    build: dict[str, Any]


def build_stage(
    trt: TensorRT,
    graph: bytes,
    stage: StageSpec,
    recipe: Recipe,
    *,
    gpu: DeviceFacts | None,
    progress: Progress = lambda _: None,
) -> Built:
    """Build one stage from its FP16 graph, for ``gpu`` where it is at hand; writes nothing.

    TensorRT works in a thread of its own, so that Ctrl-C reaches this one; it stops at its next step.

    Raises:
        BuildError: TensorRT refused; its words are in the message, the kind of refusal is the reason.
        KeyboardInterrupt: Ctrl-C, after the build has ended.
    """
    cancelled = Event()

    def work() -> Built:
        with current(gpu), capture() as log:
            try:
                return _build(trt, graph, stage, recipe, gpu, _monitor(trt, stage.name, cancelled, progress), log)
            except BaseException as error:
                # TensorRT's objects go now, while the context is current, not with the last traceback in some thread.
                traceback.clear_frames(error.__traceback__)
                if isinstance(error, MemoryError):
                    raise BuildError(f"out of memory at stage {stage.name}", "free some", reason="memory") from error
                if isinstance(error, (TypeError, RuntimeError)):  # so the bindings tell that an object was not made
                    raise failure(stage.name, trt.label, [*log.errors, str(error)], parsing=False) from error
                raise

    return _interruptible(work, cancelled)


def _build(
    trt: TensorRT, graph: bytes, stage: StageSpec, recipe: Recipe, gpu: DeviceFacts | None, monitor: Any, log: Capture
) -> Built:
    started = time.perf_counter()
    log_object = logger(trt.module)
    builder = trt.module.Builder(log_object)
    network = networks.parse(trt, builder, log_object, graph, stage, log)
    config = configure(trt, builder, recipe)
    networks.add_profile(builder, config, network, recipe)
    config.progress_monitor = monitor  # TensorRT keeps no reference of its own
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        facts = f"workspace of {recipe.workspace_mib} MiB, batch {recipe.max_batch}"
        facts += f", {gpu.name} with {gpu.memory_bytes >> 20} MiB" if gpu else ""
        raise failure(stage.name, trt.label, log.errors, parsing=False, facts=facts)
    figures = {
        "sdk": __version__,
        "seconds": round(time.perf_counter() - started, 3),
        "layers": int(network.num_layers),
        "log": [f"{severity}: {text}" for severity, text in list(log.lines)[-LOG_LINES:]],
    }
    return Built(bytes(memoryview(plan)), networks.tensors(network), networks.network_precision(network), figures)


def configure(trt: TensorRT, builder: Any, recipe: Recipe) -> Any:
    """A new configuration of ``builder``, as the recipe wants it; the precision is none of it, that is in the graph."""
    module, config = trt.module, builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, recipe.workspace_mib << 20)
    config.builder_optimization_level = recipe.optimization_level
    if trt.edition == "tensorrt_rtx":
        config.num_compute_capabilities = len(recipe.compute_capabilities)
        for index, capability in enumerate(recipe.compute_capabilities):
            kind = getattr(module.ComputeCapability, f"SM{capability.replace('.', '')}")
            if not config.set_compute_capability(kind, index):
                raise BuildError(f"{trt.label} does not build for capability {capability}", "take another recipe")
    elif recipe.hardware == "capability":
        config.hardware_compatibility_level = module.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    return config


def _monitor(trt: TensorRT, stage: str, cancelled: Event, progress: Progress) -> Any:
    """An ``IProgressMonitor``, which TensorRT asks between its steps whether to go on."""

    class Monitor(trt.module.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            try:
                progress(f"building {stage}: {phase_name}")
            except BaseException as error:  # one that leaves here would end the process
                _LOG.warning("showing the progress of a build failed, which does not stop it: %r", error)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


def _interruptible(work: Callable[[], Built], cancelled: Event) -> Built:
    """Run ``work`` in a thread and wait for it; Ctrl-C cancels it, waits for its end, then goes on its way.

    Python must not end while TensorRT computes: it would abort the process. So a second Ctrl-C waits as well.
    """
    interrupt: KeyboardInterrupt | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="restore-sdk-build") as pool:
        try:
            future = pool.submit(work)
        except KeyboardInterrupt:  # while the thread began; leaving the block waits for it
            cancelled.set()
            raise
        while not future.done():
            try:
                wait([future], timeout=0.1)
            except KeyboardInterrupt as error:
                interrupt = error
                cancelled.set()
    if interrupt is not None:
        raise interrupt
    return future.result()
