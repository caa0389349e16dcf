"""The frames of faces whose boxes the caller knows.

The model of the SDK was trained on faces framed as in FFHQ, so a tile around a face is framed like that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from restore_sdk.errors import InputError

#: A face's box: x and y of its top left corner, width and height, in pixels.
Box = Sequence[float]

#: Boxes of a photograph's faces.
Faces: TypeAlias = Sequence[Box]

#: Side of the frame in box sides: an FFHQ picture is about 1.9 times as wide and 1.5 times as high as a face's box.
_FRAME = 1.75

_HINT = "pass a list of (x, y, width, height), in pixels of the upright picture"

#: How far the frame's middle lies above the box's, in frame sides.
_RAISED = 0.07


@dataclass(frozen=True, slots=True, order=True)
class Frame:
    """The square around a face, framed as the model was trained: its middle and its side, in pixels."""

    y: float
    x: float
    side: int


def frames(faces: Faces, shape: tuple[int, int]) -> tuple[Frame, ...]:
    """The frame of each face in a picture of ``shape`` (height, width), in an order that does not depend on theirs.

    Raises:
        InputError: something else than four finite numbers, no area, or a face whose middle lies outside the picture.
    """
    found = set()
    given: Any = faces
    for face in given if isinstance(given, Iterable) else [given]:
        try:
            x, y, width, height = (float(number) for number in face)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the face {face!r} is no box", _HINT) from error
        if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
            raise InputError(f"the face {face!r} has no area", _HINT)
        middle_y, middle_x = y + height / 2, x + width / 2
        if not (0 <= middle_y < shape[0] and 0 <= middle_x < shape[1]):
            raise InputError(f"the face {face!r} lies outside the picture of {shape[1]} x {shape[0]} px", _HINT)
        side = max(1, round(_FRAME * math.sqrt(width) * math.sqrt(height)))  # the product may be beyond all floats
        found.add(Frame(middle_y - _RAISED * side, middle_x, side))
    return tuple(sorted(found))
