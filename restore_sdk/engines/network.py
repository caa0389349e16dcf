"""An ONNX graph as a strongly typed TensorRT network: what stands in it, its precision, and why TensorRT refuses it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.recipe import Recipe
from restore_sdk.engines.sidecar import Tensor
from restore_sdk.engines.trtlog import Capture
from restore_sdk.errors import BuildError

#: Floating-point types by their name in TensorRT.
FLOATS = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "FP8": "float8"}

#: Layers that do the arithmetic; their type is the precision of a network.
HEAVY = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM")

#: Said by a TensorRT that finds no driver while it reports some other error; not the reason for it.
_NOISE = re.compile(r"cudaError 35|--- (Begin|End) node ---|^While parsing node", re.MULTILINE)

#: First match wins: what TensorRT says, the reason of the error, what to do.
_KINDS: tuple[tuple[str, str, str], ...] = (
    (
        r"no optimization profile|optimization profile .*(not set|missing)|invalid optimization profile",
        "profile",
        "give every input with an open axis a least, usual and greatest size",
    ),
    (
        r"must have (the )?same (input )?types?|must be of (the )?same type|(input|output)s? (has|have) type"
        r"|strongly.typed|type mismatch",
        "precision",
        "a strongly typed graph casts where types meet: export the model again with: python -m export",
    ),
    (
        r"out of (device )?memory|outofmemory|out of host memory|insufficient (workspace|memory)|failed_allocation"
        r"|cudaError 2\b|could not find any implementation|within workspace limit|requires workspace memory|bad_alloc"
        r"|requested (amount|size) .* memory",
        "memory",
        "raise workspace_mib in the recipe, free device memory, or lower max_batch",
    ),
    (
        r"plugin not found|no importer registered|unsupported (node|operator|onnx)",
        "parse",
        "this TensorRT has no such operator: take a newer one, or export the model with operators that it has",
    ),
)
_OTHER_PARSE = "the graph is damaged or not what this SDK exports: export the model again with: python -m export"
_OTHER = "run: restore-sdk doctor, and report the lines above with its output"


def parse(trt: TensorRT, builder: Any, logger: Any, graph: bytes, stage: StageSpec, log: Capture) -> Any:
    """Read a graph into a new network of ``builder``; raises :class:`BuildError` (parse, precision) unless it is the
    stage in half precision. Read are the bytes whose hash was checked, never a file that could change in between."""
    module = trt.module
    # On 11 the flag is accepted and ignored: every network is strongly typed there. Its number differs by version.
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = module.OnnxParser(network, logger)
    if not parser.parse(graph):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise failure(stage.name, trt.label, [_describe(error) for error in errors] or log.errors, parsing=True)
    _check_tensors(trt, tensors(network), stage)
    require_half(trt, network, stage.name)
    return network


def tensors(network: Any) -> tuple[Tensor, ...]:
    """The network's inputs, then its outputs."""
    inputs = [_tensor(network.get_input(index), "input") for index in range(network.num_inputs)]
    return (*inputs, *(_tensor(network.get_output(index), "output") for index in range(network.num_outputs)))


def add_profile(builder: Any, config: Any, network: Any, recipe: Recipe) -> None:
    """One profile: every open axis is the batch, from the recipe's least to its greatest."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shapes = [
            tuple(batch if size < 0 else size for size in tensor.shape)
            for batch in (1, recipe.opt_batch, recipe.max_batch)
        ]
        profile.set_shape(tensor.name, *shapes)
    config.add_optimization_profile(profile)


def _check_tensors(trt: TensorRT, found: tuple[Tensor, ...], stage: StageSpec) -> None:
    specs = [("input", spec) for spec in stage.inputs] + [("output", spec) for spec in stage.outputs]
    has = {(each.mode, each.name, each.dtype, each.shape[1:]) for each in found}
    wanted = {(mode, spec.name, spec.dtype, tuple(spec.shape[1:])) for mode, spec in specs}
    if has != wanted:  # TensorRT reads some garbage as a network of no tensors, and calls that a success
        what = f"stage {stage.name} has {sorted(has)} where {sorted(wanted)} is expected"
        raise BuildError(f"{trt.label}: {what}", "export the model again with: python -m export", reason="parse")


def _tensor(tensor: Any, mode: Any) -> Tensor:
    dtype = tensor.dtype.name.lower()
    return Tensor(tensor.name, mode, FLOATS.get(tensor.dtype.name, dtype), tuple(int(size) for size in tensor.shape))


def _describe(error: Any) -> str:
    operator, name = error.node_operator(), error.node_name()
    where = f"operator {operator} (node {name!r}): " if operator or name else ""
    return f"{where}{error.desc()}"


def network_precision(network: Any) -> dict[str, int]:
    """How many layers give each floating-point type: in a strongly typed network, the type that they compute in."""
    counts = Counter(kind for _, kind in _layers(network))
    return {FLOATS[name]: count for name, count in sorted(counts.items()) if name in FLOATS}


def require_half(trt: TensorRT, network: Any, stage: str) -> None:
    """Raise :class:`BuildError` unless convolutions and matrix products of the network are FP16."""
    layers = _layers(network)
    heavy = [kind for layer, kind in layers if layer in HEAVY]
    kinds = Counter(heavy or [kind for _, kind in layers if kind in FLOATS])
    wide = sum(count for name, count in kinds.items() if name != "HALF")
    if wide and (heavy or not kinds["HALF"]):
        found = ", ".join(f"{count} in {FLOATS.get(name, name)}" for name, count in sorted(kinds.items()))
        raise BuildError(
            f"the FP16 graph of stage {stage} computes {found}: {trt.label} would build it so",
            "export the model again with: python -m export",
            reason="precision",
        )


def _layers(network: Any) -> list[tuple[str, str]]:
    """Type of each layer and of its first output, by their names in TensorRT."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return [(layer.type.name, layer.get_output(0).dtype.name) for layer in layers if layer.num_outputs]


def failure(stage: str, label: str, said: Sequence[str], *, parsing: bool, facts: str = "") -> BuildError:
    """The error for a stage that TensorRT refuses to read or to build, from what it ``said``, the reason first."""
    words = [line for line in map(_clean, said) if line]
    text = "; ".join(dict.fromkeys(words))[:1200] or "it gives no reason"
    reason, hint = next(
        ((reason, hint) for pattern, reason, hint in _KINDS if re.search(pattern, "\n".join(said), re.IGNORECASE)),
        ("parse", _OTHER_PARSE) if parsing else ("", _OTHER),
    )
    verb = "cannot read the graph of" if parsing else "cannot build"
    facts = f" ({facts})" if facts else ""
    return BuildError(f"{label} {verb} stage {stage}{facts}: {text}", hint, reason)


def _clean(message: str) -> str:
    """One line, without what stands in every message and says nothing."""
    lines = [line for line in message.splitlines() if line.strip() and not _NOISE.search(line)]
    return re.sub(r"\s+In \w+ at \S+\)", ")", " ".join(" ".join(lines).split()))
