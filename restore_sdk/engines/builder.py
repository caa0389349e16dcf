"""One stage's graph to a plan, with any edition of TensorRT."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from restore_sdk import __version__
from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines import network as networks
from restore_sdk.engines import timing
from restore_sdk.engines.driver import DeviceFacts, current
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.failures import failure
from restore_sdk.engines.precision import inspect, network_precision
from restore_sdk.engines.progress import Progress, Watch, make_monitor
from restore_sdk.engines.recipe import Recipe
from restore_sdk.engines.sidecar import Tensor
from restore_sdk.engines.store import EngineStore
from restore_sdk.engines.trtlog import Capture, capture, logger
from restore_sdk.errors import BuildCancelledError, BuildError, BuildOutOfMemoryError

T = TypeVar("T")

#: Lines of TensorRT's log that go into a sidecar.
LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class Built:
    """A plan and what was measured about it; see :class:`restore_sdk.engines.sidecar.Sidecar` for the fields."""

    plan: bytes
    tensors: tuple[Tensor, ...]
    precision: dict[str, int]
    precision_source: Any
    build: dict[str, Any]


def build_stage(
    trt: TensorRT,
    graph: bytes,
    stage: StageSpec,
    recipe: Recipe,
    *,
    gpu: DeviceFacts | None,
    store: EngineStore,
    watch: Watch,
    progress: Progress | None = None,
) -> Built:
    """Build one stage; writes nothing but the timing cache.

    TensorRT works in a thread of its own, so that Ctrl-C reaches this one; it stops at its next step.

    Args:
        trt: the edition that the recipe names.
        graph: the stage's FP16 ONNX graph.
        gpu: the device at hand, if the engine is for it; then the plan is loaded and inspected.
        store: holds the timing caches.
        watch: ends the build early.

    Raises:
        BuildParseError, BuildPrecisionError, BuildProfileError, BuildOutOfMemoryError, BuildCancelledError, BuildError:
            TensorRT refused; its words are in the message.
        KeyboardInterrupt: Ctrl-C, after the build has ended.
    """

    def work() -> Built:
        with current(gpu), capture() as log:
            try:
                return _build(trt, graph, stage, recipe, gpu, store, watch, progress, log)
            except BaseException as error:
                # TensorRT's objects go now, while the context is current, not with the last traceback in some thread.
                traceback.clear_frames(error.__traceback__)
                if isinstance(error, MemoryError):
                    raise BuildOutOfMemoryError(
                        f"out of host memory while building stage {stage.name}", "close other programs"
                    ) from error
                if isinstance(error, (TypeError, RuntimeError)):  # so the bindings tell that an object was not made
                    raise failure(stage.name, trt.label, [*log.errors, str(error)], parsing=False) from error
                raise

    return _interruptible(work, watch)


def _build(
    trt: TensorRT,
    graph: bytes,
    stage: StageSpec,
    recipe: Recipe,
    gpu: DeviceFacts | None,
    store: EngineStore,
    watch: Watch,
    progress: Progress | None,
    log: Capture,
) -> Built:
    _stop_if_over(watch, stage.name)
    started = time.perf_counter()
    log_object = logger(trt.module)
    builder = trt.module.Builder(log_object)
    network = networks.parse(trt, builder, log_object, graph, stage, log)
    parsed = time.perf_counter()
    config = configure(trt, builder, recipe)
    networks.add_profile(builder, config, network, recipe)
    monitor = make_monitor(trt.module, watch, progress)  # TensorRT keeps no reference of its own
    config.progress_monitor = monitor
    cache = timing.attach(store, trt, gpu, config)
    plan = builder.build_serialized_network(network, config)
    _stop_if_over(watch, stage.name, built=plan is not None)
    if plan is None:
        facts = f"workspace of {recipe.workspace_mib} MiB, batch {recipe.max_batch}"
        facts += f", {gpu.name} with {gpu.memory_bytes >> 20} MiB" if gpu else ""
        raise failure(stage.name, trt.label, log.errors, parsing=False, facts=facts)
    if cache is not None:
        timing.keep(store, trt, gpu, config)
    data = bytes(memoryview(plan))
    figures: dict[str, Any] = {
        "sdk": __version__,
        "parse_seconds": round(parsed - started, 3),
        "seconds": round(time.perf_counter() - parsed, 3),
        "layers": int(network.num_layers),
        "warnings": log.of("WARNING")[:LOG_LINES],
        "log": log.tail(LOG_LINES),
    }
    precision, source = network_precision(network), "network"
    tensors = networks.tensors(network)
    del plan, config, network, builder  # their memory is the engine's while it is looked at
    if gpu is not None:
        measured, workspace = inspect(trt, data, log_object, stage.name, log)
        figures |= {"device": gpu.name, "cuda": gpu.cuda, "device_memory_bytes": workspace}
        if measured:
            precision, source = measured, "engine"
    return Built(data, tensors, precision, source, figures)


def configure(trt: TensorRT, builder: Any, recipe: Recipe) -> Any:
    """A new configuration of ``builder``, as the recipe wants it; the precision is none of it, that is in the graph."""
    module, config = trt.module, builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, recipe.workspace_mib << 20)
    config.builder_optimization_level = recipe.optimization_level
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED  # for the inspection
    if trt.edition == "tensorrt_rtx":
        config.num_compute_capabilities = len(recipe.compute_capabilities)
        for index, capability in enumerate(recipe.compute_capabilities):
            kind = getattr(module.ComputeCapability, f"SM{capability.replace('.', '')}")
            if not config.set_compute_capability(kind, index):
                raise BuildError(
                    f"{trt.label} does not build for compute capability {capability}", "take another recipe"
                )
        return config
    levels = {"capability": "SAME_COMPUTE_CAPABILITY", "ampere_plus": "AMPERE_PLUS"}
    if recipe.hardware in levels:
        config.hardware_compatibility_level = getattr(module.HardwareCompatibilityLevel, levels[recipe.hardware])
    if recipe.version_compatible:
        config.set_flag(module.BuilderFlag.VERSION_COMPATIBLE)
    return config


def _stop_if_over(watch: Watch, stage: str, *, built: bool = False) -> None:
    """A plan that came out in spite of a late end is kept, unless the caller cancelled."""
    if watch.cancelled:
        raise BuildCancelledError(f"the build of stage {stage} was cancelled", "nothing was written")
    if watch.expired and not built:
        raise BuildCancelledError(
            f"the build of stage {stage} took longer than {watch.seconds:g} s, nothing was written",
            "allow more time with --timeout",
        )


def _interruptible(work: Callable[[], T], watch: Watch) -> T:
    """Run ``work`` in a thread and wait for it; Ctrl-C cancels it, waits for its end, then goes on its way.

    Python must not end while TensorRT computes: it would abort the process. So a second Ctrl-C waits as well.
    """
    interrupt: KeyboardInterrupt | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="restore-sdk-build") as pool:
        try:
            future = pool.submit(work)
        except KeyboardInterrupt:  # while the thread began; leaving the block waits for it
            watch.cancel()
            raise
        while not future.done():
            try:
                wait([future], timeout=0.1)
            except KeyboardInterrupt as error:
                interrupt = error
                watch.cancel()
    if interrupt is not None:
        raise interrupt
    return future.result()
