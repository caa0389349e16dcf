"""True edges, by Canny, and how well completed ones meet them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: Gaussian sigma (pixels), and the Canny thresholds on the L2 gradient of a 3x3 Sobel, at the model's 256 px scale.
SIGMA, LOW, HIGH = 1.4, 40.0, 100.0


def canny_edges(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Canny edges (PAMI 1986) of a whole ``(H, W, 3)`` RGB image: ``(H, W)`` ``uint8``, 255 on an edge, else 0.

    What the edge stage learns to find in the hole; those of the known part are :mod:`training.networks.edgemap`'s.
    """
    smooth = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), SIGMA)
    gradients = (cv2.Sobel(smooth, cv2.CV_16S, *axis, ksize=3) for axis in ((1, 0), (0, 1)))
    edges: NDArray[np.uint8] = cv2.Canny(*gradients, LOW, HIGH, L2gradient=True)
    return edges


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
