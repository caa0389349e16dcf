"""The chain as one CUDA graph: captured, replayed with new pictures, and given up where capture is refused."""

from __future__ import annotations

import ctypes
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from restore_sdk.errors import ExecutionError
from restore_sdk.runtime.cuda import Gpu
from restore_sdk.runtime.graph import CapturedGraph, CaptureRefusedError
from restore_sdk.runtime.onnxruntime import OnnxRunner
from restore_sdk.runtime.trtstage import TrtStage
from tests.cuda_double.double import OUT_OF_MEMORY, Double
from tests.runtime.tensorrt.conftest import Open, requests, same


def test_a_refused_capture_is_logged_and_served_without(
    open_runner: Open,
    reference: OnnxRunner,
    double: Double,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No more contexts are made then: want of memory may be why, and those that are there have just worked."""
    made: list[object] = []
    real, once = TrtStage.context, 0
    monkeypatch.setattr(TrtStage, "context", lambda self, *rest: made.append(self) or real(self, *rest))
    double.refuse_capture(True)
    with caplog.at_level(logging.WARNING, logger="restore_sdk"), open_runner(graph=True) as runner:
        for turn, request in enumerate(requests(8)):
            result = runner.infer(*request)
            assert not result.graph
            assert same(result, reference.infer(*request))
            once = once if turn > 1 else len(made)
    assert len(made) == once > 0
    assert caplog.text.count("no CUDA graph") == 2, "once a pipeline, not once a request"


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        ("cuStreamBeginCapture_v2", 999),
        ("cuGraphInstantiateWithFlags", 999),
        ("cuGraphInstantiateWithFlags", OUT_OF_MEMORY),
        ("cuLaunchHostFunc", 999),
        ("cuMemcpyHtoDAsync_v2", 999),
    ],
)
def test_a_capture_that_breaks_off(
    open_runner: Open, reference: OnnxRunner, double: Double, entry: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails in it: the stream captures no more, the request is served, the next ones too."""
    work = requests(8)
    with open_runner(graph=True) as runner:
        pairs = [tuple(part.repeat(2, axis=0) for part in request) for request in work]  # a size new to both pipelines
        plain = {"cuLaunchHostFunc": 4, "cuMemcpyHtoDAsync_v2": 3}  # calls of the request that comes before its capture
        double.fail(entry, status, plain.get(entry, 0))
        for pair in pairs:
            assert same(runner.infer(*pair), reference.infer(*pair))
    assert "no CUDA graph" in caplog.text


def test_a_launch_that_fails_is_an_error(open_runner: Open, double: Double, reference: OnnxRunner) -> None:
    (request,) = requests(1)
    with open_runner(graph=True) as runner:
        for _ in range(4):
            runner.infer(*request)
        double.fail("cuGraphLaunch", 999)
        with pytest.raises(ExecutionError, match="cuGraphLaunch") as caught:
            runner.infer(*request)
        assert "without a CUDA graph" in caught.value.hint
        assert same(runner.infer(*request), reference.infer(*request))


def test_capturing_does_not_disturb_other_threads(open_runner: Open, double: Double) -> None:
    """The capture is of this thread alone: memory may be allocated in another one meanwhile."""
    gpu = Gpu(0)

    def allocate() -> None:
        with gpu.current():
            gpu.allocate(100).free()

    with gpu.current():
        stream, memory, host = gpu.stream(), gpu.allocate(64), gpu.pinned((64,))
        host.array[...] = 7

        def quiet(mark: object) -> None:
            stream.upload(memory, host.array)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(allocate).result()

        def loud(mark: object) -> None:
            stream.upload(memory, host.array)
            gpu.allocate(100)

        before = double.counters()
        graph = CapturedGraph.capture(stream.handle, quiet, 0)
        assert double.counters().since(before).to_device == 1
        back = gpu.pinned((64,))
        stream.download(back.array, memory)
        stream.synchronize()
        assert set(back.array) == {255}, "captured, not run: the memory still holds its poison"
        graph.launch(stream.handle)
        stream.download(back.array, memory)
        stream.synchronize()
        assert set(back.array) == {7}
        graph.free()
        with pytest.raises(CaptureRefusedError, match="capturing"):
            CapturedGraph.capture(stream.handle, loud, 0)
        status = ctypes.c_int(9)
        double.library.cuStreamIsCapturing(ctypes.c_void_p(stream.handle), ctypes.byref(status))
        assert status.value == 0
        for part in (memory, host, back, stream):
            part.free()


def test_graphs_are_freed(open_runner: Open, double: Double, reference: OnnxRunner) -> None:
    with open_runner(graph=True) as runner:
        for batch in (4, 1, 3, 2):
            for request in requests(6, batch):
                assert same(runner.infer(*request), reference.infer(*request))
        assert double.counters().graphs == 8, "one a pipeline and batch size"
    assert double.counters().graphs == 0
