"""Which convolutions may be computed in 8 bits, by what each one costs and does to the restored picture.

Every convolution is quantised alone, in several settings, and the error that it leaves in the restored picture and in
the completed edges is measured. Errors of different layers hardly depend on one another, so their squares about add
up: convolutions are taken, those with the least error for their multiplications first, for as long as the sum leaves
every picture within the aim. In part they cancel, so the sum is loosened step by step while the graphs as measured
hold the aim; it begins beyond the aim, where few convolutions are taken, since nothing guarantees that they hold it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export import GateError
from export.pictures import Image, mask_of
from export.quantize import Ranges, Setting, candidates, folded, inputs_of, quantized, stored
from export.stages import Bytes, Probe, cpu_session
from restore_sdk.bundle import Bundle
from restore_sdk.imaging.quality import Drift

#: Shares of the picture that are missing while ranges and errors are measured: where much is missing, activations
#: reach furthest and errors weigh most.
SHARES = (0.05, 0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98, 1.0)

#: What the chosen convolutions together may do to any picture that errors are measured on, and to its completed edges,
#: PSNR in dB against the float32 graphs; and the sums of their errors that are tried, in dB more than that.
AIM_DB, SUMS_DB = 48.5, (2, 1, 0, -1, -2, -3, -4)

#: The gate of the finished graphs, over other pictures: worst PSNR in dB against the float32 graphs. Runtimes may
#: compute the rest in bfloat16, and are held to 45 dB.
GATE_DB = 46.0

#: Tried on every convolution; see :mod:`export.quantize`.
SETTINGS = tuple(Setting(*each) for each in itertools.product((0.5, 0.7), (1.0, 0.8, 0.65, 0.5, 0.4)))

#: A convolution with a smaller share of the multiplications gains less than its quantiser costs.
LEAST_SHARE = 0.01

#: Pictures at least.
LEAST_PICTURES = 16

Errors = NDArray[np.float64]


Models = Mapping[str, onnx.ModelProto]  # by stage
Key = tuple[str, str]  # stage, name of the convolution


def damage(photos: Sequence[Image], seed: int) -> list[Probe]:
    """Each photograph ``(256, 256, 3)`` with a hole, its share the next of :data:`SHARES`; few photographs take an even
    choice of these, the widest among them."""
    shares = SHARES
    if len(photos) < len(SHARES):
        shares = tuple(SHARES[-1 - i * len(SHARES) // len(photos)] for i in range(len(photos)))
    masks = (mask_of(shares[i % len(shares)], seed + i) for i in range(len(photos)))
    return [Probe(f"picture {i}", *each) for i, each in enumerate(zip(photos, masks, strict=True))]


def quantize_bundle(
    bundle: Bundle, photos: Sequence[Image], report: Callable[[str], None] = lambda line: None
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Graphs in 8 bits for both stages of a bundle.

    Args:
        photos: at least :data:`LEAST_PICTURES` of the kind that the model restores. Three quarters of them give the
            ranges of activations, one of these the errors, the last quarter the gate; each with a hole of its own.
            Nothing of them but these ranges is in the graphs.
        report: is told what goes on.

    Returns:
        Serialised graphs by stage; and JSON types: what was chosen, and the figures of the gate.

    Raises:
        GateError: too few pictures, no convolution that may be quantised, or the graphs are beyond the gate.
    """
    if len(photos) < LEAST_PICTURES:
        raise GateError(f"{len(photos)} pictures are too few to calibrate on", f"give {LEAST_PICTURES} or more")
    models = {spec.name: folded(bundle.read(bundle.file(spec.name, "fp32"))) for spec in bundle.stages}
    total = sum(spec.macs for spec in bundle.stages)
    macs = {
        (stage, name): count
        for stage, model in models.items()
        for name, count in candidates(model).items()
        if count >= LEAST_SHARE * total
    }
    if not macs:
        raise GateError("no convolution is large enough to gain from 8 bits", "use the other precisions for this model")
    probes = damage(photos[1::4], 10_000)
    ranged = [*damage(photos[::2], 0), *probes]
    report(f"ranges of the activations, {len(ranged)} pictures")
    ranges = _ranges(models, macs, ranged)
    reference = _Chain(models)
    right = [reference(probe) for probe in probes]
    settings, errors = _errors(reference, right, models, macs, ranges, probes, report)
    made: Models = models
    taken: dict[str, dict[str, Setting]] = {}
    for more in SUMS_DB:
        report(f"convolutions together, the sum of errors within {AIM_DB + more:g} dB")
        chosen = sorted(choose(macs, errors, AIM_DB + more))
        names = {stage: {name: settings[stage, name] for at, name in chosen if at == stage} for stage in models}
        tried = {stage: quantized(model, names[stage], ranges[stage]) for stage, model in models.items()}
        if min(drift.worst_db for drift in _drift(right, _Chain(tried), probes)) >= AIM_DB:
            made, taken = tried, names
        elif any(taken.values()):
            break
    if not taken or not all(taken.values()):
        raise GateError("no convolution of a stage stands 8 bits", "use the other precisions for this model")
    report(f"the gate, {len(photos[3::4])} pictures")
    held = damage(photos[3::4], 20_000)
    restored, edges = _drift([reference(probe) for probe in held], _Chain(made), held)
    worst = min(restored.worst_db, edges.worst_db)
    if not worst >= GATE_DB:
        raise GateError(
            f"the 8-bit graphs are {worst:.1f} dB from float32 in the worst picture or its edges, the gate is "
            f"{GATE_DB:g} dB",
            "calibrate on more pictures, of the kind that will be restored",
        )
    facts = {
        "convolutions": {
            stage: {name: setting._asdict() for name, setting in names.items()} for stage, names in taken.items()
        },
        "macs_share": round(sum(macs[stage, name] for stage in taken for name in taken[stage]) / total, 4),
        "pictures": len(photos),
        "psnr_db": {"pooled": restored.to_json()["pooled_db"], "worst": restored.to_json()["worst_db"]},
        "edges_worst_db": edges.to_json()["worst_db"],
    }
    return {stage: stored(model) for stage, model in made.items()}, facts


