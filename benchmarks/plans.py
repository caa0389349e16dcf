"""How good photographs larger than the model's size come out, by the tiles that the mask gets.

Damage of a known thickness is drawn on photographs, and restored under several plans: as usual, in one tile
(``max_crops=1``), and with tiles of more or fewer thicknesses (:data:`restore_sdk.tiling.plan.CONTEXT`). Small
faces are scratched and restored with and without their boxes; strips of faces, narrower than the tile that a
blot in them wants, with tiles that reach out of the picture more or less (:data:`restore_sdk.tiling.plan.REACH`).
Grain and detail are left out: they are the subject of :mod:`benchmarks.detail`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import ROOT
from benchmarks.report import table
from restore_sdk import RestoreEngine
from restore_sdk.engine import Restoration
from restore_sdk.errors import InputError
from restore_sdk.files import MAX_PIXELS, read_photo
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.imaging.quality import psnr
from restore_sdk.measure.timing import Progress
from restore_sdk.runtime.base import U8
from restore_sdk.tiling import plan

#: The photograph of the checkout that is larger than the model's size.
PHOTO = ROOT / "docs" / "images" / "astronaut.jpg"

#: Thicknesses of the damage, in pixels; up to 9 px it is scratches across the photograph, else a blot.
THICKNESSES = (3, 9, 24, 48, 80, 120, 160, 200, 250, 300)

#: A plan by its name: the context in thicknesses, and the most tiles.
PLANS: dict[str, tuple[float, int]] = {
    "one tile": (plan.CONTEXT, 1),
    "2 t": (2.0, plan.MAX_CROPS),
    "3 t": (3.0, plan.MAX_CROPS),
    "as usual": (plan.CONTEXT, plan.MAX_CROPS),
    "6 t": (6.0, plan.MAX_CROPS),
}

#: Sides of aligned faces in a larger photograph, in pixels, and the face's box in such a side.
FACE_SIDES = (80, 110, 150, 200, 250)
FACE_BOX = (0.24, 0.24, 0.52, 0.66)

#: Heights of strips, in pixels of a face of 256, and how thick a blot in them is, in heights.
STRIPS, STRIP_DAMAGE = (40, 64, 100, 150, 200), 0.4

#: How far tiles may reach out of a strip, in sizes of the damage; the first is as little as can be.
REACHES = {"within": plan.LEAST_CONTEXT, "4": 4.0, "as usual": plan.REACH, "16": 16.0}

#: By size, then by plan: PSNR in dB in the damage, and number of tiles, of each case.
Rows = dict[int, dict[str, list[tuple[float, int]]]]


def measure(
    engine: RestoreEngine, photos: Sequence[U8], faces: Sequence[U8], cases: int, progress: Progress = lambda line: None
) -> dict[str, Any]:
    """All rows, of JSON types: by ``thickness``, and where there are faces by ``face`` side and ``strip`` height.

    Each row has its size, the number of ``cases``, and by plan the means of ``psnr_db`` in the damage and of ``tiles``.
    """
    found = {"thickness": by_thickness(engine, photos, cases, progress=progress)}
    if faces:
        found |= {
            "face": by_face(engine, faces, progress=progress),
            "strip": by_strip(engine, faces, progress=progress),
        }
    return {
        kind: [
            {
                "px": size,
                "cases": len(next(iter(row.values()))),
                "psnr_db": {name: round(float(np.mean([db for db, _ in each])), 3) for name, each in row.items()},
                "tiles": {name: round(float(np.mean([tiles for _, tiles in each])), 2) for name, each in row.items()},
            }
            for size, row in rows.items()
        ]
        for kind, rows in found.items()
    }


def tables(found: dict[str, Any]) -> str:
    """Markdown: dB in the damage, and how many tiles it took; the best of a row is bold."""
    lines = []
    for kind, rows in found.items():
        body = []
        for row in rows:
            best = max(row["psnr_db"].values()) - 0.005
            cells = [
                f"{f'**{db:.2f}**' if db >= best else f'{db:.2f}'} ({row['tiles'][name]:.1f})"
                for name, db in row["psnr_db"].items()
            ]
            body.append([str(row["px"]), *cells])
        lines += [*table([f"{kind}, px", *rows[0]["psnr_db"]], body), ""]
    return "\n".join(lines).rstrip()


def photographs(folder: Path | None, above: int = MODEL_SIZE) -> list[U8]:
    """RGB photographs larger than ``above`` px, the model's size: the folder's, without what else is in it, or the
    checkout's one.

    Raises:
        InputError: none is there, or no folder.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "pass a folder of photographs")
    found = []
    for path in [PHOTO] if folder is None else sorted(folder.iterdir()):
        try:
            photo = read_photo(path, MAX_PIXELS)
        except InputError:
            continue
        if photo.ndim == 3 and min(photo.shape[:2]) > above:
            found.append(np.ascontiguousarray(photo[..., 2::-1]))
    if not found:
        raise InputError(f"no colour photographs of more than {above} px in {folder}", "pass another folder")
    return found


