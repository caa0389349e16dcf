"""What each piece of the repair part is worth: it is trained without one, on the same images, and measured alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from restore_sdk._util.atomic import write_file
from restore_sdk.imaging.quality import psnr
from training.config import Config
from training.cost import costs
from training.evaluate import networks_model
from training.faces import DamagedViews, Faces, mask_bank
from training.fit import Options, PartTrainer
from training.log import RunLog
from training.networks.edge import EdgeGenerator
from training.protocol import Case
from training.realism import RealismCounts
from training.similarity import l1, ssim
from training.weights import Networks

#: Arguments of the repair generator, by name of the variant. Without edges, none is drawn in the hole.
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "plain fusion": {"gated_fusion": False},
    "plain skips": {"dense_skips": False},
    "no attention": {"attention": False},
    "no edges": {},
}


def ablate(config: Config, options: Options, cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Train and measure variants of the repair part, one folder each below ``options.out``; run again, it goes on.

    ``options.init`` has the other parts, which all variants share; the repair part begins anew. After each variant
    writes ``ablation.json`` and ``ablation.md``. Raises as :func:`training.fit.fit`.
    """
    results, settings = {}, config.repair
    options.out.mkdir(parents=True, exist_ok=True)
    faces = Faces.read(options.data, None, settings.sharpness, options.device)
    masks = mask_bank(config.seed, options.masks, options.out / "masks.npy")
    for name, change in VARIANTS.items():
        changed = dataclasses.replace(settings, network={**settings.network, **change})
        variant = dataclasses.replace(config, repair=changed)
        own = dataclasses.replace(options, out=options.out / name.replace(" ", "-"), init=None)
        own.out.mkdir(exist_ok=True)
        torch.manual_seed(config.seed)
        networks = Networks(variant).to(options.device)
        for part in ("shape", "edge", "coarse"):
            networks.load(part, own.out, options.init)
        if name == "no edges":
            _silence(networks.edge)
        trainer = PartTrainer("repair", variant, own, networks)
        batch = settings.fresh or settings.batch
        views = DamagedViews(faces, masks, trainer.objective.size, batch, config.seed, settings.wide)
        trainer.run(views, RunLog(own.out), lambda: False)
        parameters, macs = costs(variant)["repair"]
        figures = _measure(trainer.networks_now().cpu(), cases)
        results[name] = {"images": trainer.seen, "parameters": parameters, "macs": macs, **figures}
        write_file(options.out / "ablation.json", json.dumps(results, indent=2).encode())
        write_file(options.out / "ablation.md", to_markdown(results).encode())
    return results


def _silence(edge: EdgeGenerator) -> None:
    """Neither lines nor contours in the hole; those of what is known stay."""
    for layer in (edge.drawer.join[1], edge.shape.presence):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, -50.0)


def _measure(networks: Networks, cases: Sequence[Case]) -> dict[str, float]:
    model, detail = networks_model(networks), RealismCounts()
    found: dict[str, list[float]] = {"psnr": [], "ssim": [], "l1": []}
    for case in cases:
        restored, _ = model(case.damaged, case.mask)
        for name, measure in (("psnr", psnr), ("ssim", ssim), ("l1", l1)):
            found[name].append(float(measure(restored, case.image)))
        detail.add(restored, case.image, case.hole)
    means = {name: round(float(np.mean(values)), 5) for name, values in found.items()}
    return means | {"detail": detail.to_json()["detail"]}


def to_markdown(results: dict[str, dict[str, Any]]) -> str:
    """A table, one row a variant."""
    lines = [
        "| repair part | M parameters | GMAC | PSNR, dB | SSIM | L1, % | detail |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        size = f"{row['parameters'] / 1e6:.2f} | {row['macs'] / 1e9:.2f}"
        quality = f"{row['psnr']:.2f} | {row['ssim']:.4f} | {100 * row['l1']:.3f} | {row['detail']:.2f}"
        lines.append(f"| {name} | {size} | {quality} |")
    return "\n".join(lines) + "\n"
