"""Random damage: strokes, outlines, rectangles, tears, scratches, cracks, text and spots, by a target share.

Every function draws white (255) on a square black ``uint8`` canvas and takes its randomness from the generator it is
given, so one seed always makes one mask.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Rng = np.random.Generator


def strokes(canvas: Mask, rng: Rng) -> None:
    """One free-form brush stroke: a random walk with a turning angle (Yu et al., "Free-form inpainting", ICCV 2019)."""
    size = canvas.shape[0]
    width = int(np.exp(rng.uniform(np.log(4), np.log(size / 4.5))))
    point = rng.uniform(0, size, 2)
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(int(rng.integers(2, 9))):
        angle += rng.normal(0, 0.9)
        length = rng.uniform(0.06, 0.28) * size
        end = point + length * np.array([np.cos(angle), np.sin(angle)])
        _line(canvas, point, end, width)
        point = np.clip(end, 0, size - 1)


def outlines(canvas: Mask, rng: Rng) -> None:
    """The thick outline of a smooth random shape, as in masks drawn from occlusion boundaries (Liu et al., 2018)."""
    size = canvas.shape[0]
    noise = rng.normal(size=(int(rng.integers(4, 9)),) * 2).astype(np.float32)
    field = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    shape = (field > rng.normal(0, 0.3)).astype(np.uint8)
    outline = cv2.morphologyEx(shape, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(outline)
    outline = np.where(parts == rng.integers(1, max(int(parts.max()), 1) + 1), np.uint8(255), np.uint8(0))
    width = int(np.exp(rng.uniform(np.log(3), np.log(size / 6))))
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE if rng.random() < 0.5 else cv2.MORPH_RECT, (width, width))
    canvas |= cv2.dilate(outline, brush)


def rectangles(canvas: Mask, rng: Rng) -> None:
    """One upright or turned rectangle."""
    size = canvas.shape[0]
    sides = rng.uniform(0.04, 0.5, 2) * size
    turn = 0.0 if rng.random() < 0.6 else rng.uniform(0, 90)
    corners = cv2.boxPoints((tuple(rng.uniform(0, size, 2)), tuple(sides), turn))
    cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 255)


def blocks(canvas: Mask, rng: Rng) -> None:
    """A cluster of small squares, as irregular masks have where strokes were dilated."""
    size = canvas.shape[0]
    centre = rng.uniform(0, size, 2)
    side = int(rng.integers(6, size // 10))
    for _ in range(int(rng.integers(3, 14))):
        x, y = np.round(centre + rng.normal(0, size / 7, 2)).astype(int)
        cv2.rectangle(canvas, (x, y), (x + side, y + side), 255, -1)


def tears(canvas: Mask, rng: Rng) -> None:
    """All that lies to one side of a ragged line: a print whose half, side or corner is gone."""
    size = canvas.shape[0]
    angle = rng.choice(4) * np.pi / 2 if rng.random() < 0.5 else rng.uniform(0, 2 * np.pi)
    across, along = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    steps = int(rng.integers(2, 30))
    ragged = rng.uniform(0, 0.06) * rng.normal(size=steps + 1).cumsum() * (12 / steps) ** 0.5 + rng.uniform(-0.1, 0.45)
    places = np.linspace(-1.5, 1.5, steps + 1)
    edge = 0.5 + places[:, None] * along + ragged[:, None] * across
    outside = 0.5 + np.array([1.5, -1.5])[:, None] * along + 2.0 * across
    cv2.fillPoly(canvas, [np.round(np.concatenate([edge, outside]) * size).astype(np.int32)], 255)


def scratches(canvas: Mask, rng: Rng) -> None:
    """A few long, thin, nearly straight lines, as on an old print."""
    size = canvas.shape[0]
    for _ in range(int(rng.integers(1, 5))):
        start, angle = rng.uniform(0, size, 2), rng.uniform(0, np.pi)
        end = start + rng.uniform(0.3, 1.3) * size * np.array([np.cos(angle), np.sin(angle)])
        _line(canvas, start, end, int(rng.integers(1, 5)))


def cracks(canvas: Mask, rng: Rng) -> None:
    """A jagged line with branches, as cracked emulsion or a torn fold."""
    size = canvas.shape[0]

    def grow(point: NDArray[np.float64], angle: float, steps: int, width: int) -> None:
        for _ in range(steps):
            angle += rng.normal(0, 0.45)
            end = point + rng.uniform(0.015, 0.06) * size * np.array([np.cos(angle), np.sin(angle)])
            _line(canvas, point, end, width)
            point = end
            if width > 1 and rng.random() < 0.15:
                grow(point, angle + rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.2), steps // 2, width - 1)

    grow(rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi), int(rng.integers(10, 35)), int(rng.integers(1, 5)))


def text(canvas: Mask, rng: Rng) -> None:
    """A stamp or a caption: random letters in one of OpenCV's fonts."""
    size = canvas.shape[0]
    letters = "".join(
        rng.choice(list("ABCDEFGHKLMNPRSTUVWXYZabcdeghknopqrstuvxyz0123456789 "), int(rng.integers(4, 14)))
    )
    at = (int(rng.uniform(-0.1, 0.5) * size), int(rng.uniform(0.1, 1.0) * size))
    font, scale = int(rng.integers(0, 8)), float(rng.uniform(0.5, 2.2))
    cv2.putText(canvas, letters, at, font, scale * size / 256, 255, int(rng.integers(1, 6)))


