"""The OpenVINO runtime, on the real OpenVINO: what it computes, in which precision, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import openvino as ov
import pytest
from onnx import TensorProto, helper

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle, StageFiles
from restore_sdk.cli import main as cli
from restore_sdk.errors import BundleError, ClosedError, DeviceError, ExecutionError, InputError, MissingDependencyError
from restore_sdk.measure.verify import verify
from restore_sdk.runtime import openvino as runtime
from restore_sdk.runtime.base import Inference
from restore_sdk.runtime.cpu import MAX_BATCH
from restore_sdk.runtime.openvino import OpenVinoRunner, offers
from restore_sdk.runtime.select import Runtime, open_runner
from tests.conftest import make_photo
from tests.toy_bundle import write_toy_bundle

needs_bf16 = pytest.mark.skipif("bf16" not in offers()[1], reason="this CPU has no instructions for bfloat16")


@pytest.fixture
def runner(toy_bundle: Bundle) -> Iterator[OpenVinoRunner]:
    runner = OpenVinoRunner(toy_bundle)
    yield runner
    runner.close()


def golden_run(runner: OpenVinoRunner, bundle: Bundle, pick: list[int]) -> Inference:
    golden = bundle.golden()
    return runner.infer(*(golden[name][pick] for name in ("image", "mask", "edges")))


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


def test_no_later_call_writes_into_a_result(runner: OpenVinoRunner, toy_bundle: Bundle) -> None:
    first = golden_run(runner, toy_bundle, [0])
    kept = first.restored.copy(), first.completed_edges.copy()
    golden_run(runner, toy_bundle, [1])
    assert np.array_equal(first.restored, kept[0])
    assert np.array_equal(first.completed_edges, kept[1])


def test_the_edge_stage_writes_where_the_repair_stage_reads(runner: OpenVinoRunner) -> None:
    with runner._pool.take() as slot:
        edge, repair = slot._requests
        written, read = edge.get_tensor("completed_edges"), repair.get_tensor("completed_edges")
        assert written.data.ctypes.data == read.data.ctypes.data == slot._buffers["completed_edges"].ctypes.data


@pytest.mark.parametrize(
    ("name", "precision", "least_db"),
    [("openvino", "fp32", 80), pytest.param("openvino-bf16", "bf16", 45, marks=needs_bf16)],
)
def test_the_shipped_model_passes_its_gate(name: Runtime, precision: str, least_db: float) -> None:
    found = verify(Bundle.load(), name)
    found.require()
    assert (found.runtime["runtime"], found.runtime["precision"]) == ("openvino", precision)
    assert min(drift.worst_db for drift in found.drift.values()) >= least_db


@needs_bf16
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_convolutions_compute_in_the_precision_that_is_stated(precision: Any) -> None:
    runner = OpenVinoRunner(Bundle.load(), precision=precision)
    with runner._pool.take() as slot:
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


def test_a_cpu_without_bf16_is_told_so(toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(ov.Core):  # stands for a CPU of before 2020
        def get_property(self, *_: object) -> list[str]:
            return ["FP32", "INT8", "BIN"]

    monkeypatch.setattr(runtime.ov, "Core", Old)
    with pytest.raises(DeviceError, match="no instructions for bf16"):
        open_runner("openvino-bf16", toy_bundle, device=0, slots=1, threads=None)
    open_runner("openvino", toy_bundle, device=0, slots=1, threads=None)[0].close()


def test_no_other_device(toy_bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match="no device 1"):
        open_runner("openvino", toy_bundle, device=1, slots=1, threads=None)


def test_auto_leaves_it_aside(toy_bundle: Bundle) -> None:
    with RestoreEngine(toy_bundle) as engine:
        assert engine.info()["runtime"] == "onnxruntime"


def test_there_is_no_cuda_graph(toy_bundle: Bundle) -> None:
    with pytest.raises(InputError, match="openvino-bf16 has no CUDA graph"):
        RestoreEngine(toy_bundle, runtime="openvino-bf16", cuda_graph=True)


def test_the_command_line_names_every_runtime() -> None:
    assert get_args(Runtime) == cli.RUNTIMES


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
        ("Identity", ["batch", 2], "the edge graph has tensors"),
        ("Unheard", ["batch", 256, 256], "cannot load the edge"),
    ],
)
def test_a_graph_of_another_model(tmp_path: Path, op: str, shape: list[str | int], said: str) -> None:
    names = ("edges", "completed_edges")
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in names]
    graph = helper.make_graph([helper.make_node(op, [names[0]], [names[1]])], "other", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model.SerializeToString()
    bundle = write_toy_bundle(tmp_path / "bundle", edge=StageFiles("edge", content, content, parameters=0, macs=1))
    with pytest.raises(BundleError, match=said):
        OpenVinoRunner(bundle)


def test_a_failure_while_it_computes(runner: OpenVinoRunner, toy_bundle: Bundle) -> None:
    class Failing:  # stands for a request of OpenVINO
        def infer(self, **_: object) -> None:
            raise RuntimeError("the JIT ran out of registers")

    with runner._pool.take() as slot:
        edge, slot._requests[0] = slot._requests[0], Failing()
    with pytest.raises(ExecutionError, match="the edge stage failed: the JIT"):
        golden_run(runner, toy_bundle, [0])
    with runner._pool.take() as slot:
        slot._requests[0] = edge
    golden_run(runner, toy_bundle, [0])  # the slot came back


def test_closing(toy_bundle: Bundle) -> None:
    runner = OpenVinoRunner(toy_bundle, slots=2)
    runner.close()
    runner.close()
    with pytest.raises(ClosedError):
        golden_run(runner, toy_bundle, [0])


@pytest.mark.parametrize("slots", [1, 3])
def test_eight_threads_equal_one(toy_bundle: Bundle, slots: int) -> None:
    items = []
    for index in range(24):
        photo = make_photo(200 + 13 * (index % 7), 256, seed=index)
        mask = np.zeros(photo.shape[:2], bool)
        mask[10 + index : 60 + index, 20:90] = True
        items.append((photo, mask))
    with RestoreEngine(toy_bundle, runtime="openvino", threads=1) as engine:
        serial = [engine(*item) for item in items]
    with RestoreEngine(toy_bundle, runtime="openvino", slots=slots) as engine:
        with ThreadPoolExecutor(8) as pool:
            parallel = list(pool.map(lambda item: engine(*item), items))
        batched = engine.restore_batch(*zip(*items, strict=True))
    for results in (parallel, batched):
        assert all(np.array_equal(a, b) for a, b in zip(serial, results, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("child", ["engine = None", "engine.close(); del engine"])
def test_a_forked_child_may_drop_the_engine(toy_bundle: Bundle, child: str) -> None:
    """Destroying a compiled model would wait for threads that the fork did not copy."""
    code = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
from restore_sdk import RestoreEngine
engine = RestoreEngine(sys.argv[1], runtime="openvino", threads=2)
engine.warmup()
if (number := os.fork()) == 0:
    import signal; signal.alarm(20)
    {child}
    os._exit(0)  # as multiprocessing does
code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
engine.warmup()
sys.exit(code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, toy_bundle.path], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
