"""What each part of the method is worth: variants trained alike, on equal short budgets, and measured alike.

Budgets are equal in time but for the edge stage: a variant without one is not trained longer instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restore_sdk._util.atomic import write_file
from training.config import Config, ConfigError, from_json
from training.cost import cost
from training.data import find_images
from training.evaluate import METRICS, Report, weights_model
from training.fit import Options, fit
from training.protocol import BUCKETS, Case
from training.weights import state_path

#: Changes to the configuration, by name of the variant. EdgeConnect's width makes its multiply-accumulates about ours.
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "no edge stage": {"edge": {"kind": "none"}},
    "no coarse guess": {"coarse": {"kind": "none"}},
    "plain fusion": {"repair": {"gated_fusion": False}},
    "plain skips": {"repair": {"dense_skips": False}},
    "no attention": {"coarse": {"global_blocks": 0}, "repair": {"attention": False}},
    "EdgeConnect": {"edge": {"kind": "edgeconnect", "width": 11}, "repair": {"kind": "edgeconnect", "width": 11}},
}


#: Steps of the coarse generator alone, image for image, that take as long as one of the repair stage.
COARSE_PACE = 8


def variant(config: Config, name: str) -> Config:
    """The configuration of one variant. Without a coarse generator, what that would take goes to the repair stage."""
    values = config.to_json()
    for stage, change in VARIANTS[name].items():
        own = {} if "kind" in change else dict(values[stage]["generator"])
        values[stage]["generator"] = own | change
        if change.get("kind") == "none":
            values[stage]["schedule"]["images"] = 0
    made = from_json(values)
    if made.has_coarse == config.has_coarse:
        return made
    freed = config.coarse.schedule.images // COARSE_PACE
    longer = dataclasses.replace(made.repair.schedule, images=made.repair.schedule.images + freed)
    return dataclasses.replace(made, repair=dataclasses.replace(made.repair, schedule=longer))


def budget(config: Config, **images_of: int) -> Config:
    """A configuration for short runs of so many images, by stage: no discriminator, which would only begin to mean
    something."""
    for stage, images in images_of.items():
        part = config.stage(stage)
        schedule = dataclasses.replace(
            part.schedule, images=images, warmup=min(part.schedule.warmup, images // 8), decay=0.3
        )
        losses = dataclasses.replace(part.losses, adversarial=0.0, feature_matching=0.0)
        config = dataclasses.replace(
            config, ema=0.99, **{stage: dataclasses.replace(part, schedule=schedule, losses=losses)}
        )
    return config


def ablate(
    config: Config, options: Options, cases: Sequence[Case], names: Sequence[str] = tuple(VARIANTS)
) -> dict[str, Any]:
    """Train and measure variants, one folder each below ``options.out``; run again, it goes on where it stopped.

    Variants that share the edge stage or the coarse generator share its training. Writes ``ablation.json`` and
    ``ablation.md`` after each. Raises :class:`ConfigError` where the folder has results of other settings.
    """
    results: dict[str, Any] = {}
    shown = {"cases": [f"{case.bucket} {case.name}" for case in cases], "pixels": _digest(options.data, cases)}
    for name in names:
        chosen = variant(config, name)
        folder = options.out / name.replace(" ", "-").lower()
        result = folder / "result.json"
        settings = {"config": chosen.to_json(), **shown}
        if not result.exists():
            folder.mkdir(parents=True, exist_ok=True)
            for stage in ("edge", "coarse") if chosen.has_coarse else ("edge",):
                _share(stage, chosen, options.out / "full", folder)
            print(f"-- {name}", flush=True)
            weights = fit(chosen, dataclasses.replace(options, out=folder))
            figures = {"settings": settings, **_costs(chosen), "buckets": _measure(weights, cases)}
            write_file(result, json.dumps(figures, indent=2).encode())
        results[name] = json.loads(result.read_text())
        if results[name].get("settings") != settings:
            raise ConfigError(
                f"{folder} holds a result of other settings, data or faces. Name another folder with --out."
            )
        write_file(options.out / "ablation.json", json.dumps(results, indent=2).encode())
        write_file(options.out / "ablation.md", to_markdown(results).encode())
    return results


def _share(stage: str, config: Config, full: Path, folder: Path) -> None:
    """Take a stage from the full method's run where the configuration asks for the same."""
    source, target = state_path(full, stage), state_path(folder, stage)
    if folder == full or target.exists() or not source.exists():
        return
    theirs, ours = json.loads((full / "config.json").read_text()), config.to_json()
    if all(theirs[part] == ours[part] for part in (stage, "seed", "ema")):
        write_file(target, source.read_bytes())


def _digest(data: Path, cases: Sequence[Case]) -> str:
    """Tells these training files (by name and size) and these cases (by pixels) from others."""
    digest = hashlib.sha256()
    for path in find_images(data):
        digest.update(f"{path.relative_to(data).as_posix()} {path.stat().st_size}\n".encode())
    for case in cases:
        digest.update(case.image.tobytes() + case.mask.tobytes())
    return digest.hexdigest()


def _costs(config: Config) -> dict[str, float]:
    parts = [cost(stage, config) for stage in ("edge", "repair")]
    return {"parameters": sum(part[0] for part in parts), "macs": sum(part[1] for part in parts)}


def _measure(weights: Path, cases: Sequence[Case]) -> dict[str, dict[str, float]]:
    model, report = weights_model(weights), Report()
    for case in cases:
        restored, _ = model(case.damaged, case.mask)
        report.add(case, "model", restored)
    return {
        bucket: {metric: round(report.mean(bucket, "model", metric), 5) for metric in METRICS}
        for bucket in report.buckets()
    }


def to_markdown(results: dict[str, Any]) -> str:
    """One row a variant: costs, then PSNR / SSIM / L1 in percent by bucket."""
    buckets = [bucket for bucket in BUCKETS if all(bucket in each["buckets"] for each in results.values())]
    lines = [
        "| variant | M params | GMAC | " + " | ".join(buckets) + " |",
        "|---|---|---|" + "---|" * len(buckets),
    ]
    for name, result in results.items():
        cells = [
            f"{figures['psnr']:.2f} / {figures['ssim']:.4f} / {100 * figures['l1']:.3f}"
            for figures in (result["buckets"][bucket] for bucket in buckets)
        ]
        sizes = f"{result['parameters'] / 1e6:.2f} | {result['macs'] / 1e9:.2f}"
        lines.append(f"| {name} | {sizes} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
