"""What the model cannot give: grain, and detail finer than its 256 pixels, brought from the known surroundings.

What a picture has above a coarser one of the same is its residual. Where a tile was scaled down, each masked patch
gets the residual of a known patch that looks alike at the model's scale: contextual residual aggregation (Yi et al.,
CVPR 2020), with exact matches in place of learned attention. Grain is the residual of flat known patches, and added as
far as the hole lacks it. Matches are made in whole numbers and chances are hashes of places, so that the result depends
on the picture alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.tiling.crop import Crop, pooled, shrunk
from restore_sdk.tiling.plan import Tile

#: Side of a patch in cells; the patches of a grid follow each other by half of it.
_SIDE, _HOP = 4, 2

#: Side of a cell: for grain in pixels, for detail in pixels of the model.
_GRAIN_CELL, _DETAIL_CELL = 4, 2

#: From this scale on a tile lacks more than grain.
_SCALED = 1.25

#: A patch takes the best match of one in so many parts of the known ones: more repeat less, and match worse.
_PARTS = 5

#: Known patches that are compared, at most; evenly chosen.
_MOST = 1500

#: Known patches of like contrast that tell how strong a residual may be; and of like brightness, to draw grain from.
_USUAL, _ALIKE = 51, 13

#: Groups by brightness, the share of each that shows no more than grain, and how its loudest cell may stand out.
_GROUPS, _QUIET, _PEAK = 8, 5, 3.5

#: Mean square, in levels, of a residual that is no more than rounding, and of grain that nobody sees.
_ROUNDING, _UNSEEN = 0.7, 1.2

#: Mean distance, in 16ths of a level, from the mean of 3 x 3 pixels below which a small picture is calm: that of white
#: grain of 1.8 levels. Of 60 faces at 256 px all are.
_CALM = 20

#: Rows of the picture that are changed together.
_ROWS = 64

_U8 = NDArray[np.uint8]
_Bool = NDArray[np.bool_]
_Int = NDArray[np.int64]
_Float = NDArray[np.float32]
_Strips = Iterator[tuple[int, int, _Float]]


def add_detail(picture: _U8, mask: _Bool, mine: _Bool, tile: Tile, toned: bool = False) -> bool:
    """Add to what a tile restored, in place, the grain and the detail of what is known around it.

    Args:
        picture: contiguous and restored, ``(H, W)`` or ``(H, W, C)`` of 1, 3 or 4 channels, ``uint8``; alpha stays.
        mask: ``crop.height x crop.width``: what was missing in the tile's crop; ``mine``: which pixels of it to change.
        toned: whether all channels are to change alike.

    Returns whether that changed anything: the surroundings may have no grain, or too little may be known.
    """
    crop, layers = tile.crop, list[_Strips]()
    box = _with_channels(picture[crop.box])[..., :3]
    scaled = max(crop.height / crop.inner_height, crop.width / crop.inner_width) >= _SCALED
    if max(picture.shape[:2]) <= MODEL_SIZE and _is_calm(box, mask):
        return False
    low, low_mask, low_mine = box, mask, mine
    if scaled:
        size = crop.inner_height, crop.inner_width
        low = _with_channels(shrunk(box, *size))
        low_mask, low_mine = (shrunk(each.view(np.uint8) * np.uint8(255), *size) > 0 for each in (mask, mine))
        grid = _Grid(box, low, _DETAIL_CELL * crop.height // crop.inner_height, crop)
        if (drawn := _detail(grid, mask, mine)) is not None:
            layers.append(_strips(grid, drawn))
    grid = _Grid(low, None, _GRAIN_CELL, crop)
    if (drawn := _grain(grid, low_mask, low_mine)) is not None:
        strips = _strips(grid, drawn)
        layers.append(_enlarged(_assembled(strips, low.shape), mine) if scaled else strips)
    changed = False
    for strips in layers:
        for top, left, strip in strips:
            even = np.repeat(strip.mean(axis=2, keepdims=True), strip.shape[2], axis=2) if toned else strip
            changed |= _add(box, mine, tile, top, left, even)
    return changed


def _is_calm(box: _U8, mask: _Bool) -> bool:
    """Whether a small picture has so little grain that looking closer would take longer than it is worth."""
    grey = np.ascontiguousarray(box[..., box.shape[2] // 2])
    apart = cv2.convertScaleAbs(cv2.absdiff(grey, cv2.blur(grey, (3, 3))), alpha=16)
    apart[mask] = 255
    cells = shrunk(apart, -(-len(apart) // 8), -(-apart.shape[1] // 8)).ravel()
    return bool(np.partition(cells, len(cells) // 10)[len(cells) // 10] < _CALM)


class _Drawn(NamedTuple):
    """What is laid over each of ``N`` patches of a grid: another one's residual, mirrored or not, and how strong."""

    patches: _Int  # (2, N), row by row
    sources: _Int  # (2, N)
    mirrored: _Bool
    strength: _Float


