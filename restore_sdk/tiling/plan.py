"""Which tiles of a picture the model is shown, at which scale, and which tile restores which masked pixel.

The scale follows the local thickness of the mask: a scratch is restored from its close surroundings at the picture's
own resolution, a wide blot in a wide tile that is scaled down. Thick parts come first, in the widest tiles; what they
gave is known to the thinner parts that follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.errors import InputError
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.tiling.crop import Crop, place, pooled

#: Side of a tile in thicknesses of what it restores. Less shows the model too little around it, more costs the
#: picture's own detail; between 2 and 6 the difference is small (docs/photographs.md).
CONTEXT = 4.0

#: Margin around what a tile restores, in its own sides.
MARGIN = 1 / 6

#: Width of the zone in which two tiles' results run into each other, in sides of the tile.
RAMP = 1 / 8

#: Most of a tile that reaches out of the picture, in the longest side of what it restores.
REACH = 8.0

#: A tile shows enough around what it restores from this many times its longest side on.
LEAST_CONTEXT = 1.25

#: Most tiles of one picture, unless the caller says otherwise.
MAX_CROPS = 64

#: Frames of faces below this side, in pixels, are left aside.
LEAST_FACE = 64

#: A face's box, and boxes of a photograph's faces: x and y of the top left corner, width and height, in pixels.
Faces: TypeAlias = Sequence[Sequence[float]]

#: Side of a face's frame in box sides: an FFHQ picture, on which the model was trained, is about 1.9 times as wide and
#: 1.5 times as high as a face's box. How far the frame's middle lies above the box's, in frame sides.
_FRAME, _RAISED = 1.75, 0.07

#: The mask and its levels are planned in blocks of so many pixels a side.
POOL = 4


@dataclass(frozen=True, slots=True, order=True)
class Frame:
    """The square around a face, framed as the model was trained: its middle and its side, in pixels."""

    y: float
    x: float
    side: int


@dataclass(frozen=True, slots=True)
class Box:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, half open, in pixels; without bounds by default."""

    top: float = -math.inf
    left: float = -math.inf
    bottom: float = math.inf
    right: float = math.inf

    @property
    def longest(self) -> float:
        """The longer side."""
        return max(self.bottom - self.top, self.right - self.left)

    @property
    def middle(self) -> tuple[float, float]:
        """Row and column."""
        return (self.top + self.bottom) / 2, (self.left + self.right) / 2

    def touches(self, face: Frame) -> bool:
        """Whether some of the frame may lie in the box."""
        apart = max(self.top - face.y, face.y - self.bottom, self.left - face.x, face.x - self.right)
        return apart < face.side / 2

    def lies_in(self, face: Frame) -> bool:
        """Whether the frame holds the box and something around it."""
        reach = max(face.y - self.top, self.bottom - face.y, face.x - self.left, self.right - face.x)
        return reach <= face.side / 2 / LEAST_CONTEXT


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of the picture that the model is shown, and what it restores there.

    Attributes:
        crop: the part.
        cell: where the tile restores the masked pixels of its level. The cells of a level divide the plane, and the
            outermost have no bounds. Those of faces end where the face's frame does; two may overlap, and the later one
            is pasted over the other.
        level: 0 is the finest.
        ramp: over how many pixels its borders blend.
    """

    crop: Crop
    cell: Box = Box()
    level: int = 0
    ramp: int = 1

    def share(self, rows: slice = slice(None), columns: slice = slice(None)) -> NDArray[np.float32]:
        """How much of each pixel of the crop's box comes from this tile, beside its neighbours of the same level: 0..1.

        One half on the border of the cell, running to 0 and 1 over half a ramp on either side.
        """
        y, x = self._inside()
        return np.minimum(y[rows, None], x[columns])

    @property
    def alone(self) -> bool:
        """Whether the tile restores all that its crop shows."""
        return self.cell == Box()

    def _inside(self) -> Iterator[NDArray[np.float32]]:
        """The share of each row of the crop's box, then of each column."""
        crop, cell = self.crop, self.cell
        for start, length, least, most in (
            (crop.y, crop.height, cell.top, cell.bottom),
            (crop.x, crop.width, cell.left, cell.right),
        ):
            centres = np.arange(start, start + length) + 0.5
            inside = np.minimum(centres - least, most - centres)
            yield np.clip(inside / self.ramp + 0.5, 0, 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Plan:
    """The tiles in waves, coarse to fine, which know nothing of each other within one; and the level of each masked
    pixel, by blocks of ``POOL x POOL`` pixels from ``origin`` (row, column) on, ``None`` where there is but one."""

    waves: tuple[tuple[Tile, ...], ...] = ()
    levels: NDArray[np.uint8] | None = None
    origin: tuple[int, int] = (0, 0)

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles in order."""
        return tuple(tile for wave in self.waves for tile in wave)

    def level_of(self, crop: Crop) -> NDArray[np.uint8] | None:
        """The level of each pixel of the crop's box, right for masked ones; ``None`` where there is but one level."""
        if self.levels is None:
            return None
        ys = np.clip((np.arange(crop.y, crop.y + crop.height) - self.origin[0]) // POOL, 0, self.levels.shape[0] - 1)
        xs = np.clip((np.arange(crop.x, crop.x + crop.width) - self.origin[1]) // POOL, 0, self.levels.shape[1] - 1)
        levels: NDArray[np.uint8] = self.levels[ys[:, None], xs]
        return levels


def plan(
    mask: NDArray[np.bool_],
    max_crops: int = MAX_CROPS,
    faces: Sequence[Frame] = (),
) -> Plan:
    """The tiles that together restore what is masked.

    A part of the mask that is ``t`` pixels thick is shown in tiles of the larger of 256 and ``4 t`` pixels, so what is
    thinner than 64 px is restored at the picture's own resolution, and what is thicker at ``64 / t`` of it. A part that
    is longer than its tile is covered by several, which blend into each other. Where that takes more than ``max_crops``
    tiles, neighbours share larger ones until it does not; ``max_crops=1`` gives one tile around all.

    Around a face that is known, a tile is the face's frame: where the frame is smaller than 256 px, for all damage in
    it, else for damage so thick that its tile would be at least half as large as the frame.

    Where the picture is narrower than its tile, the tile reaches out of it, and the model sees the picture's reflection
    there; but no further than eight times what it restores is long. A picture of at most 256 px on its longer side is
    shown in one tile, unless it has a face whose frame is smaller.

    ``mask`` is ``(H, W)`` bool, ``max_crops`` at least 1.
    """
    shape = mask.shape[0], mask.shape[1]
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return Plan()
    box = Box(top, left, top + height, left + width)
    faces = [face for face in faces if face.side >= LEAST_FACE and box.touches(face)]
    small = max(shape) <= MODEL_SIZE and not any(face.side < MODEL_SIZE for face in faces)
    if small or (box.longest * CONTEXT <= MODEL_SIZE and not faces):
        return Plan(((Tile(place(box.middle, _limited(MODEL_SIZE, box, shape), shape)),),))
    blocks = _Blocks(mask, slice(top, top + height), slice(left, left + width))
    base = float(MODEL_SIZE)
    while True:
        found = blocks.plan(base, faces)
        if len(found.tiles) <= max_crops or base > 2 * max(shape):
            return found
        base *= math.sqrt(2)


def frames(faces: Faces, shape: tuple[int, int]) -> tuple[Frame, ...]:
    """The frame of each face in a picture of ``shape`` (height, width), in an order that does not depend on theirs.

    Raises:
        InputError: something else than four finite numbers, no area, or a face whose middle lies outside the picture.
    """
    found = set()
    given: Any = faces
    hint = "pass a list of (x, y, width, height), in pixels of the upright picture"
    for face in given if isinstance(given, Iterable) else [given]:
        try:
            x, y, width, height = (float(number) for number in face)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the face {face!r} is no box", hint) from error
        if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
            raise InputError(f"the face {face!r} has no area", hint)
        middle_y, middle_x = y + height / 2, x + width / 2
        if not (0 <= middle_y < shape[0] and 0 <= middle_x < shape[1]):
            raise InputError(f"the face {face!r} lies outside the picture of {shape[1]} x {shape[0]} px", hint)
        side = max(1, round(_FRAME * math.sqrt(width) * math.sqrt(height)))  # the product may be beyond all floats
        found.add(Frame(middle_y - _RAISED * side, middle_x, side))
    return tuple(sorted(found))


class _Blocks:
    """The mask in blocks of ``POOL x POOL`` pixels, on the grid of the picture, around what is masked."""

    def __init__(self, mask: NDArray[np.bool_], across: slice, along: slice) -> None:
        self._shape = mask.shape[0], mask.shape[1]
        self._top, self._left = across.start // POOL * POOL, along.start // POOL * POOL
        self._mask = pooled(mask[self._top : across.stop, self._left : along.stop], POOL).view(np.bool_)
        rows, columns = self._mask.shape
        # Beyond the picture's border nothing is known: a mask at the border counts as going on there.
        known = (self._top > 0, across.stop < mask.shape[0], self._left > 0, along.stop < mask.shape[1])
        border = [int(side) for side in known]
        framed = cv2.copyMakeBorder(self._mask.view(np.uint8), *border, cv2.BORDER_CONSTANT, value=0)
        depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)
        self._depth: NDArray[np.float32] = depth[border[0] : border[0] + rows, border[2] : border[2] + columns]

    def plan(self, base: float, faces: Sequence[Frame]) -> Plan:
        """The plan with tiles from ``base`` up; smaller frames of faces come last, unless ``base`` had to grow."""
        levels, count = self._levels(base)
        waves = []  # the finest first
        small = [face for face in faces if face.side < base == MODEL_SIZE and self._serves(face)]
        if small:
            levels += 1
            for face in small:
                levels[self._within(face)] = 0
            waves.append(tuple(self._face_tile(face) for face in small))
        for level in range(len(waves), len(waves) + count):
            part = self._mask & (levels == level)
            if not part.any():
                continue
            nominal = base * 2 ** (level - bool(small))
            side = min(nominal, max(base, CONTEXT * self._thickness(self._depth[part])))
            divided = self._divide(part, side)
            waves.append(tuple(self._tile(level, part, cell, box, base, side, faces) for cell, box in divided))
        return Plan(tuple(reversed(waves)), levels if len(waves) > 1 else None, (self._top, self._left))

    def _within(self, face: Frame) -> tuple[slice, slice]:
        """The blocks that a frame smaller than the model's input answers for: those not too near to its border."""
        reach = face.side * (0.5 - MARGIN)
        return (
            _blocks_of(face.y - reach - self._top, face.y + reach - self._top),
            _blocks_of(face.x - reach - self._left, face.x + reach - self._left),
        )

    def _serves(self, face: Frame) -> bool:
        """Whether there is damage in the frame, and around it something that is known."""
        area = self._within(face)
        inside = self._mask[area]
        return bool(inside.any()) and LEAST_CONTEXT * self._thickness(self._depth[area][inside]) <= face.side

    def _face_tile(self, face: Frame) -> Tile:
        (top, bottom), (left, right) = ((each.start * POOL, each.stop * POOL) for each in self._within(face))
        cell = Box(self._top + top, self._left + left, self._top + bottom, self._left + right)
        return Tile(place((face.y, face.x), face.side, self._shape), cell, 0, max(1, int(RAMP * face.side)))

    def _thickness(self, depth: NDArray[np.float32]) -> float:
        return 2 * POOL * float(min(depth.max(), max(self._shape)))

    def _levels(self, base: float) -> tuple[NDArray[np.uint8], int]:
        """Level of each block, and how many there are.

        A block is above a level where a disc as thick as the level takes fits into the mask around it (an opening).
        The corners that the disc does not fill go with it.
        """
        levels = np.zeros(self._mask.shape, np.uint8)
        part, count = self._mask, 1
        while base * 2 ** (count - 1) < max(self._shape):
            radius = base * 2 ** (count - 1) / CONTEXT / 2 / POOL
            core = self._depth > radius + 0.5
            if not (core & part).any():
                break
            reach = cv2.distanceTransform((~core).view(np.uint8), cv2.DIST_L2, 5)
            part = part & (reach <= 1.5 * radius)
            levels[part] = count
            count += 1
        return levels, count

    def _divide(self, part: NDArray[np.bool_], side: float) -> Iterator[tuple[Box, Box]]:
        """Cells, each with the bounding box of the part's pixels in it, such that a tile of ``side`` serves each."""
        pending = [(Box(), part, self._top, self._left)]
        while pending:
            cell, blocks, top, left = pending.pop()
            x, y, width, height = cv2.boundingRect(blocks.view(np.uint8))
            blocks, top, left = blocks[y : y + height, x : x + width], top + y * POOL, left + x * POOL
            box = Box(top, left, min(top + height * POOL, self._shape[0]), min(left + width * POOL, self._shape[1]))
            over_y = _excess(box.top, box.bottom, self._shape[0], side)
            over_x = _excess(box.left, box.right, self._shape[1], side)
            if max(over_x, over_y) <= 0:
                yield cell, box
                continue
            axis = 0 if over_y >= over_x else 1
            filled = np.asarray(blocks.any(axis=1 - axis))
            at = _cut_at(filled, side * (1 - 2 * MARGIN) / POOL, side / 4 / POOL)
            if axis == 0:
                border = top + at * POOL
                pending.append((Box(border, cell.left, cell.bottom, cell.right), blocks[at:], border, left))
                pending.append((Box(cell.top, cell.left, border, cell.right), blocks[:at], top, left))
            else:
                border = left + at * POOL
                pending.append((Box(cell.top, border, cell.bottom, cell.right), blocks[:, at:], top, border))
                pending.append((Box(cell.top, cell.left, cell.bottom, border), blocks[:, :at], top, left))

    def _tile(
        self, level: int, part: NDArray[np.bool_], cell: Box, box: Box, base: float, side: float, faces: Sequence[Frame]
    ) -> Tile:
        rows = _blocks_of(box.top - self._top, box.bottom - self._top)
        columns = _blocks_of(box.left - self._left, box.right - self._left)
        thickness = self._thickness(self._depth[rows, columns][part[rows, columns]])
        # Not ``base``: where that had to grow, a part that stands alone is still shown as close as it may be.
        ideal = max(float(MODEL_SIZE), CONTEXT * thickness, box.longest / (1 - 2 * MARGIN))
        actual = _limited(min(side, ideal), box, self._shape)
        crop = place(box.middle, actual, self._shape)
        around = [face for face in faces if base <= face.side <= 2 * actual and box.lies_in(face)]
        if around:
            face = min(around, key=lambda face: math.dist(box.middle, (face.y, face.x)))
            crop = place((face.y, face.x), face.side, self._shape)
        return Tile(crop, cell, level, max(1, int(RAMP * actual)))


def _limited(side: float, box: Box, shape: tuple[int, int]) -> int:
    """The side, within the picture or reaching out of it no further than is good for the box.

    A tile that reaches out shows the picture at a coarser scale than one within would, but more of what lies around the
    mask; see docs/lab/measurements.md. Above the model's size in multiples of 32 where that can be: those scale fast.
    """
    limit = min(max(shape), max(min(shape), math.ceil(REACH * box.longest)))
    if side <= MODEL_SIZE:
        return min(MODEL_SIZE, limit)
    rounded = -(-math.ceil(side) // 32) * 32
    below = limit // 32 * 32
    return rounded if rounded <= limit else below if below >= LEAST_CONTEXT * box.longest else limit


def _blocks_of(start: float, end: float) -> slice:
    return slice(max(0, math.floor(start / POOL)), max(0, math.ceil(end / POOL)))


def _excess(start: float, end: float, available: int, side: float) -> float:
    """By how many pixels the stretch with its margins, as far as the picture goes, is longer than the tile."""
    margin = MARGIN * side
    return min(end + margin, available) - max(start - margin, 0) - side if side < available else -side


def _cut_at(filled: NDArray[np.bool_], piece: float, gap: float) -> int:
    """Where to divide a row of blocks, its first and last filled: in the widest gap, else into like pieces."""
    places = np.flatnonzero(filled)
    gaps = np.diff(places)
    widest = int(gaps.argmax())
    if gaps[widest] > max(1.0, gap):
        return int(places[widest] + 1 + gaps[widest] // 2)
    pieces = max(2, math.ceil(len(filled) / piece))
    return max(1, round(len(filled) * (pieces // 2) / pieces))
