"""One photograph on its way: what the model is given of it, and what becomes of the model's answers."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict, Union, get_args

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2, translate_memory_errors
from restore_sdk.errors import InputError
from restore_sdk.imaging.border import dilate, feather
from restore_sdk.imaging.image import (
    Color,
    as_pixels,
    mask_note,
    mask_values,
    masked_pixels,
    to_rgb,
    tone_of,
)
from restore_sdk.tiling.crop import Crop, cut, paste, paste_edges, place
from restore_sdk.tiling.detail import add_detail
from restore_sdk.tiling.faces import FaceStage, find_frames
from restore_sdk.tiling.plan import LEAST_FACE, MAX_CROPS, Faces, Frame, Tile, frames, plan

if TYPE_CHECKING:
    import PIL.Image

#: What is taken as an image; see :func:`restore_sdk.imaging.image.as_pixels`.
ImageLike: TypeAlias = Union[NDArray[np.uint8], "PIL.Image.Image"]

#: What is taken as a mask; see :func:`restore_sdk.imaging.image.mask_values`.
MaskLike: TypeAlias = Union[NDArray[np.uint8], NDArray[np.bool_], "PIL.Image.Image"]

#: What becomes of grain and detail that the model cannot give.
Detail = Literal["match", "none"]

#: Widest border, in pixels, by which a mask is dilated or feathered.
MAX_BORDER = 1024

#: Most tiles that a request may ask for.
_MOST_CROPS = 100_000


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How a photograph is restored. Every field is also a keyword of the methods of ``RestoreEngine``.

    Attributes:
        color: channel order of the image and of the result, ``"rgb"`` or ``"bgr"`` as in OpenCV.
        dilate: first grow the mask by so many pixels, for one drawn too tightly: 0 to 1024.
        feather: over so many pixels, 0 to 1024, inwards from the border of the (dilated) mask, blend the restored
            pixels with those of the image: for a mask drawn generously. Pixels outside the mask stay as they are.
        max_crops: at most so many tiles are shown to the model; where the damage would need more, the finest ones get
            coarser. 1 restores everything in one tile: the quickest, and the softest.
        faces: tiles are framed around faces as the model was trained: ``"auto"`` looks for them beside the damage
            (:mod:`restore_sdk.tiling.faces`; where the model cannot, as ``None``). Boxes ``(x, y, width, height)`` in
            pixels, from forehead to chin, say where they are. ``None``: the damage alone decides.
        detail: ``"match"`` adds the grain, and in tiles that were scaled down the fine detail, of what is known around
            the damage (see :mod:`restore_sdk.tiling.detail`); ``"none"`` leaves what the model gave.

    Raises:
        InputError: a number out of its range, or another ``detail``.
    """

    color: Color = "rgb"
    dilate: int = 0
    feather: int = 0
    max_crops: int = MAX_CROPS
    faces: Faces | Literal["auto"] | None = "auto"
    detail: Detail = "match"

    def __post_init__(self) -> None:
        for name, least, most in (("dilate", 0, MAX_BORDER), ("feather", 0, MAX_BORDER), ("max_crops", 1, _MOST_CROPS)):
            object.__setattr__(self, name, check_int(name, getattr(self, name), least, most))
        if self.detail not in get_args(Detail):
            raise InputError(f"detail is {self.detail!r}", 'pass detail="match" or detail="none"')

    @property
    def finds_faces(self) -> bool:
        """Whether faces are looked for."""
        return isinstance(self.faces, str) and self.faces == "auto"


class OptionKeywords(TypedDict, total=False):
    """The fields of :class:`RestoreOptions` as keywords."""

    color: Color
    dilate: int
    feather: int
    max_crops: int
    faces: Faces | Literal["auto"] | None
    detail: Detail


