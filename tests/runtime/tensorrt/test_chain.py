"""The chain gives what ONNX Runtime gives, from many threads, with the copies and waits that it must have."""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import ModuleType

import numpy as np
import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.errors import ClosedError, DeviceError, ShapeError
from restore_sdk.runtime.onnxruntime import OnnxRunner
from restore_sdk.runtime.tensorrt import TensorRtRunner
from tests.child import python
from tests.cuda_double.double import Double
from tests.runtime.tensorrt.conftest import Open, plans, requests, same


@pytest.mark.parametrize("slots", [1, 2])
def test_equal_to_onnx_runtime(open_runner: Open, reference: OnnxRunner, slots: int) -> None:
    with open_runner(slots=slots) as runner:
        for request in 2 * (requests(10) + requests(5, batch=3)):
            assert same(runner.infer(*request), reference.infer(*request))


def test_copies_and_waits_of_a_request(open_runner: Open, double: Double) -> None:
    (request,) = requests(1)
    with open_runner() as runner:
        runner.infer(*request)
        before = double.counters()
        for _ in range(10):
            runner.infer(*request)
        done = double.counters().since(before)
    assert (done.to_device, done.to_host) == (20, 20), "and between the stages nothing, which the double refuses"
    assert done.pageable == 0, "every copy is between the device and pinned memory"
    assert done.synchronisations == 10, "one wait a request"
    assert done.allocations == 0, "a request allocates nothing"
    assert done.calls == 40, "two stages, each two pieces of work of the stage double"


def test_the_larger_workspace_and_the_smaller_profile_count(toy_bundle: Bundle, trt: ModuleType) -> None:
    edge, repair = (
        plans(toy_bundle, workspace=200_000, max_batch=3)[0],
        plans(toy_bundle, workspace=400_000, max_batch=2)[1],
    )
    runner = TensorRtRunner(toy_bundle, edge, repair, trt)  # which runs them: the double checks the workspace's size
    assert runner.max_batch == 2
    runner.close()


def test_times_of_copies_and_stages(open_runner: Open, trt: ModuleType) -> None:
    (request,) = requests(1)
    with open_runner() as runner:
        for _ in range(6):
            runner.infer(*request)
        trt.control.pause = 0.02
        result = runner.infer(*request)
    for stage, copies in ((result.edge_ms, result.upload_ms), (result.repair_ms, result.download_ms)):
        assert 20 <= stage - copies < 200
        assert 0 <= copies < 20


def test_wrong_input_is_refused_before_anything_is_copied(open_runner: Open, double: Double) -> None:
    (request,) = requests(1)
    images, masks = request
    wrong = [
        (images.astype(np.float32), masks),
        (images[..., :2], masks),
        (images, masks[:, :128]),
        (images, masks.astype(bool)),
        (images, np.repeat(masks, 2, axis=0)),
        (images[:0], masks[:0]),
        tuple(np.repeat(part, 5, axis=0) for part in request),
        (images[0], masks[0]),
        (images.tolist(), masks),
        (np.uint8(3), masks),
    ]
    with open_runner() as runner:
        before = double.counters()
        for arguments in wrong:
            with pytest.raises(ShapeError):
                runner.infer(*arguments)
        assert double.counters() == before


@pytest.mark.parametrize("slots", [1, 2])
def test_eight_threads_of_25_requests_equal_serial_ones(
    open_runner: Open, reference: OnnxRunner, trt: ModuleType, slots: int
) -> None:
    """Compared at the end: no later request writes into an earlier one's result."""
    work = requests(40)
    expected = [reference.infer(*request) for request in work]

    def many(first: int) -> list[bool]:
        chosen = [(first * 7 + turn * 3) % len(work) for turn in range(25)]
        results = [runner.infer(*work[index]) for index in chosen]
        return [same(result, expected[index]) for index, result in zip(chosen, results, strict=True)]

    with open_runner(slots=slots) as runner, ThreadPoolExecutor(8) as pool:
        trt.control.pause = 0.001
        assert list(pool.map(many, range(8))) == [[True] * 25] * 8


