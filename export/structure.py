"""Gates on the form of a graph: valid, typed as the contract says, and free of what the target runtimes refuse."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import TensorProto

from export.errors import GateError
from restore_sdk.bundle.manifest import STAGE_CONTRACT, tensor_contract

#: Left-overs of an export that did not fold: no stage needs them on its static shapes.
_UNFOLDED = {"Constant", "Expand", "Gather", "Identity", "If", "Loop", "NonZero", "Range", "Scan", "Shape", "Size"}
_HINT = "check the exporter's version and what changed in training/networks"


def check_structure(name: str, graph: onnx.ModelProto, precision: str) -> None:
    """Raise :class:`GateError` unless the graph of a stage in ``"fp32"`` or ``"fp16"`` is sound.

    Both: the ONNX checker in full, strict shape inference, the contract's tensors with a symbolic batch, nothing left
    unfolded, no notes of the exporting machine. FP16 also: strongly typed for TensorRT, which takes a Cast and nothing
    else on ``uint8``, and no other Cast.
    """
    what = f"{name} stage, {precision} graph"
    try:
        onnx.checker.check_model(graph, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GateError(f"{what}: not valid ONNX: {error}", _HINT) from error
    _check_tensors(what, name, inferred)
    operators = Counter(node.op_type for node in graph.graph.node)
    foreign = sorted({each.domain for each in (*graph.graph.node, *graph.functions)} - {""})
    unfolded = sorted(_UNFOLDED & operators.keys())
    if foreign or unfolded:
        raise GateError(f"{what}: holds {', '.join(unfolded or foreign)}", _HINT)
    if any(node.metadata_props or node.doc_string for node in graph.graph.node):
        raise GateError(f"{what}: carries notes of the exporter", _HINT)
    if precision == "fp16":
        _check_half(what, inferred)


def _check_tensors(what: str, name: str, graph: onnx.ModelProto) -> None:
    _, inputs, outputs = next(entry for entry in STAGE_CONTRACT if entry[0] == name)
    for found, expected in ((graph.graph.input, inputs), (graph.graph.output, outputs)):
        have = [(tensor.name, tensor.type.tensor_type.elem_type, _dims(tensor)) for tensor in found]
        want = [(tensor, TensorProto.UINT8, tensor_contract(tensor).shape) for tensor in expected]
        if have != want:
            raise GateError(f"{what}: has tensors {have}, the contract says {want}", _HINT)


def _dims(tensor: onnx.ValueInfoProto) -> tuple[str | int, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in tensor.type.tensor_type.shape.dim)


def _check_half(what: str, graph: onnx.ModelProto) -> None:
    edges = {tensor.name for tensor in (*graph.graph.input, *graph.graph.output)}
    for node in graph.graph.node:
        at_edge = bool(edges & {*node.input, *node.output})
        if at_edge != (node.op_type == "Cast"):
            fault = "works on uint8" if at_edge else "is a Cast away from the uint8 tensors"
            raise GateError(f"{what}: {node.op_type} {node.name!r} {fault}, which TensorRT refuses", _HINT)
    typed = [(value.name, value.type.tensor_type.elem_type) for value in graph.graph.value_info]
    typed += [(tensor.name, tensor.data_type) for tensor in graph.graph.initializer]
    single = [name for name, kind in typed if kind == TensorProto.FLOAT and not _is_scales(graph, name)]
    if single:
        raise GateError(f"{what}: {len(single)} tensors are float32, first {single[0]}", _HINT)


def _is_scales(graph: onnx.ModelProto, name: str) -> bool:
    """Resize states its scales in float32, whatever the type of what it resizes."""
    users = [node for node in graph.graph.node if name in node.input]
    return bool(users) and all(node.op_type == "Resize" and node.input[2] == name for node in users)
