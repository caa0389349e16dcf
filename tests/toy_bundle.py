"""The test double ``toy_bundle``: a valid bundle of two small ONNX graphs, so that tests need no trained model.

Edge stage: known pixels with much green are its edges; masked ones get half of the mean of a 9 x 9 window of them.
Repair stage: fills them with the mean colour of the known pixels, plus a quarter of the completed edges.
Both honour the contract of a stage: uint8 at the edges with a Cast first and last, dynamic batch, nothing under the
mask reaches the result, known pixels byte-equal.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.writing import StageFiles, write_bundle
from restore_sdk.bundle import Bundle

SIZE = 256
IMAGE = ["batch", SIZE, SIZE, 3]
MAP = ["batch", SIZE, SIZE]


def write_toy_bundle(path: Path, **changes: object) -> Bundle:
    """Write the toy bundle to ``path``; ``changes`` replace arguments of :func:`export.writing.write_bundle`."""
    edge, repair = edge_graph(), repair_graph()
    arguments: dict[str, object] = {
        "name": "toy",
        "version": "1.0",
        "edge": StageFiles("edge", edge, edge, parameters=0, macs=81 * SIZE * SIZE),
        "repair": StageFiles("repair", repair, repair, parameters=0, macs=SIZE * SIZE, max_activation=255.0),
        "golden": golden_vectors(),
        "training": {"data": [], "images_seen": 0},
        "quality": {},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return write_bundle(path, **(arguments | changes))  # type: ignore[arg-type]


def damage_graph() -> bytes:
    """A damage stage to which red is damage: red minus green, where that is above zero."""
    axis = {"axis3": np.array([3], np.int64), "zero": np.array([0], np.int64), "one": np.array([1], np.int64)}
    nodes = [
        *_casts("image"),
        helper.make_node("Slice", ["image_f", "zero", "one", "axis3"], ["red"]),
        helper.make_node("Slice", ["image_f", "one", "two", "axis3"], ["green"]),
        helper.make_node("Sub", ["red", "green"], ["difference"]),
        helper.make_node("Squeeze", ["difference", "axis3"], ["redness"]),
        *_to_uint8("redness", "damage"),
    ]
    constants = {**axis, "two": np.array([2], np.int64), "low": 0.0, "high": 255.0}
    free = ["batch", "height", "width"]
    return _model("toy_damage", nodes, constants, {"image": [*free, 3]}, {"damage": free})


def golden_vectors(count: int = 2) -> dict[str, NDArray[np.uint8]]:
    """Inputs, and what the stages make of them, computed here with numpy rather than with ONNX Runtime."""
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    images[:, 64:192, 64:192] = 200
    masks = np.zeros((count, SIZE, SIZE), np.uint8)
    for index in range(count):
        masks[index, 100 : 140 + 8 * index, 90:150] = 255
    completed = np.stack([toy_edge(i, m) for i, m in zip(images, masks, strict=True)])
    restored = np.stack([toy_repair(i, m, c) for i, m, c in zip(images, masks, completed, strict=True)])
    return {"image": images, "mask": masks, "completed_edges": completed, "restored": restored}


def toy_edge(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The edge stage in numpy, for one image."""
    edges = np.where((image[..., 1] > 127) & (mask <= 127), np.uint8(255), np.uint8(0))
    padded = np.pad(edges.astype(np.float64), 4)
    window = np.lib.stride_tricks.sliding_window_view(padded, (9, 9)).mean(axis=(2, 3))
    return np.where(mask > 127, np.clip(np.round(window / 2), 0, 255), edges).astype(np.uint8)


