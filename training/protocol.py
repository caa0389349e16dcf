"""The evaluation protocol: which face meets which mask, and what is measured.

As MISF and HINT do: 256 x 256 RGB ``uint8``, irregular masks by bucket of hole ratio, known pixels from the input, and
edges from the damaged image only.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restore_sdk.imaging.image import MASKED_ABOVE as HOLE_ABOVE
from training.data import DataError, Image, decoded, evenly, find_images, read_rgb, square

#: Upper bounds of the hole ratio, and the names of the buckets between them.
BOUNDS = (0.01, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60)
BUCKETS = tuple(f"{low:.0%}-{high:.0%}".replace("%-", "-") for low, high in itertools.pairwise(BOUNDS))


@dataclass(frozen=True)
class Case:
    """One face and one mask: ``image`` ``(256, 256, 3)`` RGB and ``mask`` ``(256, 256)`` 0 or 255, both ``uint8``."""

    bucket: str
    name: str
    image: Image
    mask: Image

    @property
    def hole(self) -> NDArray[np.bool_]:
        """``(256, 256)``, true where the mask is above 127."""
        missing: NDArray[np.bool_] = self.mask > HOLE_ABOVE
        return missing

    @property
    def damaged(self) -> Image:
        """The image with white where the mask is."""
        return np.where(self.hole[..., None], np.uint8(255), self.image)


def masks_by_bucket(folder: Path) -> dict[str, list[Path]]:
    """Mask files by bucket of hole ratio, measured from their pixels; those outside every bucket are left out."""
    found: dict[str, list[Path]] = {bucket: [] for bucket in BUCKETS}
    for path in find_images(folder):
        ratio = float((read_mask(path) > HOLE_ABOVE).mean())
        index = int(np.searchsorted(BOUNDS, ratio, side="left")) - 1
        if 0 <= index < len(BUCKETS):
            found[BUCKETS[index]].append(path)
    if not any(found.values()):
        raise DataError(f"No mask below {folder} has between 1% and 60% white pixels (white = hole).")
    return found


def read_mask(path: Path, size: int = 256) -> Image:
    """A mask file as ``(size, size)`` ``uint8``, 255 where it is above 127 (the hole) and 0 elsewhere."""
    mask = decoded(path, cv2.IMREAD_GRAYSCALE)
    if mask.shape != (size, size):
        mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
    return np.where(mask > HOLE_ABOVE, np.uint8(255), np.uint8(0))


def read_faces(folder: Path, limit: int | None = None) -> list[tuple[str, Image]]:
    """Paths within the folder and centred squares, ``(256, 256, 3)`` RGB ``uint8``, of a folder's images; ``limit``
    takes an even choice of at most so many. Raises :class:`DataError` where there is none, or one that cannot be read.
    """
    files = find_images(folder)
    return [
        (path.relative_to(folder).as_posix(), square(read_rgb(path))) for path in evenly(files, limit or len(files))
    ]


def cases(images: Path, masks: Path, per_bucket: int | None = None) -> list[Case]:
    """Face ``i`` meets mask ``i`` of every bucket (both sorted by name; masks are used again where they run out).

    Files that cannot be read are reported and left out. ``per_bucket`` takes an even choice of that many faces.

    Raises :class:`DataError` where none can be read.
    """
    files = find_images(images)
    faces: list[tuple[str, Image]] = []
    for path in evenly(files, per_bucket or len(files)):
        try:
            faces.append((path.name, square(read_rgb(path))))
        except DataError as error:
            print(f"left out: {error}", flush=True)
    if not faces:
        raise DataError(f"No file below {images} can be read as a picture. Name a folder of face photographs.")
    read = functools.cache(read_mask)
    return [
        Case(bucket, name, image, read(found[i % len(found)]))
        for bucket, found in masks_by_bucket(masks).items()
        for i, (name, image) in enumerate(faces if found else [])
    ]


def telea(image: Image, mask: Image) -> Image:
    """OpenCV's fast marching inpainting (Telea 2004), radius 3."""
    return _opencv(image, mask, cv2.INPAINT_TELEA)


def navier_stokes(image: Image, mask: Image) -> Image:
    """OpenCV's Navier-Stokes inpainting (Bertalmio et al., CVPR 2001), radius 3."""
    return _opencv(image, mask, cv2.INPAINT_NS)


def _opencv(image: Image, mask: Image, method: int) -> Image:
    painted = cv2.inpaint(np.ascontiguousarray(image[..., ::-1]), mask, 3, method)
    return np.where(mask[..., None] > HOLE_ABOVE, painted[..., ::-1], image)
