"""An ONNX graph as a strongly typed TensorRT network, and what stands in it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines.failures import failure
from restore_sdk.engines.flavour import TensorRT
from restore_sdk.engines.recipe import Recipe
from restore_sdk.engines.sidecar import Tensor
from restore_sdk.engines.trtlog import Capture
from restore_sdk.errors import BuildParseError, BuildPrecisionError

#: Floating-point types by their name in TensorRT.
FLOATS = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "FP8": "float8"}

#: Layers that do the arithmetic; their type is the precision of a network.
HEAVY = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM")


def parse(trt: TensorRT, builder: Any, logger: Any, graph: bytes, stage: StageSpec, log: Capture) -> Any:
    """Read a graph into a new network of ``builder``, and check that it is the stage.

    The parser works on the bytes whose hash was checked, never on a file that could change in between.

    Raises:
        BuildParseError: no ONNX, an unknown operator, or tensors other than the stage's.
        BuildPrecisionError: types that a strongly typed network does not allow, or no FP16 graph.
    """
    module = trt.module
    # On 11 the flag is accepted and ignored: every network is strongly typed there. Its number differs by version.
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = module.OnnxParser(network, logger)
    if not parser.parse(graph):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise failure(stage.name, trt.label, [_describe(error) for error in errors] or log.errors, parsing=True)
    _check_tensors(trt, tensors(network), stage)
    _require_half(trt, network, stage.name)
    return network


def tensors(network: Any) -> tuple[Tensor, ...]:
    """The network's inputs, then its outputs."""
    inputs = [_tensor(network.get_input(index), "input") for index in range(network.num_inputs)]
    return (*inputs, *(_tensor(network.get_output(index), "output") for index in range(network.num_outputs)))


def precision(network: Any) -> dict[str, int]:
    """How many layers give each floating-point type: in a strongly typed network, the type that they compute in."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    types = Counter(layer.get_output(0).dtype.name for layer in layers if layer.num_outputs)
    return {FLOATS[name]: count for name, count in sorted(types.items()) if name in FLOATS}


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


def _require_half(trt: TensorRT, network: Any, stage: str) -> None:
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    heavy = [layer.get_output(0).dtype.name for layer in layers if layer.type.name in HEAVY]
    kinds = Counter(heavy) if heavy else Counter(name for layer in layers for name in _float_types(layer))
    wide = sum(count for name, count in kinds.items() if name != "HALF")
    if wide and (heavy or not kinds["HALF"]):
        found = ", ".join(f"{count} in {FLOATS.get(name, name)}" for name, count in sorted(kinds.items()))
        raise BuildPrecisionError(
            f"the FP16 graph of stage {stage} computes {found}: {trt.label} would build it so",
            "export the model again with: python -m export",
        )


def _float_types(layer: Any) -> list[str]:
    return [layer.get_output(0).dtype.name] if layer.num_outputs and layer.get_output(0).dtype.name in FLOATS else []


def _check_tensors(trt: TensorRT, found: tuple[Tensor, ...], stage: StageSpec) -> None:
    wanted: set[tuple[str, str, str, tuple[int, ...]]] = {
        (tensor.name, mode, tensor.dtype, tuple(-1 if isinstance(size, str) else size for size in tensor.shape))
        for mode, specs in (("input", stage.inputs), ("output", stage.outputs))
        for tensor in specs
    }
    has: set[tuple[str, str, str, tuple[int, ...]]] = {
        (tensor.name, tensor.mode, tensor.dtype, tensor.shape) for tensor in found
    }
    if wanted != has:
        # TensorRT reads some garbage as a network of no tensors, and calls that a success.
        what = f"has {_show(has - wanted)} where {_show(wanted - has)} is expected"
        raise BuildParseError(
            f"{trt.label} reads the graph of stage {stage.name}, but it {what}",
            "export the model again with: python -m export",
        )


def _show(tensors: set[tuple[str, str, str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{mode} {name} {dtype}{list(shape)}" for name, mode, dtype, shape in sorted(tensors)) or "nothing"


def _tensor(tensor: Any, mode: Any) -> Tensor:
    dtype = tensor.dtype.name.lower()
    return Tensor(tensor.name, mode, FLOATS.get(tensor.dtype.name, dtype), tuple(int(size) for size in tensor.shape))


def _describe(error: Any) -> str:
    operator, name = error.node_operator(), error.node_name()
    where = f"operator {operator} (node {name!r}): " if operator or name else ""
    return f"{where}{error.desc()}"
