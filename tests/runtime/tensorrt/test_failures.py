"""Refused plans, refused calls, lost contexts, missing drivers and packages: each an error that says what to do."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.engines import driver
from restore_sdk.errors import (
    DeviceError,
    EngineError,
    EngineIncompatibleError,
    ExecutionError,
    MissingDependencyError,
    OutOfMemoryError,
)
from restore_sdk.runtime import cuda, pipeline, trtstage
from restore_sdk.runtime.onnxruntime import OnnxRunner
from restore_sdk.runtime.tensorrt import TensorRtRunner, open_tensorrt
from tests.cuda_double.double import LAUNCH_FAILED, Double
from tests.cuda_double.stages import make_plan
from tests.runtime.tensorrt.conftest import Open, plans, requests, same

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("spoil", ["torn", "prefixed", "onnx", "empty"])
def test_a_plan_that_tensorrt_refuses(toy_bundle: Bundle, trt: ModuleType, spoil: str) -> None:
    """The store stops these before; here they reach TensorRT all the same."""
    edge, repair = plans(toy_bundle)
    repair = {"torn": repair[: len(repair) // 2][20:], "prefixed": b"{}" + repair, "empty": b""}.get(
        spoil, toy_bundle.read(toy_bundle.file("repair", "fp16"))
    )
    with pytest.raises(EngineIncompatibleError, match=r"repair.*magicTag") as caught:
        TensorRtRunner(toy_bundle, edge, repair, trt)
    assert "restore-sdk build" in caught.value.hint


def test_a_version_compatible_plan_carries_host_code(open_runner: Open, toy_bundle: Bundle, trt: ModuleType) -> None:
    edge, repair = plans(toy_bundle, host_code=True)
    runner = TensorRtRunner(toy_bundle, edge, repair, trt)
    runner.close()


def test_swapped_plans(toy_bundle: Bundle, trt: ModuleType) -> None:
    edge, repair = plans(toy_bundle)
    with pytest.raises(EngineError, match=r"no engine of stage edge.*completed_edges"):
        TensorRtRunner(toy_bundle, repair, edge, trt)


def test_a_profile_that_takes_no_single_image(toy_bundle: Bundle, trt: ModuleType) -> None:
    with pytest.raises(EngineError, match="batches of 2 to 4") as caught:
        TensorRtRunner(toy_bundle, *plans(toy_bundle, min_batch=2), trt)
    assert "restore-sdk build" in caught.value.hint


def test_the_smaller_profile_counts(toy_bundle: Bundle, trt: ModuleType) -> None:
    runner = TensorRtRunner(toy_bundle, plans(toy_bundle, max_batch=3)[0], plans(toy_bundle, max_batch=2)[1], trt)
    try:
        assert runner.max_batch == 2
    finally:
        runner.close()


def test_stages_without_scratch_memory_are_fine(toy_bundle: Bundle) -> None:
    """An engine may need none: nothing is allocated then."""
    from restore_sdk.runtime.pipeline import ScratchMemory

    class NoGpu:
        def allocate(self, size: int) -> None:
            raise AssertionError(size)

    assert ScratchMemory(NoGpu(), 0).span == (0, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method",
    ["create_execution_context", "set_tensor_address", "deserialize_cuda_engine", "set_optimization_profile_async"],
)
def test_a_refusal_while_opening(toy_bundle: Bundle, trt: ModuleType, method: str) -> None:
    trt.control.refuse = (method,)
    kinds = {"deserialize_cuda_engine": EngineIncompatibleError, "create_execution_context": OutOfMemoryError}
    with pytest.raises(kinds.get(method, ExecutionError)) as caught:
        TensorRtRunner(toy_bundle, *plans(toy_bundle), trt)
    assert caught.value.hint
    assert "Error Code" in str(caught.value) or "set" in str(caught.value), "TensorRT's own words"


def test_a_refusal_to_execute_is_an_error_and_no_black_picture(
    open_runner: Open, trt: ModuleType, reference: OnnxRunner
) -> None:
    (request,) = requests(1)
    with open_runner() as runner:
        trt.control.refuse = ("execute_async_v3",)
        with pytest.raises(ExecutionError, match=r"edge stage failed.*API Usage Error") as caught:
            runner.infer(*request)
        assert caught.value.hint
        trt.control.refuse = ()
        assert same(runner.infer(*request), reference.infer(*request))


def test_what_a_refused_second_stage_left_queued_is_waited_for(
    open_runner: Open, trt: ModuleType, reference: OnnxRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first stage is queued, the second refused: nobody else may enter the scratch memory before it ended."""
    requested = requests(2)
    sound_enqueue, sound_settle = trtstage.TrtContext.enqueue, pipeline.Pipeline._settle
    others: list[Any] = []

    def refuse_once(self: Any, stream: int) -> None:
        if self._name == "repair" and not others:
            raise ExecutionError("refused", "")
        sound_enqueue(self, stream)

    def serve_another_first(self: Any) -> None:
        """The failed request's thread comes to its wait only after another request was served."""
        trt.control.order.clear()
        others.append(None)
        with ThreadPoolExecutor(1) as pool:
            others[0] = pool.submit(runner.infer, *requested[1]).result()
        sound_settle(self)

    with open_runner() as runner:
        monkeypatch.setattr(trtstage.TrtContext, "enqueue", refuse_once)
        monkeypatch.setattr(pipeline.Pipeline, "_settle", serve_another_first)
        with pytest.raises(ExecutionError, match="refused"):
            runner.infer(*requested[0])
        assert [stage for stage, _ in trt.control.order] == ["completed_edges", "completed_edges", "restored"]
        assert same(others[0], reference.infer(*requested[1]))
        assert same(runner.infer(*requested[0]), reference.infer(*requested[0]))


