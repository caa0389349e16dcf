"""Refused plans and calls, lost contexts, missing drivers, memory that runs out: each an error that says what to do."""

from __future__ import annotations

import gc
import sys
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.engines import driver
from restore_sdk.errors import (
    DeviceError,
    EngineError,
    ExecutionError,
    MissingDependencyError,
    OutOfMemoryError,
    RestoreError,
)
from restore_sdk.runtime import cuda
from restore_sdk.runtime.cuda import free_all
from restore_sdk.runtime.onnxruntime import OnnxRunner
from restore_sdk.runtime.tensorrt import TensorRtRunner, open_tensorrt
from tests.cuda_double.double import LAUNCH_FAILED, OUT_OF_MEMORY, Double
from tests.cuda_double.stages import make_plan
from tests.runtime.tensorrt.conftest import Open, plans, requests, same


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda edge, repair, graph: (edge, repair[20 : len(repair) // 2]), r"repair.*magicTag"),
        (lambda edge, repair, graph: (edge, graph), r"repair.*magicTag"),
        (lambda edge, repair, graph: (repair, edge), r"no engine of stage edge.*completed_edges"),
        (lambda edge, repair, graph: (make_plan(graph, min_batch=2), repair), "takes 2 to 4 images"),
    ],
    ids=["torn", "onnx", "swapped", "no single image"],
)
def test_a_plan_that_cannot_be_used(toy_bundle: Bundle, trt: ModuleType, spoil: Any, match: str) -> None:
    """The store stops most of these before; here they reach TensorRT all the same."""
    graphs = {stage: toy_bundle.read(toy_bundle.file(stage, "fp16")) for stage in ("edge", "repair")}
    with pytest.raises(EngineError, match=match) as caught:
        TensorRtRunner(toy_bundle, *spoil(*plans(toy_bundle), graphs["edge" if "images" in match else "repair"]), trt)
    assert "restore-sdk build" in caught.value.hint


@pytest.mark.parametrize(
    "method",
    ["create_execution_context", "set_tensor_address", "deserialize_cuda_engine", "set_optimization_profile_async"],
)
def test_a_refusal_while_opening(toy_bundle: Bundle, trt: ModuleType, method: str) -> None:
    trt.control.refuse = (method,)
    kinds = {"deserialize_cuda_engine": EngineError, "create_execution_context": OutOfMemoryError}
    with pytest.raises(kinds.get(method, ExecutionError)) as caught:
        TensorRtRunner(toy_bundle, *plans(toy_bundle), trt)
    assert "Error Code" in str(caught.value) or "set" in str(caught.value), "TensorRT's own words"


def test_a_refusal_to_execute_is_an_error_and_no_black_picture(
    open_runner: Open, trt: ModuleType, reference: OnnxRunner
) -> None:
    (request,) = requests(1)
    with open_runner() as runner:
        trt.control.refuse = ("execute_async_v3",)
        with pytest.raises(ExecutionError, match=r"edge stage failed.*API Usage Error"):
            runner.infer(*request)
        trt.control.refuse = ()
        assert same(runner.infer(*request), reference.infer(*request))


def test_freeing_goes_on_to_the_end_after_a_failure() -> None:
    """After a lost context every call fails; what holds host memory and TensorRT's objects is let go all the same."""
    first, second, last = Mock(), Mock(), Mock()
    first.free.side_effect = second.free.side_effect = ExecutionError("cuMemFree failed", "")
    with pytest.raises(ExecutionError, match="cuMemFree failed"):
        free_all(first, second, last)
    last.free.assert_called_once_with()


def test_a_lost_context_says_that_the_process_is_to_be_ended(open_runner: Open, double: Double) -> None:
    (request,) = requests(1)
    with open_runner() as runner:
        double.fail("execute", LAUNCH_FAILED)
        for _ in range(3):
            with pytest.raises(ExecutionError, match="launch failure") as caught:
                runner.infer(*request)
        assert "new" in caught.value.hint
        double.reset()


def test_no_device_of_that_index(toy_bundle: Bundle, trt: ModuleType, double: Double) -> None:
    for index in (1, -1, 99):
        with pytest.raises(DeviceError, match=f"no device {index}"):
            TensorRtRunner(toy_bundle, *plans(toy_bundle), trt, device=index)


def test_the_second_device(open_runner: Open, double: Double, reference: OnnxRunner) -> None:
    double.reset(devices=2)
    (request,) = requests(1)
    with open_runner(device=0) as first, open_runner(device=1) as second:
        for runner in (first, second, first):
            assert same(runner.infer(*request), reference.infer(*request))
        assert (first.info()["device_index"], second.info()["device_index"]) == (0, 1)