def spots(canvas: Mask, rng: Rng) -> None:
    """A handful of ellipses: stains, mould, punched holes."""
    size = canvas.shape[0]
    largest = rng.choice([0.02, 0.05, 0.15])
    for _ in range(int(rng.integers(1, 9))):
        centre = np.round(rng.uniform(0, size, 2)).astype(int)
        axes = np.maximum(1, np.round(rng.uniform(0.3, 1.0, 2) * largest * size)).astype(int)
        cv2.ellipse(canvas, centre.tolist(), axes.tolist(), rng.uniform(0, 180), 0, 360, 255, -1)


def _line(canvas: Mask, start: NDArray[np.float64], end: NDArray[np.float64], width: int) -> None:
    a, b = (tuple(np.round(p).astype(int).tolist()) for p in (start, end))
    cv2.line(canvas, a, b, 255, width)


#: What is drawn, and how often. Wide damage first: it carries most of the error.
DAMAGES: tuple[tuple[Callable[[Mask, Rng], None], float], ...] = (
    (strokes, 0.28),
    (outlines, 0.16),
    (rectangles, 0.12),
    (blocks, 0.10),
    (tears, 0.08),
    (scratches, 0.08),
    (cracks, 0.07),
    (text, 0.05),
    (spots, 0.06),
)


#: Shares of the picture: the least, the widest usual one, and the widest of all.
_SMALLEST, _USUAL, _LARGEST = 0.01, 0.6, 0.9

#: Wide holes are harder, and come more often: how many masks aim at more than the usual share, how many at about the
#: widest usual one, and the power of a uniform number that the rest aim at.
_BEYOND_ODDS, _WIDE_ODDS, _WIDER = 0.1, 0.35, 0.75

#: How often damage keeps off the rim of the picture, and how much of each side it then leaves, at least and at most.
_RIM_ODDS, _RIM = 0.4, (0.05, 0.16)

#: What masks that aim at about the widest usual share have oftener than others, since thin damage that covers half of a
#: picture is rare: a free rim, damage of the first, wide kinds alone (how many those are), and gaps that are closed.
_WIDE_RIM_ODDS, _CHUNKY_ODDS, _CHUNKY_KINDS, _WIDE_CLOSED_ODDS = 0.55, 0.75, 5, 0.65
_CLOSED_ODDS = 0.4


def random_mask(rng: Rng, size: int = 256) -> Mask:
    """Damage of one to four kinds, drawn until it covers a random share of the picture.

    The target share is from 0.01 to 0.6 for most masks, two thirds of them above 0.4, and up to 0.9 for one in ten,
    since wider holes are rare in practice but must not break the model. Some masks keep off the rim (as half of those
    of Liu et al. do), so that a wide one swallows the whole face.

    Returns:
        ``(size, size)`` ``uint8``, 255 = hole. The share never exceeds 0.9 and is never zero.
    """
    which = rng.random()
    wide = _BEYOND_ODDS <= which < _BEYOND_ODDS + _WIDE_ODDS
    if which < _BEYOND_ODDS:
        target = rng.uniform(_USUAL, _LARGEST)
    elif wide:
        target = rng.uniform(0.85, 1.1) * _USUAL
    else:
        target = _SMALLEST + (_USUAL - _SMALLEST) * rng.random() ** _WIDER
    odds = np.array([weight for _, weight in DAMAGES])
    if wide and rng.random() < _CHUNKY_ODDS:
        odds[_CHUNKY_KINDS:] = 0.0
    kinds = rng.choice(len(DAMAGES), size=int(rng.integers(1, 5)), p=odds / odds.sum())
    rim = 0
    if rng.random() < (_WIDE_RIM_ODDS if wide else _RIM_ODDS):
        # a target that the inner part can hold only as a solid block is not worth the drawing
        rim = int(min(rng.uniform(*_RIM), (1.0 - (1.06 * target) ** 0.5) / 2.0) * size)
    closed = _WIDE_CLOSED_ODDS if wide else _CLOSED_ODDS
    mask = _drawn(kinds, rng, size - 2 * rim, target * (size / (size - 2 * rim)) ** 2, closed)
    mask = np.where(mask > 127, np.uint8(255), np.uint8(0))  # some versions of OpenCV smooth the outlines of letters
    mask = np.pad(mask, rim)
    if not mask.any():
        x, y = rng.integers(0, size - 8, 2)
        mask[y : y + 8, x : x + 8] = 255
    return mask


def _drawn(kinds: NDArray[np.int64], rng: Rng, size: int, target: float, closed_odds: float) -> Mask:
    """Damage of some kinds on a canvas of its own, near the target share of it."""
    mask: Mask = np.zeros((size, size), np.uint8)
    for _ in range(200):
        before = mask.copy()
        DAMAGES[int(rng.choice(kinds))][0](mask, rng)
        share = np.count_nonzero(mask) / mask.size
        if share > min(1.35 * target + 0.01, _LARGEST):
            mask = before  # one stroke too wide for what was asked; try another
        elif share >= 0.85 * target:
            break
    if rng.random() < closed_odds:
        # slivers of known pixels between strokes vanish, as in masks that were dilated as a whole
        closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((int(rng.integers(3, size // 12)),) * 2, np.uint8))
        if np.count_nonzero(closed) <= _LARGEST * mask.size:
            mask = closed
    return mask
