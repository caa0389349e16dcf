"""The driver double, loaded into this process, and what tests set on it and read from it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from types import ModuleType
from typing import Any

from tests.cuda_double import build

#: Memory of the double's devices, unless a test sets another size.
MEMORY = 512 << 20
OUT_OF_MEMORY, INVALID_CONTEXT, ILLEGAL_ADDRESS, LAUNCH_FAILED = 2, 201, 700, 719


@dataclass(frozen=True, slots=True)
class Counters:
    """What lives (first line) and what was done since the process started; the order is that of driver.c."""

    device_blocks: int
    device_bytes: int
    pinned_blocks: int
    streams: int
    events: int
    retains: int
    allocations: int
    to_device: int
    to_host: int
    pageable: int
    calls: int
    synchronisations: int
    contexts_made: int

    def since(self, before: Counters) -> Counters:
        return Counters(*(getattr(self, f.name) - getattr(before, f.name) for f in fields(self)))

    @property
    def living(self) -> tuple[int, ...]:
        return self.device_blocks, self.device_bytes, self.pinned_blocks, self.streams, self.events


class Double:
    """Controls of the loaded double."""

    def __init__(self) -> None:
        path = build.driver()
        self.library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        found = ctypes.CDLL("libcuda.so.1")  # what pycuda and the SDK will get
        if not hasattr(found, "cudaDoubleSet"):
            raise build.CannotBuildError("this process has loaded a real driver; run these tests by themselves")
        self.library.cudaDoubleSet.argtypes = [ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        self.library.cudaDoubleOnDevice.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self.library.cudaDoubleFail.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
        self.hide()

    def hide(self) -> None:
        """Stand like a driver that finds no device, so that other tests of this process see none."""
        self.reset(devices=0, init=100)

    def reset(self, *, memory: int = MEMORY, devices: int = 1, capability: str = "8.6", init: int = 0) -> None:
        """Set size, number and capability of the devices and what cuInit answers; forget errors."""
        self.library.cudaDoubleSet(memory, devices, int(capability.replace(".", "")), init)

    def fail(self, entry: str, result: int, after: int = 0) -> None:
        """Let an entry point, or ``"execute"`` (work that runs), fail once, after ``after`` calls that do not."""
        self.library.cudaDoubleFail(entry.encode(), result, after)

    def fault(self, result: int = ILLEGAL_ADDRESS, device: int = 0) -> None:
        """The device broke while it computed: its context is lost."""
        self.library.cudaDoubleFault(device, result)

    def on_device(self, address: int, size: int) -> bool:
        return bool(self.library.cudaDoubleOnDevice(address, size))

    def counters(self) -> Counters:
        values = (ctypes.c_long * len(fields(Counters)))()
        known = self.library.cudaDoubleCounters(values, len(values))
        assert known == len(values)
        return Counters(*values)

    def depth(self) -> int:
        """How many contexts are pushed in this thread."""
        return int(self.library.cudaDoubleDepth())


_LOADED: dict[str, ModuleType] = {}


@cache
def load() -> Double:
    """The double of this process; loaded once, never unloaded.

    Raises:
        CannotBuildError: no compiler, no pycuda, or a real driver stands in the way.
    """
    if sys.platform != "linux":
        raise build.CannotBuildError("the CUDA driver double is for Linux")
    build.pycuda()
    return Double()


@contextmanager
def pycuda_importable() -> Iterator[Any]:
    """The real pycuda can be imported inside the block, and cannot outside it."""
    site = str(build.pycuda())
    sys.path.append(site)  # last: what this environment has of its own comes first
    sys.modules.update(_LOADED)
    try:
        import pycuda.driver

        assert pycuda.driver.__file__.startswith(site), f"another pycuda is installed: {pycuda.driver.__file__}"
        yield pycuda.driver
    finally:
        sys.path.remove(site)
        for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
            _LOADED[name] = sys.modules.pop(name)