def test_many_threads_close_at_once(open_runner: Open, trt: ModuleType) -> None:
    """Others than the one that opened it; one of them frees, once, and the others come back when all is free."""
    (request,) = requests(1)
    trt.control.pause = 0.05
    with open_runner() as runner, ThreadPoolExecutor(5) as pool:
        busy = pool.submit(runner.infer, *request)
        for closing in [pool.submit(runner.close) for _ in range(4)]:
            closing.result()
        assert runner._stages == []
        with suppress(ClosedError):  # where the closing was first; nothing else ends it
            busy.result()
        with pytest.raises(ClosedError):
            runner.infer(*request)


def test_the_primary_context_of_others_is_left_alone(open_runner: Open, double: Double, reference: OnnxRunner) -> None:
    """As with PyTorch, which makes the primary context current in its threads and expects to find it there."""
    library, theirs, now = double.library, ctypes.c_void_p(), ctypes.c_void_p()
    memory = ctypes.c_uint64()
    assert library.cuInit(0) == 0
    assert library.cuDevicePrimaryCtxRetain(ctypes.byref(theirs), 0) == 0
    assert library.cuCtxSetCurrent(theirs) == 0
    try:
        assert library.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(1000)) == 0
        retains = double.counters().retains
        for _ in range(3):
            with open_runner() as runner:
                (request,) = requests(1)
                assert same(runner.infer(*request), reference.infer(*request))
                library.cuCtxGetCurrent(ctypes.byref(now))
                assert now.value == theirs.value
        library.cuCtxGetCurrent(ctypes.byref(now))
        assert now.value == theirs.value
        assert retains <= double.counters().retains <= retains + 1, "retained once a process, never given back twice"
        assert double.on_device(memory.value, 1000)
        assert library.cuMemFree_v2(memory) == 0
    finally:
        library.cuCtxSetCurrent(None)
        library.cuDevicePrimaryCtxRelease_v2(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_the_child_raises_and_the_parent_goes_on(
    open_runner: Open, reference: OnnxRunner, toy_bundle: Bundle, trt: ModuleType
) -> None:
    (request,) = requests(1)
    with open_runner() as runner:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with pytest.raises(ClosedError, match="fork"):
                    runner.infer(*request)
                with pytest.raises(DeviceError, match="fork"):
                    TensorRtRunner(toy_bundle, *plans(toy_bundle), trt)
                runner.close()  # which is for the parent
                code = 33
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 33
        assert same(runner.infer(*request), reference.infer(*request))


#: In a process of its own; what comes then stands below.
OPENED = """
import gc, os, sys, tempfile
from pathlib import Path
from restore_sdk.runtime.tensorrt import TensorRtRunner
from tests.cuda_double import double
from tests.cuda_double.stages import make_module
from tests.runtime.tensorrt.conftest import plans
from tests.toy_bundle import write_toy_bundle
loaded = double.load()
loaded.reset()
with double.pycuda_importable(), tempfile.TemporaryDirectory() as folder:
    bundle = write_toy_bundle(Path(folder) / "bundle")
    runner = TensorRtRunner(bundle, *plans(bundle), make_module(loaded))
"""
FORKED = """
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        runner.close()
    del runner
    gc.collect()
    if not child:
        os._exit(33)  # without the exit handlers of C: those of ONNX Runtime wait for threads that a child lacks
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_can_drop_its_runner(loaded_double: Double) -> None:
    """In a process of its own, since without :mod:`restore_sdk.runtime.native` it ends in an abort."""
    done = python("-W", "ignore", "-c", OPENED + FORKED)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "33", "")


def test_a_forgotten_runner_warns(loaded_double: Double) -> None:
    done = python("-W", "default::ResourceWarning", "-c", OPENED + "    del runner\n    gc.collect()")
    assert (done.returncode, "ResourceWarning: a TensorRT engine was not closed" in done.stderr) == (0, True)
