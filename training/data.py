"""Photographs in a folder: which they are, reading them, and how often each is trained on."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from training import TrainingError

Image = NDArray[np.uint8]
T = TypeVar("T")

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


class DataError(TrainingError):
    """The data folder cannot be trained on; the message says why and what to do."""


def find_images(folder: Path) -> list[Path]:
    """All image files below ``folder``, sorted. Raises :class:`DataError` where there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Name a folder of face photographs.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"No images below {folder}. Expected files ending in {', '.join(sorted(_SUFFIXES))}.")
    return found


def evenly(found: list[T], count: int) -> list[T]:
    """At most ``count`` of them, chosen evenly."""
    return found if len(found) <= count else [found[i * len(found) // count] for i in range(count)]


def read_rgb(path: Path) -> Image:
    """Decode one file to ``(H, W, 3)`` RGB ``uint8``; grey files become three equal channels."""
    rgb: Image = cv2.cvtColor(decoded(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return rgb


def decoded(path: Path, mode: int) -> Image:
    """Decode one file as OpenCV's ``mode`` says. Raises :class:`DataError` where it cannot be read."""
    try:
        found = cv2.imdecode(np.fromfile(path, np.uint8), mode) if path.stat().st_size else None
    except (OSError, cv2.error) as error:
        raise DataError(f"{path} cannot be read: {error}. Remove or replace it.") from error
    if found is None:
        raise DataError(f"{path} is not an image that can be read. Remove or replace it.")
    pixels: Image = found
    return pixels


def square(image: Image, size: int = 256) -> Image:
    """The centred square of a picture, at ``size`` (CelebA-HQ at 1024 and its kin; 178 x 218 CelebA too)."""
    height, width = image.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    image = image[y : y + side, x : x + side]
    if side == size:
        return np.ascontiguousarray(image)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def sampling_weights(folder: Path, files: list[Path]) -> NDArray[np.float64]:
    """How often each file is drawn: sharp, real, colour photographs more often, by an ``index.csv`` if there is one.

    The index has the columns ``file`` (relative to the index), ``sharpness`` (variance of the Laplacian), ``synthetic``
    and ``gray``. It may lie in the folder or beside it. Without one, all files weigh the same; so do those that it does
    not name. Raises :class:`DataError` where the index cannot be read.
    """
    weights = _listed(folder, files, _weight, 1.0)
    return weights / weights.sum()


def sharpness_of(folder: Path, files: list[Path]) -> NDArray[np.float64]:
    """The sharpness of each file by the ``index.csv`` in or beside the folder; infinite where it says nothing.

    Raises :class:`DataError` where the index cannot be read.
    """
    return _listed(folder, files, _sharpness, math.inf)


def _weight(row: dict[str, str]) -> float:
    sharp = float(np.clip((_sharpness(row) / 200.0) ** 0.5, 0.45, 1.6))
    return sharp * (0.45 if row["synthetic"] == "1" else 1.0) * (0.7 if row["gray"] == "1" else 1.0)


def _sharpness(row: dict[str, str]) -> float:
    sharpness = float(row["sharpness"])
    if not 0 <= sharpness < math.inf:
        raise ValueError(f"sharpness {sharpness} of {row['file']}")
    return sharpness


def _listed(
    folder: Path, files: list[Path], value: Callable[[dict[str, str]], float], otherwise: float
) -> NDArray[np.float64]:
    """What the index in or beside a folder says of each file, or ``otherwise``."""
    folder = folder.absolute()  # "." has no parent to look in
    found: dict[Path, float] = {}
    for index in (folder / "index.csv", folder.parent / "index.csv"):
        if index.is_file():
            try:
                with index.open(newline="") as lines:
                    found = {index.parent / row["file"]: value(row) for row in csv.DictReader(lines)}
            except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
                raise DataError(
                    f"{index} cannot be read as an index ({type(error).__name__}: {error}). It needs the columns file, "
                    "sharpness, synthetic and gray; mend it, or move it elsewhere."
                ) from error
            break
    return np.array([found.get(path.absolute(), otherwise) for path in files])
