"""Damage the example portrait as decades in a drawer would: a worn fold, a tear, a lost corner, scratches and spots.

    python examples/make_damage.py [--seed 8] [--out FOLDER]

Reads portrait.png beside this file; writes portrait_damaged.png and portrait_mask.png (white is damage). One seed
always gives the same pictures. Needs numpy and OpenCV only.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
SEED = 8

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

#: Colours (BGR) of what shows where the picture is gone.
PAPER = (222, 232, 238)
STAIN = (58, 96, 128)


def fold(damage: Pixels, rng: Rng, top: tuple[float, float], bottom: tuple[float, float]) -> None:
    """A worn fold between two points, given as parts of the picture's side: the emulsion flaked off along it."""
    size = damage.shape[0]
    for at in np.linspace(0.0, 1.0, size):
        centre = np.array(top) * (1 - at) + np.array(bottom) * at
        x, y = centre * size + rng.normal(0, 0.7, 2)
        cv2.circle(damage, (round(x), round(y)), int(rng.choice([1, 1, 2, 2, 3])), 255, -1)
        if rng.random() < 0.05:  # a flake beside the fold
            flake(damage, rng, (x + rng.normal(0, 5), y), rng.uniform(3, 6))


def flake(damage: Pixels, rng: Rng, centre: tuple[float, float], radius: float) -> None:
    """A chip of emulsion with a ragged outline."""
    angles = (np.arange(14) + rng.uniform(-0.3, 0.3, 14)) * 2 * np.pi / 14
    reach = radius * rng.uniform(0.75, 1.2, 14)
    outline = np.array(centre) + reach[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    cv2.fillPoly(damage, [np.round(outline).astype(np.int32)], 255)


def tear(damage: Pixels, rng: Rng, start: tuple[float, float], end: tuple[float, float], width: float) -> None:
    """A tear that opens at the border and runs out in the picture."""
    size = damage.shape[0]
    steps = 24
    drift = np.cumsum(rng.normal(0, 0.006, steps))
    drift -= np.linspace(0, drift[-1], steps)
    along = np.linspace(0, 1, steps)
    direction = np.array(end) - np.array(start)
    across = np.array([-direction[1], direction[0]]) / np.hypot(*direction)
    middle = np.array(start) + along[:, None] * direction + drift[:, None] * across
    opening = width * (1 - along) ** 0.8 / 2 + 0.004
    left = middle + (opening * rng.uniform(0.7, 1.3, steps))[:, None] * across
    right = middle - (opening * rng.uniform(0.7, 1.3, steps))[:, None] * across
    outline = np.concatenate((left, right[::-1])) * size
    cv2.fillPoly(damage, [np.round(outline).astype(np.int32)], 255)


def scratch(damage: Pixels, rng: Rng, start: tuple[float, float], end: tuple[float, float], width: int) -> None:
    """A long thin scratch, slightly bowed, skipping here and there."""
    size = damage.shape[0]
    bow = rng.normal(0, 0.02, 2)
    along = np.linspace(0, 1, 40)[:, None]
    points = np.array(start) * (1 - along) + np.array(end) * along + np.sin(np.pi * along) * bow
    pixels = np.round(points * size).astype(int).tolist()
    for a, b in itertools.pairwise(pixels):
        if rng.random() > 0.1:
            cv2.line(damage, tuple(a), tuple(b), 255, width)


def draw(size: int, rng: Rng) -> tuple[Pixels, Pixels]:
    """What is lost to bare paper, and what is stained: two maps, 255 where damaged."""
    lost, stained = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    fold(lost, rng, (-0.02, 0.36), (1.02, 0.60))
    tear(lost, rng, (1.02, 0.05), (0.66, 0.30), 0.13)
    corner = np.array([(-0.02, 0.72), (0.07, 0.76), (0.10, 0.85), (0.21, 0.90), (0.25, 1.02), (-0.02, 1.02)])
    corner += rng.normal(0, 0.008, corner.shape)
    cv2.fillPoly(lost, [np.round(corner * size).astype(np.int32)], 255)
    flake(lost, rng, (0.42 * size, 0.535 * size), 0.075 * size)  # the wide one: cheek and the corner of the mouth
    flake(lost, rng, (0.38 * size, 0.17 * size), 0.06 * size)
    scratch(lost, rng, (0.60, 0.0), (0.50, 0.98), 2)
    scratch(lost, rng, (0.05, 0.10), (0.48, 0.52), 1)
    scratch(lost, rng, (0.72, 0.28), (0.98, 0.98), 2)
    scratch(lost, rng, (0.10, 0.62), (0.75, 0.86), 1)
    for _ in range(9):
        flake(stained, rng, tuple(rng.uniform(0.05, 0.95, 2) * size), rng.uniform(2, 5))
    flake(stained, rng, (0.83 * size, 0.62 * size), 0.055 * size)
    return lost, stained


def paint(picture: Pixels, lost: Pixels, stained: Pixels, rng: Rng) -> Pixels:
    """The picture (BGR) with bare paper and stains where the maps say so, running out softly over one pixel."""
    grain = rng.normal(0, 5, (*lost.shape, 1))
    damaged = picture.astype(np.float64)
    stain = 0.35 * damaged + 0.65 * np.array(STAIN) + grain
    for layer, where in ((stain, stained), (np.array(PAPER) + grain, lost)):
        alpha = cv2.GaussianBlur(where, (3, 3), 0)[..., None] / 255
        damaged = damaged * (1 - alpha) + layer * alpha
    return np.clip(np.round(damaged), 0, 255).astype(np.uint8)


def main() -> None:
    """Write the two pictures."""
    parser = argparse.ArgumentParser(description="Damage the example portrait.")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the damage (default {SEED})")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this file)")
    arguments = parser.parse_args()
    picture = cv2.imread(str(HERE / "portrait.png"), cv2.IMREAD_COLOR)
    if picture is None:
        parser.error(f"cannot read {HERE / 'portrait.png'}")
    rng = np.random.default_rng(arguments.seed)
    lost, stained = draw(picture.shape[0], rng)
    damaged = paint(picture, lost, stained, rng)
    # The mask reaches one pixel further than what was drawn, over the soft edge, as a careful person would paint it.
    mask = cv2.dilate(cv2.bitwise_or(lost, stained), np.ones((3, 3), np.uint8))
    for name, pixels in (("portrait_damaged.png", damaged), ("portrait_mask.png", mask)):
        if not cv2.imwrite(str(arguments.out / name), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
            parser.error(f"cannot write {arguments.out / name}")
    print(f"{np.count_nonzero(mask) / mask.size:.1%} of the picture is damaged; written to {arguments.out}")


if __name__ == "__main__":
    main()
