"""How far grain and detail inside what was restored are those outside, without and with their transfer.

Blots are drawn on photographs, which get film grain first: none, and white noise of ``GRAIN`` levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import ROOT
from benchmarks.report import table
from restore_sdk import RestoreEngine
from restore_sdk.errors import InputError
from restore_sdk.files import read_photo
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.imaging.quality import psnr
from restore_sdk.measure.timing import Progress
from restore_sdk.runtime.base import U8
from training.measures import RealismCounts

#: The photograph of the checkout that is larger than the model's size.
PHOTO = ROOT / "docs" / "images" / "astronaut.jpg"

#: Thickness of the blots, in pixels.
THICKNESSES = (48, 100, 200, 400, 800)

#: Root mean square of the grain that is added, in levels, the same in all channels.
GRAIN = 8

#: What is measured; each without and with.
FIGURES = ("noise", "detail", "swd", "psnr_db")


def measure(
    engine: RestoreEngine, photos: Sequence[U8], progress: Progress = lambda line: None
) -> list[dict[str, Any]]:
    """One row a photograph, grain and thickness that leaves most of it.

    ``noise``: high-passed deviation of flat parts inside, in that of flat parts around it. ``detail`` and ``swd``: see
    :class:`training.measures.RealismCounts`. ``psnr_db`` in the blot.
    """
    rows = []
    for number, clean in enumerate(photos):
        for grain in (0, GRAIN):
            rng = np.random.default_rng(number)
            photo = np.clip(np.rint(clean + rng.normal(0, grain, (*clean.shape[:2], 1))), 0, 255).astype(np.uint8)
            for thickness in THICKNESSES:
                if thickness > 0.4 * min(photo.shape[:2]):
                    continue
                progress(f"photograph {number + 1} of {len(photos)}, grain {grain}, {thickness} px")
                mask = damage(photo.shape[:2], thickness, np.random.default_rng((thickness, number)))
                x, y, width, height = cv2.boundingRect(mask)
                around = np.s_[max(0, y - height) : y + 2 * height, max(0, x - width) : x + 2 * width]
                row: dict[str, Any] = {"photo": number, "grain": grain, "px": thickness}
                for how in ("none", "match"):
                    picture = engine.run(photo, mask, detail=how).image  # type: ignore[arg-type]
                    for name, figure in _compared(picture[around], photo[around], mask[around] > 0).items():
                        row.setdefault(name, []).append(round(figure, 3))
                rows.append(row)
    return rows


def photographs(folder: Path | None) -> list[U8]:
    """RGB photographs larger than the model's size: the folder's, without what else is in it, or the checkout's one.

    Raises:
        InputError: none is there, or no folder.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "pass a folder of photographs")
    found = []
    for path in [PHOTO] if folder is None else sorted(folder.iterdir()):
        try:
            photo = read_photo(path)
        except InputError:
            continue
        if photo.ndim == 3 and min(photo.shape[:2]) > MODEL_SIZE:
            found.append(np.ascontiguousarray(photo[..., 2::-1]))
    if not found:
        raise InputError(f"no colour photographs of more than {MODEL_SIZE} px in {folder}", "pass another folder")
    return found


def damage(shape: tuple[int, int], thickness: int, rng: np.random.Generator) -> U8:
    """A mask ``(H, W)``, white where damaged: an uneven blot near the middle."""
    height, width = shape
    mask = np.zeros(shape, np.uint8)
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radii = np.ones(120)
    for waves in range(2, 7):
        radii += 0.3 * rng.normal() / waves * np.cos(waves * angles + rng.uniform(0, 2 * np.pi))
    radii *= thickness / 2 / np.median(radii)
    middle = rng.uniform(0.3, 0.7, 2) * (width, height)
    outline = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(mask, [outline.astype(np.int32)], 255)
    return mask


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: means over the photographs, without and with."""
    body = []
    for grain, thickness in sorted({(row["grain"], row["px"]) for row in rows}):
        these = [row for row in rows if (row["grain"], row["px"]) == (grain, thickness)]
        means = (np.nanmean([row[figure] for row in these], axis=0) for figure in FIGURES)
        body.append([str(grain), str(thickness), *(f"{mean[0]:.2f} / {mean[1]:.2f}" for mean in means)])
    return "\n".join(table(["grain", "px", *FIGURES], body))


def _compared(picture: U8, photo: U8, masked: Any) -> dict[str, float]:
    counts = RealismCounts()
    counts.add(picture, photo, masked)
    noise = _noise(picture, masked) / max(_noise(photo, ~masked), 0.1)
    return {"noise": noise, **counts.to_json(), "psnr_db": psnr(photo[masked], picture[masked])}


def _noise(picture: U8, where: Any) -> float:
    """Deviation of a quiet part: the lower quartile of windows of 16 x 16 px."""
    grey = picture.astype(np.float32).mean(axis=2)
    power = cv2.blur(np.square(grey - cv2.GaussianBlur(grey, (0, 0), 2)), (16, 16))
    inside = cv2.erode(where.astype(np.uint8), np.ones((17, 17)), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    return float(np.sqrt(np.percentile(power[inside], 25))) if inside.any() else np.nan
