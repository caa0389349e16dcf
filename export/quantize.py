"""Chosen convolutions of a CPU graph in 8-bit integers: QuantizeLinear and DequantizeLinear (QDQ) around each.

Runtimes fuse such a pair with the convolution between them and multiply bytes; all else stays in floating point. The
scheme is that of Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference" (2018): weights
signed, symmetric, a scale an output channel; activations unsigned with one zero point. Channels of very different
range are brought closer first, as in SmoothQuant (Xiao et al., ICML 2023): dividing a channel of the activation by
``range**a / weight**(1 - a)`` and multiplying its weights by the same changes nothing but what rounding loses. The
division costs nothing, since QuantizeLinear takes a scale a channel. ``a`` is the smoothing: at 0 the channels of
the weights become alike, at 1 those of the activation. Where few values are near the ends of the range that was seen,
bytes that cover only a part of it, its reach, lose less by clipping these than they gain in finer steps (Migacz,
"8-bit inference with TensorRT", GTC 2017).
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export import GateError
from restore_sdk.runtime.onnxruntime import ort

Floats = NDArray[np.float32]

#: A convolution that takes larger steps than this reads the picture itself: bringing 65,536 pixels to bytes and into
#: the layout of 8-bit kernels took what it saved.
_WIDEST_STRIDE = 2

#: Weights of fewer numbers stay as they are when a graph is stored.
_SMALL = 256


@dataclass(frozen=True)
class Ranges:
    """Least and largest value of each channel of an activation, ``(C,)`` each."""

    low: Floats
    high: Floats

    def joined(self, other: Ranges) -> Ranges:
        """What holds both."""
        return Ranges(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


class Setting(NamedTuple):
    """How one convolution is brought to 8 bits: its smoothing, 0 to 1, and the share of its input's range that bytes
    cover, above 0 to 1; what lies beyond is clipped."""

    smoothing: float
    reach: float = 1.0


def folded(graph: bytes) -> onnx.ModelProto:
    """The graph with constants computed, among them the rewritten weights, which are then plain initialisers."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "folded.onnx")
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        model = onnx.load(path)
    if foreign := {node.domain for node in model.graph.node} - {""}:
        raise GateError(
            f"ONNX Runtime {ort.__version__} folded the graph into operators of its own ({', '.join(sorted(foreign))})",
            "use the version that requirements/dev.lock names",
        )
    del model.opset_import[:]
    model.opset_import.extend(onnx.load_from_string(graph).opset_import)
    return model


def candidates(model: onnx.ModelProto) -> dict[str, int]:
    """Names of the convolutions that :func:`quantized` takes, with their multiplications (MAC) for one image."""
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if (
            node.op_type == "Conv"
            and node.input[1] in weights
            and attributes.get("group", 1) == 1
            and max(attributes.get("strides", (1, 1))) <= _WIDEST_STRIDE
        ):
            _, _, height, width = shapes[node.output[0]]
            found[node.name] = int(np.prod(weights[node.input[1]])) * height * width
    return found


def inputs_of(model: onnx.ModelProto, names: Collection[str]) -> dict[str, str]:
    """The activation that each of the named convolutions reads."""
    return {node.name: node.input[0] for node in model.graph.node if node.name in names}


def quantized(model: onnx.ModelProto, settings: Mapping[str, Setting], ranges: Mapping[str, Ranges]) -> onnx.ModelProto:
    """A copy of a folded graph with the named convolutions in 8 bits.

    Args:
        settings: for each of them; they are some of :func:`candidates`.
        ranges: by activation, see :func:`inputs_of`.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.name in settings:
            weight = numpy_helper.to_array(weights[node.input[1]]).astype(np.float32)
            nodes += _pairs(graph, node, weight, ranges[node.input[0]], settings[node.name])
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    return made


def _pairs(
    graph: onnx.GraphProto, conv: onnx.NodeProto, weight: Floats, ranges: Ranges, setting: Setting
) -> list[onnx.NodeProto]:
    """The nodes in front of a convolution, which then reads from them."""
    low, high = np.minimum(ranges.low, 0.0) * setting.reach, np.maximum(ranges.high, 1e-6) * setting.reach
    largest = np.maximum(high, -low)
    heaviest = np.maximum(np.abs(weight).max(axis=(0, 2, 3)), 1e-8)
    smooth = np.maximum(largest, 1e-4 * largest.max()) ** setting.smoothing / heaviest ** (1.0 - setting.smoothing)
    smooth = (smooth / smooth.max()).astype(np.float32)
    floor, ceiling = float((low / smooth).min()), float((high / smooth).max())
    step = np.float32((ceiling - floor) / 255.0)
    zero = np.uint8(round(-floor / step))
    wide = weight * smooth[None, :, None, None]
    steps = (np.maximum(np.abs(wide).max(axis=(1, 2, 3)), 1e-12) / 127.0).astype(np.float32)
    levels = np.clip(np.round(wide / steps[:, None, None, None]), -127, 127).astype(np.int8)

    def constant(part: str, value: NDArray[np.generic] | np.generic) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{conv.name}/{part}"))
        return f"{conv.name}/{part}"

    def node(op: str, inputs: list[str], part: str, **attributes: int) -> onnx.NodeProto:
        name = f"{conv.name}/{part}"
        return helper.make_node(op, inputs, [name], name=name, **attributes)

    scales = [constant("scales", step * smooth), constant("zeros", np.full(len(smooth), zero))]
    scale = [constant("scale", step), constant("zero", zero)]
    nodes = [
        node("QuantizeLinear", [conv.input[0], *scales], "quantized", axis=1),
        node("DequantizeLinear", [f"{conv.name}/quantized", *scale], "dequantized"),
        node(
            "DequantizeLinear",
            [constant("levels", levels), constant("steps", steps), constant("no_zeros", np.zeros(len(steps), np.int8))],
            "weight",
            axis=0,
        ),
    ]
    conv.input[0], conv.input[1] = f"{conv.name}/dequantized", f"{conv.name}/weight"
    return nodes


def stored(model: onnx.ModelProto) -> bytes:
    """The graph as a file: weights that are half-precision numbers as such, each cast when it is loaded."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, casts = made.graph, []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= _SMALL:
            with np.errstate(over="ignore"):
                half = values.astype(np.float16)
            if np.array_equal(half.astype(np.float32), values):
                name = tensor.name
                tensor.CopyFrom(numpy_helper.from_array(half, f"{name}/half"))
                to = onnx.TensorProto.FLOAT
                casts.append(helper.make_node("Cast", [f"{name}/half"], [name], name=f"{name}/Cast", to=to))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return made.SerializeToString(deterministic=True)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
