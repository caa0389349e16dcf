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
    from restore_sdk.bundle import Bundle as Bundle
    from restore_sdk.cluster import RestoreBatches as RestoreBatches
    from restore_sdk.engine import Restoration as Restoration
    from restore_sdk.engine import RestoreEngine as RestoreEngine
    from restore_sdk.engine import Timings as Timings
    from restore_sdk.errors import RestoreError as RestoreError
    from restore_sdk.files import open_photo as open_photo
    from restore_sdk.files import read_mask as read_mask
    from restore_sdk.files import read_photo as read_photo
    from restore_sdk.files import write_file as write_file
    from restore_sdk.files import write_image as write_image
    from restore_sdk.imaging.quality import psnr as psnr
    from restore_sdk.runtime import Runtime as Runtime
    from restore_sdk.runtime.triton import TritonRunner as TritonRunner
    from restore_sdk.tiling.request import ImageLike as ImageLike
    from restore_sdk.tiling.request import MaskLike as MaskLike
    from restore_sdk.tiling.request import RestoreOptions as RestoreOptions

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "bundle",
    "ImageLike": "tiling.request",
    "MaskLike": "tiling.request",
    "Restoration": "engine",
    "RestoreBatches": "cluster",
    "RestoreEngine": "engine",
    "RestoreError": "errors",
    "RestoreOptions": "tiling.request",
    "Runtime": "runtime",
    "Timings": "engine",
    "TritonRunner": "runtime.triton",
    "open_photo": "files",
    "psnr": "imaging.quality",
    "read_mask": "files",
    "read_photo": "files",
    "write_file": "files",
    "write_image": "files",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
