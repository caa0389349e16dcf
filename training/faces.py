"""Face photographs in memory, and an endless, seeded stream of damaged views of them.

Everything after reading the files is tensor arithmetic on the device that trains, so that a fast GPU does not wait for
processes that prepare samples. Batch ``k`` of a stream depends on the seed and ``k`` alone: a run is resumed by asking
for the batches after the last one it used.
"""

from __future__ import annotations

import io
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from restore_sdk._util.disk import write_file
from training.data import DataError, find_images, read_rgb, sampling_weights, sharpness_of, square
from training.masks import random_mask
from training.networks.contours import MIRROR, POINTS

SIZE = 256


@dataclass
class Faces:
    """Squared photographs ``(N, 3, 256, 256)`` ``uint8``, how often each is drawn, and their contours.

    ``points`` ``(N, P, 2)``, x and y in 0..1 of the side, and ``found`` ``(N,)`` bool, where a face was labelled.
    """

    images: Tensor
    weights: NDArray[np.float64]
    points: Tensor
    found: Tensor

    @staticmethod
    def read(folder: Path, labels: Path | None = None, least_sharpness: float = 0.0, device: str = "cpu") -> Faces:
        """Read a folder. ``labels`` is what ``training/label.py`` wrote; ``least_sharpness`` leaves out what its
        ``index.csv`` calls softer. Raises :class:`training.data.DataError`."""
        files = find_images(folder)
        if least_sharpness:
            sharp = sharpness_of(folder, files)
            files = [path for path, value in zip(files, sharp, strict=True) if value >= least_sharpness]
            if not files:
                raise DataError(f"No photograph below {folder} has a sharpness of {least_sharpness} in its index.csv.")
        images = torch.empty(len(files), 3, SIZE, SIZE, dtype=torch.uint8)
        kept = []
        for path in tqdm(files, desc="reading faces", unit="img", disable=None):
            try:
                image = square(read_rgb(path))
            except DataError as error:
                print(f"left out: {error}", flush=True)
                continue
            images[len(kept)] = torch.from_numpy(image).permute(2, 0, 1)
            kept.append(path)
        if not kept:
            raise DataError(f"No file below {folder} can be read as a picture. Name a folder of face photographs.")
        points, found, weights = _labelled(folder, kept, labels)
        return Faces(images[: len(kept)].to(device), weights * sampling_weights(folder, kept), points, found)


#: From this value of :func:`training.label.glasses` on a face counts as one with glasses, and its weight beside 1 of
#: others: with a weight of 1 a model paints frames, or halves of them, where both eyes are hidden.
_GLASSES, _GLASSES_WEIGHT = 0.46, 0.15


def _labelled(folder: Path, files: list[Path], labels: Path | None) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
    """Points, whether they were found, and a weight for each face: less where it wears glasses."""
    points, found = torch.zeros(len(files), len(POINTS), 2), torch.zeros(len(files), dtype=torch.bool)
    weights = np.ones(len(files))
    if labels is None:
        return points, found, weights
    try:
        with np.load(labels) as kept:
            names, values, glasses = kept["names"].tolist(), kept["points"], kept["glasses"]
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise DataError(
            f"{labels} cannot be read as labels ({error}). Make it with python training/label.py."
        ) from error
    if values.shape[1:] != (len(POINTS), 2):
        raise DataError(f"{labels} has other points than this version asks for. Make it anew with training/label.py.")
    place = {name: i for i, name in enumerate(names)}
    for i, path in enumerate(files):
        j = place.get(path.relative_to(folder).as_posix())
        if j is not None:
            points[i], found[i] = torch.from_numpy(values[j]), True
            weights[i] = _GLASSES_WEIGHT if glasses[j] > _GLASSES else 1.0
    if not found.any():
        raise DataError(f"{labels} names no photograph of {folder}. Make it anew with python training/label.py.")
    return points, found, weights


def _some_masks(seed: tuple[int, int], count: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return np.stack([np.packbits(random_mask(rng, SIZE) > 127) for _ in range(count)])


def mask_bank(seed: int, count: int, cache: Path | None = None, workers: int = 2) -> Tensor:
    """``(count, 8192)`` ``uint8``: random masks of :mod:`training.masks`, eight pixels a byte; kept in ``cache``."""
    if cache is not None and cache.exists():
        bank = np.load(cache)
        if len(bank) == count:
            return torch.from_numpy(bank)
    chunk = 250
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(_some_masks, (seed, i), min(chunk, count - i)) for i in range(0, count, chunk)]
        bank = np.concatenate([job.result() for job in tqdm(jobs, desc="drawing masks", disable=None)])
    if cache is not None:
        packed = io.BytesIO()
        np.save(packed, bank)
        write_file(cache, packed.getvalue())
    return torch.from_numpy(bank)


