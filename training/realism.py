"""Whether what fills a hole looks like a photograph, wherever its pixels lie: how much detail it has, and of what kind.

PSNR, SSIM and L1 reward the mean of all likely answers, which is blurred. These two do not compare pixel with pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from training.protocol import Image

#: Levels of the Laplacian pyramid that are compared: at full, half and quarter size.
_LEVELS = 3
_PATCH = 7
_PATCHES = 32

#: At most so many images' patches are kept, evenly chosen: 25 kB each, of the restored and of the true one.
_KEPT = 256

Floats = NDArray[np.float32]


def _directions(count: int = 64) -> Floats:
    drawn = np.random.default_rng(0).standard_normal((_PATCH * _PATCH * 3, count)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=0)


_DIRECTIONS = _directions()


@dataclass
class RealismCounts:
    """Amount of fine detail in holes, restored and true, and patches of both, projected on a few directions."""

    restored: float = 0.0
    true: float = 0.0
    projected: list[Floats] = field(default_factory=list)
    expected: list[Floats] = field(default_factory=list)
    images: int = 0
    every: int = 1

    def add(self, restored: Image, image: Image, hole: NDArray[np.bool_]) -> None:
        """Count one restored image, ``(H, W, 3)`` ``uint8``; ``hole`` ``(H, W)`` is true where pixels were missing."""
        if not hole.any():
            return
        rng = np.random.default_rng(self.images)  # the same places for every method
        self.images += 1
        found, wanted = [], []
        levels = zip(_laplacian(restored), _laplacian(image), strict=True)
        for level, (ours, theirs) in enumerate(levels):
            if level == 0:
                self.restored += float(np.abs(ours[hole]).mean())
                self.true += float(np.abs(theirs[hole]).mean())
            height, width = ours.shape[:2]
            touched = cv2.resize(hole.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0
            rows, columns = np.nonzero(touched)
            chosen = rng.integers(0, rows.size, _PATCHES)
            top = np.clip(rows[chosen] - _PATCH // 2, 0, height - _PATCH)
            left = np.clip(columns[chosen] - _PATCH // 2, 0, width - _PATCH)
            for kept, picture in ((found, ours), (wanted, theirs)):
                windows = np.lib.stride_tricks.sliding_window_view(picture, (_PATCH, _PATCH), axis=(0, 1))
                kept.append(windows[top, left].reshape(_PATCHES, -1) @ _DIRECTIONS)
        if (self.images - 1) % self.every:
            return
        self.projected.append(np.stack(found))
        self.expected.append(np.stack(wanted))
        if len(self.projected) > _KEPT:
            self.every *= 2
            self.projected, self.expected = self.projected[::2], self.expected[::2]

    def to_json(self) -> dict[str, float]:
        """``detail``: fine detail (the finest level of a Laplacian pyramid) in the hole as a multiple of the truth's,
        below 1 where the restoration is blurred. ``swd``: the sliced Wasserstein distance between 7 x 7 patches of the
        restored holes and those of the true ones, mean of three levels, in grey levels, 0 where they are alike in
        distribution (Karras et al., "Progressive growing of GANs", ICLR 2018; patches are not normalised here).
        """
        if not self.projected:
            return {"detail": 1.0, "swd": 0.0}
        ours, theirs = (np.sort(np.concatenate(each, axis=1), axis=1) for each in (self.projected, self.expected))
        return {
            "detail": round(self.restored / max(self.true, 1e-6), 3),
            "swd": round(float(np.abs(ours - theirs).mean()), 3),
        }


@dataclass
class GridCounts:
    """Whether steps between pixels repeat with the period of a pixel shuffle: 4 px, and 8 px of the one before it."""

    products: dict[int, float] = field(default_factory=dict)

    def add(self, restored: Image, hole: NDArray[np.bool_]) -> None:
        """Count one restored image, ``(H, W, 3)`` ``uint8``, in its hole ``(H, W)``."""
        grey = cv2.cvtColor(restored, cv2.COLOR_RGB2GRAY).astype(np.float64)
        for steps, inside in ((np.diff(grey, axis=1), hole[:, 1:] & hole[:, :-1]),
                              (np.diff(grey, axis=0).T, (hole[1:] & hole[:-1]).T)):  # fmt: skip
            size = np.sqrt(np.abs(steps))
            for lag in (3, 4, 5, 7, 8, 9):
                both = inside[:, lag:] & inside[:, :-lag]
                total = float((size[:, lag:] * size[:, :-lag])[both].sum() / max(both.sum(), 1))
                self.products[lag] = self.products.get(lag, 0.0) + total

    def to_json(self) -> dict[str, float]:
        """``grid``: the mean product of steps one period apart, as a multiple of those one pixel nearer and farther, of
        the worse period: 1 for a photograph, above where a grid shows."""
        if not self.products:
            return {"grid": 1.0}
        found = []
        for period in (4, 8):
            near, at, far = (self.products[period + i] for i in (-1, 0, 1))
            found.append(2.0 * at / max(near + far, 1e-9))
        return {"grid": round(max(found), 4)}


def _laplacian(image: Image) -> list[Floats]:
    levels = []
    rest = image.astype(np.float32)
    for _ in range(_LEVELS):
        small = cv2.pyrDown(rest)
        levels.append(rest - cv2.pyrUp(small, dstsize=(rest.shape[1], rest.shape[0])))
        rest = small
    return levels
