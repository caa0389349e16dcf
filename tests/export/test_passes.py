"""Every pass computes what it replaces, fires where it should, and leaves alone what it does not understand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from export import ExportError
from export.graph import trace
from export.passes import move_bytes, shrink_by_resize, shuffle_rows, store_half, stride_stems
from tests.export.conftest import Graphs

Pass = Callable[[ir.Graph], int]


def traced(module: nn.Module, *examples: Tensor) -> ir.Model:
    return trace(module.eval(), examples, [f"in_{i}" for i in range(len(examples))], ["out"])


def run(model: ir.Model, *inputs: np.ndarray) -> np.ndarray:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(
        None, {each.name: x for each, x in zip(session.get_inputs(), inputs, strict=True)}
    )[0]
    return result


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


class Wrapped(nn.Module):
    """Layers in a row."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def before_and_after(module: nn.Module, rewrite: Pass, *shape: int) -> tuple[np.ndarray, np.ndarray, int, ir.Model]:
    """What the module computes for a batch of three, before and after a pass, and how often it fired."""
    model = traced(module, torch.zeros(2, *shape))
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    before = run(model, x)
    fired = rewrite(model.graph)
    return before, run(model, x), fired, model


@pytest.mark.parametrize(("channels", "ratio", "kernel"), [(3, 4, 3), (2, 2, 1), (5, 3, 5)])
def test_an_unshuffle_and_a_convolution_become_one(channels: int, ratio: int, kernel: int) -> None:
    module = Wrapped(nn.PixelUnshuffle(ratio), nn.Conv2d(channels * ratio**2, 16, kernel, padding=kernel // 2))
    before, after, fired, model = before_and_after(module, stride_stems, channels, 24, 36)
    assert fired == 1
    assert operators(model)["Conv"] == 1
    np.testing.assert_allclose(after, before, atol=1e-5)


class Shared(nn.Module):
    """What a shuffle takes is used elsewhere, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return nn.functional.pixel_shuffle(y, 2) + y.mean()


@pytest.mark.parametrize(
    ("module", "rewrite"),
    [
        (Wrapped(nn.PixelUnshuffle(2), nn.Conv2d(32, 4, 3, padding=2, dilation=2)), stride_stems),
        (Wrapped(nn.PixelUnshuffle(2), nn.Conv2d(32, 4, 3, stride=2)), stride_stems),
        (Wrapped(nn.PixelUnshuffle(2), nn.Conv2d(32, 8, 3, groups=2)), stride_stems),
        (Wrapped(nn.PixelUnshuffle(2), nn.ReLU(), nn.Conv2d(32, 4, 3)), stride_stems),
        (Shared(), shuffle_rows),
        (Wrapped(nn.AvgPool2d(3)), shrink_by_resize),
        (Wrapped(nn.AvgPool2d(2, stride=1)), shrink_by_resize),
        (Wrapped(nn.AvgPool2d(2, padding=1)), shrink_by_resize),
    ],
)
def test_what_a_pass_does_not_understand_stays(module: nn.Module, rewrite: Pass) -> None:
    before, after, fired, _ = before_and_after(module, rewrite, 8, 24, 24)
    assert fired == 0
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(("channels", "ratio", "kernel"), [(32, 2, 1), (3, 4, 3), (1, 4, 3), (8, 3, 3)])
def test_a_pixel_shuffle_moves_rows(channels: int, ratio: int, kernel: int) -> None:
    module = Wrapped(nn.Conv2d(16, channels * ratio**2, kernel, padding=kernel // 2), nn.PixelShuffle(ratio))
    before, after, fired, model = before_and_after(module, shuffle_rows, 16, 12, 20)
    assert fired == 1
    assert operators(model)["DepthToSpace"] == 0
    np.testing.assert_allclose(after, before, atol=1e-6)


class SkipConnection(nn.Module):
    """A shuffled map plus a skip connection that a convolution made, as in the decoders."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Conv2d(16, 64, 1), nn.PixelShuffle(2))
        self.skip = nn.Conv2d(1, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x.mean(dim=1, keepdim=True).repeat(1, 1, 2, 2)) + self.up(x)


def test_a_shuffle_before_a_skip_connection_enters_the_blocked_layout() -> None:
    before, after, fired, model = before_and_after(SkipConnection(), shuffle_rows, 16, 12, 12)
    assert fired == 1
    assert operators(model)["Conv"] == 3
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_halving_by_resize_is_the_mean_of_four() -> None:
    before, after, fired, model = before_and_after(
        Wrapped(nn.AvgPool2d(2), nn.AvgPool2d(2)), shrink_by_resize, 3, 16, 24
    )
    assert fired == 2
    assert operators(model)["AveragePool"] == 0
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_layouts_change_while_pixels_are_bytes() -> None:
    class Brighter(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            x = image.float().permute(0, 3, 1, 2)
            brighter = (x * 1.1 + 3.0).clamp(0.0, 255.0).round()
            return brighter.permute(0, 2, 3, 1).to(torch.uint8)

    model = traced(Brighter(), torch.zeros(2, 12, 20, 3, dtype=torch.uint8))
    image = np.random.default_rng(0).integers(0, 256, (3, 12, 20, 3), np.uint8)
    before = run(model, image)
    names = [value.name for value in (*model.graph.inputs, *model.graph.outputs)]
    assert move_bytes(model.graph) == 2
    np.testing.assert_array_equal(run(model, image), before)
    assert [value.name for value in (*model.graph.inputs, *model.graph.outputs)] == names
    kinds = {node.inputs[0].dtype for node in model.graph if node.op_type == "Transpose"}
    assert kinds <= {ir.DataType.UINT8, None}


def test_weights_are_stored_as_the_half_numbers_that_they_are() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = nn.Conv2d(3, 4, 3).requires_grad_(False)
            self.generator.weight.copy_(self.generator.weight.half().float())
            self.generator.bias.copy_(self.generator.bias.half().float())

        def forward(self, x: Tensor) -> Tensor:
            return self.generator(x)

    net = Net()
    before, after, fired, model = before_and_after(net, store_half, 3, 8, 8)
    assert fired == 2
    np.testing.assert_array_equal(after, before)
    stored = {tensor.name: tensor for tensor in ir.to_proto(model).graph.initializer}
    assert set(stored) == {"generator.weight", "generator.bias"}
    np.testing.assert_array_equal(
        numpy_helper.to_array(stored["generator.weight"]), net.generator.weight.half().numpy()
    )
    net.generator.weight[0, 0, 0, 0] = 0.1
    with pytest.raises(ExportError, match=r"the weight generator\.weight is no half-precision number"):
        store_half(traced(net, torch.zeros(2, 3, 8, 8)).graph)


def test_all_passes_fire_on_the_stages(exported: Graphs) -> None:
    plain = {"PixelShuffle", "DepthToSpace", "AveragePool"}
    for name, stems, shuffles in (("edge", 3, 4), ("repair", 2, 5)):
        nodes = exported[name]["fp32"].graph.node
        assert not [node for node in nodes if node.op_type in plain and "lines" not in node.name]
        strides = [
            list(each.ints)
            for node in nodes
            if node.op_type == "Conv"
            for each in node.attribute
            if each.name == "strides"
        ]
        assert strides.count([4, 4]) == stems
        assert Counter(node.op_type for node in exported[name]["fp16"].graph.node)["DepthToSpace"] == shuffles


def test_onnxruntime_folds_the_stored_weights_and_fuses_the_activations(exported: Graphs, tmp_path: Path) -> None:
    """After loading, nothing is left of half-precision weights, and no activation stands beside its convolution."""
    for name, graphs in exported.items():
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{name}.onnx")
        options.log_severity_level = 3
        ort.InferenceSession(graphs["fp32"].SerializeToString(), options, providers=["CPUExecutionProvider"])
        loaded = onnx.load(options.optimized_model_filepath).graph
        assert not [each.name for each in loaded.initializer if each.data_type == onnx.TensorProto.FLOAT16]
        casts = [node for node in loaded.node if node.op_type == "Cast"]
        assert len(casts) == len(loaded.input) + 1
        convolved = {node.output[0] for node in loaded.node if node.op_type == "Conv"}
        assert len(convolved) > 15
        assert not [node.name for node in loaded.node if node.op_type == "Clip" and node.input[0] in convolved]