def damage(shape: tuple[int, int], thickness: int, rng: np.random.Generator) -> U8:
    """A mask ``(H, W)``, white where damaged: three scratches across, or an uneven blot near the middle."""
    height, width = shape
    mask = np.zeros(shape, np.uint8)
    if thickness <= 9:
        for _ in range(3):
            ends = rng.uniform(0, 1, 2)
            start, end = (0, int(ends[0] * height)), (width - 1, int(ends[1] * height))
            if rng.random() < 0.5:
                start, end = (int(ends[0] * width), 0), (int(ends[1] * width), height - 1)
            cv2.line(mask, start, end, 255, thickness)
        return mask
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radii = np.ones(120)
    for waves in range(2, 7):
        radii += 0.3 * rng.normal() / waves * np.cos(waves * angles + rng.uniform(0, 2 * np.pi))
    radii *= thickness / 2 / np.median(radii)
    middle = rng.uniform(0.3, 0.7, 2) * (width, height)
    outline = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(mask, [outline.astype(np.int32)], 255)
    return mask


def by_thickness(
    engine: RestoreEngine,
    photos: Sequence[U8],
    cases: int,
    thicknesses: Sequence[int] = THICKNESSES,
    progress: Progress = lambda line: None,
) -> Rows:
    """Each photograph with ``cases`` damages of each thickness that leaves most of it, under each plan."""
    rows: Rows = {}
    for thickness in thicknesses:
        for number, photo in enumerate(photos):
            if thickness > 0.6 * min(photo.shape[:2]):
                continue
            for case in range(cases):
                progress(f"{thickness} px, photograph {number + 1} of {len(photos)}, case {case + 1}")
                mask = damage(photo.shape[:2], thickness, np.random.default_rng((thickness, number, case)))
                for name, (context, most) in PLANS.items():
                    with _planned(CONTEXT=context):
                        _add(rows, thickness, name, engine.run(photo, mask, max_crops=most, detail="none"), photo, mask)
    return rows


def by_face(
    engine: RestoreEngine,
    faces: Sequence[U8],
    sides: Sequence[int] = FACE_SIDES,
    progress: Progress = lambda line: None,
) -> Rows:
    """Aligned faces, ``(H, W, 3)`` as the model was trained, scaled to each side in a larger photograph.

    Around it the photograph goes on as its borders are. A scratch of a 16th of the side crosses it.
    """
    rows: Rows = {}
    for side in sides:
        progress(f"faces of {side} px")
        for number, face in enumerate(faces):
            small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
            around = max(side, MODEL_SIZE) // 2 + 32
            photo = cv2.copyMakeBorder(small, *[around] * 4, cv2.BORDER_REPLICATE)
            mask = np.zeros(photo.shape[:2], np.uint8)
            low, high = np.random.default_rng((side, number)).uniform(0.25, 0.75, 2) * side + around
            cv2.line(mask, (around // 2, int(low)), (photo.shape[1] - around // 2, int(high)), 255, max(2, side // 16))
            x, y, width, height = (share * side for share in FACE_BOX)
            inside = np.zeros_like(mask)
            face_only = np.s_[around : around + side, around : around + side]
            inside[face_only] = mask[face_only]
            box = (around + x, around + y, width, height)
            _add(rows, side, "without boxes", engine.run(photo, mask, detail="none"), photo, inside)
            _add(rows, side, "with boxes", engine.run(photo, mask, faces=[box], detail="none"), photo, inside)
    return rows


def by_strip(
    engine: RestoreEngine,
    faces: Sequence[U8],
    heights: Sequence[int] = STRIPS,
    progress: Progress = lambda line: None,
) -> Rows:
    """A strip of each face, at 256 px, with a blot; its tile reaches out of the strip more or less."""
    rows: Rows = {}
    for height in heights:
        progress(f"strips of {height} px")
        for number, face in enumerate(faces):
            rng = np.random.default_rng((height, number))
            whole = cv2.resize(face, (MODEL_SIZE, MODEL_SIZE), interpolation=cv2.INTER_AREA)
            top = int(rng.integers(0, MODEL_SIZE - height + 1))
            photo = np.ascontiguousarray(whole[top : top + height])
            mask = damage(photo.shape[:2], max(10, round(STRIP_DAMAGE * height)), rng)
            for name, reach in REACHES.items():
                with _planned(REACH=reach):
                    _add(rows, height, name, engine.run(photo, mask, detail="none"), photo, mask)
    return rows


def _add(rows: Rows, size: int, name: str, result: Restoration, photo: U8, mask: U8) -> None:
    db = psnr(result.image[mask > 0], photo[mask > 0])
    rows.setdefault(size, {}).setdefault(name, []).append((db, len(result.crops)))


@contextmanager
def _planned(**constants: float) -> Iterator[None]:
    """Plan with other constants of :mod:`restore_sdk.tiling.plan`, which no caller of the engine can choose."""
    usual = {name: getattr(plan, name) for name in constants}
    for name, value in constants.items():
        setattr(plan, name, value)
    try:
        yield
    finally:
        for name, value in usual.items():
            setattr(plan, name, value)
