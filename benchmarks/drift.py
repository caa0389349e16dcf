"""How far every runtime and precision is from the PyTorch reference in float32, and what that means for the picture.

Drift is the PSNR between a runtime's result and the reference's. Beside it stands what users may ask for: by how much
the PSNR against the undamaged photograph changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.processes import MeasurementError
from benchmarks.subjects import Stable, Subject
from export.drift import damaged
from export.gates import Chain, Probe, batches, stack
from export.reference import load_reference
from export.runners import Bytes, OnnxStage, TorchStage
from restore_sdk.bundle import Bundle
from restore_sdk.imaging.image import HOLE_ABOVE
from restore_sdk.imaging.quality import Drift, psnr

#: Takes images, masks and edges, gives restored images and completed edges.
Form = Callable[[Bytes, Bytes, Bytes], tuple[Bytes, Bytes]]


@dataclass
class _Found:
    """What one runtime made of all pictures."""

    restored: Drift = field(default_factory=Drift)
    edges: Drift = field(default_factory=Drift)
    gains: list[float] = field(default_factory=list)  # in PSNR against the truth, beside the reference's

    def to_json(self, probes: Sequence[Probe]) -> dict[str, Any]:
        gains = self.gains or [0.0]
        return {
            name: {**drift.to_json(), "worst": probes[drift.worst_picture].name}
            for name, drift in (("restored", self.restored), ("completed_edges", self.edges))
        } | {
            "truth_db": {"mean": round(float(np.mean(gains)), 4), "worst": round(min(gains), 4)},
        }


def golden_probes(bundle: Bundle) -> list[Probe]:
    """The bundle's golden inputs."""
    golden = bundle.golden()
    return [
        Probe(f"golden {i}", *(golden[name][i] for name in ("image", "mask", "edges")))
        for i in range(len(golden["image"]))
    ]


def face_probes(faces: Path, masks: Path | None, limit: int | None) -> list[Probe]:
    """Photographs of a folder, an even choice of at most ``limit``, each with a mask of the other or random damage.

    Raises:
        MeasurementError: a folder has no image, or one that cannot be read.
    """
    from training.data import DataError, find_images
    from training.protocol import read_faces, read_mask

    try:
        photos = dict(read_faces(faces, limit))
        return damaged(photos, [read_mask(path) for path in find_images(masks)] if masks else [])
    except DataError as error:
        raise MeasurementError(str(error)) from error


def measure_drift(
    stable: Stable,
    subjects: Sequence[Subject],
    probes: Sequence[Probe],
    *,
    half: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run all probes through the reference and through every subject.

    Args:
        half: also what a host without a GPU can say of half precision: PyTorch in half arithmetic, and the FP16 graphs
            on ONNX Runtime, whose CPU kernels may compute wider.

    Returns:
        JSON types. ``pictures``; ``hole``: least and largest share; ``reference_db``: the reference's mean PSNR against
        the undamaged pictures; ``drift``: by what ran, ``restored`` and ``completed_edges`` (each ``pooled_db``,
        ``worst_db`` and ``worst``, the picture), and ``truth_db`` (``mean`` and ``worst`` difference of the PSNR
        against the undamaged picture; below 0 is a loss).
    """
    reference = _runner(stable.subject("pytorch"))
    forms = {subject.name: _runner(subject) for subject in subjects}
    if half:
        forms |= _half(stable.bundle)
    found = {name: _Found() for name in forms}
    truths: list[float] = []
    done = 0
    for batch in batches(probes):
        inputs = stack(batch)
        restored, edges = reference(*inputs)
        right = [psnr(probe.image, each) for probe, each in zip(batch, restored, strict=True)]
        truths += [value for value in right if np.isfinite(value)]
        for name, form in forms.items():
            result, completed = form(*inputs)
            found[name].restored.add(restored, result)
            found[name].edges.add(edges, completed)
            values = [psnr(probe.image, each) for probe, each in zip(batch, result, strict=True)]
            found[name].gains += [v - r for v, r in zip(values, right, strict=True) if np.isfinite(v - r)]
        done += len(batch)
        progress(f"drift: {done} of {len(probes)} pictures")
    holes = [float((probe.mask > HOLE_ABOVE).mean()) for probe in probes]
    return {
        "pictures": len(probes),
        "hole": [round(min(holes), 4), round(max(holes), 4)],
        "reference_db": round(float(np.mean(truths)), 2) if truths else None,
        "drift": {name: each.to_json(probes) for name, each in found.items()},
    }


def beyond(figures: Mapping[str, Any], least: float) -> list[str]:
    """What is beyond the gate: less than ``least`` dB from the reference in its worst picture."""
    worst = {name: each["restored"]["worst_db"] for name, each in figures["drift"].items()}
    return [name for name, db in worst.items() if db is not None and not db >= least]


def describe(figures: Mapping[str, Any]) -> list[str]:
    """The figures for people."""
    low, high = figures["hole"]
    lines = [
        f"{figures['pictures']} pictures, {low:.1%} to {high:.1%} missing; "
        f"the reference is {figures['reference_db']} dB from the undamaged pictures",
        f"{'':<32} {'mean':>9} {'worst':>9}   {'against the truth':<24}",
    ]
    for name, each in figures["drift"].items():
        drift, truth = each["restored"], each["truth_db"]
        lines.append(
            f"{name:<32} {_db(drift['pooled_db'])} {_db(drift['worst_db'])}   "
            f"{truth['mean']:+.3f}, worst {truth['worst']:+.3f} dB   {drift['worst']}"
        )
    return lines


def _db(value: float | None) -> str:
    return f"{'equal':>9}" if value is None else f"{value:6.2f} dB"


def _runner(subject: Subject) -> Form:
    limit = subject.runner.max_batch

    def run(*inputs: Bytes) -> tuple[Bytes, Bytes]:
        chunks = [[each[i : i + limit] for each in inputs] for i in range(0, len(inputs[0]), limit)]
        results = [subject.runner.infer(*(np.ascontiguousarray(each) for each in chunk)) for chunk in chunks]
        return np.concatenate([r.restored for r in results]), np.concatenate([r.completed_edges for r in results])

    return run


def _half(bundle: Bundle) -> dict[str, Form]:
    edge, repair = load_reference(bundle.path)
    graphs = [OnnxStage(onnx.load_from_string(bundle.read(bundle.file(spec.name, "fp16")))) for spec in bundle.stages]
    chains = {
        "PyTorch half arithmetic": Chain("half", TorchStage(edge, half=True), TorchStage(repair, half=True)),
        "FP16 graphs on onnxruntime, CPU": Chain("fp16", *graphs),
    }

    def form(chain: Chain) -> Form:
        def run(*inputs: Bytes) -> tuple[Bytes, Bytes]:
            completed, restored = chain(*inputs)
            return restored.output, completed.output

        return run

    return {name: form(chain) for name, chain in chains.items()}
