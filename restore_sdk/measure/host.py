"""Facts of the machine and the versions at work: what a measured time depends on, and what two of them must share."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from restore_sdk import __version__
from restore_sdk.runtime.cores import usable_cores

#: What sets the pace of a network on a CPU, by the names of Linux's flags.
_SIMD = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm", "sve")

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "onnxruntime",
    "openvino",
    "torch",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "pycuda",
)

#: The facts that make it the same machine.
MACHINE = ("system", "processor", "cores", "simd")


def facts() -> dict[str, Any]:
    """The machine (the keys of :data:`MACHINE`, ``memory_gb``), its ``load``, and the versions; JSON types.

    ``cores`` are those that this process may use, ``load`` the processes that wanted one over the last minute.
    """
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "simd": _simd(),
        "memory_gb": _memory_gb(),
        "load": round(os.getloadavg()[0], 2) if sys.platform != "win32" else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "restore_sdk": __version__,
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


def other_machine(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """How two sets of facts show different machines, in words; ``None`` where it is the same."""
    differ = [f"{key} {theirs.get(key)} there, {ours[key]} here" for key in MACHINE if theirs.get(key) != ours[key]]
    return "; ".join(differ) or None


def resident_mb() -> float | None:
    """Memory of this process that is in RAM now, in MB; ``None`` where the system does not tell."""
    return _status_mb("VmRSS")


def peak_mb() -> float | None:
    """The most that :func:`resident_mb` has been."""
    # not ru_maxrss: that of a child starts at its parent's
    return _status_mb("VmHWM")


def _status_mb(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1.024 / 1000 for line in lines if line.startswith(field)), None)


def _cpuinfo() -> dict[str, str]:
    """The first core of ``/proc/cpuinfo``."""
    try:
        text = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def _processor() -> str:
    info = _cpuinfo()
    name = info.get("model name") or platform.processor() or platform.machine()
    # virtual machines often give a name without a generation
    return f"{name} (family {info['cpu family']}, model {info['model']})" if "cpu family" in info else name


def _simd() -> list[str]:
    info = _cpuinfo()
    flags = (info.get("flags") or info.get("Features") or "").split()
    return [name for name in _SIMD if name in flags]


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
