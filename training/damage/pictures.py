"""Whole pictures to damage, and on them what looks like damage and is none: text, hair, wires, stripes, cloth, print
margins. They belong to the picture and stay unmarked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import find_images, sharpness_of

Array = NDArray[Any]
PAPER = np.array(
    [(236, 240, 242), (250, 250, 250), (205, 225, 238), (222, 222, 222), (190, 205, 215)], np.float32
)  # BGR


def noise(rng: np.random.Generator, size: int, cells: float, octaves: int = 1, rough: float = 0.5) -> Array:
    """Smooth noise in [0, 1], (size, size) float32: about ``cells`` bumps a side.

    Each further octave is twice as fine and ``rough`` times as strong.
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        side = max(2, min(size, int(cells * 2**octave) + 2))
        grid = rng.random((side, side), np.float32)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) * rough**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def walk(
    rng: np.random.Generator, start: Array, angle: float, length: float, step: float, wobble: float, drift: float = 0.0
) -> Array:
    """A line whose heading wanders: (points, 2) float32 in x, y."""
    count = max(3, int(length / step))
    heading = angle + np.cumsum(rng.normal(0, drift, count)) + rng.normal(0, wobble, count)
    steps = np.stack([np.cos(heading), np.sin(heading)], 1) * step * rng.uniform(0.5, 1.5, (count, 1))
    return (start + np.cumsum(steps, 0)).astype(np.float32)


def draw(canvas: Array, points: Array, width: float, value: float = 1.0) -> None:
    """Draw a line on a float map; under a pixel wide it gets fainter, not thinner."""
    fixed = np.round(points * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [fixed], False, value * min(1.0, 0.35 + 0.65 * width), max(1, round(width)), cv2.LINE_AA, 4)


def _text(rng: np.random.Generator, image: Array) -> None:
    letters = np.array(list("ABCDEFGHIKLMNOPRSTUVWabcdefghiklmnoprstuvw 0123456789.,&-"))
    font, scale = int(rng.choice((0, 2, 3, 4, 6, 7, 16))), rng.uniform(0.3, 1.6)
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.3 else np.full(3, rng.choice((0, 30, 230, 255)))
    x, y = int(rng.uniform(-20, image.shape[1] * 0.7)), int(rng.uniform(10, image.shape[0]))
    page = np.clip(image, 0, 255).astype(np.uint8)
    for row in range(rng.integers(1, 5)):
        words = "".join(rng.choice(letters, rng.integers(3, 18)))
        cv2.putText(
            page,
            words,
            (x, y + int(row * scale * 32)),
            font,
            scale,
            colour.tolist(),
            int(rng.integers(1, 3)),
            cv2.LINE_AA,
        )
    image[:] = page


def _strands(rng: np.random.Generator, image: Array) -> None:
    """Hair: many smooth lines that run beside each other, each a little off the colour beneath."""
    size = image.shape[0]
    start, angle, bend = rng.uniform(0, 1, 2) * size, rng.uniform(0, 6.3), rng.normal(0, 0.04)
    spread = rng.uniform(3, size * 0.12)
    under = image[int(start[1]) % size, int(start[0]) % size]
    for _ in range(rng.integers(25, 120)):
        heading = angle + rng.normal(0, 0.15) + np.cumsum(np.full(25, bend + rng.normal(0, 0.01)))
        points = (
            start + rng.normal(0, spread, 2) + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * size / 40, 0)
        )
        colour = np.clip(under + rng.normal(0, 25) + rng.normal(0, 5, 3), 0, 255)
        cv2.polylines(
            image, [np.round(points * 16).astype(np.int32).reshape(-1, 1, 2)], False, colour.tolist(), 1, cv2.LINE_AA, 4
        )