def toy_repair(image: NDArray[np.uint8], mask: NDArray[np.uint8], edges: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The repair stage in numpy, for one image."""
    masked = mask > 127
    mean = image[~masked].astype(np.float64).mean(axis=0)
    fill = np.clip(np.round(mean + edges[..., None] / 4.0), 0, 255)
    return np.where(masked[..., None], fill, image).astype(np.uint8)


def expected(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole chain in numpy, for a 256 x 256 photo."""
    return toy_repair(photo, mask, toy_edge(photo, mask))


def edge_graph() -> bytes:
    nodes = [
        *_casts("image", "mask"),
        helper.make_node("Greater", ["mask_f", "threshold"], ["masked"]),
        helper.make_node("Slice", ["image_f", "axis1", "two", "axis3"], ["green_4d"]),
        helper.make_node("Squeeze", ["green_4d", "axis3"], ["green"]),
        helper.make_node("Greater", ["green", "threshold"], ["bright"]),
        helper.make_node("Where", ["bright", "high", "low"], ["lines"]),
        helper.make_node("Where", ["masked", "low", "lines"], ["edges_f"]),
        helper.make_node("Unsqueeze", ["edges_f", "axis1"], ["edges_4d"]),
        helper.make_node(
            "AveragePool", ["edges_4d"], ["window_4d"], kernel_shape=[9, 9], pads=[4] * 4, count_include_pad=1
        ),
        helper.make_node("Squeeze", ["window_4d", "axis1"], ["window"]),
        helper.make_node("Mul", ["window", "half"], ["fill"]),
        helper.make_node("Where", ["masked", "fill", "edges_f"], ["composed"]),
        *_to_uint8("composed", "completed_edges"),
    ]
    constants = {"threshold": 127.0, "half": 0.5, "low": 0.0, "high": 255.0, "axis1": np.array([1], np.int64)}
    constants |= {"two": np.array([2], np.int64), "axis3": np.array([3], np.int64)}
    inputs = {"image": IMAGE, "mask": MAP}
    return _model("toy_edge", nodes, constants, inputs, {"completed_edges": MAP})


def repair_graph() -> bytes:
    nodes = [
        *_casts("image", "mask", "completed_edges"),
        helper.make_node("Greater", ["mask_f", "threshold"], ["masked_3d"]),
        helper.make_node("Unsqueeze", ["masked_3d", "axis3"], ["masked"]),
        helper.make_node("Cast", ["masked"], ["masked_f"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "masked_f"], ["known"]),
        helper.make_node("Where", ["masked", "low", "image_f"], ["damaged"]),
        helper.make_node("ReduceSum", ["damaged", "axes12"], ["total"], keepdims=1),
        helper.make_node("ReduceSum", ["known", "axes12"], ["count"], keepdims=1),
        helper.make_node("Max", ["count", "one"], ["count_1"]),
        helper.make_node("Div", ["total", "count_1"], ["mean"]),
        helper.make_node("Unsqueeze", ["completed_edges_f", "axis3"], ["edges_4d"]),
        helper.make_node("Mul", ["edges_4d", "quarter"], ["lines"]),
        helper.make_node("Add", ["mean", "lines"], ["fill"]),
        helper.make_node("Where", ["masked", "fill", "damaged"], ["composed"]),
        *_to_uint8("composed", "restored"),
    ]
    constants = {
        "threshold": 127.0,
        "one": 1.0,
        "quarter": 0.25,
        "low": 0.0,
        "high": 255.0,
        "axis3": np.array([3], np.int64),
        "axes12": np.array([1, 2], np.int64),
    }
    inputs = {"image": IMAGE, "mask": MAP, "completed_edges": MAP}
    return _model("toy_repair", nodes, constants, inputs, {"restored": IMAGE})


def _casts(*names: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT) for name in names]


def _to_uint8(source: str, target: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Round", [source], [f"{source}_rounded"]),
        helper.make_node("Clip", [f"{source}_rounded", "low", "high"], [f"{source}_clipped"]),
        helper.make_node("Cast", [f"{source}_clipped"], [target], to=TensorProto.UINT8),
    ]


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    constants: dict[str, object],
    inputs: dict[str, list[str | int]],
    outputs: dict[str, list[str | int]],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(key, TensorProto.UINT8, shape) for key, shape in inputs.items()],
        [helper.make_tensor_value_info(key, TensorProto.UINT8, shape) for key, shape in outputs.items()],
        [
            numpy_helper.from_array(value if isinstance(value, np.ndarray) else np.array(value, np.float32), key)
            for key, value in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


if __name__ == "__main__":
    print(write_toy_bundle(Path(sys.argv[1])).path)
