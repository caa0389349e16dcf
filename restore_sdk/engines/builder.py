"""One stage's FP16 ONNX graph to a plan: read into a strongly typed network, checked, given a profile, built.

The same with every edition of TensorRT.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Any

from restore_sdk import __version__
from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines.driver import DeviceFacts, current
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.recipe import Recipe
from restore_sdk.engines.trtlog import Capture, capture, logger
from restore_sdk.errors import BuildError

#: Called with the current step; details that change often follow a colon.
Progress = Callable[[str], None]

#: Floating-point types by their name in TensorRT.
FLOATS = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "FP8": "float8"}

#: Layers that do the arithmetic; their type is the precision of a network.
HEAVY = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM")

_EXPORT_AGAIN = "export the model again with: python -m export"

#: Said by a TensorRT that finds no driver while it reports some other error; not the reason for it.
_NOISE = re.compile(r"cudaError 35|--- (Begin|End) node ---|^While parsing node", re.MULTILINE)

#: First match wins: what TensorRT says, the reason of the error, what to do.
_KINDS: tuple[tuple[str, str, str], ...] = (
    (
        r"must have (the )?same (input )?types?|must be of (the )?same type|(input|output)s? (has|have) type"
        r"|strongly.typed|type mismatch",
        "precision",
        f"a strongly typed graph casts where types meet: {_EXPORT_AGAIN}",
    ),
    (
        r"out of (device )?memory|outofmemory|out of host memory|insufficient (workspace|memory)|failed_allocation"
        r"|cudaError 2\b|could not find any implementation|within workspace limit|requires workspace memory|bad_alloc"
        r"|requested (amount|size) .* memory|memoryerror",
        "memory",
        "raise workspace_mib in the recipe, free device memory, or lower max_batch",
    ),
    (
        r"plugin not found|no importer registered|unsupported (node|operator|onnx)",
        "parse",
        "this TensorRT has no such operator: take a newer one, or export the model with operators that it has",
    ),
)

_LOG = logging.getLogger("restore_sdk")


@dataclass(frozen=True, slots=True)
class Built:
    """A plan and what is known about it; see :class:`restore_sdk.engines.sidecar.Sidecar` for the fields."""

    plan: bytes
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
                if isinstance(error, (TypeError, RuntimeError, MemoryError)):  # the bindings' own
                    raise failure(stage.name, trt.label, [*log.errors, repr(error)], parsing=False) from error
                raise

    # Leaving the block waits for the thread: were Python to end while TensorRT computes, it would abort the process.
    with ThreadPoolExecutor(1, thread_name_prefix="restore-sdk-build") as pool:
        try:
            future = pool.submit(work)
            while not future.done():
                wait([future], timeout=0.1)  # on Windows, Ctrl-C does not end a wait without a timeout
            return future.result()
        except KeyboardInterrupt:
            cancelled.set()
            raise


def _build(
    trt: TensorRT, graph: bytes, stage: StageSpec, recipe: Recipe, gpu: DeviceFacts | None, monitor: Any, log: Capture
) -> Built:
    started = time.perf_counter()
    log_object = logger(trt.module)
    builder = trt.module.Builder(log_object)
    network = parse(trt, builder, log_object, graph, stage, log)
    config = configure(trt, builder, recipe)
    add_profile(builder, config, network, recipe)
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
        "log": [f"{severity}: {text}" for severity, text in list(log.lines)],
    }
    counts = Counter(kind for _, kind in _layers(network))
    precision = {FLOATS[name]: count for name, count in sorted(counts.items()) if name in FLOATS}
    return Built(bytes(memoryview(plan)), precision, figures)


def parse(trt: TensorRT, builder: Any, log_object: Any, graph: bytes, stage: StageSpec, log: Capture) -> Any:
    """Read a graph into a new network of ``builder``; raises :class:`BuildError` (parse, precision) unless it is the
    stage in half precision. Read are the bytes whose hash was checked, never a file that could change in between."""
    module = trt.module
    # On 11 the flag is accepted and ignored: every network is strongly typed there. Its number differs by version.
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = module.OnnxParser(network, log_object)
    if not parser.parse(graph):
        errors = [_describe(parser.get_error(index)) for index in range(parser.num_errors)]
        raise failure(stage.name, trt.label, errors or log.errors, parsing=True)
    inputs, outputs = (
        {tensor.name: (tensor.dtype.name.lower(), tuple(tensor.shape)[1:]) for tensor in tensors}
        for tensors in (
            [network.get_input(index) for index in range(network.num_inputs)],
            [network.get_output(index) for index in range(network.num_outputs)],
        )
    )
    # TensorRT reads some garbage as a network of no tensors, and calls that a success.
    if mismatch := stage.mismatch(inputs, outputs):
        raise BuildError(f"{trt.label}: stage {stage.name} has {mismatch}", _EXPORT_AGAIN, reason="parse")
    _require_half(trt, network, stage.name)
    return network


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


def add_profile(builder: Any, config: Any, network: Any, recipe: Recipe) -> None:
    """One profile: every open axis is the batch, from 1 to the recipe's greatest."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        batches = (1, recipe.opt_batch, recipe.max_batch)
        profile.set_shape(tensor.name, *(tuple(batch if n < 0 else n for n in tensor.shape) for batch in batches))
    config.add_optimization_profile(profile)


def failure(stage: str, label: str, messages: Sequence[str], *, parsing: bool, facts: str = "") -> BuildError:
    """The error for a stage that TensorRT refuses to read or to build, from its ``messages``, the reason first."""
    text = "; ".join(dict.fromkeys(line for line in map(_one_line, messages) if line))[:1200] or "it gives no reason"
    reason, hint = next(
        ((reason, hint) for pattern, reason, hint in _KINDS if re.search(pattern, "\n".join(messages), re.IGNORECASE)),
        ("parse", f"the graph is damaged or not what this SDK exports: {_EXPORT_AGAIN}")
        if parsing
        else ("", "run: restore-sdk doctor, and report the lines above with its output"),
    )
    verb = "cannot read the graph of" if parsing else "cannot build"
    facts = f" ({facts})" if facts else ""
    return BuildError(f"{label} {verb} stage {stage}{facts}: {text}", hint, reason)


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


def _require_half(trt: TensorRT, network: Any, stage: str) -> None:
    """Raise :class:`BuildError` unless convolutions and matrix products of the network are FP16."""
    layers = _layers(network)
    heavy = {kind for layer, kind in layers if layer in HEAVY}
    kinds = heavy or {kind for _, kind in layers if kind in FLOATS}
    if heavy - {"HALF"} or "HALF" not in kinds:
        found = " and ".join(sorted(FLOATS.get(kind, kind) for kind in kinds))
        message = f"the FP16 graph of stage {stage} computes in {found}: {trt.label} would build it so"
        raise BuildError(message, _EXPORT_AGAIN, reason="precision")


def _layers(network: Any) -> list[tuple[str, str]]:
    """Type of each layer and of its first output, in which it computes, by their names in TensorRT."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return [(layer.type.name, layer.get_output(0).dtype.name) for layer in layers if layer.num_outputs]


def _describe(error: Any) -> str:
    operator, name = error.node_operator(), error.node_name()
    location = f"operator {operator} (node {name!r}): " if operator or name else ""
    return f"{location}{error.desc()}"


def _one_line(message: str) -> str:
    """A message without the boilerplate of TensorRT."""
    lines = [line for line in message.splitlines() if line.strip() and not _NOISE.search(line)]
    return re.sub(r"\s+In \w+ at \S+\)", ")", " ".join(" ".join(lines).split()))