def test_freeing_after_a_lost_context_goes_on_to_the_end(
    toy_bundle: Bundle, trt: ModuleType, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call fails then; what holds host memory and TensorRT's objects is let go all the same."""
    runner = TensorRtRunner(toy_bundle, *plans(toy_bundle), trt)
    tried: list[str] = []

    def failing(self: Any) -> None:
        tried.append("memory")
        raise ExecutionError("cuMemFree failed", "")

    sound = trtstage.TrtContext.close
    with monkeypatch.context() as patch:
        patch.setattr(cuda.DeviceMemory, "free", failing)
        patch.setattr(trtstage.TrtContext, "close", lambda self: (tried.append("context"), sound(self)))
        held = [memory for part in runner._pipelines for memory in part._memory.values()]
        held += [scratch._memory for scratch in runner._scratches if scratch._memory]
        with pytest.raises(ExecutionError, match="cuMemFree failed"):
            runner.close()
    assert (tried.count("memory"), tried.count("context")) == (len(held), 4)
    runner.close()
    with cuda.Gpu(0).current():
        for memory in held:
            memory.free()


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


def test_the_second_device(toy_bundle: Bundle, trt: ModuleType, double: Double, reference: OnnxRunner) -> None:
    double.reset(devices=2)
    (request,) = requests(1)
    first = TensorRtRunner(toy_bundle, *plans(toy_bundle), trt, device=0)
    second = TensorRtRunner(toy_bundle, *plans(toy_bundle), trt, device=1)
    try:
        for runner in (first, second, first):
            assert same(runner.infer(*request), reference.infer(*request))
        assert (first.info()["device_index"], second.info()["device_index"]) == (0, 1)
    finally:
        second.close()
        first.close()


@pytest.mark.parametrize(("status", "text"), [(100, "CUDA_VISIBLE_DEVICES"), (803, "restart"), (999, "nvidia-smi")])
def test_a_driver_that_finds_no_device(double: Double, status: int, text: str) -> None:
    double.reset(init=status)
    with pytest.raises(DeviceError, match=text) as caught:
        driver.device_facts()
    assert "onnxruntime" in caught.value.hint


def test_facts_of_the_device(double: Double) -> None:
    double.reset(capability="12.0", memory=3 << 30)
    facts = driver.device_facts(0)
    assert (facts.compute_capability, facts.memory_bytes, facts.cuda) == ("12.0", 3 << 30, "13.0")


def python(code: str) -> str:
    """In a process of its own, without the doubles."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_driver() -> None:
    code = """
import ctypes
def missing(name, *a, **k): raise OSError(f"{name}: cannot open shared object file")
ctypes.CDLL = missing
from restore_sdk.errors import DeviceError
from restore_sdk.runtime.cuda import Gpu
try: Gpu(0)
except DeviceError as error: print(error.message, "|", error.hint, "|", "pycuda" in sys.modules)
"""
    said = python(code)
    assert "no NVIDIA driver" in said
    assert 'runtime="onnxruntime"' in said
    assert said.strip().endswith("False"), "pycuda is not even imported"


def test_no_pycuda(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    from restore_sdk.runtime.cuda import Gpu

    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MissingDependencyError, match="pycuda") as caught:
        Gpu(0)
    assert "pip install" in caught.value.hint


def test_no_tensorrt(double: Double, toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for edition, extra in (("tensorrt", "[tensorrt]"), ("tensorrt_rtx", "[rtx]")):
        monkeypatch.delitem(sys.modules, edition, raising=False)
        with pytest.raises(MissingDependencyError, match=edition) as caught:
            open_tensorrt(toy_bundle, edition)  # type: ignore[arg-type]
        assert extra in caught.value.hint


def test_a_tensorrt_that_does_not_load(
    double: Double, toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tensorrt_rtx").mkdir()
    (tmp_path / "tensorrt_rtx" / "__init__.py").write_text("raise OSError('libnvinfer.so.10: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    with pytest.raises(MissingDependencyError, match="libnvinfer"):
        open_tensorrt(toy_bundle, "tensorrt_rtx")


def test_the_log_of_tensorrt_is_kept_out_of_stdout(
    toy_bundle: Bundle, trt: ModuleType, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineIncompatibleError):
        TensorRtRunner(toy_bundle, make_plan(b"", max_batch=1)[5:], b"", trt)
    assert capfd.readouterr().out == ""
    assert "magicTag" in caplog.text
