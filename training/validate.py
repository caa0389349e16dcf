"""Quick figures while a run goes on: PSNR of the restored images, and how well the edges in the hole are found."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from restore_sdk.image import canny_edges
from training.networks.stages import EdgeStage, RepairStage
from training.protocol import Case, cases


class Validator:
    """Measures generators on a small, fixed set of cases (see :mod:`training.protocol`), in float32."""

    def __init__(self, images: Path, masks: Path, per_bucket: int = 12) -> None:
        grouped = itertools.groupby(cases(images, masks, per_bucket), key=lambda case: case.bucket)
        self.groups = [list(group) for _, group in grouped]

    def __call__(self, generators: dict[str, nn.Module]) -> dict[str, float]:
        """PSNR by bucket where there is a repair generator; else what the edges in the hole are worth at 0.5."""
        edge = EdgeStage(generators["edge"]).eval()
        repair = RepairStage(generators["repair"]).eval() if "repair" in generators else None
        figures: dict[str, float] = {}
        hits = found = wanted = 0.0
        entropy = []
        with torch.inference_mode():
            for group in self.groups:
                image, mask, given = tensors(group)
                completed = edge(image, mask, given)
                if repair is not None:
                    restored = repair(image, mask, completed)
                    error = (restored.float() - image.float()).square().mean(dim=(1, 2, 3))
                    figures[group[0].bucket] = float((10 * torch.log10(255.0**2 / error)).mean())
                    continue
                truth = torch.from_numpy(np.stack([canny_edges(case.image) for case in group])) > 127
                hole = mask > 127
                guess = (completed > 127) & hole
                hits += float((guess & truth).sum())
                found += float(guess.sum())
                wanted += float((truth & hole).sum())
                chance = (completed.float() / 255.0).clamp(1e-3, 1 - 1e-3)[hole]
                entropy.append(float(torch.nn.functional.binary_cross_entropy(chance, truth[hole].float())))
        if repair is None:
            figures["precision"] = hits / max(found, 1.0)
            figures["recall"] = hits / max(wanted, 1.0)
            figures["cross_entropy"] = float(np.mean(entropy))
        return figures


def tensors(group: list[Case]) -> tuple[Tensor, Tensor, Tensor]:
    """Stage inputs of some cases, ``uint8``: images (whole: a stage looks at no pixel of a hole), masks, edges left."""
    image = torch.from_numpy(np.stack([case.image for case in group]))
    mask = torch.from_numpy(np.stack([case.mask for case in group]))
    edges = torch.from_numpy(np.stack([canny_edges(case.image, case.mask > 127) for case in group]))
    return image, mask, edges
