"""A GPU through pycuda, on its primary context: the one that TensorRT and PyTorch use.

The only file that imports pycuda. Every use of it stands inside :meth:`Gpu.current`, which pushes the context and pops
it. Everything is freed by a call, never by dropping a reference: a traceback that is kept holds
references, and what is freed later, in some other thread, is freed without the context it needs.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from restore_sdk.engines.driver import device_facts
from restore_sdk.errors import ClosedError, DeviceError, ExecutionError, MissingDependencyError, OutOfMemoryError
from restore_sdk.runtime.native import release

_LOST = (
    *("illegal memory access", "launch failure", "launch timed out", "hardware stack", "illegal instruction"),
    *("ECC", "uncorrectable", "context is destroyed"),
)
_LOCK = threading.Lock()
_CONTEXTS: dict[tuple[int, int], Any] = {}


class Gpu:
    """One device, its primary context retained; ``cuda`` is the module ``pycuda.driver``.

    The context is retained once a process and device and never given back: the CUDA runtime inside TensorRT holds it
    until the process ends in any case, and what others (PyTorch) keep in it stays theirs.

    Raises:
        DeviceError: no driver, no device, or no device of that index.
        MissingDependencyError: pycuda is not installed, or does not fit the driver.
    """

    def __init__(self, index: int = 0) -> None:
        self.facts = device_facts(index)  # first: without a driver pycuda does not import
        self.cuda = _import_pycuda()
        self._process = os.getpid()
        self._context = self._primary_context(index)

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that opened it: a child, in which nothing of CUDA works."""
        return os.getpid() != self._process

    @contextmanager
    def current(self, what: str = "the GPU failed") -> Iterator[None]:
        """Make the context current in this thread for the block; pycuda's errors in it become the SDK's."""
        if self.forked:
            raise ClosedError("the GPU was opened before this process forked", "open a RestoreEngine in each process")
        with self._mapped(what):
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()

    def _primary_context(self, index: int) -> Any:
        with _LOCK, self._mapped("the GPU cannot be opened"):
            key = (self._process, index)
            if key not in _CONTEXTS:
                self.cuda.init()
                context = self.cuda.Device(index).retain_primary_context()
                # One reference too many, so that it is never destroyed: at the end of the process, or of a forked
                # child, pycuda 2026.1 would detach it with cuCtxDetach, which is not for primary contexts.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))
                _CONTEXTS[key] = context
            return _CONTEXTS[key]

    @contextmanager
    def _mapped(self, what: str) -> Iterator[None]:
        cuda = self.cuda
        try:
            yield
        except cuda.MemoryError as error:
            raise OutOfMemoryError(f"{what}: {error}", "use fewer slots, or a smaller batch") from error
        except cuda.Error as error:
            lost = any(sign in str(error) for sign in _LOST)
            hint = "the CUDA context of this process is lost: end the process and start a new one"
            raise ExecutionError(f"{what}: {error}", hint if lost else "run: restore-sdk doctor") from error


def free_all(*parts: Any) -> None:
    """Free all parts in the order given, whatever fails, inside :meth:`Gpu.current`; then raise the first failure."""
    failure: Exception | None = None
    for part in parts:
        try:
            part.free()
            release(part)
        except Exception as error:  # after a lost context every call fails; what can be given back is
            failure = failure or error
    if failure is not None:
        raise failure


def _import_pycuda() -> Any:
    try:
        return importlib.import_module("pycuda.driver")
    except ImportError as error:
        raise MissingDependencyError(
            f"pycuda does not load: {error}",
            "run: pip install --force-reinstall --no-cache-dir pycuda (needs a C++ compiler and CUDA's headers)",
        ) from error
    except Exception as error:  # pycuda raises RuntimeErrors of its own while it loads
        raise DeviceError(f"pycuda cannot use the driver: {error}", "run: restore-sdk doctor") from error