@dataclass
class Batch:
    """``image`` ``(N, 3, S, S)`` in -1..1, ``hole`` ``(N, 1, S, S)`` 0 or 1, ``points`` and ``found`` as in
    :class:`Faces`."""

    image: Tensor
    hole: Tensor
    points: Tensor
    found: Tensor


class DamagedViews:
    """Random views of faces under random masks; see the module.

    Four in ten views keep the original framing, so that sharp pixels are not all resampled; the rest are shifted by up
    to 17% of the side, turned by about 9 degrees, and scaled by 0.4 to 1.3 (a face in a group is small in its tile),
    some up to 3 (a scratch on a large photograph is served as a close-up). Around the photograph it goes on mirrored
    at first, then out of focus: farther off the mirror has a second face.

    Args:
        faces: what to draw from.
        masks: of :func:`mask_bank`.
        size: of the views, 64, 128 or 256.
        wide: how many masks, as a share, are drawn from those that hide more than 30%; the rest from all.
    """

    def __init__(self, faces: Faces, masks: Tensor, size: int, batch: int, seed: int, wide: float = 0.75) -> None:
        self.faces, self.size, self.batch, self.seed, self.wide = faces, size, batch, seed, wide
        self.device = faces.images.device
        self.masks = masks.to(self.device)
        shares = np.unpackbits(masks.cpu().numpy(), axis=1).mean(axis=1)
        self.wide_masks = torch.from_numpy(np.flatnonzero(shares > 0.3))
        self.chance = np.cumsum(faces.weights / faces.weights.sum())
        self.mirror = torch.tensor(MIRROR)

    def __call__(self, number: int) -> Batch:
        """Batch ``number``."""
        rng = np.random.default_rng((self.seed, number))
        chosen = np.minimum(np.searchsorted(self.chance, rng.random(self.batch)), len(self.chance) - 1)
        index = torch.from_numpy(chosen)
        image, points = self._views(index, rng)
        points, found = points.to(self.device), self.faces.found[index].to(self.device)
        return Batch(_colours(image, rng), self._blots(self._masks(rng), points, found, rng), points, found)

    def _views(self, index: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Views in 0..1, and the points in them."""
        n = self.batch
        mirrored = torch.from_numpy(rng.random(n) < 0.5)
        points = self.faces.points[index].clone()
        flipped = points[:, self.mirror] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
        points = torch.where(mirrored[:, None, None], flipped, points)
        kept = rng.random(n) < 0.4
        nearest = np.where(rng.random(n) < 0.12, 3.0, 1.3)
        nearest = np.where(rng.random(n) < 0.25, 1.0, nearest)
        farthest = np.where(rng.random(n) < 0.7, 0.4, 0.7)
        zoom = np.where(kept, 1.0, np.exp(rng.uniform(np.log(farthest), np.log(nearest))))
        turn = np.where(kept, 0.0, rng.normal(0, math.radians(9.0), n))
        shift = np.where(kept[:, None], 0.0, rng.uniform(-0.17, 0.17, (n, 2)))
        forward = np.stack([zoom * np.cos(turn), -zoom * np.sin(turn), zoom * np.sin(turn), zoom * np.cos(turn)], 1)
        forward = torch.from_numpy(forward.reshape(n, 2, 2)).float()
        move = torch.from_numpy(shift).float()[:, None]
        points = (points - 0.5) @ forward.transpose(1, 2) + 0.5 + move
        # a view asks of each of its pixels where it comes from, in -1..1 of the source, mirrored sources from the right
        back = torch.linalg.inv(forward)
        sign = torch.where(mirrored, -1.0, 1.0)
        theta = torch.cat((back, -2.0 * back @ move.transpose(1, 2)), 2)
        theta[:, 0] *= sign[:, None]
        out = torch.empty(n, 3, self.size, self.size, device=self.device)
        level = np.clip(np.floor(np.log2(SIZE / self.size / zoom) + 0.3), 0, 3).astype(int)
        for reduced in np.unique(level):
            which = torch.from_numpy(np.flatnonzero(level == reduced))
            source = self.faces.images[index[which].to(self.device)].float() / 255.0
            if reduced:
                source = F.avg_pool2d(source, 2 ** int(reduced))
            grid = F.affine_grid(theta[which], (len(which), 3, self.size, self.size), align_corners=False)
            grid = grid.to(self.device)
            view = _sampled(source, grid)
            outside = ((grid.abs().amax(3) - 1.0) / 0.25).clamp(0.0, 1.0)[:, None]
            view = view + outside * (_sampled(F.avg_pool2d(source, source.shape[-1] // 16), grid) - view)
            out[which.to(self.device)] = view.clamp(0.0, 1.0)
        return out, points

    def _blots(self, hole: Tensor, points: Tensor, found: Tensor, rng: np.random.Generator) -> Tensor:
        """In a quarter of the views a blot or a rectangle hides a part of the face, or all of it; in half of these it
        is all the damage there is. Random masks hardly ever hide all skin."""
        n = self.batch
        low, high = points.amin(1), points.amax(1)
        towards = torch.from_numpy(rng.random((n, 1))).float().to(self.device)
        part = points[torch.arange(n), torch.from_numpy(rng.integers(0, points.shape[1], n))]
        centre = torch.lerp(part, 0.5 * (low + high), towards)
        reach = torch.from_numpy(rng.uniform(0.15, 0.9, (n, 2))).float().to(self.device)
        reach = ((high - low).amax(1, keepdim=True) * reach).clamp(min=1e-3)
        power = torch.from_numpy(np.where(rng.random(n) < 0.5, 2.0, 8.0)).float().to(self.device).view(n, 1, 1)
        chosen, alone = (torch.from_numpy(rng.random(n) < odds).to(self.device) for odds in (0.25, 0.5))
        places = (torch.arange(self.size, device=self.device) + 0.5) / self.size
        x = ((places - centre[:, :1]) / reach[:, :1]).abs().clamp(max=2.0)[:, None, :] ** power
        y = ((places - centre[:, 1:]) / reach[:, 1:]).abs().clamp(max=2.0)[:, :, None] ** power
        blot = (x + y < 1.0)[:, None].float()
        chosen, alone = ((each & found).view(n, 1, 1, 1) for each in (chosen, alone))
        return torch.where(chosen, torch.maximum(hole * ~alone, blot), hole)

    def _masks(self, rng: np.random.Generator) -> Tensor:
        n = self.batch
        some = rng.integers(0, len(self.masks), n)
        wide = rng.integers(0, max(len(self.wide_masks), 1), n)
        is_wide = (rng.random(n) < self.wide) & (len(self.wide_masks) > 0)
        chosen = torch.from_numpy(np.where(is_wide, self.wide_masks.numpy()[wide] if len(self.wide_masks) else 0, some))
        bits = self.masks[chosen.to(self.device)].unsqueeze(2)
        shifts = torch.arange(7, -1, -1, device=self.device, dtype=torch.uint8)
        hole = ((bits >> shifts) & 1).view(n, 1, SIZE, SIZE).float()
        for turned, odds in (
            (lambda m: m.flip(3), 0.5),
            (lambda m: m.flip(2), 0.3),
            (lambda m: m.transpose(2, 3), 0.3),
        ):
            where = torch.from_numpy(rng.random(n) < odds).to(self.device).view(-1, 1, 1, 1)
            hole = torch.where(where, turned(hole), hole)
        step = SIZE // self.size
        return hole[:, :, ::step, ::step].contiguous()


def _sampled(source: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(source, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


#: Weights of a sepia tone, RGB to RGB.
_SEPIA = torch.tensor([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])


def _colours(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of the pictures with other light and colours, or none: 0..1 in, -1..1 out."""
    n = len(image)

    def draw(values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(image.device).view(n, -1, 1, 1)

    luma = torch.tensor([0.299, 0.587, 0.114], device=image.device).view(1, 3, 1, 1)
    grey = (image * luma).sum(1, keepdim=True)
    sepia = torch.einsum("oc,nchw->nohw", _SEPIA.to(image.device), image)
    kind = rng.random(n)
    tinted = grey + draw(rng.uniform(0.5, 1.3, n)) * (image - grey)
    tinted = tinted * draw(rng.uniform(0.9, 1.1, (n, 3)))
    changed = torch.where(draw(kind < 0.16) > 0, grey.expand_as(image), tinted)
    changed = torch.where(draw((kind >= 0.16) & (kind < 0.28)) > 0, sepia, changed)
    changed = changed.clamp(1e-4, 1.0) ** draw(np.exp(rng.normal(0, 0.2, n)))
    changed = (changed - 0.5) * draw(rng.uniform(0.7, 1.2, n)) + 0.5 + draw(rng.normal(0, 0.06, n))
    return torch.where(draw(rng.random(n) < 0.5) > 0, image, changed.clamp(0.0, 1.0)) * 2.0 - 1.0
