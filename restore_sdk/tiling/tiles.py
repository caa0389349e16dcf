"""The tiles of a plan: which square of a picture the model is shown, and which pixels of the hole it answers for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore_sdk.tiling.crop import Crop

#: The levels of a plan lie on a map that is coarser than the picture by this factor.
POOL = 4


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, half open, in picture pixels.

    The cells of one level divide the plane, and the outermost reach to infinity. Those of faces end where the face's
    frame does; two may overlap, and the later one is pasted over the other.
    """

    top: float = -math.inf
    left: float = -math.inf
    bottom: float = math.inf
    right: float = math.inf


@dataclass(frozen=True, slots=True)
class Tile:
    """One crop, the cell in which it restores the hole's pixels of its level, and how wide its borders blend."""

    crop: Crop
    cell: Cell = Cell()
    level: int = 0
    ramp: int = 1

    def share(self, places: tuple[NDArray[np.intp], NDArray[np.intp]]) -> NDArray[np.float32]:
        """How much of each place comes from this tile, beside its neighbours of the same level: ``(N,)``, 0..1.

        One half on the border of the cell, running to 0 and 1 over half a ramp on either side.

        Args:
            places: ``(N,)`` rows and ``(N,)`` columns in the crop's box.
        """
        inside_y = self._inside(self.crop.y, self.crop.height, self.cell.top, self.cell.bottom)
        inside_x = self._inside(self.crop.x, self.crop.width, self.cell.left, self.cell.right)
        return np.minimum(inside_y[places[0]], inside_x[places[1]])

    def _inside(self, start: int, length: int, least: float, most: float) -> NDArray[np.float32]:
        centres = np.arange(start, start + length) + 0.5
        inside = np.minimum(centres - least, most - centres)
        share: NDArray[np.float32] = np.clip(inside / self.ramp + 0.5, 0, 1).astype(np.float32)
        return share


@dataclass(frozen=True, slots=True)
class Plan:
    """The tiles in waves, coarse to fine, and the level of each hole pixel.

    Attributes:
        waves: the tiles of each level, the highest level first. Tiles of one wave know nothing of each other.
        levels: level of the hole by blocks of ``POOL x POOL`` pixels, 0 is the finest; ``None`` where there is one.
        origin: row and column of the picture at which ``levels`` starts.
    """

    waves: tuple[tuple[Tile, ...], ...] = ()
    levels: NDArray[np.uint8] | None = None
    origin: tuple[int, int] = (0, 0)

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles in order."""
        return tuple(tile for wave in self.waves for tile in wave)

    def level_of(self, crop: Crop) -> NDArray[np.uint8] | None:
        """The level of each pixel of the crop's box, right for hole pixels; ``None`` where there is but one level."""
        if self.levels is None:
            return None
        ys = np.clip((np.arange(crop.y, crop.y + crop.height) - self.origin[0]) // POOL, 0, self.levels.shape[0] - 1)
        xs = np.clip((np.arange(crop.x, crop.x + crop.width) - self.origin[1]) // POOL, 0, self.levels.shape[1] - 1)
        levels: NDArray[np.uint8] = self.levels[ys[:, None], xs]
        return levels
