"""Restore SDK: face image restoration (inpainting) with a small two-stage model.

    from restore_sdk import RestoreEngine

    with RestoreEngine() as engine:
        restored = engine(image, mask)  # white in the mask is what to repaint

The names below load on first use, so that importing the package costs next to nothing and touches no device.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restore_sdk._util.clock import Timings as Timings
    from restore_sdk.bundle import Bundle as Bundle
    from restore_sdk.engine import Restoration as Restoration
    from restore_sdk.engine import RestoreEngine as RestoreEngine
    from restore_sdk.errors import RestoreError as RestoreError
    from restore_sdk.tiling.faces import FaceDetector as FaceDetector

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "restore_sdk.bundle",
    "FaceDetector": "restore_sdk.tiling.faces",
    "RestoreEngine": "restore_sdk.engine",
    "RestoreError": "restore_sdk.errors",
    "Restoration": "restore_sdk.engine",
    "Timings": "restore_sdk._util.clock",
}

__all__ = ["Bundle", "FaceDetector", "Restoration", "RestoreEngine", "RestoreError", "Timings", "__version__"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
