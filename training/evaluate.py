"""Measure a model beside OpenCV's inpainting, by bucket of hole ratio; see :mod:`training.protocol`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from restore_sdk.imaging.quality import psnr
from training import judge, losses
from training.data import Image
from training.features import Features
from training.measures import EdgeCounts, GridCounts, RealismCounts, SeamCounts, l1, ssim
from training.networks.edgemap import EdgeMap, luma
from training.networks.stages import to_unit
from training.protocol import BUCKETS, Case, navier_stokes, telea
from training.weights import Networks, load_networks

#: ``(image, mask)`` to the restored image and the completed edges.
Model = Callable[[Image, Image], tuple[Image, Image]]

METHODS = ("model", "telea", "navier-stokes")
#: Variance of the Laplacian from which a photograph counts as sharp.
SHARP = 120.0
_SHEET_ROWS = 2


def weights_model(path: Path) -> Model:
    """The PyTorch stages of a ``weights.safetensors``, float32."""
    return networks_model(load_networks(path)[0])


def networks_model(networks: Networks) -> Model:
    """Both stages in PyTorch."""
    edge, repair = networks.stages()

    def restore(image: Image, mask: Image) -> tuple[Image, Image]:
        inputs = [torch.from_numpy(each)[None] for each in (image, mask)]
        with torch.inference_mode():
            completed = edge(*inputs)
            restored = repair(*inputs, completed)
        return restored[0].numpy(), completed[0].numpy()

    return restore


def bundle_model(path: str | Path | None, runtime: str = "auto") -> Model:
    """A bundle through ``RestoreEngine``; ``None`` is the one in the wheel."""
    from restore_sdk import RestoreEngine

    engine = RestoreEngine(bundle=path, runtime=runtime)

    def restore(image: Image, mask: Image) -> tuple[Image, Image]:
        result = engine.run(image, mask, faces=None)  # as the protocol has it: one tile
        return result.image, result.edges

    return restore


class _Instruments:
    """What measures and never trains: features of EfficientNet-Lite2, and true edges."""

    def __init__(self) -> None:
        self.features, self.lines = Features(2, (4, 8, 16, 32)), EdgeMap()

    @torch.inference_mode()
    def distance(self, restored: Image, image: Image, mask: Image) -> float:
        """Distance of features over the hole."""
        ours, theirs = (self.features(_tensor(each)) for each in (restored, image))
        return float(losses.perceptual(ours, theirs, torch.from_numpy(mask > 127).float()[None, None]))

    @torch.inference_mode()
    def edges(self, image: Image) -> Image:
        """The true lines, ``uint8``."""
        return (255.0 * self.lines(luma(_tensor(image)))[0, 0]).round().byte().numpy()


def _tensor(image: Image) -> torch.Tensor:
    return to_unit(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float())


@dataclass
class Scores:
    """Everything of one bucket and one method."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    l1: list[float] = field(default_factory=list)
    features: list[float] = field(default_factory=list)
    seams: SeamCounts = field(default_factory=SeamCounts)
    realism: RealismCounts = field(default_factory=RealismCounts)
    grid: GridCounts = field(default_factory=GridCounts)
    faces: judge.FaceCounts = field(default_factory=judge.FaceCounts)

    def add(self, case: Case, restored: Image) -> None:
        """Score one restored image, by all but its features."""
        for name, measure in (("psnr", psnr), ("ssim", ssim), ("l1", l1)):
            getattr(self, name).append(float(measure(restored, case.image)))
        self.seams.add(restored, case.image, case.hole)
        self.realism.add(restored, case.image, case.hole)
        self.grid.add(restored, case.hole)
        if judge.available():
            self.faces.add(restored, case.image)

    def to_json(self) -> dict[str, float | None]:
        """Plain figures; ``None`` for the infinite PSNR of equal images."""
        digits = {"psnr": 3, "ssim": 4, "l1": 5, "features": 4}
        means = {name: float(np.mean(getattr(self, name))) for name in digits if getattr(self, name)}
        row: dict[str, float | None] = {
            name: round(value, digits[name]) if np.isfinite(value) else None for name, value in means.items()
        }
        return row | self.seams.to_json() | self.realism.to_json() | self.grid.to_json() | self.faces.to_json()