@pytest.mark.parametrize(("status", "text"), [(100, "CUDA_VISIBLE_DEVICES"), (803, "restart"), (999, "nvidia-smi")])
def test_a_driver_that_finds_no_device(double: Double, status: int, text: str) -> None:
    double.reset(init=status)
    with pytest.raises(DeviceError, match=text) as caught:
        driver.device_facts()
    assert "onnxruntime" in caught.value.hint


def test_no_pycuda(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MissingDependencyError, match="pycuda") as caught:
        cuda.Gpu(0)
    assert "pip install" in caught.value.hint


def test_no_tensorrt(double: Double, toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for edition, extra in (("tensorrt", "[tensorrt]"), ("tensorrt_rtx", "[rtx]")):
        monkeypatch.setitem(sys.modules, edition, None)
        with pytest.raises(MissingDependencyError, match=edition) as caught:
            open_tensorrt(toy_bundle, edition)  # type: ignore[arg-type]
        assert extra in caught.value.hint


def test_the_log_of_tensorrt_is_kept_out_of_stdout(
    toy_bundle: Bundle, trt: ModuleType, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineError):
        TensorRtRunner(toy_bundle, make_plan(b"", max_batch=1)[5:], b"", trt)
    assert capfd.readouterr().out == ""
    assert "magicTag" in caplog.text


#: Entry points that opening calls, in some order; each is made to fail at each of its calls.
ENTRIES = (
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuStreamCreate",
    "cuEventCreate",
    "cuMemGetInfo_v2",
    "cuLaunchHostFunc",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuEventRecordWithFlags",
    "cuStreamSynchronize",
    "execute",
)


def test_opening_and_closing_again_and_again_leaks_nothing(toy_bundle: Bundle, trt: ModuleType, double: Double) -> None:
    edge, repair = plans(toy_bundle, max_batch=2)
    (request,) = requests(1)
    gc.collect()
    before = double.counters()
    for turn in range(24):
        runner = TensorRtRunner(toy_bundle, edge, repair, trt, slots=1 + turn % 2)
        for _ in range(turn % 4):
            runner.infer(*request)
        runner.close()
        assert double.counters().living == before.living, turn
    assert double.counters().since(before).retains <= 1
    assert double.counters().since(before).allocations > 240, "something was allocated at all"


def opening_fails(bundle: Bundle, edge: bytes, repair: bytes, trt: ModuleType) -> RestoreError | None:
    try:
        TensorRtRunner(bundle, edge, repair, trt, slots=2).close()
    except RestoreError as error:
        return error
    return None


def test_no_memory_for_the_context_itself(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has it all: nothing is there yet that could be asked how much is free."""
    monkeypatch.setattr(cuda, "_CONTEXTS", {})  # as in a process that has not opened the GPU
    double.fail("cuDevicePrimaryCtxRetain", OUT_OF_MEMORY)
    with pytest.raises(OutOfMemoryError, match="the GPU cannot be opened"):
        cuda.Gpu(0)


def test_every_failure_while_opening_leaves_nothing(toy_bundle: Bundle, trt: ModuleType, double: Double) -> None:
    edge, repair = plans(toy_bundle, max_batch=1)
    TensorRtRunner(toy_bundle, edge, repair, trt).close()
    gc.collect()
    before = double.counters().living
    failed = dict.fromkeys(ENTRIES, 0)
    for entry in ENTRIES:
        for after in range(40):
            double.reset()
            double.fail(entry, OUT_OF_MEMORY, after)
            error = opening_fails(toy_bundle, edge, repair, trt)
            if error is None:
                break  # it failed at every call there was
            failed[entry] += 1
            kind = ExecutionError if entry == "execute" else OutOfMemoryError
            assert isinstance(error, kind), f"{entry} {after}: {error!r}"
            double.reset()  # "execute" leaves the context lost; here a new process stands for that
            if entry != "execute":
                assert double.counters().living == before, f"{entry} {after}"
    assert all(count >= 2 for count in failed.values()), failed


@pytest.mark.parametrize(
    "entry", ["cuLaunchHostFunc", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuEventRecordWithFlags"]
)
def test_out_of_memory_during_a_request(open_runner: Open, reference: OnnxRunner, double: Double, entry: str) -> None:
    """The request fails, the next one is served: what was queued of the first did not spoil it."""
    first, second = requests(2)
    with open_runner() as runner:
        for after in range(2):
            double.fail(entry, OUT_OF_MEMORY, after)
            with pytest.raises(OutOfMemoryError):
                runner.infer(*first)
            for _ in range(3):
                assert same(runner.infer(*second), reference.infer(*second))
