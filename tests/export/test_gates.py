"""Each gate is shown to stop an export, with one line that names what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export import GateError, gates
from export.cli import main
from export.gates import Probe, check_alive, check_headroom, check_numbers, check_structure, make_probes, watch
from export.model import Model
from export.stages import Bytes, Outcome, TorchStage
from restore_sdk.imaging.quality import psnr
from tests.export.conftest import Graphs, write_weights
from training.networks.layers import ConvAct, heard_layers


def few(probes: list[Probe]) -> list[Probe]:
    """Nothing, something and everything missing, the extremes and the soft mask: enough for small networks."""
    return [probes[0], probes[5], probes[9], probes[15], *probes[16:23:2]]


@pytest.fixture(scope="module")
def probes() -> list[Probe]:
    return few(make_probes())


# -- what passes ------------------------------------------------------------------------------------------------------


def test_a_sound_model_passes_every_gate(model: Model, exported: Graphs, probes: list[Probe]) -> None:
    for stage, by_precision in exported.items():
        for precision, graph in by_precision.items():
            check_structure(stage, graph, precision)
    figures = check_numbers(model, exported, probes)
    assert figures["probes"] == len(probes)
    assert 0 < figures["max_error"]["repair"] < 1e-5
    assert figures["max_error"]["edge"] < 1e-5
    for drift in figures["fp16_psnr_db"].values():
        assert 55 <= drift["worst"] <= drift["pooled"] < 120
    layers = figures["largest_activation"]["repair"]
    assert set(layers) >= {
        "texture_stem.1.0",
        "fusion",
        "coarse.body32.1.mix",
        "body8.0.last",
        "attention8.spatial.gate.1",
        "head.0",
    }
    assert figures["fp16_headroom"] == pytest.approx(
        65504 / max(max(by.values()) for by in figures["largest_activation"].values()), rel=1e-3
    )


# -- numbers ----------------------------------------------------------------------------------------------------------


def everywhere(outcome: Outcome, hole: Bytes, add: int) -> Outcome:
    return Outcome(np.where(hole, outcome.output + np.uint8(add), outcome.output), outcome.unrounded)


def peeping(outcome: Outcome, image: Bytes, hole: Bytes) -> Outcome:
    """A few pixels that tell something of what stands under the hole; too few for the gate of drift."""
    output = outcome.output.copy()
    told = ((image * hole).sum((1, 2, 3)) % 4).astype(np.uint8)[:, None, None, None]
    output[:, ::32, ::32] = np.where(hole[:, ::32, ::32], output[:, ::32, ::32] // 4 * 4 + told, output[:, ::32, ::32])
    return Outcome(output, outcome.unrounded)


@pytest.mark.parametrize(
    ("runner", "change", "message"),
    [
        # 0.4 of 255 before rounding changes every other byte by one, which alone is allowed
        ("OnnxStage", lambda out, *_: Outcome(out.output, out.unrounded + 0.4), "fp32 graph.*off by 1.57e-03 of full"),
        ("OnnxStage", lambda out, _, hole: everywhere(out, hole, 2), r"fp32 graph, .* and by \d+ after"),
        ("half", lambda out, _, hole: everywhere(out, hole, 8), r"PyTorch half, .*: \d+\.\d dB from the float32"),
        ("half", lambda out, _, hole: everywhere(out, ~hole, 1), "PyTorch half, .*: known pixels were changed"),
        ("half", lambda out, *_: Outcome(out.output, out.unrounded * np.nan), "PyTorch half, .*: the result holds NaN"),
        ("half", peeping, "PyTorch half: what stands under the hole changes the result"),
    ],
)
def test_a_wrong_number_stops_it(
    model: Model, exported: Graphs, probes: list[Probe], monkeypatch: pytest.MonkeyPatch,
    runner: str, change: Callable[..., Outcome], message: str,
) -> None:  # fmt: skip
    kind = "TorchStage" if runner == "half" else runner

    class Spoiled(getattr(gates, kind)):  # type: ignore[misc]
        def __call__(self, *inputs: Bytes) -> Outcome:
            outcome: Outcome = super().__call__(*inputs)
            if outcome.output.ndim != 4 or (runner == "half" and next(self.stage.parameters()).dtype != torch.float16):
                return outcome
            return change(outcome, inputs[0], (inputs[1] > 127)[..., None])

    monkeypatch.setattr(gates, kind, Spoiled)
    with pytest.raises(GateError, match=f"^repair stage, .*{message}|^{message}"):
        check_numbers(model, exported, probes)


def test_a_layer_that_has_died_stops_it() -> None:
    network = nn.Sequential(ConvAct(3, 8, stride=2), ConvAct(8, 8))
    first = network[0][0]
    with heard_layers(network) as heard:
        network(torch.ones(1, 3, 8, 8))
    check_alive("edge", heard)
    nn.init.constant_(first.bias, -1e3)
    with heard_layers(network) as heard:
        network(torch.ones(1, 3, 8, 8))
    with pytest.raises(GateError, match=r"edge stage: \d layer\(s\) whose channels nearly all are zero .* first 0.1"):
        check_alive("edge", heard)


def test_activations_without_headroom_stop_it() -> None:
    with pytest.raises(GateError, match=r"edge stage: layer body16.0 reaches 1e\+04, FP16 holds 65504"):
        check_headroom("edge", {"stem": 3.0, "body16.0": 1e4})
    with pytest.raises(GateError, match="reaches inf"):
        check_headroom("edge", {"stem": float("inf")})
    assert check_headroom("edge", {"stem": 3.0, "body": 71.0}) == 71.0


def test_what_arises_inside_a_layer_is_watched() -> None:
    """A product of matrices that a softmax hides again: no module takes or gives it."""

    class SelfAttention(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x @ x.transpose(-1, -2), -1) @ x

    net = torch.nn.Sequential(SelfAttention(), torch.nn.Hardtanh())
    with watch(net) as peaks:
        net(torch.full((1, 4, 9), 10.0))
    net(torch.full((1, 4, 9), 99.0))
    assert peaks == {"0": 900.0, "1": 1.0}, "and not after the end"
    with watch(net) as peaks:
        net(torch.full((1, 4, 9), float("nan")))
    assert peaks["0"] == float("inf")


# -- structure --------------------------------------------------------------------------------------------------------


def spoil_uint8_first(graph: onnx.GraphProto) -> None:
    """The mask is reshaped as bytes before it is cast, as the CPU graph may do and TensorRT refuses."""
    cast = next(node for node in graph.node if node.op_type == "Cast" and node.input[0] == "mask")
    graph.initializer.append(numpy_helper.from_array(np.array([0, 256, 256]), "mask_shape"))
    graph.node.insert(0, helper.make_node("Reshape", ["mask", "mask_shape"], ["mask_again"], "early"))
    cast.input[0] = "mask_again"


def spoil_types(graph: onnx.GraphProto) -> None:
    """A sigmoid in float32 between two casts."""
    sigmoid = next(node for node in graph.node if node.op_type == "Sigmoid")
    at = list(graph.node).index(sigmoid)
    before, after = sigmoid.input[0], sigmoid.output[0]
    sigmoid.input[0], sigmoid.output[0] = "single_in", "single_out"
    graph.node.insert(at, helper.make_node("Cast", [before], ["single_in"], "up", to=TensorProto.FLOAT))
    graph.node.insert(at + 2, helper.make_node("Cast", ["single_out"], [after], "down", to=TensorProto.FLOAT16))


def spoil_names(graph: onnx.GraphProto) -> None:
    graph.input[1].name = "hole"
    for node in graph.node:
        node.input[:] = ["hole" if name == "mask" else name for name in node.input]


def spoil_batch(graph: onnx.GraphProto) -> None:
    for tensor in graph.input:
        tensor.type.tensor_type.shape.dim[0].ClearField("dim_param")
        tensor.type.tensor_type.shape.dim[0].dim_value = 1


def spoil_order(graph: onnx.GraphProto) -> None:
    graph.node.append(graph.node[0])
    del graph.node[0]


def spoil_shapes(graph: onnx.GraphProto) -> None:
    conv = next(node for node in graph.node if node.op_type == "Conv" and node.input[1].endswith("down8.0.weight"))
    next(each for each in conv.attribute if each.name == "strides").ints[:] = [1, 1]


def spoil_folding(graph: onnx.GraphProto) -> None:
    sigmoid = next(node for node in graph.node if node.op_type == "Sigmoid")
    at = list(graph.node).index(sigmoid)
    graph.node.insert(at, helper.make_node("Identity", [sigmoid.input[0]], ["same"], "same"))
    sigmoid.input[0] = "same"


def spoil_notes(graph: onnx.GraphProto) -> None:
    entry = graph.node[0].metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.stack_trace", "File /home/someone/stages.py"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_uint8_first, "Reshape 'early' works on uint8, which TensorRT refuses"),
        (spoil_types, "Cast 'up' is a Cast away from the uint8 tensors"),
        (spoil_names, "has tensors .*'hole'.* the contract says"),
        (spoil_batch, "has tensors .* the contract says .*'batch'"),
        (spoil_order, "not valid ONNX"),
        (spoil_shapes, "not valid ONNX"),
        (spoil_folding, "holds Identity"),
        (spoil_notes, "carries notes of the exporter"),
    ],
)
def test_an_unsound_graph_stops_it(graphs: Graphs, spoil: Callable[[onnx.GraphProto], None], message: str) -> None:
    graph = graphs["edge"]["fp16"]
    check_structure("edge", graph, "fp16")
    spoil(graph.graph)
    with pytest.raises(GateError, match=f"edge stage, fp16 graph: .*{message}"):
        check_structure("edge", graph, "fp16")


# -- nothing is written -----------------------------------------------------------------------------------------------


def test_a_broken_weight_stops_the_command_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = torch.zeros(16, dtype=torch.float16)
    bad[3] = float("inf")
    weights = write_weights(tmp_path / "w.safetensors", edge__stem__1__0__bias=bad)
    assert main(["--weights", str(weights), "--out", str(tmp_path / "bundle")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "1 weights hold NaN or infinity, first edge.drawer.stem.1.0.bias" in error
    assert error.endswith("Nothing was written.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_poisoned_operator_stops_the_command_and_nothing_is_written(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exported: Graphs
) -> None:
    """A pass that swaps two channels: valid ONNX, wrong picture. The folder that stood there before stays as it was."""
    import export.bundle

    spoiled = onnx.ModelProto()
    spoiled.CopyFrom(exported["repair"]["fp32"])
    weight = next(each for each in spoiled.graph.initializer if each.name == "generator.head.0.weight")
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    monkeypatch.setattr(
        export.bundle, "cpu_graph", lambda name, _stage: spoiled if name == "repair" else exported[name]["fp32"]
    )
    monkeypatch.setattr(export.bundle, "fp16_graph", lambda name, _stage: exported[name]["fp16"])
    monkeypatch.setattr(export.bundle, "make_probes", lambda *_: few(make_probes()))
    assert main(["--weights", str(weights), "--out", str(tmp_path / "bundle")]) == 1
    assert "repair stage, fp32 graph" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# -- half arithmetic --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "nearer"), [("edge", 3.0), ("repair", -1.0)])
def test_half_arithmetic_is_that_of_pytorch(model: Model, probes: list[Probe], stage: str, nearer: float) -> None:
    """Convolutions in float32 on half numbers against PyTorch's own: as far from float32, and nearer. Through as many
    layers as the repair stage has, the order of sums makes errors nearly independent."""
    probe, network = probes[2], model.stages[stage]
    inputs = [
        each[None]
        for each in ((probe.image, probe.mask) if stage == "edge" else (probe.image, probe.mask, 255 - probe.mask))
    ]
    native = copy.deepcopy(network).half()
    with torch.inference_mode():
        wanted = native(*(torch.from_numpy(each) for each in inputs)).numpy()
    half = TorchStage(network, half=True)(*inputs).output
    single = TorchStage(network)(*inputs).output
    assert psnr(wanted, half) > psnr(wanted, single) + nearer
    assert psnr(single, half) == pytest.approx(psnr(single, wanted), abs=1.0)
    assert next(network.parameters()).dtype == torch.float32
