"""One photograph: files in, the encoded result out, in any thread. Nothing but a proposed mask is written."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from restore_sdk.engine import Restoration, RestoreEngine
from restore_sdk.errors import MaskError, OutOfMemoryError, OutputError, RestoreError, ShapeError
from restore_sdk.files import (
    LOSSY_GROWTH,
    LOSSY_TOLERANCE,
    MAX_PIXELS,
    Encoded,
    Photo,
    check_form,
    encode,
    mask_of_alpha,
    mask_of_color,
    open_photo,
    read_mask,
    write_file,
)
from restore_sdk.folder.pairing import NothingMaskedError, Pair, fingerprint
from restore_sdk.imaging.image import MASKED_ABOVE
from restore_sdk.tiling.damage import TOO_MUCH, Sensitivity
from restore_sdk.tiling.request import RestoreOptions

#: Settings that no result depends on: a limit, a container, an order that is fixed here, a consent, whence
#: a mask that is kept.
_NO_EFFECT = ("max_pixels", "options", "color", "force", "mask_auto")

_LOG = logging.getLogger("restore_sdk")


@dataclass(frozen=True, slots=True)
class PhotoSettings:
    """How photographs are read, restored and written.

    Attributes:
        mask_color: red, green and blue of what is to be repainted, where no mask says it.
        mask_tolerance: largest distance from that colour; ``None``: 0, or :data:`LOSSY_TOLERANCE` after a lossy file.
        mask_alpha: what is transparent is to be repainted; the result is opaque.
        mask_auto: the sensitivity at which a mask that is not there yet is proposed, and written; ``None`` for never.
        force: also restore what is damaged by more than half, as far as a proposed mask says.
        invert_mask: in mask files, black is what to repaint.
        quality: of JPEG and WebP outputs, see :meth:`restore_sdk.files.Photo.encode`.
        format: extension of all outputs, such as ``".png"``; ``None``: that of each photograph.
    """

    max_pixels: int = MAX_PIXELS
    mask_color: tuple[int, int, int] | None = None
    mask_tolerance: int | None = None
    mask_alpha: bool = False
    mask_auto: Sensitivity | None = None
    force: bool = False
    invert_mask: bool = False
    options: RestoreOptions = field(default_factory=RestoreOptions)
    quality: int | None = None
    format: str | None = None

    def identity(self) -> dict[str, Any]:
        """Those that decide how a result looks, of JSON types: with others, a photograph is restored again."""
        every = asdict(self)
        return {name: value for name, value in (every | every["options"]).items() if name not in _NO_EFFECT}


class Result(NamedTuple):
    """A restored photograph: the file's bytes, :meth:`Pair.made_from` before it was read, facts for the log."""

    data: bytes
    made_from: list[int]
    facts: dict[str, Any]


def load(pair: Pair, settings: PhotoSettings, engine: RestoreEngine) -> tuple[Photo, NDArray[Any]]:
    """Read a photograph and its mask, and check all that can be checked before the model runs.

    With ``mask_auto`` the ``engine`` proposes a mask that is not there yet, and it is written. The mask is ``(H, W)``,
    bool or ``uint8``.

    Raises:
        InputError: they cannot be used. NothingMaskedError: nothing is to be restored.
        OutputError: the output's format cannot keep what the photograph has.
    """
    photo = open_photo(pair.photo, settings.max_pixels)
    if settings.mask_auto:
        photo = _propose_mask(engine, pair, photo, settings.mask_auto)
    mask = _find_mask(pair, photo, settings)
    share = _masked_share(mask) if settings.mask_auto and not settings.force else 0.0
    if share > TOO_MUCH:
        raise MaskError(
            f"{share:.0%} of the photo is marked as damage, more than half",
            f"look at {pair.mask}, correct it and run again, or restore it nevertheless: --force",
        )
    height, width = photo.pixels.shape[:2]
    if photo.orientation >= 5 and height != width and mask.shape == (width, height):
        raise ShapeError(
            f"the mask {pair.mask} fits the photo as it is stored, not as it is shown, turned by a quarter",
            "make the mask on the upright photograph",
        )
    check_form(pair.output, photo.pixels[..., :3] if settings.mask_alpha else photo.pixels)
    return photo, mask