def _wires(rng: np.random.Generator, image: Array) -> None:
    """Straight, even and smooth: cables, railings, seams, rims of glasses, necklaces."""
    size = image.shape[0]
    angle, level = rng.uniform(0, np.pi), rng.uniform(0, 90) if rng.random() < 0.6 else rng.uniform(150, 250)
    for at in np.arange(rng.integers(1, 7)) * rng.uniform(6, 50) + rng.uniform(0, size * 0.6):
        x, y = np.array([np.cos(angle), np.sin(angle)]) * size * 1.5, np.array([-np.sin(angle), np.cos(angle)]) * at
        ends = (
            np.round((size * 0.3 + y - x) * 16).astype(int).tolist(),
            np.round((size * 0.3 + y + x) * 16).astype(int).tolist(),
        )
        cv2.line(image, ends[0], ends[1], (level, level, level), int(rng.integers(2, 6)), cv2.LINE_AA, 4)
    if rng.random() < 0.4:
        cv2.ellipse(
            image,
            rng.integers(0, size, 2).tolist(),
            rng.integers(12, size // 2, 2).tolist(),
            rng.uniform(0, 180),
            0,
            rng.uniform(90, 360),
            (level,) * 3,
            int(rng.integers(1, 4)),
            cv2.LINE_AA,
        )


def _bands(rng: np.random.Generator, image: Array) -> None:
    """Bows, collars, braid and straps: broad, smooth, bright or dark, shaded along their length, a shadow beside."""
    size = image.shape[0]
    level, width = rng.uniform(190, 255) if rng.random() < 0.7 else rng.uniform(0, 50), rng.uniform(7, 26)
    for _ in range(rng.integers(1, 4)):
        heading = np.cumsum(rng.normal(0, 0.25, 24)) + rng.uniform(0, 6.3)
        steps = np.stack([np.cos(heading), np.sin(heading)], 1) * rng.uniform(size / 60, size / 16)
        points = cv2.GaussianBlur(rng.uniform(0, size, 2) + np.cumsum(steps, 0), (1, 5), 0).astype(np.float32)
        band, shadow = np.zeros((2, *image.shape[:2]), np.float32)
        draw(band, points, width)
        draw(shadow, points + rng.normal(0, 2, 2).astype(np.float32), width + 2)
        shade = (noise(rng, size, size / width) - 0.5) * rng.uniform(0, 60)
        image *= 1 - 0.4 * cv2.GaussianBlur(shadow, (0, 0), rng.uniform(0.6, 2))[..., None]
        band = cv2.GaussianBlur(band, (0, 0), rng.uniform(0.4, 1))[..., None]
        image[:] = image * (1 - band) + (level + shade[..., None]) * band


def _emblems(rng: np.random.Generator, image: Array) -> None:
    """Rows of stars, dots or crosses on cloth that hangs in folds: flags, ties, wallpaper."""
    size, spacing = image.shape[0], rng.uniform(9, 40)
    cloth = np.zeros_like(image) + rng.uniform(10, 110, 3).astype(np.float32)
    corners = 2 * int(rng.integers(2, 6))  # a star's; of 4 a diamond
    radius, waist, turn = spacing * rng.uniform(0.2, 0.42), rng.uniform(0.3, 1), rng.uniform(0, 6.3)
    angles = np.arange(corners) * 2 * np.pi / corners + turn
    outline = np.stack([np.cos(angles), np.sin(angles)], 1) * np.where(np.arange(corners) % 2, waist, 1)[:, None]
    light = rng.uniform(170, 255, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(190, 255))
    for row, y in enumerate(np.arange(0, size, spacing * rng.uniform(0.5, 1))):
        for x in np.arange(row % 2 * spacing / 2, size, spacing):
            star = outline * radius + (x, y) + rng.normal(0, spacing * 0.03, 2)
            cv2.fillPoly(cloth, [np.round(star * 16).astype(np.int32)], light.tolist(), cv2.LINE_AA, 4)
    shift = (noise(rng, size, rng.uniform(1, 5)) - 0.5) * rng.uniform(0, 80)
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    tilt = rng.normal(0, 0.4)
    cloth = cv2.remap(
        cloth, xx + shift + tilt * yy, yy + shift * 0.5 - tilt * xx, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP
    )
    cloth *= 1 + (noise(rng, size, rng.uniform(2, 10)) - 0.6)[..., None] * rng.uniform(0, 0.9)
    where = np.clip((noise(rng, size, 2) - rng.uniform(0.4, 0.7)) * 40, 0, 1)[..., None]
    soft = rng.uniform(0, 1.2)
    if soft > 0.3:
        cloth = cv2.GaussianBlur(cloth, (0, 0), soft)
    image[:] = image * (1 - where) + np.clip(cloth, 0, 255) * where


def _cloth(rng: np.random.Generator, size: int) -> Array:
    """Stripes, checks, dots, knit, wood and leaves, warped a little: (size, size, 3) float32 in [0, 255]."""
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 40)
    warp = (noise(rng, size, 3) - 0.5) * rng.uniform(0, 60)
    u, v = xx * np.cos(angle) + yy * np.sin(angle) + warp, yy * np.cos(angle) - xx * np.sin(angle) + warp
    waves = [np.sin(a * 2 * np.pi / period) for a in (u, v)]
    style = rng.integers(6)
    if style == 0:
        field = waves[0]
    elif style == 1:
        field = np.maximum(*waves)
    elif style == 2:
        field = waves[0] * waves[1]
    elif style == 3:  # dots and small flowers
        field = (waves[0] * waves[1] + (noise(rng, size, size / period) - 0.5)) * 3
    elif style == 4:
        field = (
            cv2.resize(
                noise(rng, size, 40, 3), (size, size * int(rng.integers(4, 12))), interpolation=cv2.INTER_LINEAR
            )[:size]
            * 4
            - 2
        )
        field = field if rng.random() < 0.5 else field.T
    else:
        field = noise(rng, size, rng.uniform(4, 20), 4) * 6 - 3
    field = np.clip(field * rng.uniform(0.6, 4), -1, 1)[..., None] * rng.uniform(8, 110) / 2
    return np.clip(rng.uniform(40, 210) + field + rng.normal(0, 12, 3), 0, 255).astype(np.float32)


