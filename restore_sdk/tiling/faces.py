"""Finding faces beside the damage: how they have to be framed for the model, which knows them as FFHQ frames them.

The face stage is the part of the model that guesses a face's contours from what is left of it. It has never been asked
where there is none, so a frame is believed where the stage, shown the picture in that very frame, finds the same one
again, in its mirror image, too, and with more of it hidden to either side (docs/photographs.md, "Faces").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.errors import MaskError
from restore_sdk.imaging.image import MODEL_SIZE, Color
from restore_sdk.tiling.crop import Crop, cut, place
from restore_sdk.tiling.plan import LEAST_FACE, Frame, Plan

#: ``(N, 256, 256, 3)`` RGB and ``(N, 256, 256)``, 255 where masked, both ``uint8``, to ``(N, 4)``: how sure it is that
#: there is a face, 0..1, and its frame: x and y of its middle and its side, in sides of the tile.
FaceStage: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.uint8]], Any]

#: How sure the stage has to be.
_SURE = 0.98

#: Holes narrower than this, in pixels of a tile, are filled alike whether there is a face or not.
_THIN = 10

#: How often the stage is shown the frame that it found last, until it finds the same.
_LOOKS = 4

#: Two frames are the same up to this factor in size, and so far apart, in sides.
_SAME_SIZE, _SAME_PLACE = 1.1, 0.1

#: By how much, in sides, the hole reaches farther in the last looks: where there is no face, the stage finds one in
#: the middle of the hole.
_FARTHER = 0.3

#: How far the frame may be off then, and in its mirror image, in sides: its middle, and its size, together.
_OFF = 0.06


def find_frames(
    stage: FaceStage, pixels: NDArray[np.uint8], mask: NDArray[np.bool_], without: Plan, color: Color = "rgb"
) -> tuple[Frame, ...]:
    """The frames of faces that the tiles of a plan show too small, too large, or far from their middle.

    Args:
        stage: see :data:`FaceStage`.
        pixels: in any form that :func:`restore_sdk.imaging.image.as_pixels` takes; what is masked is not looked at.
        mask: ``(H, W)``.
        without: the plan without faces.
        color: channel order of a colour array.
    """
    search = _Search(stage, pixels, mask, color)
    found: list[Frame] = []
    for tile in without.tiles:
        face = search.converged(tile.crop)
        if face is not None and not any(_same(face, other) for other in found):
            found.append(face)
    return tuple(sorted(found))


@dataclass(frozen=True)
class _Search:
    """What :func:`find_frames` was given."""

    stage: FaceStage
    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    color: Color

    def converged(self, crop: Crop) -> Frame | None:
        """The frame of a face that is not as the crop has it."""
        before = _of_crop(crop)
        for number in range(_LOOKS):
            try:
                image, hole = cut(self.pixels, self.mask[crop.box], crop, self.color)
            except MaskError:  # nothing is known there yet
                return None
            if 2.0 * cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, 3).max() < _THIN:
                return None
            face = self._look(image, hole, crop)
            if face is None:
                return None
            if _same(face, before):
                return face if number and self._stays(image, hole, crop, face) else None
            before, crop = face, place((face.y, face.x), face.side, (self.mask.shape[0], self.mask.shape[1]))
        return None

    def _stays(self, image: NDArray[np.uint8], hole: NDArray[np.bool_], crop: Crop, face: Frame) -> bool:
        """Whether the same face is found in the mirror image, and where the hole reaches farther to one side."""
        step = _FARTHER * MODEL_SIZE
        for down, right in ((0, 0), (0, step), (0, -step), (step, 0)):
            shift = np.array([[1, 0, round(right)], [0, 1, round(down)]], np.float32)
            moved = cv2.warpAffine(hole.view(np.uint8), shift, hole.shape, flags=cv2.INTER_NEAREST).view(np.bool_)
            again = self._look(image[:, ::-1], (hole | moved)[:, ::-1], crop, mirror=True)
            if again is None or _apart(face, again) + abs(face.side - again.side) > _OFF * face.side:
                return False
        return True

    def _look(
        self, image: NDArray[np.uint8], hole: NDArray[np.bool_], crop: Crop, mirror: bool = False
    ) -> Frame | None:
        """The frame of the face in what was cut out of the picture, where there surely is one."""
        tensors = np.ascontiguousarray(image)[np.newaxis], np.ascontiguousarray(hole).view(np.uint8)[np.newaxis] * 255
        sure, x, y, side = (float(number) for number in self.stage(*tensors)[0])
        scale, (height, width) = _scale(crop), self.mask.shape
        middle_y = crop.y + (y * MODEL_SIZE - crop.top) * scale
        middle_x = crop.x + ((1.0 - x if mirror else x) * MODEL_SIZE - crop.left) * scale
        face = Frame(middle_y, middle_x, min(round(side * MODEL_SIZE * scale), max(height, width)))
        inside = 0.0 <= face.y < height and 0.0 <= face.x < width
        return face if sure >= _SURE and inside and face.side >= LEAST_FACE else None


def _scale(crop: Crop) -> float:
    """Pixels of the picture in one of the tile; the shorter axis may be rounded."""
    return max(crop.height, crop.width) / max(crop.inner_height, crop.inner_width)


def _of_crop(crop: Crop) -> Frame:
    scale, half = _scale(crop), MODEL_SIZE / 2
    return Frame(crop.y + (half - crop.top) * scale, crop.x + (half - crop.left) * scale, round(2 * half * scale))


def _apart(one: Frame, other: Frame) -> float:
    return math.dist((one.y, one.x), (other.y, other.x))


def _same(one: Frame, other: Frame) -> bool:
    ratio = one.side / max(other.side, 1)
    return _apart(one, other) < _SAME_PLACE * one.side and 1.0 / _SAME_SIZE < ratio < _SAME_SIZE
