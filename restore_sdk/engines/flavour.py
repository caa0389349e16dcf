"""Which TensorRT is installed, and what it can build; everything else takes the module as an argument."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

from restore_sdk._util.extras import install
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.sidecar import Flavour
from restore_sdk.errors import DeviceError, InputError, MissingDependencyError

#: The extra that brings each flavour.
EXTRAS: dict[Flavour, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}

#: The oldest version whose interface this SDK was checked against.
OLDEST: dict[Flavour, tuple[int, int]] = {"tensorrt": (10, 13), "tensorrt_rtx": (1, 7)}

_CUDA_MAJORS = range(11, 20)


@dataclass(frozen=True, slots=True)
class TensorRT:
    """An imported TensorRT: its Python module, which flavour it is, its version in full, the major of its CUDA.

    ``cuda`` is as in ``"13"``, and empty where that cannot be told: JetPack and NVIDIA's archives do not say.
    """

    module: Any
    flavour: Flavour
    version: str
    cuda: str = ""

    @property
    def label(self) -> str:
        """Name and version for messages."""
        return f"{'TensorRT' if self.flavour == 'tensorrt' else 'TensorRT for RTX'} {self.version}"

    @property
    def ahead_of_time(self) -> tuple[str, ...]:
        """Compute capabilities that it builds for on any host, ascending; empty when it builds only on the GPU."""
        kinds = getattr(self.module, "ComputeCapability", None)
        if self.flavour != "tensorrt_rtx" or kinds is None:
            return ()
        numbers = [int(name[2:]) for name in kinds.__members__ if re.fullmatch(r"SM\d+", name)]
        return tuple(f"{number // 10}.{number % 10}" for number in sorted(numbers))


def installed() -> tuple[Flavour, ...]:
    """The flavours that are installed, in order of preference; nothing is imported."""
    return tuple(name for name in get_args(Flavour) if importlib.util.find_spec(name) is not None)


def require_installed(flavour: Flavour, *others: str) -> None:
    """Look for a flavour and what else is needed beside it; nothing is imported.

    Raises:
        MissingDependencyError: names those that are not installed.
    """
    names = (flavour, *others)
    missing = [name for name in names if name not in sys.modules and importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"runtime {flavour} needs {' and '.join(missing)}, not installed here",
            f'run: {install(EXTRAS[flavour])}; runtime="onnxruntime" runs on every host',
        )


def load(flavour: Flavour | None = None) -> TensorRT:
    """Import a flavour, or for ``None`` the first that is installed.

    Raises:
        InputError: there is no such flavour.
        MissingDependencyError: it is not installed, cannot be imported, or is too old.
    """
    if flavour is None:
        found = installed()
        if not found:
            raise MissingDependencyError(
                "no TensorRT is installed",
                f"data-centre GPUs and Jetson: {install('tensorrt')}; consumer GPUs: {install('rtx')}",
            )
        flavour = found[0]
    if flavour not in get_args(Flavour):
        raise InputError(f"there is no TensorRT flavour {flavour!r}", f"choose one of {', '.join(get_args(Flavour))}")
    try:
        module = importlib.import_module(flavour)
        version = str(module.__version__)
        # Half an installation (bindings without libraries) imports as an empty namespace.
        numbers = tuple(int(part) for part in version.split(".")[:2])
    except (ImportError, OSError, AttributeError, RuntimeError, ValueError) as error:
        raise MissingDependencyError(f"{flavour} cannot be imported: {error}", install(EXTRAS[flavour])) from error
    if numbers < OLDEST[flavour]:
        least = ".".join(map(str, OLDEST[flavour]))
        raise MissingDependencyError(f"{flavour} {version} is too old, {least} is needed", install(EXTRAS[flavour]))
    return TensorRT(module, flavour, version, _cuda_major(flavour, version))


def require_driver(trt: TensorRT, gpu: DeviceFacts) -> None:
    """Refuse a driver that is too old for the CUDA of a TensorRT, before an object of it is made: some end the process.

    Raises:
        DeviceError: names both versions of CUDA.
    """
    newest = gpu.cuda.partition(".")[0]
    if trt.cuda and int(newest) < int(trt.cuda):
        package = f"{trt.flavour.replace('_', '-')}-cu{newest}"
        raise DeviceError(
            f"{trt.label} is for CUDA {trt.cuda}, the driver of {gpu.name} serves CUDA up to {gpu.cuda}",
            f"update the driver, or take the TensorRT of its CUDA: pip install {package}",
        )


def _cuda_major(flavour: Flavour, version: str) -> str:
    """By the package that it was installed from, which has the version of the module that was imported."""
    found = set()
    for major in _CUDA_MAJORS:
        for name in (f"{flavour}-cu{major}", f"{flavour}-cu{major}-bindings"):
            with suppress(importlib.metadata.PackageNotFoundError):
                if importlib.metadata.version(name) == version:
                    found.add(str(major))
    return found.pop() if len(found) == 1 else ""
