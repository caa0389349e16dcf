"""One photograph of a folder: files in, the encoded result out; nothing is written, so it can happen anywhere."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ExecutionError, MaskError, RestoreError
from restore_sdk.files import MAX_PIXELS, check_alpha, encode_image, read_mask, read_photo
from restore_sdk.folder.jobs import Job
from restore_sdk.plan import MAX_CROPS

_LOG = logging.getLogger("restore_sdk")


@dataclass(frozen=True, slots=True)
class Settings:
    """How photographs of a folder are restored; picklable.

    Attributes:
        max_pixels: largest photograph and mask.
        dilate, feather, max_crops: see :meth:`restore_sdk.engine.RestoreEngine.restore`.
    """

    max_pixels: int = MAX_PIXELS
    dilate: int = 0
    feather: int = 0
    max_crops: int = MAX_CROPS

    def look(self) -> dict[str, Any]:
        """Those that decide how a result looks, of JSON types: with others, a photograph is restored again."""
        return {name: value for name, value in asdict(self).items() if name != "max_pixels"}


@dataclass(frozen=True, slots=True)
class Done:
    """An encoded result.

    Attributes:
        data: the file's bytes.
        stamp: the job's stamp before its files were read.
        facts: for the log, of JSON types.
    """

    data: bytes
    stamp: list[int]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a photograph was not restored.

    Attributes:
        type: the exception's name.
        message, hint: what is wrong, and what to do.
        unmarked: nothing in the photograph is marked as damage.
        runtime: the runtime failed, not the photograph.
    """

    type: str
    message: str
    hint: str = ""
    unmarked: bool = False
    runtime: bool = False


class NothingMarkedError(MaskError):
    """The mask is empty: nothing is to be restored."""


def restore_job(engine: RestoreEngine, job: Job, settings: Settings) -> Done | Failure:
    """Restore one photograph; what goes wrong with it is told, not raised."""
    started, stamp = time.perf_counter(), job.stamp()
    try:
        photo, mask = read_photo(job.photo, settings.max_pixels), _mask(job, settings)
        check_alpha(job.output, photo)
        border = {"dilate": settings.dilate, "feather": settings.feather}
        result = engine.run(photo, mask, color="bgr", max_crops=settings.max_crops, **border)
        data = encode_image(job.output, result.image)
    except RestoreError as error:
        return failure(error)
    except MemoryError:
        return Failure("MemoryError", "out of memory", "use fewer --workers, or scale the photo down")
    except Exception as error:  # a fault of ours on one photograph is no reason to leave out the others
        _LOG.exception("restoring %r failed", job.name)
        return Failure(type(error).__name__, f"{type(error).__name__}: {error}", "please report this")
    facts = {
        "width": photo.shape[1],
        "height": photo.shape[0],
        "model_ms": round(result.timings.edge_ms + result.timings.repair_ms, 1),
        "total_ms": round(1e3 * (time.perf_counter() - started), 1),
    }
    return Done(data, stamp, facts)


def failure(error: RestoreError) -> Failure:
    """An error as an answer."""
    unmarked, runtime = isinstance(error, NothingMarkedError), isinstance(error, ExecutionError)
    return Failure(type(error).__name__, error.message, error.hint, unmarked, runtime)


def _mask(job: Job, settings: Settings) -> NDArray[np.uint8]:
    assert job.mask is not None
    found = job.mask.stat() if job.mask.is_file() else None
    mask = _read_mask(job.mask, settings.max_pixels, None if found is None else (found.st_mtime_ns, found.st_size))
    if not mask.any():
        raise NothingMarkedError(
            f"the mask {job.mask} is all black, so nothing is to be restored", "white is what to repaint"
        )
    return mask


@functools.lru_cache(maxsize=1)
def _read_mask(path: Path, max_pixels: int, _: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The mask of the file as it is now; one mask for all photographs is decoded once."""
    mask = read_mask(path, max_pixels)
    mask.flags.writeable = False
    return mask