class _Grid:
    """The patches of a picture, and its residual over a coarser one, enlarged: ``coarse``, or means of two cells.

    Patch ``(i, j)`` covers pixels from ``((i - 1) * hop, (j - 1) * hop)`` on, ``2 * hop`` each way, so that every pixel
    lies in four. Only whole cells are known; beside them the last ones go on.
    """

    def __init__(self, picture: _U8, coarse: _U8 | None, cell: int, crop: Crop) -> None:
        self.shape, self.cell, self.hop, self._crop = picture.shape, cell, _HOP * cell, crop
        self._cells = picture.shape[0] // cell, picture.shape[1] // cell
        self.valid = min(self._cells) >= _SIDE
        if not self.valid:
            return
        part = picture[: self._cells[0] * cell, : self._cells[1] * cell]
        small = shrunk(part, *self._cells)
        if coarse is None:
            coarse, picture = shrunk(small, *(length // 2 for length in self._cells)), part
        base = cv2.resize(coarse, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        self.residual = _with_channels(cv2.subtract(picture, _with_channels(base), dtype=cv2.CV_8S))
        self._looks = self._windows(_with_channels(small))
        step = max(1, cell // 4)  # a sample of the rows says enough
        self.bias = np.array(cv2.mean(self.residual)[: self.shape[2]], np.float32)  # of rounding; else it would add up
        self._rows = self.residual[: len(part) : step, : part.shape[1]].astype(np.float32)
        self._energy = self._mean(np.square(self._rows.reshape(len(self._rows), -1)))

    def _mean(self, values: _Float) -> _Float:
        mean: _Float = cv2.resize(values, self._cells[::-1], interpolation=cv2.INTER_AREA)
        return mean

    def _windows(self, cells: NDArray[Any], fill: int | None = None) -> NDArray[Any]:
        """``(I, J, ..., 4, 4)``: the cells of each patch; outside the picture ``fill``, or the last cell."""
        after = (-(-length // self.hop) * _HOP + _HOP for length in self.shape[:2])
        below, right = (end - had for end, had in zip(after, cells.shape[:2], strict=True))
        border = (cv2.BORDER_REPLICATE, 0) if fill is None else (cv2.BORDER_CONSTANT, fill)
        padded = cv2.copyMakeBorder(cells, _HOP, below, _HOP, right, border[0], value=border[1])
        padded = padded.reshape(*padded.shape[:2], *cells.shape[2:])
        return sliding_window_view(padded, (_SIDE, _SIDE), axis=(0, 1))[::_HOP, ::_HOP]

    def known(self, mask: _Bool, margin: int) -> _Int:
        """Which patches lie in the picture, and ``margin`` cells off all that is masked: ``(2, N)``."""
        near = cv2.dilate(pooled(mask, self.cell), np.ones((3, 3), np.uint8), iterations=margin)
        near = near[: self._cells[0], : self._cells[1]]
        return np.array(np.nonzero(~self._windows(near, 1).any(axis=(2, 3))))

    def touched(self, mask: _Bool) -> _Int:
        """Which patches hold something that is masked: ``(2, N)``."""
        return np.array(np.nonzero(self._windows(pooled(mask, self.cell), 0).any(axis=(2, 3))))

    def looks(self, patches: _Int) -> tuple[_Float, _Float]:
        """Cells less their mean, ``(N, C, 4, 4)``, and that mean, ``(N, C)``; rounded."""
        cells = self._looks[tuple(patches)].astype(np.float32)
        means = np.rint(cells.mean(axis=(2, 3)))
        return cells - means[..., None, None], means

    def energy(self, patches: _Int) -> tuple[_Float, _Float]:
        """Mean square of the residual, of patches and of their loudest cells: ``(N,)`` each."""
        cells = self._windows(self._energy)[tuple(patches)]
        return cells.mean(axis=(1, 2)), cells.max(axis=(1, 2))

    def energy_within(self, patches: _Int, mask: _Bool) -> _Float:
        """As :meth:`energy`, of the masked pixels of patches that have some."""
        weight = mask[: self._rows.shape[0], : self._rows.shape[1]].astype(np.float32)
        square = np.einsum("ijk,ijk->ij", self._rows, self._rows) * weight / self.shape[2]
        cells = (self._windows(self._mean(each), 0) for each in (square, weight))
        above, below = (each[tuple(patches)].sum(axis=(1, 2)) for each in cells)
        found: _Float = above[below > 0] / below[below > 0]
        return found

    def chances(self, patches: _Int, below: int) -> _Int:
        """A hash from 0 up to ``below`` for each patch, of its place in the picture: ``(N,)``."""
        rows, columns = patches.astype(np.uint64)
        mixed = (rows + np.uint64(7919 * self._crop.y)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= (columns + np.uint64(104729 * self._crop.x)) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        chances: _Int = ((mixed >> np.uint64(33)) % np.uint64(below)).astype(np.int64)
        return chances


def _detail(grid: _Grid, mask: _Bool, mine: _Bool) -> _Drawn | None:
    """For each masked patch one that looks alike, no louder than is usual for the contrast."""
    if not grid.valid:
        return None
    known, wanted = grid.known(mask, 2), grid.touched(mine)
    known = known[:, :: -(-known.shape[1] // _MOST) or 1]
    count = known.shape[1]
    if not count or not wanted.shape[1]:
        return None
    (shapes, means), (shapes_wanted, means_wanted) = grid.looks(known), grid.looks(wanted)
    candidates = np.concatenate([_described(shapes, means), _described(shapes[..., ::-1], means)])
    parts = min(_PARTS, count)
    part, chance = np.arange(2 * count) % count % parts, grid.chances(wanted, parts)
    best = np.empty(wanted.shape[1], np.int64)
    for number in range(parts):
        of, among = chance == number, np.flatnonzero(part == number)
        if of.any():
            queries = _described(shapes_wanted[of], means_wanted[of])
            # Not by matrix products: BLAS waits long where cores are busy, and its sums differ with its threads.
            nearest = cv2.batchDistance(queries, candidates[among], cv2.CV_32F, normType=cv2.NORM_L2SQR, K=1)[1]
            best[of] = among[nearest[:, 0]]
    _, energy = grid.energy(known)
    contrast, contrast_wanted = (np.square(each).sum(axis=(1, 2, 3)) for each in (shapes, shapes_wanted))
    order, near = np.argsort(contrast, kind="stable"), min(_USUAL, count)
    usual = np.median(sliding_window_view(energy[order], near), axis=1)
    at = np.clip(np.searchsorted(contrast[order], contrast_wanted) - near // 2, 0, count - near)
    strength = np.sqrt(np.minimum(1, usual[at] / np.maximum(energy[best % count], 1e-6)))
    return _Drawn(wanted, known[:, best % count], best >= count, strength.astype(np.float32))


def _grain(grid: _Grid, mask: _Bool, mine: _Bool) -> _Drawn | None:
    """For each masked patch a flat one of like brightness, as strong as the masked part lacks it."""
    if not grid.valid:
        return None
    known = grid.known(mask, 1)
    energy, peak = grid.energy(known)
    loud = np.sort(energy[energy >= _ROUNDING])
    size = len(energy) // _GROUPS
    if not size or 2 * len(loud) < len(energy):
        return None
    quiet = loud[len(loud) // 20]
    if quiet < _UNSEEN:
        return None
    _, means = grid.looks(known)
    order = np.argsort(means.sum(axis=1), kind="stable")[: size * _GROUPS]
    levels = np.partition(energy[order].reshape(_GROUPS, size), size // _QUIET, axis=1)[:, size // _QUIET]
    flat = order[peak[order] <= _PEAK * np.minimum(levels, 1.5 * quiet).repeat(size)]
    wanted = grid.touched(mine)
    if not len(flat) or not wanted.shape[1]:
        return None
    at = np.searchsorted(means[flat].sum(axis=1), grid.looks(wanted)[1].sum(axis=1))
    flat = flat[np.clip(at + grid.chances(wanted, _ALIKE) - _ALIKE // 2, 0, len(flat) - 1)]
    there, here = float(energy[flat].mean()), np.sort(grid.energy_within(wanted, mine))
    lack = there - float(here[: -(-len(here) // _QUIET)].mean()) if len(here) else 0.0
    if lack < _UNSEEN:
        return None
    strength = np.full(len(flat), math.sqrt(lack / there), np.float32)
    return _Drawn(wanted, known[:, flat], np.zeros(len(flat), bool), strength)


def _strips(grid: _Grid, drawn: _Drawn) -> _Strips:
    """Row, column, and what is to be added from there on, from the top down.

    Patches overlap in windows whose squares add up to one, so that the variance stays.
    """
    hop, channels = grid.hop, grid.shape[2]
    side, together = 2 * hop, max(1, _ROWS // hop)
    wave = np.sin((np.arange(side) + 0.5) * np.pi / side).astype(np.float32)
    window = (wave[:, None] * wave)[..., None].repeat(channels, axis=2)
    windows = sliding_window_view(grid.residual.reshape(len(grid.residual), -1), (side, side * channels))
    rows, columns = drawn.patches
    left = int(columns.min())
    total = np.zeros(((together + 1) * hop, (int(np.ptp(columns)) + 3) * hop, channels), np.float32)
    for first in range(rows[0], rows[-1] + 2, together):
        for row in range(first, min(first + together, rows[-1] + 1)):
            these = slice(*np.searchsorted(rows, (row, row + 1)))
            if these.start == these.stop:
                continue
            ys, xs = (drawn.sources[:, these] - 1) * hop
            found = windows[ys, xs * channels].reshape(-1, side, side, channels)
            mirrored = drawn.mirrored[these]
            found[mirrored] = found[mirrored][:, :, ::-1]
            laid = found - grid.bias
            laid *= window
            at = columns[these] - columns[these.start]
            placed = np.zeros(((at[-1] // 2 + 1) * 2, *laid.shape[1:]), np.float32)
            laid *= drawn.strength[these, None, None, None]
            placed[at] = laid
            target = total[(row - first) * hop :, (columns[these.start] - left) * hop :][:side]
            for odd in (0, 1):  # every other patch, side by side
                beside = placed[odd::2].swapaxes(0, 1).reshape(side, -1, channels)
                target[:, odd * hop :][:, : beside.shape[1]] += beside
        yield (first - 1) * hop, (left - 1) * hop, total[:-hop]
        total[:hop] = total[-hop:]
        total[hop:] = 0


def _assembled(strips: _Strips, shape: tuple[int, ...]) -> _Float:
    field = np.zeros(shape, np.float32)
    for top, left, strip in strips:
        y, x = max(0, top), max(0, left)
        into = field[y:, x:]  # empty for the last strip where the patches end with the field
        part = strip[y - top :, x - left :][: into.shape[0], : into.shape[1]]
        into[: part.shape[0], : part.shape[1]] = part
    return field


def _enlarged(field: _Float, mine: _Bool) -> _Strips:
    """A field of the model's scale in the picture's."""
    down, across = field.shape[0] / mine.shape[0], field.shape[1] / mine.shape[1]
    for row in range(0, len(mine), _ROWS):
        left, top, width, height = cv2.boundingRect(mine[row : row + _ROWS].view(np.uint8))
        if width:
            transform = np.array([[across, 0, (left + 0.5) * across - 0.5], [0, down, (row + top + 0.5) * down - 0.5]])
            options = {"flags": cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
            yield row + top, left, _with_channels(cv2.warpAffine(field, transform, (width, height), **options))


def _add(box: _U8, mine: _Bool, tile: Tile, top: int, left: int, strip: _Float) -> bool:
    """Add a strip to the pixels that are ours, in place; whether that changed any."""
    y, x = max(0, top), max(0, left)
    within = np.ascontiguousarray(mine[y : top + len(strip), x : left + strip.shape[1]]).view(np.uint8)
    if not within.any():
        return False
    across, down, width, height = cv2.boundingRect(within)
    y, x = y + down, x + across
    here = slice(y, y + height), slice(x, x + width)
    strip = strip[y - top :, x - left :][:height, :width]
    if not tile.alone:  # its variance runs out as that of its neighbours runs in
        strip = strip * np.sqrt(tile.share(*here))[..., None]
    before, target_here = box[here], mine[here][..., None]
    after = _with_channels(cv2.add(before, strip, dtype=cv2.CV_8U))
    changed = bool((target_here & (before != after)).any())
    before[...] = np.where(target_here, after, before)
    return changed


def _described(shapes: _Float, means: _Float) -> _Float:
    """Shapes and, counting as much as four of their cells, brightness."""
    return np.concatenate([shapes.reshape(len(shapes), -1), 2 * means], axis=1)


def _with_channels(array: NDArray[Any]) -> NDArray[Any]:
    return array[..., None] if array.ndim == 2 else array
