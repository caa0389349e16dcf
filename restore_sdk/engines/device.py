"""The GPU at hand, for a builder: asked of the driver, needs neither pycuda nor PyTorch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from restore_sdk.engines.driver import DeviceFacts, DriverCallError, check, device_facts, load_driver
from restore_sdk.errors import DeviceError

_AHEAD_OF_TIME = "engines for consumer GPUs are built on any host: restore-sdk build --target any-rtx"


def find_gpu(index: int = 0) -> DeviceFacts:
    """Describe device ``index``.

    Raises:
        DeviceError: there is no driver, no usable GPU, or no device of this number; says how to build without one.
    """
    try:
        return device_facts(index)
    except (DeviceError, DriverCallError) as error:
        text = error.message if isinstance(error, DeviceError) else f"the NVIDIA driver failed: {error}"
        raise DeviceError(text, _AHEAD_OF_TIME) from error


@contextmanager
def current(gpu: DeviceFacts | None) -> Iterator[None]:
    """Make the device's primary context current in this thread; TensorRT builds on the current device.

    Raises:
        DeviceError: the driver refuses.
    """
    if gpu is None:
        yield
        return
    driver, handle, context = load_driver(), ctypes.c_int(), ctypes.c_void_p()
    try:
        check(driver, "cuDeviceGet", ctypes.byref(handle), gpu.index)
        # Never given back, as in runtime/cuda.py: the CUDA runtime inside TensorRT keeps to this context for good.
        check(driver, "cuDevicePrimaryCtxRetain", ctypes.byref(context), handle)
        check(driver, "cuCtxPushCurrent_v2", context)
    except DriverCallError as error:
        raise DeviceError(f"{gpu.name} cannot be used: {error}", "look at nvidia-smi") from error
    try:
        yield
    finally:
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
