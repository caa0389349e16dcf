"""The NVIDIA driver, asked through ctypes: is it there, has it a device, what device is that?

Nothing here needs pycuda or TensorRT. It is asked before either is imported: without a driver pycuda does not import,
and TensorRT ends the process.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from restore_sdk.errors import DeviceError

_WITHOUT_GPU = (
    'runtime="onnxruntime" runs on every host; engines for consumer GPUs are built on any: '
    "restore-sdk build --target any-rtx"
)

#: ``CUdevice_attribute`` values of cuda.h.
_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16

_REASONS = {
    100: "no GPU is visible to it; look at nvidia-smi and CUDA_VISIBLE_DEVICES",
    34: "it is the stub of the CUDA toolkit; put the real driver's folder first in the library path",
    3: "this process forked after CUDA was used; use the GPU in the process that opened it, or spawn",
    802: "the GPU is not ready yet; on machines with NVSwitch start nvidia-fabricmanager",
    803: "its library and its kernel module are of different versions; restart the machine",
    804: "it is too old for the installed CUDA compatibility package; update the driver",
}


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What the driver says of one device, by its index after ``CUDA_VISIBLE_DEVICES``.

    ``compute_capability`` is as in ``"8.6"``; ``cuda`` is the newest that the driver supports, as in ``"13.0"``;
    ``multiprocessors`` is 0 where that was not asked.
    """

    index: int
    name: str
    compute_capability: str
    memory_bytes: int
    cuda: str
    multiprocessors: int = 0

    @property
    def model(self) -> str:
        """What an engine for this very device fits: every Jetson of the Orin family has one and the same name."""
        return f"{self.name}, {self.multiprocessors} multiprocessors" if self.multiprocessors else self.name


def load_driver() -> ctypes.CDLL:
    """The driver's library, initialised; :class:`DeviceError` where there is none, or no usable device."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        library = ctypes.CDLL(name)
        status = int(library.cuInit(0))
    except (OSError, AttributeError) as error:
        raise DeviceError(f"no NVIDIA driver: {error}", f"install it; {_WITHOUT_GPU}") from error
    if status:
        reason = _REASONS.get(status, "look at nvidia-smi")
        raise DeviceError(f"the NVIDIA driver finds no usable GPU (cuInit: error {status}): {reason}", _WITHOUT_GPU)
    return library


def all_devices() -> list[DeviceFacts]:
    """Facts about every device, at least one; :class:`DeviceError` where there is none."""
    library = load_driver()
    return [_facts(library, index) for index in range(_number(library, "cuDeviceGetCount"))]


def device_facts(index: int = 0) -> DeviceFacts:
    """Facts about device ``index``; :class:`DeviceError` where there is none."""
    devices = all_devices()
    if not 0 <= index < len(devices):
        raise DeviceError(f"there is no device {index}: the driver sees {len(devices)}", "devices count from 0")
    return devices[index]


@contextmanager
def current(gpu: DeviceFacts | None) -> Iterator[None]:
    """Make the device's primary context current in this thread; TensorRT builds on the current device."""
    if gpu is None:
        yield
        return
    driver, context = load_driver(), ctypes.c_void_p()
    # Never given back, as in runtime/cuda.py: the CUDA runtime inside TensorRT keeps to this context for good.
    _call(driver, "cuDevicePrimaryCtxRetain", ctypes.byref(context), _number(driver, "cuDeviceGet", gpu.index))
    _call(driver, "cuCtxPushCurrent_v2", context)
    try:
        yield
    finally:
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


def _facts(library: ctypes.CDLL, index: int) -> DeviceFacts:
    device, name = _number(library, "cuDeviceGet", index), ctypes.create_string_buffer(256)
    _call(library, "cuDeviceGetName", name, 256, device)
    major, minor, multiprocessors = (
        _number(library, "cuDeviceGetAttribute", attribute, device) for attribute in (_MAJOR, _MINOR, _MULTIPROCESSORS)
    )
    version = _number(library, "cuDriverGetVersion")
    return DeviceFacts(
        index=index,
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major}.{minor}",
        memory_bytes=_number(library, "cuDeviceTotalMem_v2", device, kind=ctypes.c_size_t),
        cuda=f"{version // 1000}.{version % 1000 // 10}",
        multiprocessors=multiprocessors,
    )


def _number(library: ctypes.CDLL, entry: str, *arguments: Any, kind: Any = ctypes.c_int) -> int:
    """The number that an entry point returns through its first argument."""
    number = kind()
    _call(library, entry, ctypes.byref(number), *arguments)
    return int(number.value)


def _call(library: ctypes.CDLL, entry: str, *arguments: Any) -> None:
    """Call an entry point; raise :class:`DeviceError` with the driver's reason unless it succeeds."""
    if status := int(getattr(library, entry)(*arguments)):
        text = ctypes.c_char_p()
        library.cuGetErrorString(status, ctypes.byref(text))
        reason = (text.value or b"error").decode(errors="replace")
        raise DeviceError(f"the NVIDIA driver failed: {entry}: {reason} ({status})", "look at nvidia-smi")