def choose(macs: Mapping[Key, int], errors: Mapping[Key, Errors], aim_db: float) -> list[Key]:
    """Convolutions by error for their multiplications, as many as stay within the aim together.

    Args:
        macs: by stage and convolution.
        errors: mean squared error that each one alone leaves in each picture and edge map, in squared steps of a byte.
        aim_db: PSNR that the sum of errors must leave in every picture.
    """
    most = 255.0**2 / 10.0 ** (aim_db / 10.0)
    chosen: list[Key] = []
    used: Errors = np.zeros_like(next(iter(errors.values())))
    for key in sorted(errors, key=lambda each: (float(errors[each].max()) / macs[each], each)):
        if float((used + errors[key]).max()) <= most:
            used = used + errors[key]
            chosen.append(key)
    return chosen


class _Chain:
    """Both graphs on ONNX Runtime, one picture at a time."""

    def __init__(self, models: Models) -> None:
        self.sessions = {stage: cpu_session(model.SerializeToString()) for stage, model in models.items()}

    def run(self, stage: str, probe: Probe, **edges: Bytes) -> list[Any]:
        """All outputs of a stage."""
        feed = {"image": probe.image[None], "mask": probe.mask[None], **edges}
        outputs: list[Any] = self.sessions[stage].run(None, feed)
        return outputs

    def __call__(self, probe: Probe) -> tuple[Bytes, Bytes]:
        """What both make of a picture: the restored one, and its completed edges."""
        completed = self.run("edge", probe)[0]
        return self.run("repair", probe, completed_edges=completed)[0], completed


def _ranges(models: Models, keys: Mapping[Key, int], probes: Sequence[Probe]) -> dict[str, dict[str, Ranges]]:
    """Of every activation that one of the convolutions reads, by stage."""
    found: dict[str, dict[str, Ranges]] = {stage: {} for stage in models}
    shown = {}
    for stage, model in models.items():
        shown[stage] = onnx.ModelProto()
        shown[stage].CopyFrom(model)
        names = inputs_of(model, {name for at, name in keys if at == stage}).values()
        for name in dict.fromkeys(names):
            shown[stage].graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    chain = _Chain(shown)
    for probe in probes:
        edges: dict[str, Bytes] = {}
        for stage, session in chain.sessions.items():
            output, *activations = chain.run(stage, probe, **edges)
            for info, values in zip(session.get_outputs()[1:], activations, strict=True):
                here = Ranges(values.min(axis=(0, 2, 3)), values.max(axis=(0, 2, 3)))
                found[stage][info.name] = here.joined(found[stage].get(info.name, here))
            edges = {"completed_edges": output}
    return found


def _errors(
    chain: _Chain,
    right: Sequence[tuple[Bytes, Bytes]],
    models: Models,
    keys: Mapping[Key, int],
    ranges: Mapping[str, Mapping[str, Ranges]],
    probes: Sequence[Probe],
    report: Callable[[str], None],
) -> tuple[dict[Key, Setting], dict[Key, Errors]]:
    """The setting in which each convolution alone in 8 bits does least to restored pictures and completed edges, and
    what it does: to each picture, then to the edges of each."""
    settings: dict[Key, Setting] = {}
    found: dict[Key, Errors] = {}
    for count, (stage, name) in enumerate(keys):
        report(f"errors of single convolutions, {count + 1} of {len(keys)}")
        for setting in SETTINGS:
            changed = _Chain({stage: quantized(models[stage], {name: setting}, ranges[stage])})
            changed.sessions = chain.sessions | changed.sessions
            errors: Errors = np.zeros((2, len(probes)))
            for i, (probe, wanted) in enumerate(zip(probes, right, strict=True)):
                if stage == "edge":
                    made = changed(probe)
                else:
                    made = changed.run(stage, probe, completed_edges=wanted[1])[0], wanted[1]
                errors[:, i] = [np.mean((a.astype(np.float64) - b) ** 2) for a, b in zip(made, wanted, strict=True)]
            best = found.get((stage, name))
            if best is None or errors.max() < best.max():
                settings[stage, name], found[stage, name] = setting, errors
    return settings, {key: errors.ravel() for key, errors in found.items()}


def _drift(right: Sequence[tuple[Bytes, Bytes]], other: _Chain, probes: Sequence[Probe]) -> tuple[Drift, Drift]:
    """Of the restored pictures, and of their completed edges."""
    restored, edges = Drift(), Drift()
    for wanted, probe in zip(right, probes, strict=True):
        found = other(probe)
        restored.add(wanted[0], found[0])
        edges.add(wanted[1], found[1])
    return restored, edges
