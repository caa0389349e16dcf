"""Faces from a folder, and an endless, seeded stream of damaged ones.

Sample ``k`` of a stream depends on the seed and ``k`` alone. A training run is resumed by asking for the samples after
the last one it used: nothing is repeated and nothing left out.
"""

from __future__ import annotations

import atexit
import csv
import math
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.augment import random_view
from training.edges import canny_edges
from training.masks import random_mask

T = TypeVar("T")

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


#: Shorter side, in pixels, below which a picture is no face photograph.
_LEAST_SIDE = 16


class DataError(Exception):
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


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode one file to ``(H, W, 3)`` RGB ``uint8``; grey files become three equal channels."""
    rgb: NDArray[np.uint8] = cv2.cvtColor(decoded(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return rgb


def decoded(path: Path, mode: int) -> NDArray[np.uint8]:
    """Decode one file as OpenCV's ``mode`` says. Raises :class:`DataError` where it cannot be read."""
    try:
        found = cv2.imdecode(np.fromfile(path, np.uint8), mode) if path.stat().st_size else None
    except (OSError, cv2.error) as error:
        raise DataError(f"{path} cannot be read: {error}. Remove or replace it.") from error
    if found is None:
        raise DataError(f"{path} is not an image that can be read. Remove or replace it.")
    pixels: NDArray[np.uint8] = found
    return pixels


def sampling_weights(folder: Path, files: list[Path]) -> NDArray[np.float64]:
    """How often each file is drawn: sharp, real, colour photographs more often, by an ``index.csv`` if there is one.

    The index has the columns ``file`` (relative to the index), ``sharpness`` (variance of the Laplacian), ``synthetic``
    and ``gray``. It may lie in the folder or beside it. Without one, all files weigh the same; so do those that it does
    not name. Raises :class:`DataError` where the index cannot be read.
    """
    weights = np.ones(len(files))
    folder = folder.absolute()  # "." has no parent to look in
    for index in (folder / "index.csv", folder.parent / "index.csv"):
        if index.is_file():
            listed = _listed(index)
            weights = np.array([listed.get(path.absolute(), 1.0) for path in files])
            break
    return weights / weights.sum()


def _listed(index: Path) -> dict[Path, float]:
    """The weight of every file that an index names."""
    weights = {}
    try:
        with index.open(newline="") as lines:
            for row in csv.DictReader(lines):
                sharpness = float(row["sharpness"])
                if not 0 <= sharpness < math.inf:
                    raise ValueError(f"sharpness {sharpness} of {row['file']}")
                sharp = float(np.clip((sharpness / 200.0) ** 0.5, 0.45, 1.6))
                kind = (0.45 if row["synthetic"] == "1" else 1.0) * (0.7 if row["gray"] == "1" else 1.0)
                weights[index.parent / row["file"]] = sharp * kind
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{index} cannot be read as an index ({type(error).__name__}: {error}). It needs the columns file, "
            "sharpness, synthetic and gray; mend it, or move it elsewhere."
        ) from error
    return weights


@dataclass(frozen=True)
class Batch:
    """One batch of training samples, ``uint8``: ``image`` ``(N, 3, S, S)``; the others ``(N, 1, S, S)``, 0 or 255.

    ``edges`` is of the whole image: what the edge stage should find.
    """

    image: Tensor
    mask: Tensor
    edges: Tensor


class DamagedFaces(Dataset[tuple[Tensor, ...]]):
    """Samples ``start`` to ``end`` of the seeded stream."""

    def __init__(self, folder: Path, seed: int, start: int, end: int, size: int = 256) -> None:
        self.files = find_images(folder)
        self.weights = np.cumsum(sampling_weights(folder, self.files))
        self.seed, self.start, self.end, self.size = seed, start, end, size

    def __len__(self) -> int:
        return max(self.end - self.start, 0)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((self.seed, self.start + index))
        for _ in range(20):
            path = self.files[min(int(np.searchsorted(self.weights, rng.random())), len(self.files) - 1)]
            try:
                pixels = read_rgb(path)
                if min(pixels.shape[:2]) < _LEAST_SIDE:  # reflections of a single row never end
                    raise DataError(f"{path} is {pixels.shape[1]} x {pixels.shape[0]} px, too small for a face.")
                image = random_view(pixels, rng, self.size)
                break
            except DataError as error:
                print(f"skipped: {error}", flush=True)
        else:
            raise DataError("Twenty files in a row could not be read. Check the data folder.")
        mask = random_mask(rng, self.size)
        chw = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return chw, *(torch.from_numpy(each)[None] for each in (mask, canny_edges(image)))


def stream(samples: DamagedFaces, batch: int, workers: int) -> DataLoader[tuple[Tensor, ...]]:
    """Batches of the samples, in order; wrap each in :class:`Batch`."""
    cv2.setNumThreads(0)
    atexit.unregister(_end_workers)
    atexit.register(_end_workers)
    return DataLoader(
        samples,
        batch_size=batch,
        num_workers=workers,
        drop_last=True,
        prefetch_factor=6 if workers else None,
        worker_init_fn=_leave_signals_to_the_trainer,
    )


def _end_workers() -> None:
    """At exit, where a loader is still referred to: its workers ignore the signal that would end them, and Python would
    wait for them for ever."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def samples_of(loader: DataLoader[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    """What the loader gives. An error of the process that prepares samples is told as :class:`DataError`, without that
    process's own traceback."""
    try:
        yield from loader
    except DataError as error:
        raise DataError(str(error).rpartition("DataError: ")[2].strip()) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(f"The process that prepares samples was killed ({error}). Run again to resume.") from error


def _leave_signals_to_the_trainer(_worker: int) -> None:
    """A signal to the whole process group must not kill the samples under a trainer that is about to save."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
