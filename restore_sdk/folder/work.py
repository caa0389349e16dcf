"""One photograph: files in, the encoded result out; nothing is written, so it can happen in any thread or process."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk.engine import Restoration, RestoreEngine
from restore_sdk.errors import ExecutionError, MaskError, PhotoMemoryError, RestoreError, ShapeError
from restore_sdk.files import MAX_PIXELS, check_form, read_mask
from restore_sdk.files.masks import LOSSY_GROWTH, LOSSY_TOLERANCE, mask_of_alpha, mask_of_color
from restore_sdk.files.photo import Encoded, Photo, open_photo
from restore_sdk.folder.jobs import Job
from restore_sdk.tiling.faces import FaceDetector
from restore_sdk.tiling.plan import MAX_CROPS

_LOG = logging.getLogger("restore_sdk")


@dataclass(frozen=True, slots=True)
class Settings:
    """How photographs are restored; picklable.

    Attributes:
        max_pixels: largest photograph and mask.
        mask_color: red, green and blue of what is to be repainted, where no mask says it.
        mask_tolerance: largest distance from that colour; ``None``: 0, or :data:`LOSSY_TOLERANCE` after a lossy file.
        mask_alpha: what is transparent is to be repainted; the result is opaque.
        dilate, feather, max_crops: see :meth:`restore_sdk.engine.RestoreEngine.restore`.
        faces: boxes of one photograph's faces.
        face_detector: path of the model that finds faces; see :func:`face_detector`.
        quality: of JPEG and WebP outputs, see :meth:`restore_sdk.files.photo.Photo.encode`.
        format: extension of all outputs, such as ``".png"``; ``None``: that of each photograph.
    """

    max_pixels: int = MAX_PIXELS
    mask_color: tuple[int, int, int] | None = None
    mask_tolerance: int | None = None
    mask_alpha: bool = False
    dilate: int = 0
    feather: int = 0
    max_crops: int = MAX_CROPS
    faces: tuple[tuple[float, ...], ...] | None = None
    face_detector: str | None = None
    quality: int | None = None
    format: str | None = None

    def look(self) -> dict[str, Any]:
        """Those that decide how a result looks and are not as usual, of JSON types.

        With others, a photograph of a folder is restored again. Of a face detector its file's hash counts, not its
        name. Raises :class:`restore_sdk.errors.FaceModelError`.
        """
        usual = asdict(Settings())
        look = {name: value for name, value in asdict(self).items() if name != "max_pixels" and value != usual[name]}
        if self.face_detector is not None:
            look["face_detector"] = face_detector(self.face_detector).sha256
        return look


@dataclass(frozen=True, slots=True)
class Loaded:
    """A photograph and what is to be repainted in it: ``mask`` is ``(H, W)``, bool or ``uint8``."""

    photo: Photo
    mask: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored photograph, as pixels and as a file."""

    result: Restoration
    file: Encoded


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


def load(job: Job, settings: Settings) -> Loaded:
    """Read a photograph and its mask, and check all that can be checked before the model runs.

    Raises:
        InputError: they cannot be used. NothingMarkedError: nothing is to be restored.
        OutputError: the output's format cannot keep what the photograph has.
    """
    photo = open_photo(job.photo, settings.max_pixels)
    mask = _mask_of(job, photo, settings)
    height, width = photo.pixels.shape[:2]
    if photo.header.orientation >= 5 and height != width and mask.shape == (width, height):
        raise ShapeError(
            f"the mask {job.mask} fits the photo as it is stored, not as it is shown, turned by a quarter",
            "make the mask on the upright photograph",
        )
    check_form(job.output, photo.pixels[..., :3] if settings.mask_alpha else photo.pixels)
    return Loaded(photo, mask)