def restore(
    engine: RestoreEngine, photo: Photo, mask: NDArray[Any], output: Path, settings: PhotoSettings
) -> tuple[Restoration, Encoded]:
    """Restore a photograph and encode it in the format of ``output``; raises as the engine and the encoder do."""
    result = engine.run(photo.eight, mask, settings.options, color="bgr")
    pixels = photo.with_restored(result.image)
    if settings.mask_alpha:  # what was erased is there again
        pixels = pixels[..., :3]
    file = photo.encode(output, pixels, settings.quality)
    hint = ": see --invert-mask or --mask-color"
    mask_notes = (note + hint * note.startswith("the mask") for note in result.notes)
    return result, replace(file, notes=(*mask_notes, *file.notes))


def restore_pair(engine: RestoreEngine, pair: Pair, settings: PhotoSettings) -> Result | RestoreError:
    """Restore one photograph of a folder; what goes wrong with it is returned, since the others go on."""
    started, made_from = time.perf_counter(), pair.made_from()
    try:
        photo, mask = load(pair, settings, engine)
        if settings.mask_auto and pair.mask is not None:  # now there, and part of what the result is made from
            made_from = [*made_from[:2], *fingerprint(pair.mask)]
        result, file = restore(engine, photo, mask, pair.output, settings)
    except RestoreError as error:
        return error
    except MemoryError:
        return OutOfMemoryError("out of memory", "use fewer --slots, or scale the photo down", reason="photo")
    except Exception as error:
        _LOG.exception("restoring %r failed", pair.name)
        return RestoreError(f"{type(error).__name__}: {error}", "please report this")
    times = {
        "model_ms": round(result.timings.edge_ms + result.timings.repair_ms, 1),
        "total_ms": round(1e3 * (time.perf_counter() - started), 1),
    }
    return Result(file.data, made_from, {**facts_of(file, mask), **times})


def facts_of(file: Encoded, mask: NDArray[Any]) -> dict[str, Any]:
    """What is reported of a restored photograph, of JSON types."""
    return {
        "width": mask.shape[1],
        "height": mask.shape[0],
        "lossless": file.lossless,
        "quality": file.quality,
        "notes": list(file.notes),
        "masked": round(_masked_share(mask), 6),
    }


def _masked_share(mask: NDArray[Any]) -> float:
    return float(np.count_nonzero(mask if mask.dtype == bool else mask > MASKED_ABOVE)) / mask.size


def _propose_mask(engine: RestoreEngine, pair: Pair, photo: Photo, sensitivity: Sensitivity) -> Photo:
    """The photograph with a note of its mask, which is proposed and written unless one is there."""
    assert pair.mask is not None
    if pair.mask.exists():
        return photo.with_note(f"the mask {pair.mask} was there and was taken; remove it to have one proposed")
    damage = engine.find_damage(photo.eight, sensitivity=sensitivity, color="bgr")
    if not damage.share:
        hint = "mark it by hand" if sensitivity == "high" else "mark it by hand, or try --sensitivity high"
        raise NothingMaskedError(f"no damage was found in the photo {pair.photo}", hint)
    try:
        pair.mask.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {pair.mask.parent}: {error.strerror}", "choose another") from error
    write_file(pair.mask, encode(pair.mask, damage.mask).data)
    return photo.with_note(f"the mask {pair.mask} was proposed, {damage.share:.2%} of the photo: look at it")


def _find_mask(pair: Pair, photo: Photo, settings: PhotoSettings) -> NDArray[Any]:
    mask: NDArray[Any]
    if pair.mask is not None:
        mask = read_mask(pair.mask, settings.max_pixels)
        mask = 255 - mask if settings.invert_mask else mask
        problem = f"the mask {pair.mask} is all {'white' if settings.invert_mask else 'black'}"
        hint = "white is what to repaint, with --invert-mask black"
    elif settings.mask_color is not None:
        tolerance, growth = (LOSSY_TOLERANCE, LOSSY_GROWTH) if photo.lossy else (0, 0)
        if settings.mask_tolerance is not None:
            tolerance = settings.mask_tolerance
        mask = mask_of_color(photo.eight, settings.mask_color, tolerance=tolerance, growth=growth, color="bgr")
        problem, hint = f"nothing in the photo {pair.photo} has the mask's colour", "see --mask-tolerance"
    else:
        mask = mask_of_alpha(photo.eight)
        problem, hint = f"nothing in the photo {pair.photo} is transparent", "erase the damage to transparency"
    if not mask.any():
        raise NothingMaskedError(f"{problem}, so nothing is to be restored", hint)
    return mask
