"""A PyTorch stage as an ONNX graph."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from export import ExportError
from export.model import Stage
from export.passes import optimize_for_cpu
from restore_sdk.bundle.manifest import EXTRA_STAGES, STAGE_CONTRACT, tensor_contract

#: The newest that ONNX Runtime 1.20 (the oldest that the SDK takes) and TensorRT 10.13 both read.
OPSET = 20

#: Example batch; two, since the exporter takes a one for a constant.
_EXAMPLE = 2
_SCOPES = "pkg.torch.onnx.name_scopes"


def cpu_graph(name: str, stage: nn.Module) -> onnx.ModelProto:
    """A float32 stage for CPU runtimes: weights stored in half precision, operators for ONNX Runtime."""
    model = _export(name, stage)
    optimize_for_cpu(model)
    return ir.to_proto(model)


def fp16_graph(name: str, stage: Stage) -> onnx.ModelProto:
    """The strongly typed FP16 twin, for TensorRT: as PyTorch exports the stage in half precision."""
    return ir.to_proto(_export(name, copy.deepcopy(stage).half()))


def _export(name: str, stage: nn.Module) -> ir.Model:
    extra = EXTRA_STAGES.get(name)
    if extra is not None:
        inputs, outputs = ([spec.name for spec in specs] for specs in extra)
    else:
        inputs, outputs = next((list(ins), list(outs)) for each, ins, outs in STAGE_CONTRACT if each == name)
    shapes = [tensor_contract(tensor).shape[1:] for tensor in inputs]
    examples = [torch.zeros(_EXAMPLE, *(int(side) for side in shape), dtype=torch.uint8) for shape in shapes]
    model = trace(stage, examples, inputs, outputs)
    model.graph.name = name
    _name_nodes(model.graph)
    _drop_metadata(model)
    return model


def trace(module: nn.Module, examples: Sequence[Tensor], inputs: Sequence[str], outputs: Sequence[str]) -> ir.Model:
    """Any module as PyTorch exports it, with a symbolic first axis ``batch`` on every input.

    Args:
        module: in evaluation mode.
        examples: one tensor an input, with a batch of at least two.
        inputs: names of the inputs. ``outputs``: names of the outputs.

    Raises:
        ExportError: the module uses what has no ONNX form.
    """
    batch = torch.export.Dim("batch")
    shapes = ({0: batch},) * len(examples)
    # The exporter reports on optional packages and on its own internals; what it makes is checked by the gates.
    with warnings.catch_warnings(), _quiet("torch"), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module,
                tuple(examples),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(
                f"PyTorch {torch.__version__} cannot export {type(module).__name__}: {error}",
                "use only operators that have an ONNX form in training/networks",
            ) from error
    assert program is not None
    return program.model


def _name_nodes(graph: ir.Graph) -> None:
    """Name every node by the module that it comes from: what profilers and TensorRT's inspector show."""
    seen: Counter[str] = Counter()
    for node in graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        modules = [scope for scope in scopes[:-1] if scope]
        name = f"{modules[-1]}/{node.op_type}" if modules else f"{graph.name}/{node.op_type}"
        node.name = f"{name}_{seen[name]}" if seen[name] else name
        seen[name] += 1


def _drop_metadata(model: ir.Model) -> None:
    """Leave out the exporter's notes: stack traces with the paths of the exporting machine."""
    graph = model.graph
    model.metadata_props.clear()
    graph.metadata_props.clear()
    model.doc_string = graph.doc_string = None
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        values.extend(node.outputs)
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
