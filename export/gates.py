"""Gates on what the graphs compute: parity with PyTorch, drift in FP16, known pixels, the hole, headroom."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.activations import FP16_MAX, check_headroom, watch
from export.errors import GateError
from export.model import Model
from export.pictures import Image, Mask, drawn_face, mask_of, noise, plain
from export.runners import Bytes, OnnxStage, Outcome, Runnable, TorchStage
from restore_sdk.imaging.image import MASKED_ABOVE as HOLE_ABOVE
from restore_sdk.imaging.quality import Drift, psnr

#: Float32 graphs against PyTorch: largest absolute error before rounding, as a share of full scale.
#: The edge map chooses between neighbours by steep steps, which make more of what rounding leaves.
MAX_ERROR = {"edge": 2e-3, "repair": 1e-3}

#: FP16 chain against the float32 reference, over the painted pixels of each picture (the rest is equal): 60 dB of a
#: picture of which one half is painted. :mod:`export.drift` gates a folder's pool and its worst, and each stage too.
MIN_PSNR_PAINTED = 57.0

#: Shares of the picture that the probes' masks cover.
SHARES = (0.0, 0.001, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98, 1.0)

_BATCH = 4
_PARITY_HINT = "the graph computes something else than training/networks: check export/passes.py and the exporter"


@dataclass(frozen=True)
class Probe:
    """One damaged picture: ``image`` ``(256, 256, 3)`` and ``mask`` ``(256, 256)``, ``uint8``."""

    name: str
    image: Image
    mask: Mask


def make_probes(photos: Mapping[str, Image] = {}, masks: Sequence[Mask] = (), seed: int = 100) -> list[Probe]:
    """Damaged pictures from nothing missing to nothing left.

    Every share in :data:`SHARES` meets a drawn face; a few more meet noise, black and white, whose numbers are as
    large as they can be, and a soft-edged mask. Each photograph meets one of ``masks``, or random damage where there
    are none.
    """
    pictures = [
        (f"drawn face, {share:.1%} missing", drawn_face(seed + i), mask_of(share, seed + i))
        for i, share in enumerate(SHARES)
    ]
    extremes = {"noise": noise(seed), "black": plain(0), "white": plain(255)}
    for i, (name, image) in enumerate(extremes.items()):
        pictures += [(f"{name}, {share:.0%} missing", image, mask_of(share, seed + i)) for share in (0.3, 0.95)]
    soft = np.random.default_rng(seed).integers(0, 256, (256, 256), np.uint8)
    pictures.append(("soft mask", drawn_face(seed), soft))
    for i, (name, image) in enumerate(photos.items()):
        pictures.append((name, image, masks[i % len(masks)] if masks else mask_of(SHARES[i % len(SHARES)], seed + i)))
    return [Probe(*picture) for picture in pictures]


@dataclass(frozen=True)
class Chain:
    """Both stages on one runtime; the edge stage's output is the repair stage's input."""

    name: str
    edge: Runnable
    repair: Runnable

    def __call__(self, image: Bytes, mask: Bytes) -> tuple[Outcome, Outcome]:
        """What both stages make of a batch."""
        completed = self.edge(image, mask)
        return completed, self.repair(image, mask, completed.output)


def check_numbers(
    model: Model, graphs: Mapping[str, Mapping[str, onnx.ModelProto]], probes: Sequence[Probe]
) -> dict[str, Any]:
    """Run every probe through every form of the model and compare.

    Args:
        model: the reference.
        graphs: by stage and precision.
        probes: what to run, in batches of one and of up to four.

    Returns:
        The figures measured, JSON types only: ``max_error`` by stage, ``fp16_psnr_db`` (pooled and worst,
        ``None``: all equal) by arithmetic, ``largest_activation`` by stage and layer, ``fp16_headroom``, ``probes``.

    Raises:
        GateError: a number is off; the message names gate, stage, probe and figure.
    """
    reference = Chain("PyTorch float32", TorchStage(model.edge), TorchStage(model.repair))
    single = Chain("the fp32 graphs on ONNX Runtime", *(OnnxStage(graphs[name]["fp32"]) for name in graphs))
    halves = {
        "pytorch_half": Chain("PyTorch half", TorchStage(model.edge, half=True), TorchStage(model.repair, half=True)),
        "onnxruntime_fp16": Chain(
            "the fp16 graphs on ONNX Runtime", *(OnnxStage(graphs[name]["fp16"]) for name in graphs)
        ),
    }
    errors = {"edge": 0.0, "repair": 0.0}
    drift = {name: Drift() for name in halves}
    with watch(model.edge.generator) as edge_peaks, watch(model.repair.generator) as repair_peaks:
        for batch in batches(probes):
            inputs = stack(batch)
            wanted = reference(*inputs)
            check_soundness(reference, batch, inputs, wanted)
            for stage, expected, found in zip(
                errors, wanted, (single.edge(*inputs), single.repair(*inputs, wanted[0].output)), strict=True
            ):
                errors[stage] = max(errors[stage], _check_parity(stage, batch, expected, found))
            check_soundness(single, batch, inputs, single(*inputs))
            for name, chain in halves.items():
                outcomes = chain(*inputs)
                check_soundness(chain, batch, inputs, outcomes)
                _check_drift(chain, batch, wanted[1].output, outcomes[1].output)
                drift[name].add(wanted[1].output, outcomes[1].output)
    for chain in (reference, single, *halves.values()):
        _check_hole_is_ignored(chain, probes)
    peaks = {"edge": edge_peaks, "repair": repair_peaks}
    largest = {stage: check_headroom(stage, layers) for stage, layers in peaks.items()}
    return {
        "probes": len(probes),
        "max_error": {stage: _short(value) for stage, value in errors.items()},
        "fp16_psnr_db": {
            name: {"pooled": _short(each.pooled_db), "worst": _short(each.worst_db)} for name, each in drift.items()
        },
        "fp16_headroom": _short(FP16_MAX / max(largest.values())),
        "largest_activation": {
            stage: {layer: _short(value) for layer, value in layers.items()} for stage, layers in peaks.items()
        },
    }


def batches(probes: Sequence[Probe]) -> Iterator[Sequence[Probe]]:
    """One alone, then four at a time: both must work on one graph."""
    yield probes[:1]
    for start in range(1, len(probes), _BATCH):
        yield probes[start : start + _BATCH]


def stack(batch: Sequence[Probe]) -> tuple[Bytes, Bytes]:
    """Images and masks of some probes, N first."""
    return np.stack([probe.image for probe in batch]), np.stack([probe.mask for probe in batch])


def _check_parity(stage: str, batch: Sequence[Probe], expected: Outcome, found: Outcome) -> float:
    """Largest error before rounding, as a share of full scale. After rounding, no byte may be off by more than one."""
    errors = np.abs(expected.unrounded - found.unrounded).reshape(len(batch), -1).max(axis=1) / 255.0
    steps = np.abs(expected.output.astype(np.int16) - found.output).reshape(len(batch), -1).max(axis=1)
    for probe, error, step in zip(batch, errors, steps, strict=True):
        if not error <= MAX_ERROR[stage] or step > 1:
            raise GateError(
                f"{stage} stage, fp32 graph, {probe.name}: off by {error:.2e} of full scale before rounding "
                f"and by {step} after; at most {MAX_ERROR[stage]:.0e} and 1 are allowed",
                _PARITY_HINT,
            )
    return float(errors.max())


def check_soundness(
    chain: Chain, batch: Sequence[Probe], inputs: tuple[Bytes, ...], outcomes: tuple[Outcome, Outcome]
) -> None:
    """Finite everywhere, and the restored image byte-equal to the input where nothing is missing."""
    image, mask = inputs
    known = mask <= HOLE_ABOVE
    for stage, outcome in zip(("edge", "repair"), outcomes, strict=True):
        for i, probe in enumerate(batch):
            if not np.isfinite(outcome.unrounded[i]).all():
                raise GateError(
                    f"{stage} stage, {chain.name}, {probe.name}: the result holds NaN or infinity",
                    "look for the layer that leaves the range of half precision, or for a division by zero",
                )
            if stage == "repair" and not np.array_equal(outcome.output[i][known[i]], image[i][known[i]]):
                raise GateError(
                    f"{stage} stage, {chain.name}, {probe.name}: known pixels were changed",
                    "composition must give them back byte for byte",
                )


def _check_drift(chain: Chain, batch: Sequence[Probe], wanted: Bytes, found: Bytes) -> None:
    for probe, ours, theirs in zip(batch, wanted, found, strict=True):
        painted = probe.mask > HOLE_ABOVE
        if not painted.any():
            continue
        db = psnr(ours[painted], theirs[painted])
        if not db >= MIN_PSNR_PAINTED:
            raise GateError(
                f"{chain.name}, {probe.name}: {db:.1f} dB from the float32 reference where it is painted, at least "
                f"{MIN_PSNR_PAINTED:g} are asked for",
                "find the layer that loses precision; keep activations small and sums short",
            )


def _check_hole_is_ignored(chain: Chain, probes: Sequence[Probe]) -> None:
    """Other content under the hole must not change a byte."""
    damaged = [probe for probe in probes if 0.05 < (probe.mask > HOLE_ABOVE).mean() < 1.0][-_BATCH:]
    image, mask = stack(damaged)
    hole = mask > HOLE_ABOVE
    noisy: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)
    other = np.where(hole[..., None], noisy, image)
    for stage, first, second in zip(("edge", "repair"), chain(image, mask), chain(other, mask), strict=True):
        if not np.array_equal(first.output, second.output):
            raise GateError(
                f"{stage} stage, {chain.name}: what stands under the hole changes the result",
                "mask every input in the stage before it is used",
            )


def _short(value: float) -> float | None:
    """Four digits; ``None`` for infinite, which JSON has not: no difference at all."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
