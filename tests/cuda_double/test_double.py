"""The double itself, through the real pycuda: it must be as strict as it says, or the other tests show nothing.

Wild addresses, missing contexts, want of memory and lost contexts are shown by tests/runtime/tensorrt. Where the double
cannot be built, that is said.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cuda_double import build
from tests.cuda_double import double as doubles
from tests.cuda_double.double import Double
from tests.needs import unavailable


@pytest.fixture
def double(loaded_double: Double) -> Iterator[Double]:
    loaded_double.reset()
    yield loaded_double
    loaded_double.hide()


@pytest.fixture
def cuda(double: Double) -> Iterator[Any]:
    """pycuda's driver module, with the primary context current in this thread."""
    with doubles.pycuda_importable() as driver:
        driver.init()
        context = driver.Device(0).retain_primary_context()
        context.push()
        try:
            yield driver
        finally:
            context.detach()
            double.library.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
            assert double.depth() == 0


def filled(cuda: Any, size: int, value: int) -> Any:
    array = cuda.pagelocked_empty(size, np.uint8)
    array[...] = value
    return array


def test_queued_work_runs_when_something_waits(cuda: Any) -> None:
    memory, source, target, stream = cuda.mem_alloc(100), filled(cuda, 100, 7), filled(cuda, 100, 1), cuda.Stream(1)
    cuda.memcpy_htod_async(memory, source, stream)
    cuda.memcpy_dtoh_async(target, memory, stream)
    assert not stream.is_done()
    assert set(target) == {1}
    source[...] = 9  # changed before the copy ran: the mistake shows
    stream.synchronize()
    assert stream.is_done()
    assert set(target) == {9}


def test_fresh_memory_is_poison(cuda: Any) -> None:
    target = np.zeros(40, np.uint8)
    cuda.memcpy_dtoh(target, cuda.mem_alloc(40))
    assert np.isnan(target.view(np.float32)).all()
    assert np.isnan(target.view(np.float16)).all()
    assert set(cuda.pagelocked_empty(16, np.uint8)) == {255}


@pytest.mark.parametrize("copy", ["memcpy_htod", "memcpy_htod_async"])
def test_a_copy_that_is_too_large_is_refused(cuda: Any, copy: str) -> None:
    memory = cuda.mem_alloc(100)
    with pytest.raises(cuda.LogicError, match="invalid argument"):
        getattr(cuda, copy)(int(memory) + 1, filled(cuda, 100, 1))


def test_contexts_of_ones_own_are_refused(double: Double, capfd: pytest.CaptureFixture[str]) -> None:
    with doubles.pycuda_importable() as driver:
        driver.init()
        before = double.counters().contexts_made
        with pytest.raises(driver.LogicError, match="not supported"):
            driver.Device(0).make_context()
    assert double.counters().contexts_made == before + 1
    assert "cuCtxCreate" in capfd.readouterr().err


def test_an_event_orders_two_streams(cuda: Any) -> None:
    memory, target, first, second = cuda.mem_alloc(10), filled(cuda, 10, 0), cuda.Stream(1), cuda.Stream(1)
    source = filled(cuda, 10, 8)  # kept: freeing pinned memory waits for the device
    for wait, expected in ((False, 255), (True, 8)):
        cuda.memset_d8_async(memory, 255, 10, first)
        first.synchronize()
        cuda.memcpy_htod_async(memory, source, first)
        event = cuda.Event().record(first)
        if wait:
            second.wait_for_event(event)
        cuda.memcpy_dtoh_async(target, memory, second)
        second.synchronize()
        assert set(target) == {expected}
        first.synchronize()


def test_the_legacy_stream_waits_for_blocking_streams_only(cuda: Any) -> None:
    source = filled(cuda, 10, 4)
    for flags, expected in ((0, 4), (1, 255)):
        memory, target, stream = cuda.mem_alloc(10), np.zeros(10, np.uint8), cuda.Stream(flags)
        cuda.memcpy_htod_async(memory, source, stream)
        cuda.memcpy_dtoh(target, memory)
        assert set(target) == {expected}
        stream.synchronize()


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESTORE_SDK_TEST_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    for make in (build.driver, build.pycuda):
        with pytest.raises(build.CannotBuildError, match="no compiler"):
            make()
    assert list(tmp_path.iterdir()) == [], "nothing half-made is left"


def test_ci_must_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, outcome in (("true", pytest.fail), ("1", pytest.fail), ("", pytest.skip), ("false", pytest.skip)):
        monkeypatch.setenv("CI", value)
        with pytest.raises(outcome.Exception, match="no compiler"):
            unavailable("no compiler")
