"""A GPU through pycuda, on its primary context: the one that TensorRT and PyTorch use.

Everything is freed by a call, never by dropping a reference: the traceback of an error that somebody keeps holds
references, and what is freed later, in some other thread, is freed without the context it needs.

The only file that imports pycuda. Every use stands inside :meth:`Gpu.current`, which pushes the context and pops it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk.engines.driver import device_facts
from restore_sdk.errors import ClosedError, DeviceError, ExecutionError, MissingDependencyError, OutOfMemoryError
from restore_sdk.runtime.fork import hold, release

#: ``CU_STREAM_NON_BLOCKING``: a stream that does not wait for work that others put on the legacy default stream.
_NON_BLOCKING = 1

_LOST = (
    *("illegal memory access", "launch failure", "launch timed out", "hardware stack", "illegal instruction"),
    *("ECC", "uncorrectable", "context is destroyed"),
)
_LOCK = threading.Lock()
_CONTEXTS: dict[tuple[int, int], Any] = {}


class Gpu:
    """One device, its primary context retained.

    The context is retained once a process and device and never given back: the CUDA runtime inside TensorRT holds it
    until the process ends in any case, and what others (PyTorch) keep in it stays theirs.

    Raises:
        DeviceError: no driver, no device, or no device of that index.
        MissingDependencyError: pycuda is not installed, or does not fit the driver.
    """

    def __init__(self, index: int = 0) -> None:
        self.facts = device_facts(index)  # first: without a driver pycuda does not import
        self._cuda = _import_pycuda()
        self._process = os.getpid()
        self._context: Any = None  # while it is asked for, which may fail for want of memory
        self._context = self._primary_context(index)

    @contextmanager
    def current(self, what: str = "the GPU failed") -> Iterator[None]:
        """Make the context current in this thread for the block; pycuda's errors in it become the SDK's."""
        if os.getpid() != self._process:
            raise ClosedError("the GPU was opened before this process forked", "open a RestoreEngine in each process")
        with self._mapped(what):
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()

    def allocate(self, size: int) -> DeviceMemory:
        """``size`` bytes on the device, inside :meth:`current`."""
        return DeviceMemory(self._cuda.mem_alloc(size), size)

    def pinned(self, shape: tuple[int, ...]) -> PinnedMemory:
        """A ``uint8`` array in page-locked host memory, which the device copies by itself, inside :meth:`current`."""
        return PinnedMemory(self._cuda.pagelocked_empty(shape, np.uint8))

    def stream(self) -> Stream:
        """A new stream, inside :meth:`current`."""
        return Stream(self._cuda)

    def event(self) -> Event:
        """A new event that keeps the time, inside :meth:`current`."""
        return Event(self._cuda.Event())

    def memory(self) -> tuple[int, int]:
        """Free and total bytes of the device's memory, inside :meth:`current`."""
        free, total = self._cuda.mem_get_info()
        return int(free), int(total)

    def _primary_context(self, index: int) -> Any:
        with _LOCK, self._mapped("the GPU cannot be opened"):
            key = (self._process, index)
            if key not in _CONTEXTS:
                self._cuda.init()
                context = self._cuda.Device(index).retain_primary_context()
                # One reference too many, so that it is never destroyed: at the end of the process, or of a forked
                # child, pycuda 2026.1 would detach it with cuCtxDetach, which is not for primary contexts.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))
                _CONTEXTS[key] = context
            return _CONTEXTS[key]

    @contextmanager
    def _mapped(self, what: str) -> Iterator[None]:
        cuda = self._cuda
        try:
            yield
        except cuda.MemoryError as error:
            raise OutOfMemoryError(f"{what}: {error}", "use fewer slots, or a smaller batch") from error
        except cuda.Error as error:
            lost = any(sign in str(error) for sign in _LOST)
            hint = "the CUDA context of this process is lost: end the process and start a new one"
            raise ExecutionError(f"{what}: {error}", hint if lost else "run: restore-sdk doctor") from error


class DeviceMemory:
    """A piece of device memory; :meth:`free` it once, inside :meth:`Gpu.current`."""

    def __init__(self, allocation: Any, size: int) -> None:
        self._allocation = hold(allocation)
        self.address = int(allocation)
        self.size = size

    def free(self) -> None:
        """Give it back."""
        self._allocation.free()
        release(self._allocation)


class PinnedMemory:
    """Page-locked host memory as an array; :meth:`free` it once, inside :meth:`Gpu.current`."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array
        hold(array.base)

    def free(self) -> None:
        """Give it back; no view of the array may be used any more."""
        allocation: Any = self.array.base
        self.array = np.empty(0, np.uint8)
        allocation.free()
        release(allocation)


class Event:
    """A point in a stream."""

    def __init__(self, raw: Any) -> None:
        self.raw = hold(raw)

    def free(self) -> None:
        """Give it back, inside :meth:`Gpu.current`."""
        release(self.raw)
        self.raw = None

    def ms_since(self, start: Event) -> float:
        """Milliseconds of the device's clock from ``start`` to this; both must have been reached."""
        return float(self.raw.time_since(start.raw))


class Stream:
    """Work that runs in order. Every method is to be called inside :meth:`Gpu.current`."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._stream: Any = hold(cuda.Stream(_NON_BLOCKING))
        self.handle = int(self._stream.handle)

    def upload(self, target: DeviceMemory, source: NDArray[np.uint8]) -> None:
        """Queue a copy to the device; ``source`` is pinned, contiguous, fits, and stays unchanged until it ran."""
        self._cuda.memcpy_htod_async(target.address, source, self._stream)

    def download(self, target: NDArray[np.uint8], source: DeviceMemory) -> None:
        """Queue a copy from the device; ``target`` is pinned, contiguous, fits, and holds the data once it ran."""
        self._cuda.memcpy_dtoh_async(target, source.address, self._stream)

    def record(self, event: Event) -> None:
        """Queue a mark."""
        event.raw.record(self._stream)

    def synchronize(self) -> None:
        """Block until everything that is queued ran."""
        self._stream.synchronize()

    def free(self) -> None:
        """Give it back; what is queued still runs."""
        release(self._stream)
        self._stream = None


def _import_pycuda() -> Any:
    try:
        return importlib.import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"pycuda is not installed: {error}", "run: pip install pycuda (needs a C++ compiler and the CUDA headers)"
        ) from error
    except ImportError as error:
        raise MissingDependencyError(
            f"pycuda does not load: {error}",
            "it was built for another CUDA or Python; run: pip install --force-reinstall --no-cache-dir pycuda",
        ) from error
    except Exception as error:  # pycuda raises RuntimeErrors of its own while it loads
        raise DeviceError(f"pycuda cannot use the driver: {error}", "run: restore-sdk doctor") from error
