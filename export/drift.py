"""How far half precision takes each stage and the chain from the float32 reference, over a folder of photographs.

The reference is PyTorch in float32 on the weights that the bundle holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from export import GateError
from export.gates import FP16_MAX, SHARES, measure_half
from export.model import load_reference
from export.pictures import Image, Mask, mask_of
from export.stages import Probe
from restore_sdk.bundle import Bundle
from restore_sdk.imaging.image import MASKED_ABOVE as HOLE_ABOVE
from restore_sdk.runtime.golden import GATES

#: The gate, dB: over all pictures, and of the worst one.
POOLED_DB, WORST_DB = GATES["fp16"]


def damaged(photos: Mapping[str, Image], masks: Sequence[Mask], seed: int = 0) -> list[Probe]:
    """Each photograph with one of ``masks``; some again with holes from nothing to everything (:data:`SHARES`)."""
    names = list(photos)
    pairs = [(name, masks[i % len(masks)]) for i, name in enumerate(names)] if masks else []
    count = len(SHARES) if masks else max(len(SHARES), len(names))
    for i in range(count):
        pairs.append((names[i * len(names) // count], mask_of(SHARES[i % len(SHARES)], seed + i)))
    return [Probe(f"{name}, {(mask > HOLE_ABOVE).mean():.1%} missing", photos[name], mask) for name, mask in pairs]


def measure_drift(
    path: str | Path | None, probes: Sequence[Probe], progress: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
    """Run every probe through the reference and through both forms of half precision.

    Args:
        path: the bundle's folder; ``None`` is the one in the wheel.
        progress: is told how many probes are done.

    Returns:
        JSON types: ``drift`` by arithmetic and part (:data:`export.gates.PARTS`), each with ``pooled_db``, ``worst_db``
        (``None``: all equal) and ``worst`` (the picture); ``largest_activation`` by stage and layer; ``fp16_headroom``;
        ``probes``; ``hole`` (least and largest share); ``gate``.

    Raises:
        GateError: as :func:`export.gates.measure_half`. What is beyond the gate of PSNR is for :func:`require_drift`,
            so that the figures can be shown first.
    """
    bundle = Bundle.load(path)
    graphs = [onnx.load_from_string(bundle.read(bundle.file(spec.name, "fp16"))) for spec in bundle.stages]
    found, facts = measure_half(*load_reference(path), graphs, probes, progress=progress)
    holes = [float((probe.mask > HOLE_ABOVE).mean()) for probe in probes]
    return {
        "bundle": bundle.name,
        "probes": len(probes),
        "hole": [round(min(holes), 4), round(max(holes), 4)],
        "gate": {"pooled_db": POOLED_DB, "worst_db": WORST_DB},
        "drift": {
            name: {
                part: {**drift.to_json(), "worst": probes[drift.worst_picture].name} for part, drift in parts.items()
            }
            for name, parts in found.items()
        },
        **facts,
    }


def require_drift(figures: Mapping[str, Any]) -> None:
    """Raise :class:`GateError` where a part, in either arithmetic, is beyond the gate of :data:`GATES` for FP16."""
    for name, parts in figures["drift"].items():
        for part, drift in parts.items():
            pooled, worst = _decibels(drift)
            if not (pooled >= POOLED_DB and worst >= WORST_DB):  # so written that a NaN does not pass
                raise GateError(
                    f"{part}, {name}: {pooled:.1f} dB from the float32 reference over all pictures, "
                    f"{worst:.1f} dB at worst ({drift['worst']}); the gate is {POOLED_DB:g} and {WORST_DB:g} dB",
                    "find the layer that loses precision; keep activations small and sums short",
                )


def _decibels(drift: Mapping[str, Any]) -> tuple[float, float]:
    """Pooled and worst, infinite for ``None``."""
    pooled, worst = (math.inf if drift[name] is None else drift[name] for name in ("pooled_db", "worst_db"))
    return pooled, worst


def describe(figures: Mapping[str, Any]) -> list[str]:
    """The figures for people."""
    low, high = figures["hole"]
    lines = [f"{figures['bundle']}: {figures['probes']} pictures, {low:.1%} to {high:.1%} missing"]
    for name, parts in figures["drift"].items():
        for part, drift in parts.items():
            pooled, worst = _decibels(drift)
            lines.append(f"{name:<17} {part:<7} {pooled:6.2f} dB   worst {worst:6.2f} dB   {drift['worst']}")
    for stage, layers in figures["largest_activation"].items():
        layer, peak = max(layers.items(), key=lambda entry: entry[1])
        lines.append(f"largest activation of the {stage} stage: {peak:g} in {layer}, of {len(layers)} layers")
    lines.append(f"headroom to {FP16_MAX:.0f}: {figures['fp16_headroom']:g} times")
    return lines
