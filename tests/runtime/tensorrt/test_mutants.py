"""Each mistake that this runtime must not make, made on purpose: the doubles show every one of them.

The check is the same for the sound code and for the broken one, so that it cannot be the check that is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from restore_sdk.errors import ExecutionError, RestoreError
from restore_sdk.runtime import cuda, pipeline, trtstage
from restore_sdk.runtime.onnxruntime import OnnxRunner
from tests.runtime.tensorrt.conftest import Open, requests, same


class WrongResultError(Exception):
    pass


Change = tuple[object, str, Any]


def serve(open_runner: Open, reference: OnnxRunner, trt: ModuleType, *changes: Change) -> None:
    """Open soundly, change the code, serve from four threads, mend, close; raises when one result is wrong."""
    work = requests(16)
    with open_runner() as runner:
        trt.control.pause = 0.002
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(4) as pool:
            for owner, name, broken in changes:
                patch.setattr(owner, name, broken)
            results = list(pool.map(lambda request: runner.infer(*request), work))
        if not all(same(result, reference.infer(*request)) for result, request in zip(results, work, strict=True)):
            raise WrongResultError


def no_wait(*_: Any) -> None:
    return None


UPLOAD, DOWNLOAD, QUEUE = cuda.Stream.upload, cuda.Stream.download, pipeline.Pipeline._enqueue


def swapped_stages(self: Any, count: int) -> None:
    self._contexts.reverse()
    try:
        QUEUE(self, count)
    finally:
        self._contexts.reverse()


def only_images_up(self: Any, target: Any, source: Any) -> None:
    if source.ndim == 4:
        UPLOAD(self, target, source)


def only_edges_down(self: Any, target: Any, source: Any) -> None:
    if target.ndim == 3:
        DOWNLOAD(self, target, source)


SPOILT_LATER = {
    "no synchronise": (cuda.Stream, "synchronize", no_wait),
    "stages in the wrong order": (pipeline.Pipeline, "_enqueue", swapped_stages),
    "masks not copied": (cuda.Stream, "upload", only_images_up),
    "result not copied": (cuda.Stream, "download", only_edges_down),
    "no context in the thread": (cuda.Gpu, "current", lambda self, what="": nullcontext()),
}


def test_the_sound_code_passes_the_check(open_runner: Open, reference: OnnxRunner, trt: ModuleType) -> None:
    serve(open_runner, reference, trt)


@pytest.mark.parametrize("mistake", SPOILT_LATER)
def test_a_mistake_while_serving_shows(open_runner: Open, reference: OnnxRunner, trt: ModuleType, mistake: str) -> None:
    import pycuda.driver

    with pytest.raises((WrongResultError, RestoreError, pycuda.driver.Error)) as caught:
        serve(open_runner, reference, trt, SPOILT_LATER[mistake])
    expected = {"no context in the thread": "LogicError", "no synchronise": "ExecutionError"}
    assert type(caught.value).__name__ == expected.get(mistake, "WrongResultError"), caught.value


def test_a_missing_wait_gives_wrong_pictures(open_runner: Open, reference: OnnxRunner, trt: ModuleType) -> None:
    """Where no time is read: the driver refuses to tell the time of a mark that was not reached."""
    no_times = cuda.Event, "ms_since", lambda self, start: 0.0
    with pytest.raises(WrongResultError):
        serve(open_runner, reference, trt, no_times, SPOILT_LATER["no synchronise"])


def bind(change: Callable[[str, dict[str, int]], dict[str, int]]) -> Callable[..., Any]:
    """``TrtStage.context`` with other addresses than it was given."""
    sound = trtstage.TrtStage.context

    def context(self: Any, workspace: Any, addresses: dict[str, int], stream: int) -> Any:
        return sound(self, workspace, change(self.name, dict(addresses)), stream)

    return context


ADDRESSES = {
    "the repair stage reads the mask for edges": lambda stage, a: (
        a | ({"completed_edges": a["mask"]} if stage == "repair" else {})
    ),
    "the edge stage writes over the mask": lambda stage, a: (
        a | ({"completed_edges": a["mask"]} if stage == "edge" else {})
    ),
    "an address beside the buffer": lambda stage, a: a | {"completed_edges": a["completed_edges"] + 256 * 1024},
    "a wild address": lambda stage, a: a | {"restored": 0x1000},
    "an address of host memory": lambda stage, a: a | {"image": HOST.ctypes.data},
}
HOST = np.zeros((4, 256, 256, 3), np.uint8)


@pytest.mark.parametrize("mistake", ADDRESSES)
def test_a_wrong_address_shows(
    open_runner: Open, reference: OnnxRunner, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    monkeypatch.setattr(trtstage.TrtStage, "context", bind(ADDRESSES[mistake]))

    def use() -> None:
        with open_runner() as runner:
            for request in requests(3):
                if not same(runner.infer(*request), reference.infer(*request)):
                    raise WrongResultError

    with pytest.raises((WrongResultError, ExecutionError)) as caught:
        use()
    lost = mistake in {"an address beside the buffer", "a wild address", "an address of host memory"}
    assert ("illegal memory access" in str(caught.value)) == lost


def test_workspace_of_the_wrong_size_shows(open_runner: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smaller of the two instead of the larger one."""
    sound = trtstage.TrtStage.context
    small = lambda self, workspace, *rest: sound(self, (workspace[0], 65536), *rest)  # noqa: E731
    monkeypatch.setattr(trtstage.TrtStage, "context", small)
    with pytest.raises(ExecutionError, match=r"no address or shape|too small"), open_runner():
        pass