def restore(engine: RestoreEngine, loaded: Loaded, output: Path, settings: Settings) -> Restored:
    """Restore a photograph and encode it in the format of ``output``; raises as the engine and the encoder do."""
    photo = loaded.photo
    result = engine.run(
        photo.eight,
        loaded.mask,
        color="bgr",
        faces=settings.faces if settings.face_detector is None else face_detector(settings.face_detector),
        dilate=settings.dilate,
        feather=settings.feather,
        max_crops=settings.max_crops,
    )
    pixels = photo.with_restored(result.image)
    if settings.mask_alpha:  # what was erased is there again
        pixels = pixels[..., :3]
    return Restored(result, photo.encode(output, pixels, settings.quality))


@functools.lru_cache(maxsize=1)
def face_detector(path: str) -> FaceDetector:
    """The detector of a model file, opened once a process; raises :class:`restore_sdk.errors.FaceModelError`."""
    return FaceDetector(path)


def restore_job(engine: RestoreEngine, job: Job, settings: Settings) -> Done | Failure:
    """Restore one photograph of a folder; what goes wrong with it is told, not raised."""
    started, stamp = time.perf_counter(), job.stamp()
    try:
        restored = restore(engine, load(job, settings), job.output, settings)
    except RestoreError as error:
        return failure(error)
    except MemoryError:
        return Failure("MemoryError", "out of memory", "use fewer --workers, or scale the photo down")
    except Exception as error:  # a fault of ours on one photograph is no reason to leave out the others
        _LOG.exception("restoring %r failed", job.name)
        return Failure(type(error).__name__, f"{type(error).__name__}: {error}", "please report this")
    file, result = restored.file, restored.result
    facts = {
        "width": result.image.shape[1],
        "height": result.image.shape[0],
        "lossless": file.lossless,
        "quality": file.quality,
        "notes": list(file.notes),
        "model_ms": round(result.timings.edge_ms + result.timings.repair_ms, 1),
        "total_ms": round(1e3 * (time.perf_counter() - started), 1),
    }
    return Done(file.data, stamp, facts)


def failure(error: RestoreError) -> Failure:
    """An error as an answer."""
    unmarked = isinstance(error, NothingMarkedError)
    # A photograph that is too large for this host says nothing about the others.
    runtime = isinstance(error, ExecutionError) and not isinstance(error, PhotoMemoryError)
    return Failure(type(error).__name__, error.message, error.hint, unmarked, runtime)


def _mask_of(job: Job, photo: Photo, settings: Settings) -> NDArray[Any]:
    mask: NDArray[Any]
    if job.mask is not None:
        mask, found = _read_mask_now(job.mask, settings), f"the mask {job.mask} is all black"
        hint = "white is what to repaint"
    elif settings.mask_color is not None:
        lossy = photo.header.lossy
        tolerance = settings.mask_tolerance
        if tolerance is None:
            tolerance = LOSSY_TOLERANCE if lossy else 0
        growth = LOSSY_GROWTH if lossy else 0
        mask = mask_of_color(photo.eight, settings.mask_color, tolerance=tolerance, growth=growth, color="bgr")
        found, hint = f"nothing in the photo {job.photo} has the mask's colour", "see --mask-tolerance"
    elif settings.mask_alpha:
        mask, found = mask_of_alpha(photo.eight), f"nothing in the photo {job.photo} is transparent"
        hint = "erase the damage to transparency"
    else:
        raise MaskError("nothing says what is to be restored", "pass a mask, a colour, or take the transparency")
    if not mask.any():
        raise NothingMarkedError(f"{found}, so nothing is to be restored", hint)
    return mask


def _read_mask_now(path: Path, settings: Settings) -> NDArray[np.uint8]:
    version = None
    with suppress(OSError, ValueError):  # told when it is read
        found = path.stat()
        version = found.st_mtime_ns, found.st_size
    return _read_mask(path, settings.max_pixels, version)


@functools.lru_cache(maxsize=1)
def _read_mask(path: Path, max_pixels: int, _: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The mask of the file as it is now; one mask for all photographs is decoded once."""
    mask = read_mask(path, max_pixels)
    mask.flags.writeable = False
    return mask
