"""Whether a hole can be told from its surroundings: steps across its rim, and colours that drift inside it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from restore_sdk.imaging.image import MASKED_ABOVE as HOLE_ABOVE
from training.protocol import Image


@dataclass
class SeamCounts:
    """Steps between neighbours on either side of the rim, restored and true, and the mean signed error in the hole."""

    restored: float = 0.0
    true: float = 0.0
    errors: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, restored: Image, image: Image, mask: Image) -> None:
        """Count one restored image, ``(H, W, 3)``; ``mask`` ``(H, W)`` is above 127 in the hole. All ``uint8``."""
        hole = mask > HOLE_ABOVE
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