class Sample(NamedTuple):
    """What the model is given for one tile: ``(256, 256, 3)`` RGB, and masked as 255 in ``(256, 256)``."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


class Request:
    """A checked photograph, its plan, and the picture as far as it is restored.

    The waves of the plan follow each other. Within a wave, :meth:`sample` gives the same whatever was put back of that
    wave; :meth:`put` is to be called in the plan's order.

    ``name`` stands before what errors and :attr:`notes` say, where there are several requests. Notes are on what is odd
    about mask and faces, which are taken as they are. ``find_faces`` looks for faces, if that is asked for.

    Raises:
        ImageError, MaskError, ShapeError, InputError: image, mask or faces cannot be used.
    """

    @translate_memory_errors
    def __init__(
        self,
        image: ImageLike,
        mask: MaskLike,
        options: RestoreOptions,
        *,
        edges: bool = False,
        name: str = "",
        find_faces: FaceStage | None = None,
    ) -> None:
        self._options, self._name = options, name
        with self._prefixed_errors():
            self._source = as_pixels(image, options.color)
            values = mask_values(mask, self._source.shape[:2])
            self._mask = masked_pixels(values)
            notes = [mask_note(values)]
            dilate(self._mask, options.dilate)
            given: Any = () if options.faces is None or options.finds_faces else options.faces
            framed = frames(given, self._mask.shape)
            self.plan = plan(self._mask, options.max_crops, framed)
            if options.finds_faces and find_faces is not None:
                self._frame(find_frames(find_faces, self._source, self._mask, self.plan, options.color))
            notes += [self._face_note(face) for face in framed if face.side >= LEAST_FACE]
            self.notes = tuple(self._name + note for note in notes if note)
        self._picture = np.array(self._source, order="C")  # what is put back is put into this copy
        self.edges = np.zeros(self._mask.shape, np.uint8) if edges else None
        # Level + 1 of the last wave that wrote a pixel; where one tile does it all, nobody asks.
        self._written = np.zeros(self._mask.shape, np.uint8) if len(self.plan.tiles) > 1 else None
        self._tones: dict[Crop, NDArray[np.uint8] | None] = {}
        self._one_tone = self._has_one_tone() if self.plan.tiles else False
        #: What :meth:`finish` added.
        self.detail: Detail = "none"

    def _frame(self, found: Sequence[Frame]) -> None:
        """Plan anew, where faces that were found get tiles; too many of these would only make others coarser."""
        framed = plan(self._mask, self._options.max_crops, found)
        places = {place((face.y, face.x), face.side, self._mask.shape) for face in found}
        if any(tile.crop in places for tile in framed.tiles):
            self.plan = framed

    @translate_memory_errors
    def sample(self, tile: Tile) -> Sample:
        """What the model is shown for a tile: what earlier waves restored is known to it.

        Raises:
            MaskError: scaled to the model's size, the mask leaves nothing known.
        """
        mask = self._mask[tile.crop.box]
        levels = self.plan.level_of(tile.crop)
        if levels is not None:
            mask = mask & (levels <= tile.level)
        with self._prefixed_errors():
            image, mask = cut(self._picture, mask, tile.crop, self._options.color)
        known = image[::4, ::4][~mask[::4, ::4]]
        known = known if len(known) >= 64 else image[~mask]  # little is known, perhaps between those
        self._tones[tile.crop] = tone_of(known, near_grey=not self._one_tone)
        return Sample(image, mask.view(np.uint8) * np.uint8(255))

    @translate_memory_errors
    def put(self, tile: Tile, restored: NDArray[np.uint8], completed_edges: NDArray[np.uint8]) -> None:
        """Paste what the model made of a tile's sample: ``(256, 256, 3)`` RGB and ``(256, 256)`` edges."""
        if self.edges is not None:
            paste_edges(self.edges, tile.crop, completed_edges)
        if (tone := self._tones[tile.crop]) is not None:  # what surrounds it has no colours of its own
            restored = tone[cv2.cvtColor(np.ascontiguousarray(restored), cv2.COLOR_RGB2GRAY)]
        mask, share = self._mask[tile.crop.box], None
        if self._written is not None:
            share, written = tile.share(), self._written[tile.crop.box]
            mask = mask & (share > 0)
            # Beside its neighbours a tile blends into what they wrote; the first one there takes all of a pixel.
            share[written != tile.level + 1] = 1
            above = self._distance_to_coarser(tile)
            if above is not None:  # towards a coarser level it blends into what that restored
                share[written > 0] *= above[written > 0]
            written[mask] = tile.level + 1
        paste(self._picture, mask, tile.crop, restored, self._options.color, share)

    @translate_memory_errors
    def finish(self) -> NDArray[np.uint8]:
        """The restored photograph, once every tile was put back."""
        if self._options.detail == "match":
            self._add_detail()
        feather(self._picture, self._source, self._mask, self._options.feather)
        return self._picture

    def _face_note(self, face: Frame) -> str:
        """Why a face whose frame is mostly masked has no tile of its own; empty where it has one, or needs none."""
        frame = place((face.y, face.x), face.side, self._mask.shape)
        if any(tile.crop == frame for tile in self.plan.tiles) or self._mask[frame.box].mean() <= 0.5:
            return ""
        return f"the face around {face.x:.0f}, {face.y:.0f} frames no tile: the damage is too large for it"

    def _has_one_tone(self) -> bool:
        """Whether the photograph is grey or toned, by some 4,000 known pixels all over it."""
        steps = tuple(slice(None, None, max(1, length // 64)) for length in self._mask.shape)
        return tone_of(to_rgb(self._source[steps], self._options.color)[~self._mask[steps]]) is not None

    def _add_detail(self) -> None:
        for tile in self.plan.tiles:
            mask = mine = self._mask[tile.crop.box]
            if self._written is not None:
                mine = mask & (self._written[tile.crop.box] == tile.level + 1) & (tile.share() > 0)
            if add_detail(self._picture, mask, mine, tile, self._tones[tile.crop] is not None):
                self.detail = "match"

    @contextmanager
    def _prefixed_errors(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            if not self._name:
                raise
            raise type(error)(self._name + error.message, error.hint, error.reason) from error

    def _distance_to_coarser(self, tile: Tile) -> NDArray[np.float32] | None:
        """From pixels of a coarser level, in ramps, at most 1; ``None`` where the tile's box has none."""
        levels = self.plan.level_of(tile.crop)
        if levels is None:
            return None
        finer = ~(self._mask[tile.crop.box] & (levels > tile.level))
        if finer.all():
            return None
        distance: NDArray[np.float32] = cv2.distanceTransform(finer.view(np.uint8), cv2.DIST_L2, 5)
        return np.minimum(distance / tile.ramp, 1, dtype=np.float32)


def check_int(name: str, value: object, least: int, most: int) -> int:
    """``value`` as an ``int``; numpy's integers are taken, too.

    Raises :class:`InputError` unless it is a whole number from ``least`` to ``most``.
    """
    try:
        number = None if isinstance(value, (bool, np.bool_)) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is not None and least <= number <= most:
        return number
    raise InputError(f"{name} is {value!r}", f"pass a whole number from {least} to {most} for {name}")
