"""``python -m export damage``: the damage stage's graph, written operator by operator, and a bundle with it besides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export import ExportError, GateError
from export.bundle import read_card
from export.graph import OPSET
from export.stages import cpu_session
from export.writing import add_extra_stage
from restore_sdk.bundle import Bundle
from restore_sdk.bundle.manifest import EXTRA_STAGES
from training.damage.net import SLOPE, DamageNet, load_weights

_IMAGE, _DAMAGE = (tensors[0] for tensors in EXTRA_STAGES["damage"])

#: Largest difference of the graph's output to PyTorch's, in 1/255, in any pixel of the gate's pictures.
MAX_DIFFERENCE = 4


def add_damage(bundle: Bundle, weights: Path) -> None:
    """Write the bundle anew where it stands; its other files stay as they are.

    Raises:
        ExportError: the weights cannot be read. GateError: the graph computes something else than PyTorch.
    """
    try:
        net = load_weights(weights)
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"no weights of the damage stage in {weights}: {error}", "see docs/training.md") from error
    graph, macs = damage_graph(net)
    check(graph, net)
    count = sum(value.numel() for value in net.parameters())
    made = add_extra_stage(bundle, "damage", graph, count, macs, read_card()["damage"])
    size = f"{macs / 1e9:.2f} GMAC at 256 x 256, {len(graph) / 1e6:.2f} MB more"
    print(f"wrote {made.path}: {count} parameters, {size}")


def damage_graph(net: DamageNet) -> tuple[bytes, int]:
    """The network as ONNX, uint8 in and out, weights in half precision; and its MACs for 256 x 256 pixels."""
    nodes: list[Any] = []
    tensors: list[Any] = []
    macs = 0

    def add(kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"x{len(nodes)}"], **attributes))
        return f"x{len(nodes) - 1}"

    def constant(value: Any) -> str:
        tensors.append(numpy_helper.from_array(np.asarray(value), f"c{len(tensors)}"))
        return f"c{len(tensors) - 1}"

    def conv(x: str, layer: nn.Module, side: int, end: str = "", order: Any = None) -> str:
        """A convolution that gives ``side`` x ``side`` pixels for 256 x 256, its batch norm folded into it."""
        nonlocal macs
        if isinstance(layer, nn.Sequential):
            layer, end = fuse_conv_bn_eval(layer[0], layer[1]), "Leaky"
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        weight = layer.weight.detach() if order is None else layer.weight.detach()[:, order]
        macs += weight.numel() * side * side
        half = add("Cast", [constant(weight.half().numpy())], to=TensorProto.FLOAT)
        form = {
            "kernel_shape": list(weight.shape[2:]),
            "strides": list(layer.stride),
            "dilations": list(layer.dilation),
            "pads": [int(pad) for pad in layer.padding] * 2,
            "group": layer.groups,
        }
        x = add("Conv", [x, half, constant(layer.bias.detach().float().numpy())], **form)
        if end == "Leaky":
            return add("LeakyRelu", [x], alpha=SLOPE)
        return add("Clip", [x, zero, six]) if end == "Clip" else x

    with torch.no_grad():
        zero, six = constant(np.float32(0)), constant(np.float32(6))
        x = add("Transpose", [add("Cast", [_IMAGE.name], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
        image = add("Sub", [add("Mul", [x, constant(np.float32(1 / 127.5))]), constant(np.float32(1))])
        x, side, seen = conv(image, net.stem, 128, "Clip"), 128, []
        for stage in net.stages:
            for block in stage:  # type: ignore[attr-defined]
                y = x if block.expand is None else conv(x, block.expand, side, "Clip")
                side //= block.depthwise.stride[0]
                y = conv(conv(y, block.depthwise, side, "Clip"), block.project, side)
                x = add("Add", [x, y]) if block.residual else y
            seen.append(x)
        # PyTorch packs colour by colour, ONNX place by place.
        order = [colour * 4 + place for place in range(4) for colour in range(3)] + list(range(12, 28))
        x = add("Concat", [add("SpaceToDepth", [image], blocksize=2), seen[0]], axis=1)
        fine = conv(conv(x, net.fine[0], 128, order=order), net.fine[1], 128)
        four = add("Add", [conv(seen[1], net.four, 64), conv(fine, net.down, 64)])
        skips = (conv(seen[2], net.eight, 32), 32), (four, 64), (fine, 128)
        x = seen[3]
        for layer in net.wide:
            x = conv(x, layer, 16)
        twice = constant(np.array([1, 1, 2, 2], np.float32))
        nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        for lift, join, (skip, side) in zip(net.lift, net.join, skips, strict=True):
            x = add("Resize", [conv(x, lift, side // 2), "", twice], **nearest)
            x = conv(add("Add", [x, skip]), join, side)
        x = add("DepthToSpace", [conv(x, net.head, side)], blocksize=2, mode="CRD")
        x = add("Mul", [add("Sigmoid", [x]), constant(np.float32(255))])
        x = add("Floor", [add("Add", [add("Squeeze", [x, constant(np.array([1]))]), constant(np.float32(0.5))])])
    nodes.append(helper.make_node("Cast", [x], [_DAMAGE.name], to=TensorProto.UINT8))
    ends = [helper.make_tensor_value_info(each.name, TensorProto.UINT8, each.shape) for each in (_IMAGE, _DAMAGE)]
    graph = helper.make_graph(nodes, "damage", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), macs


def check(graph: bytes, net: DamageNet) -> None:
    """Compare the graph on ONNX Runtime with the network in PyTorch, on noise and on flat pictures of odd forms."""
    session = cpu_session(graph)
    rng = np.random.default_rng(1)
    for height, width in ((64, 160), (256, 256)):
        image = np.stack(
            [rng.integers(0, 256, (height, width, 3), np.uint8), np.full((height, width, 3), 90, np.uint8)]
        )
        (found,) = session.run(None, {_IMAGE.name: image})
        with torch.no_grad():
            chance = torch.sigmoid(net(torch.from_numpy(image).permute(0, 3, 1, 2).float() / 127.5 - 1))[:, 0] * 255
        worst = float(np.abs(found - chance.numpy()).max())
        if found.shape != (2, height, width) or worst > MAX_DIFFERENCE:
            raise GateError(f"the damage graph is up to {worst:.1f} of 255 from PyTorch", "check export/damage.py")
