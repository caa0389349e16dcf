"""How far grain and detail inside what was restored are those outside, without and with their transfer.

Blots are drawn on photographs, which get film grain first: none, and white noise of ``GRAIN`` levels.
"""

from __future__ import annotations

import time
import tracemalloc
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

#: The photograph of the checkout that is larger than the model's size.
PHOTO = ROOT / "docs" / "images" / "astronaut.jpg"

#: Thickness of the blots, in pixels.
THICKNESSES = (48, 100, 200, 400, 800)

#: Root mean square of the grain that is added, in levels, the same in all channels.
GRAIN = 8

#: What is measured; each without and with.
FIGURES = ("noise", "detail", "swd", "psnr_db", "seconds", "mb")


def measure(
    engine: RestoreEngine, photos: Sequence[U8], sheets: Path | None = None, progress: Progress = lambda line: None
) -> list[dict[str, Any]]:
    """One row a photograph, grain and thickness that leaves most of it.

    ``noise``: high-passed deviation of flat parts inside, in that of flat parts around it. ``detail``: what is finer
    than the model's scale, in that of the original. ``swd``: sliced Wasserstein distance of high-passed 7 x 7 patches
    to the original's, in levels. ``psnr_db`` in the blot. ``mb``: most that Python's allocators held.

    Args:
        sheets: a folder for pictures at 100%: without, with, and the original.
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
                row: dict[str, Any] = {"photo": number, "grain": grain, "px": thickness}
                x, y, width, height = cv2.boundingRect(mask)
                around = np.s_[max(0, y - height) : y + 2 * height, max(0, x - width) : x + 2 * width]
                shown = [_timed(engine, photo, mask, how, row) for how in ("none", "match")]
                for picture in shown:
                    _compare(picture[around], photo[around], mask[around] > 0, row)
                rows.append(row)
                if sheets is not None:
                    part = np.s_[max(0, y - 60) : y + height + 60, max(0, x - 60) : x + width + 60]
                    sheet = np.hstack([picture[part] for picture in (*shown, photo)])[..., ::-1]
                    cv2.imwrite(str(sheets / f"{number}_{grain}_{thickness}.png"), sheet)
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


def _timed(engine: RestoreEngine, photo: U8, mask: U8, how: Any, row: dict[str, Any]) -> U8:
    tracemalloc.start()
    started = time.perf_counter()
    picture = engine.run(photo, mask, detail=how).image
    row.setdefault("seconds", []).append(round(time.perf_counter() - started, 3))
    row.setdefault("mb", []).append(round(tracemalloc.get_traced_memory()[1] / 1e6, 1))
    tracemalloc.stop()
    return picture


def _compare(picture: U8, photo: U8, masked: Any, row: dict[str, Any]) -> None:
    scale = max(2.0, row["px"] / 64)
    figures = {
        "noise": _noise(picture, masked) / max(_noise(photo, ~masked), 0.1),
        "detail": _detail(picture, masked, scale) / max(_detail(photo, masked, scale), 0.1),
        "swd": float(np.abs(_patches(picture, masked) - _patches(photo, masked)).mean()),
        "psnr_db": psnr(photo[masked], picture[masked]),
    }
    for name, figure in figures.items():
        row.setdefault(name, []).append(round(float(figure), 3))


def _high_passed(picture: U8) -> Any:
    values = picture.astype(np.float32)
    return values - cv2.GaussianBlur(values, (0, 0), 2)


def _noise(picture: U8, where: Any) -> float:
    """Deviation of a quiet part: the lower quartile of windows of 16 x 16 px."""
    power = cv2.blur(np.square(_high_passed(picture).mean(axis=2)), (16, 16))
    inside = cv2.erode(where.astype(np.uint8), np.ones((17, 17)), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    return float(np.sqrt(np.percentile(power[inside], 25))) if inside.any() else np.nan


def _detail(picture: U8, where: Any, scale: float) -> float:
    values = picture.astype(np.float32)
    size = [max(1, round(length / scale)) for length in picture.shape[1::-1]]
    low = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    fine = values - cv2.resize(low, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return float(np.sqrt(np.square(fine[where]).mean()))


def _patches(picture: U8, where: Any) -> Any:
    """High-passed patches on 32 lines, sorted along each."""
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(cv2.erode(where.astype(np.uint8), np.ones((7, 7))))
    drawn, reach = rng.integers(0, len(rows), 2000), np.arange(-3, 4)
    ys = np.clip(rows[drawn][:, None, None] + reach[:, None], 0, len(picture) - 1)
    xs = np.clip(columns[drawn][:, None, None] + reach, 0, picture.shape[1] - 1)
    lines = rng.normal(size=(147, 32))
    return np.sort(_high_passed(picture)[ys, xs].reshape(2000, -1) @ (lines / np.linalg.norm(lines, axis=0)), axis=0)
