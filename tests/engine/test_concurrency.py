import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from restore_sdk import RestoreEngine
from restore_sdk._util.ordered import ordered_map
from restore_sdk.bundle import Bundle
from restore_sdk.errors import ClosedError, ExecutionError
from restore_sdk.imaging.image import as_pixels
from restore_sdk.runtime.base import PooledRunner
from tests.conftest import make_pairs, make_photo


@pytest.mark.parametrize(("runtime", "slots"), [("onnxruntime", 1), ("onnxruntime", 3), ("openvino", 2)])
def test_eight_threads_equal_one(toy_bundle: Bundle, runtime: Any, slots: int) -> None:
    pytest.importorskip(runtime)
    items = make_pairs(24)
    with RestoreEngine(toy_bundle, runtime=runtime, slots=1, threads=1) as engine:
        serial = [engine(*item) for item in items]
    with RestoreEngine(toy_bundle, runtime=runtime, slots=slots) as engine:
        with ThreadPoolExecutor(8) as pool:
            parallel = list(pool.map(lambda item: engine(*item), items))
        streamed = list(engine.stream(items))
        batched = engine.restore_batch(*zip(*items, strict=True))
    for results in (parallel, streamed, batched):
        assert all(np.array_equal(a, b) for a, b in zip(serial, results, strict=True))


def test_no_more_than_slots_compute_at_a_time() -> None:
    runner, inside, most, full = PooledRunner([1, 2, 3], 1, {}), set(), [], threading.Event()

    def use(number: int) -> None:
        with runner.slot() as slot:
            assert slot not in inside
            inside.add(slot)
            most.append(len(inside))
            full.set() if len(inside) == 3 else None
            assert full.wait(10)
            time.sleep(0.002)
            inside.remove(slot)

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(use, range(24)))
    assert max(most) == 3


def test_closing_waits_for_those_inside_and_wakes_those_outside() -> None:
    only = Mock()
    runner, entered, leave = PooledRunner([only], 1, {}), threading.Event(), threading.Event()

    def inside() -> None:
        with runner.slot():
            entered.set()
            assert leave.wait(10)

    def outside() -> None:
        with pytest.raises(ClosedError), runner.slot():
            pass

    with ThreadPoolExecutor(3) as pool:
        working = pool.submit(inside)
        assert entered.wait(10)
        waiting = pool.submit(outside)
        time.sleep(0.05)
        closing = pool.submit(runner.close)
        waiting.result(10)
        assert not working.done()
        assert not closing.done()
        only.free.assert_not_called()
        leave.set()
        closing.result(10)
    runner.close()
    only.free.assert_called_once_with()


@pytest.mark.parametrize("started", [0, 1])
def test_without_threads_an_error_follows_the_finished_results(monkeypatch: pytest.MonkeyPatch, started: int) -> None:
    real, left = threading.Thread.start, started

    def start(thread: threading.Thread) -> None:
        nonlocal left
        if not left:
            raise RuntimeError("can't start new thread")
        left -= 1
        real(thread)

    def slow(item: int) -> int:
        time.sleep(0.05)  # so that no thread is idle when the second item comes
        return item

    monkeypatch.setattr(threading.Thread, "start", start)
    results, got = ordered_map(slow, range(5), workers=3), []
    with pytest.raises(ExecutionError, match="no thread can be started: can't start new thread") as caught:
        got.extend(results)
    assert "fewer slots" in caught.value.hint
    assert got == list(range(started))


def test_a_lazily_opened_pil_image_is_decoded_by_one_thread() -> None:
    """Its file is decoded when it is first asked for pixels; two threads at once would make a mess of that."""
    data = io.BytesIO()
    Image.fromarray(make_photo(700, 700)).save(data, "png")
    truth, opened = np.asarray(Image.open(data)), Image.open(io.BytesIO(data.getvalue()))
    real, inside, most, decoded = opened.load, [], [], []

    def load() -> object:
        if not decoded:  # afterwards as many threads as like may read it
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()
        found = real()
        decoded.append(True)
        return found

    opened.load = load
    barrier = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: barrier.wait(10) >= 0 and np.array_equal(as_pixels(opened), truth), range(4)))
    assert max(most) == 1


def test_ordered_map_yields_a_ready_result_before_it_reads_on() -> None:
    read, worked = 0, threading.Event()

    def live() -> Iterator[int]:
        nonlocal read
        for index in range(20):
            if index:
                assert worked.wait(10)  # a camera: the next picture comes after the last one was dealt with
                time.sleep(0.05)
                worked.clear()
            read += 1
            yield index

    for position, value in enumerate(ordered_map(lambda index: worked.set() or index, live(), workers=4)):
        assert value == position
        assert read <= position + 2
