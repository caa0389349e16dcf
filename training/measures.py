"""What a restored picture is measured by, beside :func:`restore_sdk.imaging.quality.psnr`.

PSNR, SSIM and L1 reward the mean of all likely answers, which is blurred; what stands in :class:`RealismCounts` does
not compare pixel with pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from training.data import Image

#: Levels of the Laplacian pyramid that are compared: at full, half and quarter size.
_LEVELS = 3
_PATCH = 7
_PATCHES = 32

#: At most so many images' patches are kept, evenly chosen: 25 kB each, of the restored and of the true one.
_KEPT = 256

Floats = NDArray[np.float32]


def l1(reference: Image, image: Image) -> float:
    """Mean absolute difference as a share of full scale: ``mean |a - b| / 255``, in 0..1."""
    return float(np.mean(np.abs(reference.astype(np.int16) - image), dtype=np.float64)) / 255


def ssim(reference: Image, image: Image) -> float:
    """Structural similarity of two colour images, as scikit-image has it by default (Wang et al., 2004): -1..1."""
    return float(structural_similarity(reference, image, channel_axis=-1))


@dataclass
class EdgeCounts:
    """Edge pixels found and wanted: how many meet exactly, and how many come within two pixels of one another.

    Edges one pixel wide hardly ever meet exactly; edge detectors are judged with a tolerance (Martin, Fowlkes and
    Malik, PAMI 2004, 0.75% of the diagonal), here two pixels.
    """

    found: int = 0
    wanted: int = 0
    exact: int = 0
    found_near: int = 0
    wanted_near: int = 0

    def add(self, found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> None:
        """Count one pair of maps, ``(H, W)`` bool."""
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
        around_found, around_wanted = (cv2.dilate(each.astype(np.uint8), disc) > 0 for each in (found, wanted))
        self.found += int(found.sum())
        self.wanted += int(wanted.sum())
        self.exact += int((found & wanted).sum())
        self.found_near += int((found & around_wanted).sum())
        self.wanted_near += int((wanted & around_found).sum())

    def to_json(self) -> dict[str, float]:
        """Precision and recall, exact and within two pixels."""
        found, wanted = max(self.found, 1), max(self.wanted, 1)
        return {
            "precision": round(self.exact / found, 4),
            "recall": round(self.exact / wanted, 4),
            "precision_2px": round(self.found_near / found, 4),
            "recall_2px": round(self.wanted_near / wanted, 4),
        }


@dataclass
class SeamCounts:
    """Steps between neighbours on either side of the rim, restored and true, and the mean signed error in the hole."""

    restored: float = 0.0
    true: float = 0.0
    errors: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, restored: Image, image: Image, hole: NDArray[np.bool_]) -> None:
        """Count one restored image, ``(H, W, 3)`` ``uint8``; ``hole`` ``(H, W)`` is true where pixels were missing."""
        if not hole.any():
            return
        for axis in (0, 1):
            rim = np.diff(hole, axis=axis)
            self.restored += float(np.abs(np.diff(restored.astype(np.int16), axis=axis))[rim].sum())
            self.true += float(np.abs(np.diff(image.astype(np.int16), axis=axis))[rim].sum())
        self.errors.append((restored[hole].astype(np.float64) - image[hole]).mean(axis=0) / 255.0)

    def to_json(self) -> dict[str, float]:
        """``step``: steps across the rim as a multiple of the true ones; a seam is above 1, a blurred rim below.

        ``tint``: the largest of the three channels' mean signed errors over all images, in percent of full scale;
        errors of single images cancel out, what is left is a colour that the method leans to.
        """
        mean = np.mean(self.errors, axis=0) if self.errors else np.zeros(3)
        return {
            "step": round(self.restored / max(self.true, 1.0), 4),
            "tint": round(100.0 * float(mean[np.abs(mean).argmax()]), 3),
        }


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