@dataclass
class Report:
    """Scores by bucket and method, of all faces and of the sharp ones; edges by bucket; rows for a contact sheet."""

    scores: dict[tuple[str, str, str], Scores] = field(default_factory=lambda: defaultdict(Scores))
    edges: dict[str, EdgeCounts] = field(default_factory=lambda: defaultdict(EdgeCounts))
    rows: dict[str, list[Image]] = field(default_factory=lambda: defaultdict(list))
    instruments: _Instruments = field(default_factory=_Instruments)

    def add(self, case: Case, method: str, restored: Image, groups: Iterable[str]) -> None:
        """Score one restored image."""
        distance = self.instruments.distance(restored, case.image, case.mask)
        for group in groups:
            scores = self.scores[group, case.bucket, method]
            scores.add(case, restored)
            scores.features.append(distance)

    def buckets(self, group: str) -> list[str]:
        """The buckets that have cases, in order."""
        return [bucket for bucket in BUCKETS if (group, bucket, "model") in self.scores]

    def to_json(self) -> dict[str, Any]:
        """``{group: {bucket: {method: figures}}}``, with the number of images and what the edges are worth."""
        table: dict[str, Any] = {}
        for group in ("all", "sharp"):
            table[group] = {}
            for bucket in self.buckets(group):
                row: dict[str, Any] = {"images": len(self.scores[group, bucket, "model"].psnr)}
                row |= {method: self.scores[group, bucket, method].to_json() for method in METHODS}
                if group == "all":
                    row["edges"] = self.edges[bucket].to_json()
                table[group][bucket] = row
        return table

    def to_markdown(self) -> str:
        """Tables for a README, of all faces and of the sharp ones."""
        found = self.to_json()
        lines: list[str] = []
        for group, title in (
            ("all", "All faces"),
            ("sharp", f"Sharp faces (variance of the Laplacian from {SHARP:.0f})"),
        ):
            if not found[group]:
                continue
            lines += [title, "", "| masked | PSNR, dB: model | Telea | Navier-Stokes | SSIM: model | Telea "
                      "| Navier-Stokes | L1, %: model | Telea | Navier-Stokes |", "|" + "---|" * 10]  # fmt: skip
            for bucket, row in found[group].items():
                cells = [f"{row[m]['psnr'] or float('inf'):.2f}" for m in METHODS]
                cells += [f"{row[m]['ssim']:.4f}" for m in METHODS] + [f"{100 * row[m]['l1']:.3f}" for m in METHODS]
                lines.append(f"| {bucket} | " + " | ".join(cells) + " |")
            lines += ["", "| masked | detail: model | Telea | SWD: model | Telea | features: model | Telea | rim steps "
                      "| tint, % | grid | faces found | landmarks, % | identity |", "|" + "---|" * 13]  # fmt: skip
            for bucket, row in found[group].items():
                ours, theirs = row["model"], row["telea"]
                cells = [f"{each[name]:.2f}" for name in ("detail", "swd") for each in (ours, theirs)]
                cells += [f"{each['features']:.3f}" for each in (ours, theirs)]
                cells += [f"{ours['step']:.2f}", f"{ours['tint']:+.2f}", f"{ours['grid']:.3f}"]
                cells += [str(ours.get(name, "-")) for name in ("found", "landmarks", "identity")]
                lines.append(f"| {bucket} | " + " | ".join(cells) + " |")
            lines.append("")
        return "\n".join(lines)

    def sheet(self) -> Image:
        """Rows of damaged, edges, restored and original, from the smallest holes to the widest; RGB."""
        return np.vstack([row for bucket in self.buckets("all") for row in self.rows[bucket]])


def evaluate(model: Model, cases: Sequence[Case]) -> Report:
    """Run the model and both OpenCV methods over all cases."""
    report = Report()
    for case in tqdm(cases, unit="img", desc="evaluate", disable=None):
        sharpness = cv2.Laplacian(cv2.cvtColor(case.image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
        groups = ("all", "sharp") if sharpness >= SHARP else ("all",)
        restored, edges = model(case.damaged, case.mask)
        report.add(case, "model", restored, groups)
        report.edges[case.bucket].add(
            (edges > 127) & case.hole, (report.instruments.edges(case.image) > 127) & case.hole
        )
        report.add(case, "telea", telea(case.damaged, case.mask), groups)
        report.add(case, "navier-stokes", navier_stokes(case.damaged, case.mask), groups)
        rows = report.rows[case.bucket]
        if len(rows) < _SHEET_ROWS:
            rows.append(np.hstack([case.damaged, cv2.cvtColor(edges, cv2.COLOR_GRAY2RGB), restored, case.image]))
    return report
