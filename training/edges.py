"""How well completed edges meet the true ones."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


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
