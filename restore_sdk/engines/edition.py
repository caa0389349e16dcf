"""The editions of TensorRT: which is installed, what it can build. All else takes its module as an argument."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args

from restore_sdk._util.terminal import install_command
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.errors import DeviceError, InputError, MissingDependencyError

#: ``tensorrt``: data-centre GPUs and Jetson, built where it runs. ``tensorrt_rtx``: consumer GPUs, built anywhere.
Edition = Literal["tensorrt", "tensorrt_rtx"]

#: In order of preference.
EDITIONS: tuple[Edition, ...] = get_args(Edition)

#: The extra that brings each edition.
EXTRAS: dict[Edition, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}

#: The oldest version whose interface this SDK was checked against.
OLDEST: dict[Edition, tuple[int, int]] = {"tensorrt": (10, 13), "tensorrt_rtx": (1, 7)}

_CUDA_MAJORS = range(11, 20)


def host_platform() -> str:
    """Operating system and processor, such as ``linux-x86_64``: engines hold host code."""
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return f"{sys.platform}-{machine}"


@dataclass(frozen=True, slots=True)
class TensorRT:
    """An imported TensorRT: its Python module, its edition, its version in full, the major version of its CUDA.

    ``cuda`` is as in ``"13"``, and empty where that cannot be told: JetPack and NVIDIA's archives do not say.
    """

    module: Any
    edition: Edition
    version: str
    cuda: str = ""

    @property
    def label(self) -> str:
        """Name and version for messages."""
        return f"{'TensorRT' if self.edition == 'tensorrt' else 'TensorRT for RTX'} {self.version}"

    @property
    def ahead_of_time(self) -> tuple[str, ...]:
        """Compute capabilities that it builds for on any host, ascending; empty when it builds only on the GPU."""
        kinds = getattr(self.module, "ComputeCapability", None)
        if self.edition != "tensorrt_rtx" or kinds is None:
            return ()
        numbers = [int(name[2:]) for name in kinds.__members__ if re.fullmatch(r"SM\d+", name)]
        return tuple(f"{number // 10}.{number % 10}" for number in sorted(numbers))


def load(edition: Edition | None = None) -> TensorRT:
    """Import an edition, or for ``None`` the first that is installed.

    Raises :class:`MissingDependencyError` where it is not installed, does not load, or is too old.
    """
    if edition is None:
        edition = next((name for name in EDITIONS if importlib.util.find_spec(name) is not None), None)
    if edition is None:
        raise MissingDependencyError(
            "no TensorRT is installed",
            f"data-centre GPUs and Jetson: {install_command('tensorrt')}; consumer GPUs: {install_command('rtx')}",
        )
    if edition not in EDITIONS:
        raise InputError(f"there is no TensorRT edition {edition!r}", f"choose one of {', '.join(EDITIONS)}")
    try:
        module = importlib.import_module(edition)
        version = str(module.__version__)
        # Half an installation (bindings without libraries) imports as an empty namespace.
        numbers = tuple(int(part) for part in version.split(".")[:2])
    except (ImportError, OSError, AttributeError, RuntimeError, ValueError) as error:
        raise MissingDependencyError(f"{edition} does not load: {error}", install_command(EXTRAS[edition])) from error
    if numbers < OLDEST[edition]:
        oldest = ".".join(map(str, OLDEST[edition]))
        raise MissingDependencyError(f"{edition} {version} is older than {oldest}", install_command(EXTRAS[edition]))
    return TensorRT(module, edition, version, _cuda_major(edition, version))


def require_driver(trt: TensorRT, gpu: DeviceFacts) -> None:
    """Raise :class:`DeviceError` where the driver is too old for a TensorRT, of which some would end the process."""
    newest = gpu.cuda.partition(".")[0]
    if trt.cuda and int(newest) < int(trt.cuda):
        package = f"{trt.edition.replace('_', '-')}-cu{newest}"
        raise DeviceError(
            f"{trt.label} is for CUDA {trt.cuda}, the driver of {gpu.name} serves CUDA up to {gpu.cuda}",
            f"update the driver, or take the TensorRT of its CUDA: pip install {package}",
        )


def _cuda_major(edition: Edition, version: str) -> str:
    """By the package that it was installed from, which has the version of the module that was imported."""
    import importlib.metadata  # takes 20 ms, and no command needs it before it has anything to do

    found = set()
    for major in _CUDA_MAJORS:
        for name in (f"{edition}-cu{major}", f"{edition}-cu{major}-bindings"):
            with suppress(importlib.metadata.PackageNotFoundError):
                if importlib.metadata.version(name) == version:
                    found.add(str(major))
    return found.pop() if len(found) == 1 else ""
