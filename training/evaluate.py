"""Measure a model beside OpenCV's inpainting, by bucket of hole ratio; see :mod:`training.protocol`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from restore_sdk.imaging.quality import psnr
from training.edges import EdgeCounts, canny_edges
from training.networks.stages import EdgeStage, RepairStage
from training.protocol import BUCKETS, Case, Image, navier_stokes, telea
from training.realism import RealismCounts
from training.seams import SeamCounts
from training.similarity import l1, ssim

#: ``(image, mask)`` to the restored image and the completed edges.
Model = Callable[[Image, Image], tuple[Image, Image]]

METRICS = ("psnr", "ssim", "l1")
METHODS = ("model", "telea", "navier-stokes")
_SHEET_ROWS = 2


def weights_model(path: Path) -> Model:
    """The PyTorch stages of a ``weights.safetensors``, float32."""
    from training.weights import load_stages

    edge, repair, _, _ = load_stages(path)
    return stages_model(edge, repair)


def stages_model(edge: EdgeStage, repair: RepairStage) -> Model:
    """Both stages in PyTorch."""

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
        result = engine.run(image, mask)
        return result.image, result.edges

    return restore


@dataclass
class Report:
    """Means, seams and realism by bucket and method, edge figures by bucket, and rows for a contact sheet."""

    scores: dict[tuple[str, str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    edges: dict[str, EdgeCounts] = field(default_factory=lambda: defaultdict(EdgeCounts))
    seams: dict[tuple[str, str], SeamCounts] = field(default_factory=lambda: defaultdict(SeamCounts))
    realism: dict[tuple[str, str], RealismCounts] = field(default_factory=lambda: defaultdict(RealismCounts))
    rows: dict[str, list[Image]] = field(default_factory=lambda: defaultdict(list))

    def add(self, case: Case, method: str, restored: Image) -> None:
        """Score one restored image."""
        for name, measure in (("psnr", psnr), ("ssim", ssim), ("l1", l1)):
            self.scores[case.bucket, method, name].append(float(measure(restored, case.image)))
        self.seams[case.bucket, method].add(restored, case.image, case.mask)
        self.realism[case.bucket, method].add(restored, case.image, case.hole)

    def add_edges(self, case: Case, completed: Image) -> None:
        """Count edges in the hole, at a threshold of one half."""
        self.edges[case.bucket].add((completed > 127) & case.hole, (canny_edges(case.image) > 0) & case.hole)

    def mean(self, bucket: str, method: str, metric: str) -> float:
        """Mean over the images of a bucket; NaN where there is none."""
        values = self.scores.get((bucket, method, metric))
        return float(np.mean(values)) if values else float("nan")

    def buckets(self) -> list[str]:
        """The buckets that have cases, in order."""
        return [bucket for bucket in BUCKETS if (bucket, "model", "psnr") in self.scores]

    def to_json(self) -> dict[str, Any]:
        """The table as plain values, rounded to what is meaningful; ``None`` for the infinite PSNR of equal images."""
        digits = {"psnr": 3, "ssim": 4, "l1": 5}
        table: dict[str, Any] = {}
        for bucket in self.buckets():
            row: dict[str, Any] = {"images": len(self.scores[bucket, "model", "psnr"])}
            for method in METHODS:
                means = {metric: self.mean(bucket, method, metric) for metric in METRICS}
                row[method] = {m: round(v, digits[m]) if np.isfinite(v) else None for m, v in means.items()}
                row[method] |= self.seams[bucket, method].to_json() | self.realism[bucket, method].to_json()
            row["edges"] = self.edges[bucket].to_json()
            table[bucket] = row
        return table

    def to_markdown(self) -> str:
        """PSNR, SSIM and L1 as a table for the model card."""
        lines = [
            "| masked | PSNR, dB: model | Telea | Navier-Stokes | SSIM: model | Telea | Navier-Stokes "
            "| L1, %: model | Telea | Navier-Stokes |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for bucket in self.buckets():
            cells = [f"{self.mean(bucket, m, 'psnr'):.2f}" for m in METHODS]
            cells += [f"{self.mean(bucket, m, 'ssim'):.4f}" for m in METHODS]
            cells += [f"{100 * self.mean(bucket, m, 'l1'):.3f}" for m in METHODS]
            for i in (0, 3, 6):
                cells[i] = f"**{cells[i]}**"
            lines.append(f"| {bucket} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def realism_markdown(self) -> str:
        """What :mod:`training.realism` measures, as a table of the same shape."""
        lines = [
            "| masked | detail, share of the truth's: model | Telea | Navier-Stokes | SWD, grey levels: model | Telea "
            "| Navier-Stokes |",
            "|---|---|---|---|---|---|---|",
        ]
        for bucket in self.buckets():
            found = [self.realism[bucket, method].to_json() for method in METHODS]
            cells = [f"{each[name]:.2f}" for name in ("detail", "swd") for each in found]
            lines.append(f"| {bucket} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def sheet(self) -> Image:
        """Rows of damaged, edges, restored and original, from the smallest masks to the widest; RGB."""
        return np.vstack([row for bucket in self.buckets() for row in self.rows[bucket]])


def evaluate(model: Model, cases: Iterable[Case], total: int | None = None) -> Report:
    """Run the model and both OpenCV methods over all cases."""
    report = Report()
    for case in tqdm(cases, total=total, unit="img", desc="evaluate", disable=None):
        restored, edges = model(case.damaged, case.mask)
        report.add(case, "model", restored)
        report.add_edges(case, edges)
        report.add(case, "telea", telea(case.damaged, case.mask))
        report.add(case, "navier-stokes", navier_stokes(case.damaged, case.mask))
        rows = report.rows[case.bucket]
        if len(rows) < _SHEET_ROWS:
            rows.append(np.hstack([case.damaged, cv2.cvtColor(edges, cv2.COLOR_GRAY2RGB), restored, case.image]))
    return report
