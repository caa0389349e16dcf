"""Timing caches: what TensorRT measured in earlier builds on this GPU, so that the next need not measure again."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from restore_sdk._util.atomic import write_file
from restore_sdk._util.reading import read_owned
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import EngineError, OutputError

MAX_CACHE_BYTES = 256 * 1024 * 1024

_LOG = logging.getLogger("restore_sdk")


def cache_path(store: EngineStore, trt: TensorRT, gpu: DeviceFacts) -> Path:
    """One file for each device model and version: measurements of another say nothing."""
    device = re.sub(r"[^a-z0-9]+", "-", gpu.model.lower()).strip("-")
    return store.root / f"{trt.edition}-{trt.version}-sm{gpu.compute_capability.replace('.', '')}-{device}.timing"


def attach(store: EngineStore, trt: TensorRT, gpu: DeviceFacts | None, config: Any) -> Any:
    """Give ``config`` the cache of this GPU, empty where there is none yet; ``None`` where the edition has none.

    TensorRT for RTX measures nothing while it builds: its cache is a deprecated no-op.
    """
    if gpu is None or trt.edition != "tensorrt":
        return None
    path = cache_path(store, trt, gpu)
    try:
        data = read_owned(path, MAX_CACHE_BYTES)
    except FileNotFoundError:
        data = b""
    except EngineError as error:
        _LOG.warning("the timing cache is not trusted and will be replaced, the build takes longer: %s", error)
        data = b""
    for content in (data, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
        _LOG.warning("timing cache %s is of no use to %s, starting an empty one", path.name, trt.label)
    return None


def keep(store: EngineStore, trt: TensorRT, gpu: DeviceFacts | None, config: Any) -> None:
    """Write the cache back in one step; a build does not fail for want of it."""
    cache = config.get_timing_cache() if gpu is not None else None
    if gpu is None or cache is None:
        return
    path = cache_path(store, trt, gpu)
    try:
        write_file(path, bytes(memoryview(cache.serialize())))  # None where it fails
        path.chmod(0o644)
    except (OutputError, OSError, TypeError) as error:
        _LOG.warning("timing cache not kept, the next build takes as long: %s", error)
