"""The passes fire where they should, and leave alone what they do not understand. What they compute on the stages is
gated against PyTorch, see ``test_gates.py``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from export import ExportError
from export.graph import trace
from export.passes import Pass, shrink_by_resize, shuffle_rows, store_half, stride_stems
from tests.export.conftest import Graphs


class Shared(nn.Module):
    """What a shuffle takes is used elsewhere, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return nn.functional.pixel_shuffle(y, 2) + y.mean()


@pytest.mark.parametrize(
    ("module", "rewrite"),
    [
        (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(32, 4, 3, padding=2, dilation=2)), stride_stems),
        (nn.Sequential(nn.PixelUnshuffle(2), nn.ReLU(), nn.Conv2d(32, 4, 3)), stride_stems),
        (Shared(), shuffle_rows),
        (nn.AvgPool2d(2, padding=1), shrink_by_resize),
    ],
)
def test_what_a_pass_does_not_understand_stays(module: nn.Module, rewrite: Pass) -> None:
    assert rewrite(trace(module.eval(), [torch.zeros(2, 8, 24, 24)], ["x"], ["y"]).graph) == 0


def test_a_weight_that_is_no_half_precision_number_is_refused() -> None:
    net = nn.Sequential()
    net.generator = nn.Conv2d(3, 4, 3)
    with pytest.raises(ExportError, match=r"the weight generator\.\w+ is no half-precision number"):
        store_half(trace(net.eval(), [torch.zeros(2, 3, 8, 8)], ["x"], ["y"]).graph)


def test_all_passes_fire_on_the_stages(exported: Graphs) -> None:
    plain = {"PixelShuffle", "DepthToSpace", "AveragePool"}
    for name, stems, shuffles in (("edge", 3, 4), ("repair", 2, 5)):
        graph = exported[name]["fp32"].graph
        nodes = graph.node
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
        kept = [tensor for tensor in graph.initializer if tensor.name.startswith("generator.")]
        assert {tensor.data_type for tensor in kept if len(tensor.dims) == 4} == {onnx.TensorProto.FLOAT16}


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
