"""Memory that runs out, and memory that must be given back."""

from __future__ import annotations

import gc
import re
from types import ModuleType

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.errors import ExecutionError, OutOfMemoryError, RestoreError
from restore_sdk.runtime import cuda
from restore_sdk.runtime.onnxruntime import OnnxRunner
from restore_sdk.runtime.tensorrt import TensorRtRunner
from tests.cuda_double.double import OUT_OF_MEMORY, Double
from tests.runtime.tensorrt.conftest import Open, plans, requests, same

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


def test_a_hundred_times_open_and_close_leak_nothing(toy_bundle: Bundle, trt: ModuleType, double: Double) -> None:
    edge, repair = plans(toy_bundle, max_batch=2)
    (request,) = requests(1)
    gc.collect()
    before = double.counters()
    for turn in range(100):
        runner = TensorRtRunner(toy_bundle, edge, repair, trt, slots=1 + turn % 2)
        for _ in range(turn % 4):
            runner.infer(*request)
        runner.close()
        assert double.counters().living == before.living, turn
    assert double.counters().since(before).retains <= 1
    assert double.counters().since(before).allocations > 1000, "something was allocated at all"


def opening_fails(bundle: Bundle, edge: bytes, repair: bytes, trt: ModuleType) -> RestoreError | None:
    try:
        TensorRtRunner(bundle, edge, repair, trt).close()
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
            assert error.hint
            kind = ExecutionError if entry == "execute" else OutOfMemoryError
            assert isinstance(error, kind), f"{entry} {after}: {error!r}"
            double.reset()  # "execute" leaves the context lost; here a new process stands for that
            if entry != "execute":
                assert double.counters().living == before, f"{entry} {after}"
    assert all(count >= 2 for count in failed.values()), failed


@pytest.mark.parametrize("megabytes", [0.001, 0.1, 0.5, 1, 2, 3])
def test_too_little_memory_to_open(toy_bundle: Bundle, trt: ModuleType, double: Double, megabytes: float) -> None:
    gc.collect()
    before = double.counters().living
    double.reset(memory=before[1] + int(megabytes * (1 << 20)))
    with pytest.raises(OutOfMemoryError) as caught:
        TensorRtRunner(toy_bundle, *plans(toy_bundle), trt)
    assert "smaller batch" in caught.value.hint
    assert re.search(r"\d+ of \d+ MiB of GPU memory are free" if megabytes == 2 else "memory", str(caught.value))
    del caught
    gc.collect()
    assert double.counters().living == before


@pytest.mark.parametrize(
    "entry", ["cuLaunchHostFunc", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuEventRecordWithFlags"]
)
def test_out_of_memory_during_a_request(open_runner: Open, reference: OnnxRunner, double: Double, entry: str) -> None:
    """The request fails, the next one is served: what was queued of the first did not spoil it."""
    first, second = requests(2)
    with open_runner() as runner:
        for after in range(2):
            double.fail(entry, OUT_OF_MEMORY, after)
            with pytest.raises(OutOfMemoryError) as caught:
                runner.infer(*first)
            assert caught.value.hint
            for _ in range(3):
                assert same(runner.infer(*second), reference.infer(*second))
