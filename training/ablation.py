"""What each piece of the repair part is worth: it is trained without one, on the same images, and measured alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from restore_sdk._util.disk import write_file
from training.config import Config
from training.evaluate import Scores, networks_model
from training.faces import DamagedViews, Faces, mask_bank
from training.fit import Options, PartTrainer
from training.log import RunLog
from training.protocol import Case
from training.weights import Networks, costs

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
        variant = config.changed("repair", network={**settings.network, **change})
        own = dataclasses.replace(options, out=options.out / name.replace(" ", "-"), init=None)
        own.out.mkdir(exist_ok=True)
        torch.manual_seed(config.seed)
        networks = Networks(variant).to(options.device)
        for part in ("shape", "edge", "coarse"):
            networks.load(part, own.out, options.init)
        if name == "no edges":  # neither lines nor contours in the hole; those of what is known stay
            for layer in (networks.edge.drawer.join[1], networks.edge.shape.presence):
                nn.init.zeros_(layer.weight)
                nn.init.constant_(layer.bias, -50.0)
        trainer = PartTrainer("repair", variant, own, networks)
        batch = settings.fresh or settings.batch
        views = DamagedViews(faces, masks, trainer.objective.size, batch, config.seed, settings.wide)
        trainer.run(views, RunLog(own.out), lambda: False)
        model, scores = networks_model(trainer.networks_now().cpu()), Scores()
        for case in cases:
            scores.add(case, model(case.damaged, case.mask)[0])
        parameters, macs = costs(variant)["repair"]
        results[name] = {"images": trainer.seen, "parameters": parameters, "macs": macs, **scores.to_json()}
        write_file(options.out / "ablation.json", json.dumps(results, indent=2).encode())
        write_file(options.out / "ablation.md", to_markdown(results).encode())
    return results


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
