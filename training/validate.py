"""Quick figures while a run goes on: PSNR of the restored images, and how well the edges in the hole are found."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.edges import EdgeCounts, canny_edges
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
        counts, entropy = EdgeCounts(), []
        with torch.inference_mode():
            for group in self.groups:
                image, mask = tensors(group)
                completed = edge(image, mask)
                if repair is not None:
                    restored = repair(image, mask, completed)
                    error = (restored.float() - image.float()).square().mean(dim=(1, 2, 3))
                    figures[group[0].bucket] = float((10 * torch.log10(255.0**2 / error)).mean())
                    continue
                truth = np.stack([canny_edges(case.image) > 0 for case in group])
                hole = np.stack([case.hole for case in group])
                chance = completed.numpy() / np.float32(255)
                for found, wanted, where in zip(chance > 0.5, truth, hole, strict=True):
                    counts.add(found & where, wanted & where)
                sure = torch.from_numpy(chance[hole]).clamp(1e-3, 1 - 1e-3)
                entropy.append(float(F.binary_cross_entropy(sure, torch.from_numpy(truth[hole]).float())))
        if repair is None:
            found_edges = counts.to_json()
            figures |= {name: found_edges[name] for name in ("precision", "recall")}
            figures["cross_entropy"] = float(np.mean(entropy))
        return figures


def tensors(group: list[Case]) -> tuple[Tensor, Tensor]:
    """Stage inputs of some cases, ``uint8``: images (whole: a stage looks at no pixel of a hole), masks."""
    image = torch.from_numpy(np.stack([case.image for case in group]))
    mask = torch.from_numpy(np.stack([case.mask for case in group]))
    return image, mask
