"""The OpenVINO runtime, on the real OpenVINO: what it computes, in which precision, and how it fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from onnx import TensorProto, helper

from export.writing import StageFiles
from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.errors import BundleError, DeviceError, MissingDependencyError
from restore_sdk.measure.bench import verify
from restore_sdk.runtime import Runtime
from restore_sdk.runtime import openvino as runtime
from restore_sdk.runtime.base import MAX_BATCH, Inference
from restore_sdk.runtime.openvino import OpenVinoRunner, offers
from restore_sdk.runtime.select import open_runner
from tests.toy_bundle import write_toy_bundle

needs_bf16 = pytest.mark.skipif("bf16" not in offers()[1], reason="this CPU has no instructions for bfloat16")


@pytest.fixture
def runner(toy_bundle: Bundle) -> Iterator[OpenVinoRunner]:
    runner = OpenVinoRunner(toy_bundle)
    yield runner
    runner.close()


def golden_run(runner: OpenVinoRunner, bundle: Bundle, pick: list[int]) -> Inference:
    golden = bundle.golden()
    return runner.infer(*(golden[name][pick] for name in ("image", "mask")))


@pytest.mark.parametrize("count", [1, 2, MAX_BATCH])
def test_it_computes_what_numpy_computed(runner: OpenVinoRunner, toy_bundle: Bundle, count: int) -> None:
    golden, pick = toy_bundle.golden(), [index % 2 for index in range(count)]
    result = golden_run(runner, toy_bundle, pick)
    # the mean of 65,536 pixels is summed in another order: a rounding may fall the other way
    assert np.abs(result.restored.astype(int) - golden["restored"][pick]).max() <= 1
    assert np.array_equal(result.completed_edges, golden["completed_edges"][pick])
    known = golden["mask"][pick] <= 127
    assert np.array_equal(result.restored[known], golden["image"][pick][known])
    assert result.restored.flags.c_contiguous
    assert result.completed_edges.flags.c_contiguous
    assert result.edge_ms > 0
    assert result.repair_ms > 0


def test_the_edge_stage_writes_where_the_repair_stage_reads(runner: OpenVinoRunner) -> None:
    with runner.slot() as slot:
        edge, repair = slot._requests
        written, read = edge.get_tensor("completed_edges"), repair.get_tensor("completed_edges")
        assert written.data.ctypes.data == read.data.ctypes.data == slot._buffers["completed_edges"].ctypes.data


@pytest.mark.parametrize(
    ("name", "precision", "least_db"),
    [("openvino", "fp32", 80), pytest.param("openvino-bf16", "bf16", 45, marks=needs_bf16)],
)
def test_the_shipped_model_passes_its_gate(name: Runtime, precision: str, least_db: float) -> None:
    found = verify(Bundle.load(), name)
    assert found.passed, found.drift
    assert (found.runtime["runtime"], found.runtime["precision"]) == ("openvino", precision)
    assert found.drift["restored"].worst_db >= least_db


@needs_bf16
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_convolutions_compute_in_the_precision_that_is_stated(precision: Any) -> None:
    runner = OpenVinoRunner(Bundle.load(), precision=precision)
    with runner.slot() as slot:
        nodes = [
            node for request in slot._requests for node in request.get_compiled_model().get_runtime_model().get_ops()
        ]
    kinds = [
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in nodes
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    assert len(kinds) > 30
    assert set(kinds) == {{"fp32": "f32", "bf16": "bf16"}[precision]}
    assert runner.info()["precision"] == precision
    runner.close()


@needs_bf16
def test_a_precision_that_is_not_taken_is_an_error(toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stubborn(ov.Core):  # the real one, but it computes in float32 whatever it is told
        def compile_model(self, model: Any, device_name: str, config: dict[str, Any]) -> Any:
            return super().compile_model(model, device_name, config | {"INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(runtime.ov, "Core", Stubborn)
    with pytest.raises(DeviceError, match="asked OpenVINO for bf16, it computes the edge stage in f32"):
        open_runner("openvino-bf16", toy_bundle, device=0, slots=1, threads=None)


def test_a_cpu_without_bf16_is_refused(toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(ov.Core):  # stands for a CPU of before 2020
        def get_property(self, *_: object) -> list[str]:
            return ["FP32", "INT8", "BIN"]

    monkeypatch.setattr(runtime.ov, "Core", Old)
    with pytest.raises(DeviceError, match="no instructions for bf16"):
        open_runner("openvino-bf16", toy_bundle, device=0, slots=1, threads=None)
    open_runner("openvino", toy_bundle, device=0, slots=1, threads=None)[0].close()


def test_a_host_without_the_package(
    toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "restore_sdk.runtime.openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install '.+\[openvino\]'"):
        RestoreEngine(toy_bundle, runtime="openvino")
    code = cli.main(["verify", "--bundle", str(toy_bundle.path), "--runtime", "openvino-bf16", "--json"])
    assert (code, json.loads(capsys.readouterr().out)["error"]["type"]) == (3, "MissingDependencyError")


@pytest.mark.parametrize(
    ("op", "shape", "said"),
    [
        ("Identity", ["batch", 2], "the edge graph has"),
        ("Unheard", ["batch", 256, 256], "cannot load the edge"),
    ],
)
def test_a_graph_of_another_model(tmp_path: Path, op: str, shape: list[str | int], said: str) -> None:
    names = ("mask", "completed_edges")
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in names]
    graph = helper.make_graph([helper.make_node(op, [names[0]], [names[1]])], "other", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model.SerializeToString()
    bundle = write_toy_bundle(tmp_path / "bundle", edge=StageFiles("edge", content, content, parameters=0, macs=1))
    with pytest.raises(BundleError, match=said):
        OpenVinoRunner(bundle)
