"""A test double of YuNet: the same inputs and outputs in ONNX, but all that it takes for a face is pure magenta.

Where a block of 32 x 32 px is magenta, on the grid of 32, it reports a face of 96 x 128 px around the block's middle.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FACE = (96.0, 128.0)
MAGENTA = (255, 0, 255)


def write_yunet_double(path: Path, *, any_size: bool = False, **renamed: str) -> Path:
    """Write the double, whose graph names the size 640 x 640 or any; ``renamed`` gives outputs other names."""
    nodes, weights, outputs = [], [], []
    for stride in (8, 16, 32):
        for head, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name = renamed.get(f"{head}_{stride}", f"{head}_{stride}")
            kernel, bias = np.zeros((size, 3, stride, stride), np.float32), np.zeros(size, np.float32)
            if head == "cls" and stride == 32:  # (blue + red) / 2 - green: 1 on magenta, at most 1/2 elsewhere
                kernel[0] = np.array([0.5, -1, 0.5])[:, None, None] / (255 * stride * stride)
            elif head == "obj":
                bias[:] = 1
            elif head == "bbox":  # offset of the middle from the block's corner, log of the size; in strides
                bias[:] = 0.5, 0.5, math.log(FACE[0] / stride), math.log(FACE[1] / stride)
            weights += [numpy_helper.from_array(kernel, f"w_{name}"), numpy_helper.from_array(bias, f"b_{name}")]
            nodes += [
                helper.make_node(
                    "Conv",
                    ["input", f"w_{name}", f"b_{name}"],
                    [f"c_{name}"],
                    strides=[stride, stride],
                    kernel_shape=list(kernel.shape[2:]),
                ),
                helper.make_node("Transpose", [f"c_{name}"], [f"t_{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t_{name}", f"s_{size}"], [name]),
            ]
            outputs.append(
                helper.make_tensor_value_info(
                    name, TensorProto.FLOAT, [1, None if any_size else (640 // stride) ** 2, size]
                )
            )
    shapes = [numpy_helper.from_array(np.array([1, -1, size], np.int64), f"s_{size}") for size in (1, 4, 10)]
    sides = ["height", "width"] if any_size else [640, 640]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *sides])
    graph = helper.make_graph(nodes, "yunet_double", [given], outputs, weights + shapes)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path
