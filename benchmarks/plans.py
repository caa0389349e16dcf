"""How good photographs larger than the model's square come out, by the plan.

Damage of a known thickness is drawn on photographs, and restored under several plans: as usual, in one square
(``max_crops=1``), and with squares of more or fewer thicknesses (:data:`restore_sdk.tiling.plan.CONTEXT`). Small
faces are scratched and restored with and without their boxes; strips of faces, narrower than the square that a
blot in them wants, with squares that reach out of the picture more or less (:data:`restore_sdk.tiling.plan.REACH`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.processes import ROOT, MeasurementError
from restore_sdk import RestoreEngine
from restore_sdk.engine import Restoration
from restore_sdk.errors import InputError
from restore_sdk.files import MAX_PIXELS, read_photo
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.imaging.quality import psnr
from restore_sdk.runtime.base import U8
from restore_sdk.tiling import plan

#: The photograph of the checkout that is larger than the model's square.
PHOTO = ROOT / "docs" / "images" / "astronaut.jpg"

#: Thicknesses of the damage, in pixels; up to 9 px it is scratches across the photograph, else a blot.
THICKNESSES = (3, 9, 24, 48, 80, 120, 160, 200, 250, 300)

#: A plan by its name: the context in thicknesses, and the most crops.
PLANS: dict[str, tuple[float, int]] = {
    "one square": (plan.CONTEXT, 1),
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

#: How far squares may reach out of a strip, in sizes of the damage; the first is as little as can be.
REACHES = {"within": plan.LEAST_CONTEXT, "4": 4.0, "as usual": plan.REACH, "16": 16.0}


@dataclass(frozen=True, slots=True)
class Row:
    """Damage of one thickness, or in faces of one side, or in strips of one height: mean PSNR in it in dB, and mean
    number of crops, by plan."""

    size: int
    cases: int
    psnr: dict[str, float]
    crops: dict[str, float]


@dataclass(frozen=True, slots=True)
class Plans:
    """All rows: by thickness in pixels; and where there are faces, by their side, and by height of strips of them."""

    thicknesses: tuple[Row, ...]
    faces: tuple[Row, ...] = ()
    strips: tuple[Row, ...] = ()
    passed: bool = True

    def to_json(self) -> dict[str, Any]:
        """Of JSON types."""
        return {
            name: [
                {f"{name}_px": row.size, "cases": row.cases, "psnr_db": row.psnr, "crops": row.crops} for row in rows
            ]
            for name, rows in (("thickness", self.thicknesses), ("face", self.faces), ("strip", self.strips))
        }

    def to_table(self) -> str:
        """Markdown: dB in the damage, and how many crops it took; the best of a row is bold."""
        lines = _table("damage, px", self.thicknesses)
        for what, rows in (("face picture, px", self.faces), ("strip, px", self.strips)):
            lines += ["", *_table(what, rows)] if rows else []
        return "\n".join(lines)


def _table(what: str, rows: Sequence[Row]) -> list[str]:
    names = list(rows[0].psnr)
    lines = [f"| {what} | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for row in rows:
        best = max(row.psnr.values()) - 0.005
        cells = []
        for name in names:
            text = f"{row.psnr[name]:.2f}"
            cells.append(f"{f'**{text}**' if row.psnr[name] >= best else text} ({row.crops[name]:.1f})")
        lines.append(f"| {row.size} | {' | '.join(cells)} |")
    return lines


def photographs(folder: Path | None, above: int = MODEL_SIZE) -> list[U8]:
    """RGB photographs larger than ``above`` px, the model's square: the folder's, without what else is in it, or the
    checkout's one.

    Raises:
        MeasurementError: none is there, or no folder.
    """
    if folder is not None and not folder.is_dir():
        raise MeasurementError(f"{folder} is not a folder")
    found = []
    for path in [PHOTO] if folder is None else sorted(folder.iterdir()):
        try:
            photo = read_photo(path, MAX_PIXELS)
        except InputError:
            continue
        if photo.ndim == 3 and min(photo.shape[:2]) > above:
            found.append(np.ascontiguousarray(photo[..., 2::-1]))
    if not found:
        raise MeasurementError(f"no colour photographs of more than {above} px in {folder}")
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
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Row, ...]:
    """Each photograph with ``cases`` damages of each thickness that leaves most of it, under each plan."""
    rows = []
    for thickness in thicknesses:
        row = _Growing(thickness, PLANS)
        for number, photo in enumerate(photos):
            if thickness > 0.6 * min(photo.shape[:2]):
                continue
            for case in range(cases):
                progress(f"{thickness} px, photograph {number + 1} of {len(photos)}, case {case + 1}")
                mask = damage(photo.shape[:2], thickness, np.random.default_rng((thickness, number, case)))
                for name, (context, most) in PLANS.items():
                    with _planned(CONTEXT=context):
                        row.add(name, engine.run(photo, mask, max_crops=most), photo, mask)
        rows += row.done()
    return tuple(rows)


def by_face(
    engine: RestoreEngine,
    faces: Sequence[U8],
    sides: Sequence[int] = FACE_SIDES,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Row, ...]:
    """Aligned faces, ``(H, W, 3)`` as the model was trained, scaled to each side in a larger photograph.

    Around it the photograph goes on as its borders are. A scratch of a 16th of the side crosses it.
    """
    rows = []
    for side in sides:
        row = _Growing(side, ("without boxes", "with boxes"))
        for number, face in enumerate(faces):
            progress(f"faces of {side} px, {number + 1} of {len(faces)}")
            small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
            around = max(side, MODEL_SIZE) // 2 + 32
            photo = cv2.copyMakeBorder(small, *[around] * 4, cv2.BORDER_REPLICATE)
            mask = np.zeros(photo.shape[:2], np.uint8)
            low, high = np.random.default_rng((side, number)).uniform(0.25, 0.75, 2) * side + around
            cv2.line(mask, (around // 2, int(low)), (photo.shape[1] - around // 2, int(high)), 255, max(2, side // 16))
            x, y, width, height = (share * side for share in FACE_BOX)
            inside = np.zeros_like(mask)
            inside[around : around + side, around : around + side] = mask[
                around : around + side, around : around + side
            ]
            row.add("without boxes", engine.run(photo, mask), photo, inside)
            row.add(
                "with boxes", engine.run(photo, mask, faces=[(around + x, around + y, width, height)]), photo, inside
            )
        rows += row.done()
    return tuple(rows)


def by_strip(
    engine: RestoreEngine,
    faces: Sequence[U8],
    heights: Sequence[int] = STRIPS,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Row, ...]:
    """A strip of each face, at 256 px, with a blot; its square reaches out of the strip more or less."""
    rows = []
    for height in heights:
        row = _Growing(height, REACHES)
        for number, face in enumerate(faces):
            progress(f"strips of {height} px, {number + 1} of {len(faces)}")
            rng = np.random.default_rng((height, number))
            whole = cv2.resize(face, (MODEL_SIZE, MODEL_SIZE), interpolation=cv2.INTER_AREA)
            top = int(rng.integers(0, MODEL_SIZE - height + 1))
            photo = np.ascontiguousarray(whole[top : top + height])
            mask = damage(photo.shape[:2], max(10, round(STRIP_DAMAGE * height)), rng)
            for name, reach in REACHES.items():
                with _planned(REACH=reach):
                    row.add(name, engine.run(photo, mask), photo, mask)
        rows += row.done()
    return tuple(rows)


class _Growing:
    """A row on its way."""

    def __init__(self, size: int, names: Iterable[str]) -> None:
        self._size = size
        self._psnr: dict[str, list[float]] = {name: [] for name in names}
        self._crops: dict[str, list[int]] = {name: [] for name in names}

    def add(self, name: str, result: Restoration, photo: U8, mask: U8) -> None:
        self._psnr[name].append(psnr(result.image[mask > 0], photo[mask > 0]))
        self._crops[name].append(len(result.crops))

    def done(self) -> list[Row]:
        """The row, or none where nothing fitted."""
        (cases,) = {len(values) for values in self._psnr.values()}
        return [Row(self._size, cases, _means(self._psnr), _means(self._crops))] if cases else []


def _means(values: dict[str, Any]) -> dict[str, float]:
    return {name: round(float(np.mean(each)), 3) for name, each in values.items()}


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
