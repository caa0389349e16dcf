import io
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restore_sdk import RestoreEngine
from restore_sdk._util.ordered import chunked, ordered_map
from restore_sdk.bundle import Bundle
from restore_sdk.errors import ClosedError, ExecutionError
from restore_sdk.imaging.image import as_pixels
from restore_sdk.runtime.base import SlotPool
from tests.conftest import make_photo


def work(count: int) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Different photos and masks, so that an exchanged result shows."""
    items = []
    for index in range(count):
        photo = make_photo(200 + 13 * (index % 7), 256, seed=index)
        mask = np.zeros(photo.shape[:2], bool)
        mask[10 + index : 60 + index, 20:90] = True
        items.append((photo, mask))
    return items


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_eight_threads_equal_one(toy_bundle: Bundle, slots: int) -> None:
    items = work(48)
    with RestoreEngine(toy_bundle, slots=1, threads=1) as engine:
        serial = [engine(*item) for item in items]
    with RestoreEngine(toy_bundle, slots=slots) as engine:
        with ThreadPoolExecutor(8) as pool:
            parallel = list(pool.map(lambda item: engine(*item), items))
        streamed = list(engine.stream(items))
        batched = engine.restore_batch(*zip(*items, strict=True))
    for results in (parallel, streamed, batched):
        assert all(np.array_equal(a, b) for a, b in zip(serial, results, strict=True))


def test_the_same_input_gives_the_same_output(engine: RestoreEngine) -> None:
    photo, mask = work(1)[0]
    first = engine(photo, mask)
    assert all(np.array_equal(engine(photo, mask), first) for _ in range(20))


def test_no_more_than_slots_compute_at_a_time() -> None:
    pool, inside, most = SlotPool([1, 2, 3]), 0, 0
    lock, full = threading.Lock(), threading.Event()

    def use() -> None:
        nonlocal inside, most
        with pool.take():
            with lock:
                inside += 1
                most = max(most, inside)
                if inside == 3:
                    full.set()
            assert full.wait(10)
            time.sleep(0.002)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=use) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3


def test_a_slot_comes_back_after_an_error() -> None:
    pool = SlotPool(["only"])
    for _ in range(3):
        with pytest.raises(KeyError), pool.take():
            raise KeyError
    with pool.take() as slot:
        assert slot == "only"


@pytest.mark.parametrize("where", ["__enter__", "__exit__"])
def test_an_interrupt_while_a_slot_is_taken_loses_none_and_gives_none_twice(where: str) -> None:
    class Interrupted(threading.Condition):
        def __enter__(self) -> bool:
            entered = super().__enter__()
            self.interrupt("__enter__")
            return entered

        def __exit__(self, *error: Any) -> None:
            super().__exit__(*error)
            self.interrupt("__exit__")

        def interrupt(self, here: str) -> None:
            nonlocal due
            if due and here == where:
                due = False
                if here == "__enter__":
                    super().__exit__(None, None, None)
                raise KeyboardInterrupt

    pool, due = SlotPool(["only"]), True
    pool._changed = Interrupted()
    with pytest.raises(KeyboardInterrupt), pool.take():
        pytest.fail("was interrupted before")
    assert not due
    with pool.take() as slot:
        assert slot == "only"
        assert not pool._free
    assert pool.close() == ["only"]


def test_closing_waits_for_those_inside_and_wakes_those_outside() -> None:
    pool, entered, leave, outcomes = SlotPool(["only"]), threading.Event(), threading.Event(), []

    def inside() -> None:
        with pool.take():
            entered.set()
            leave.wait(10)
            outcomes.append("inside finished")

    def outside() -> None:
        with pytest.raises(ClosedError), pool.take():
            pass
        outcomes.append("outside refused")

    def close() -> None:
        outcomes.append(("closed with", pool.close()))

    threads = [threading.Thread(target=inside)]
    threads[0].start()
    assert entered.wait(10)
    threads += [threading.Thread(target=outside), threading.Thread(target=close)]
    threads[1].start()
    time.sleep(0.05)
    threads[2].start()
    threads[1].join(10)
    assert outcomes == ["outside refused"]
    leave.set()
    for thread in threads:
        thread.join(10)
    assert outcomes == ["outside refused", "inside finished", ("closed with", ["only"])]
    assert pool.close() == []


def test_close_while_threads_work(toy_bundle: Bundle) -> None:
    """Every request either finishes right or says that the engine is closed."""
    items, outcomes = work(4), []
    engine = RestoreEngine(toy_bundle, slots=2)
    truth = [engine(*item) for item in items]

    def use(number: int) -> None:
        for index in itertools.count():
            item = (number + index) % len(items)
            try:
                outcomes.append(np.array_equal(engine(*items[item]), truth[item]))
            except ClosedError:
                return

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 60
    while len(outcomes) < 6:
        assert time.monotonic() < until
        time.sleep(0.01)
    engine.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert all(outcomes)


def test_ordered_map_keeps_order_and_bounds() -> None:
    read = 0

    def count() -> Iterator[int]:
        nonlocal read
        for index in range(50):
            read += 1
            yield index

    def slow(index: int) -> int:
        time.sleep(0.001 * (index % 3))
        return index

    for position, value in enumerate(ordered_map(slow, count(), workers=3)):
        assert value == position
        assert read <= position + 6
    assert read == 50


@pytest.mark.parametrize("started", [0, 1])
def test_without_threads_the_reason_is_told_after_what_was_done(monkeypatch: pytest.MonkeyPatch, started: int) -> None:
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


@pytest.mark.parametrize("suffix", ["png", "jpeg"])
def test_a_lazily_opened_pil_image_is_decoded_by_one_thread(suffix: str) -> None:
    """Its file is decoded when it is first asked for pixels; two threads at once would make a mess of that."""
    data, photo = io.BytesIO(), make_photo(700, 700)
    Image.fromarray(photo).save(data, suffix)
    truth = np.asarray(Image.open(data))
    opened = Image.open(io.BytesIO(data.getvalue()))
    real, inside, most, decoded, lock = opened.load, 0, 0, False, threading.Lock()

    def load() -> object:
        nonlocal inside, most, decoded
        if decoded:  # then as many threads as like may read it
            return real()
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        found = real()
        with lock:
            inside -= 1
            decoded = True
        return found

    opened.load = load
    barrier = threading.Barrier(4)

    def ask(_: int) -> bool:
        barrier.wait(10)
        return np.array_equal(as_pixels(opened), truth)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))
    assert most == 1


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

    def work(index: int) -> int:
        worked.set()
        return index

    for position, value in enumerate(ordered_map(work, live(), workers=4)):
        assert value == position
        assert read <= position + 2


def test_ordered_map_stops_at_an_error_and_leaves_no_thread() -> None:
    before = threading.active_count()

    def fail(index: int) -> int:
        if index == 3:
            raise KeyError(index)
        return index

    results = ordered_map(fail, range(100), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(results)
    assert threading.active_count() == before


def test_chunked() -> None:
    assert list(chunked(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunked([], 2)) == []


def test_ordered_map_gives_what_came_before_a_broken_source() -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise ValueError("boom")

    got: list[int] = []
    with pytest.raises(ValueError, match="boom"):
        got.extend(ordered_map(lambda item: item, source(), workers=3))
    assert got == list(range(5))
