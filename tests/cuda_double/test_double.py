"""The double itself, through the real pycuda: it must be as strict as it says, or the other tests show nothing.

Want of memory and lost contexts are shown by tests/runtime/tensorrt. Where the double cannot be built, that is said.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.cuda_double import double as doubles
from tests.cuda_double.double import Double


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
        yield driver
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
    target, stream = filled(cuda, 40, 0), cuda.Stream(1)
    cuda.memcpy_dtoh_async(target, cuda.mem_alloc(40), stream)
    stream.synchronize()
    assert np.isnan(target.view(np.float32)).all()
    assert np.isnan(target.view(np.float16)).all()
    assert set(cuda.pagelocked_empty(16, np.uint8)) == {255}


def test_a_copy_that_is_too_large_and_one_on_the_device_are_refused(cuda: Any) -> None:
    memory, stream = cuda.mem_alloc(100), cuda.Stream(1)
    with pytest.raises(cuda.LogicError, match="invalid argument"):
        cuda.memcpy_htod_async(int(memory) + 1, filled(cuda, 100, 1), stream)
    with pytest.raises(cuda.LogicError, match="not supported"):
        cuda.memcpy_dtod_async(cuda.mem_alloc(100), memory, 100, stream)
