"""An ONNX graph as a strongly typed TensorRT network."""

from __future__ import annotations

from typing import Any, Literal

from restore_sdk.bundle.manifest import StageSpec, TensorSpec
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.failures import failure
from restore_sdk.engines.precision import FLOATS, require_half
from restore_sdk.engines.recipe import Recipe
from restore_sdk.engines.sidecar import Tensor
from restore_sdk.engines.trtlog import Capture
from restore_sdk.errors import BuildParseError


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
    modes: tuple[tuple[Literal["input", "output"], tuple[TensorSpec, ...]], ...]
    modes = (("input", stage.inputs), ("output", stage.outputs))
    wanted = {
        Tensor(spec.name, mode, spec.dtype, tuple(-1 if isinstance(size, str) else size for size in spec.shape))
        for mode, specs in modes
        for spec in specs
    }
    has = set(found)
    if wanted != has:
        # TensorRT reads some garbage as a network of no tensors, and calls that a success.
        what = f"has {_show(has - wanted)} where {_show(wanted - has)} is expected"
        raise BuildParseError(
            f"{trt.label} reads the graph of stage {stage.name}, but it {what}",
            "export the model again with: python -m export",
        )


def _show(tensors: set[Tensor]) -> str:
    return ", ".join(sorted(f"{t.mode} {t.name} {t.dtype}{list(t.shape)}" for t in tensors)) or "nothing"


def _tensor(tensor: Any, mode: Any) -> Tensor:
    dtype = tensor.dtype.name.lower()
    return Tensor(tensor.name, mode, FLOATS.get(tensor.dtype.name, dtype), tuple(int(size) for size in tensor.shape))


def _describe(error: Any) -> str:
    operator, name = error.node_operator(), error.node_name()
    where = f"operator {operator} (node {name!r}): " if operator or name else ""
    return f"{where}{error.desc()}"