def _margin(rng: np.random.Generator, image: Array) -> None:
    """The print's own white or black margin, or the card it is mounted on: straight, clean, no damage."""
    size = image.shape[0]
    inside = np.zeros(image.shape[:2], np.float32)
    left, top, right, bottom = np.where(rng.random(4) < 0.5, rng.uniform(0.02, 0.2, 4), -0.5) * size
    box = cv2.boxPoints(
        (
            ((left + size - right) / 2, (top + size - bottom) / 2),
            (size - left - right, size - top - bottom),
            rng.normal(0, 1) * rng.integers(2),
        )
    )
    cv2.fillConvexPoly(inside, np.round(box * 16).astype(np.int32), 1.0, cv2.LINE_AA, 4)
    inside = cv2.GaussianBlur(inside, (0, 0), rng.uniform(0.4, 1.2))[..., None]
    colour = PAPER[rng.integers(len(PAPER))] if rng.random() < 0.75 else np.full(3, rng.uniform(0, 40))
    image[:] = image * inside + (1 - inside) * colour
    if rng.random() < 0.3:
        cv2.polylines(image, [np.round(box * 16).astype(np.int32)], True, (rng.uniform(0, 120),) * 3, 1, cv2.LINE_AA, 4)


class Pictures:
    """Whole pictures to damage: faces at many scales, several together, cloth, with what looks like damage and is none.

    ``files`` are faces of 256 x 256 pixels that have no damage, ``others`` photographs of anything, of any size.
    """

    def __init__(self, files: list[Path], others: Sequence[Path] = ()) -> None:
        self.files, self.others = files, others

    def face(self, rng: np.random.Generator) -> Array:
        image = cv2.imread(str(self.files[rng.integers(len(self.files))]), cv2.IMREAD_COLOR)
        return image if rng.random() < 0.5 else image[:, ::-1]

    def other(self, rng: np.random.Generator, size: int) -> Array:
        image = cv2.imread(str(self.others[rng.integers(len(self.others))]), cv2.IMREAD_COLOR)
        height, width = image.shape[:2]
        side = int(min(height, width) * rng.uniform(0.35, 1))
        y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        image = image[y : y + side, x : x + side]
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
        return image if rng.random() < 0.5 else image[:, ::-1]

    def __call__(self, rng: np.random.Generator, size: int, plain: bool = False) -> Array:
        """A picture (size, size, 3) BGR float32; ``plain``: a photograph and nothing drawn on it."""
        what = rng.random()
        if self.others and rng.random() < 0.4:
            image = self.other(rng, size)
        elif what < 0.12:
            count = int(rng.integers(2, 4))
            side = -(-size // count)
            rows = [
                np.hstack(
                    [cv2.resize(self.face(rng), (side, side), interpolation=cv2.INTER_AREA) for _ in range(count)]
                )
                for _ in range(count)
            ]
            image = np.vstack(rows)[:size, :size]
        elif what < 0.2 and not plain:
            image = _cloth(rng, size)
            if rng.random() < 0.4:
                image = image * 0.2 + rng.uniform(30, 220) * 0.8
        else:
            side = int(256 / np.exp(rng.uniform(0, np.log(3.2))))
            x, y = rng.integers(0, 257 - side, 2)
            image = cv2.resize(
                self.face(rng)[y : y + side, x : x + side],
                (size, size),
                interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC,
            )
        image = np.ascontiguousarray(image, np.float32)
        if not plain:
            if rng.random() < 0.1:
                where = np.clip((noise(rng, size, 3) - rng.uniform(0.3, 0.7)) * 40, 0, 1)[..., None]
                image = image * (1 - where) + _cloth(rng, size) * where
            for thing, chance in (
                (_emblems, 0.1), (_text, 0.07), (_strands, 0.05), (_wires, 0.08), (_bands, 0.05), (_margin, 0.12)
            ):  # fmt: skip
                if rng.random() < chance:
                    thing(rng, image)
        return np.clip(image, 0, 255)


def files_of(folder: Path, sharp: float = 150.0) -> list[Path]:
    """The photographs of a folder that are sharp enough (variance of the Laplacian, by its index.csv), in order.

    Raises :class:`training.data.DataError` where there are none, or the index cannot be read.
    """
    files = find_images(folder)
    return [path for path, value in zip(files, sharpness_of(folder, files), strict=True) if value >= sharp]
