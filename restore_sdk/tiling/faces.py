"""Where the faces of a photograph are: boxes from the caller, or a detector model that the caller names.

The model of the SDK was trained on faces framed as in FFHQ, so a tile around a face is framed like that.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk._util.reading import read_at_most
from restore_sdk.errors import ExecutionError, FaceModelError, InputError
from restore_sdk.imaging.image import Color, to_rgb

#: A face's box: x and y of its top left corner, width and height, in pixels.
Box = Sequence[float]

#: Side of the frame in box sides: an FFHQ picture is about 1.9 times as wide and 1.5 times as high as a face's box.
_FRAME = 1.75

#: How far the frame's middle lies above the box's, in frame sides.
_RAISED = 0.07

#: The longest side, in pixels, at which faces are looked for.
_LONGEST = 1280

#: The largest model file that is read, in bytes; YuNet has 230,000.
_MAX_BYTES = 64 * 1024 * 1024

_STRIDES = (8, 16, 32)
_HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


@dataclass(frozen=True, slots=True, order=True)
class Frame:
    """The square around a face, framed as the model was trained: its middle and its side, in pixels."""

    y: float
    x: float
    side: int


def frames(faces: Sequence[Box], shape: tuple[int, int]) -> tuple[Frame, ...]:
    """The frame of each face, in an order that does not depend on theirs.

    Args:
        faces: boxes ``(x, y, width, height)`` from forehead to chin, as face detectors give them; they may reach out
            of the picture.
        shape: height and width of the picture.

    Raises:
        InputError: something else than four finite numbers, no area, or a face whose middle lies outside the picture.
    """
    found = set()
    try:
        each = list(faces)
    except TypeError as error:
        raise InputError(f"the faces are {faces!r}", "pass a list of (x, y, width, height), in pixels") from error
    for face in each:
        try:
            x, y, width, height = (float(number) for number in face)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the face {face!r} is no box", "pass (x, y, width, height), in pixels") from error
        if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
            raise InputError(f"the face {face!r} has no area", "pass (x, y, width, height), in pixels")
        middle_y, middle_x = y + height / 2, x + width / 2
        if not (0 <= middle_y < shape[0] and 0 <= middle_x < shape[1]):
            raise InputError(
                f"the face {face!r} lies outside the picture of {shape[1]} x {shape[0]} px",
                "pass (x, y, width, height), in pixels of the upright picture",
            )
        side = max(1, round(_FRAME * math.sqrt(width) * math.sqrt(height)))  # the product may be beyond all floats
        found.add(Frame(middle_y - _RAISED * side, middle_x, side))
    return tuple(sorted(found))


class FaceDetector:
    """OpenCV's ``FaceDetectorYN`` on a model file that you name: YuNet of March 2023 or later, in ONNX.

    The SDK ships no such model and downloads none. OpenCV's model zoo has it: ``face_detection_yunet_2023mar.onnx``.
    Threads may share a detector; they take turns.

    Args:
        path: the ONNX file.
        min_score: faces below this score are left out, 0..1.
        sha256: where given, the file's SHA-256 must be this one, in hexadecimal.

    Raises:
        FaceModelError: no such file, another hash, no ONNX, or no YuNet.
        InputError: ``min_score`` is out of its range.
    """

    def __init__(self, path: str | os.PathLike[str], *, min_score: float = 0.7, sha256: str | None = None) -> None:
        if not 0 <= min_score <= 1:
            raise InputError(f"min_score is {min_score!r}", "pass a number from 0 to 1")
        self._path = Path(path)
        data, self.sha256 = _read(self._path, sha256)
        _check_yunet(self._path, data)
        self._lock = threading.Lock()
        try:
            model = np.frombuffer(data, np.uint8)
            self._net: Any = cv2.FaceDetectorYN.create("onnx", model, np.empty(0, np.uint8), (320, 320), min_score)
            self._net.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            text = str(error).strip().splitlines()[0][:200]
            raise FaceModelError(
                f"OpenCV {cv2.__version__} cannot run the face detector {path}: {text}", _HINT
            ) from error

    def __call__(self, pixels: NDArray[np.uint8], color: Color = "rgb") -> list[tuple[float, float, float, float]]:
        """The boxes ``(x, y, width, height)`` of the faces in a picture, in its pixels.

        Args:
            pixels: in any form of :func:`restore_sdk.imaging.image.as_pixels`. It is looked at scaled down to 1280 px.
        """
        rows, columns = pixels.shape[:2]
        scale = min(1.0, _LONGEST / max(rows, columns))
        if scale < 1:
            size = max(1, round(columns * scale)), max(1, round(rows * scale))
            pixels = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
        bgr = np.ascontiguousarray(to_rgb(pixels, color)[..., ::-1])
        with self._lock:
            self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
            _, found = self._net.detect(bgr)
        boxes = [] if found is None else [tuple(float(number) / scale for number in face[:4]) for face in found]
        return [
            (x, y, width, height)
            for x, y, width, height in boxes
            if min(width, height) > 0 and 0 <= x + width / 2 < columns and 0 <= y + height / 2 < rows
        ]


#: Faces as the engine takes them: boxes, or a detector that is asked for them.
Faces: TypeAlias = Sequence[Box] | FaceDetector

_HINT = "name face_detection_yunet_2023mar.onnx of OpenCV's model zoo"


def _read(path: Path, sha256: str | None) -> tuple[bytes, str]:
    """The file's bytes and their SHA-256, which must be the one that is given, if any."""
    try:
        with path.open("rb") as file:
            data = read_at_most(file, _MAX_BYTES)
    except FileNotFoundError as error:
        raise FaceModelError(f"the face detector {path} does not exist", "check the path") from error
    except (OSError, ValueError) as error:
        raise FaceModelError(f"the face detector {path} cannot be read: {error}", "check the path") from error
    if data is None:
        raise FaceModelError(f"the face detector {path} is over {_MAX_BYTES >> 20} MiB", _HINT)
    if data.startswith(b"version https://git-lfs"):
        raise FaceModelError(
            f"the face detector {path} is a Git LFS pointer, not the model", "download the file itself: git lfs pull"
        )
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256.strip().lower():
        raise FaceModelError(
            f"the face detector {path} has SHA-256 {found}, expected {sha256}", "download it again, or correct the hash"
        )
    return data, found


def _check_yunet(path: Path, data: bytes) -> None:
    """Raise unless the model's outputs are those of YuNet: OpenCV reads them without looking at their sizes."""
    from restore_sdk.runtime.onnxruntime import output_shapes

    try:
        (height, width), found = output_shapes(data)
    except ExecutionError as error:
        text = " ".join(error.message.split())[:300]
        raise FaceModelError(f"the face detector {path} is no ONNX model of a face detector: {text}", _HINT) from error
    expected = {
        f"{head}_{stride}": (1, (height // stride) * (width // stride), size)
        for head, size in _HEADS.items()
        for stride in _STRIDES
    }
    if found != expected:
        raise FaceModelError(
            f"the face detector {path} is no YuNet of 2023 or later: its outputs are {', '.join(sorted(found))[:200]}",
            _HINT,
        )
