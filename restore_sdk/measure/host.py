"""Facts of the machine and the versions at work: what a measured time depends on."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from restore_sdk import __version__
from restore_sdk.runtime import usable_cores

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


def facts() -> dict[str, Any]:
    """The machine and the versions, of JSON types; ``cores`` are those that this process may use."""
    packages = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 2) if sys.platform != "win32" else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "restore_sdk": __version__,
        "packages": packages,
    }


def _processor() -> str:
    info = dict(re.findall(r"^(.+?)\s*: (.+)$", _read("/proc/cpuinfo").partition("\n\n")[0], re.MULTILINE))
    name = info.get("model name") or platform.processor() or platform.machine()
    # virtual machines often give a name without a generation
    return f"{name} (family {info['cpu family']}, model {info['model']})" if "cpu family" in info else name


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text()
    return ""
