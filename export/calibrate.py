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
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.errors import GateError
from export.gates import Probe
from export.pictures import Image, mask_of
from export.quantize import Ranges, Setting, candidates, folded, inputs_of, quantized, stored
from export.runners import Bytes
from restore_sdk.bundle import Bundle
from restore_sdk.imaging.image import MASKED_ABOVE as HOLE_ABOVE
from restore_sdk.imaging.quality import Drift
from restore_sdk.runtime.onnxruntime import ort

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

Report = Callable[[str], None]
Errors = NDArray[np.float64]


@dataclass(frozen=True)
class EightBitGraphs:
    """Both stages' graphs by name, serialised; what was chosen, and the figures of the gate, JSON types."""

    graphs: Mapping[str, bytes]
    facts: Mapping[str, Any]


def damage(photos: Sequence[Image], seed: int) -> list[Probe]:
    """Each photograph ``(256, 256, 3)`` with a hole, its share the next of :data:`SHARES`; few photographs take an even
    choice of these, the widest among them."""
    probes = []
    shares = SHARES
    if len(photos) < len(SHARES):
        shares = tuple(SHARES[-1 - i * len(SHARES) // len(photos)] for i in range(len(photos)))
    for i, photo in enumerate(photos):
        mask = mask_of(shares[i % len(shares)], seed + i)
        missing = float((mask > HOLE_ABOVE).mean())
        probes.append(Probe(f"picture {i}, {missing:.1%} missing", photo, mask))
    return probes


def quantize_bundle(bundle: Bundle, photos: Sequence[Image], report: Report = lambda line: None) -> EightBitGraphs:
    """Graphs in 8 bits for both stages of a bundle.

    Args:
        photos: at least :data:`LEAST_PICTURES` of the kind that the model restores. Three quarters of them give the
            ranges of activations, one of these the errors, the last quarter the gate; each with a hole of its own.
            Nothing of them but these ranges is in the graphs.

    Raises:
        GateError: too few pictures, no convolution that may be quantised, or the graphs are beyond the gate.
    """
    if len(photos) < LEAST_PICTURES:
        raise GateError(f"{len(photos)} pictures are too few to calibrate on", f"give {LEAST_PICTURES} or more")
    models = {spec.name: folded(bundle.read(bundle.file(spec.name, "fp32"))) for spec in bundle.stages}
    macs = {name: candidates(model) for name, model in models.items()}
    least = LEAST_SHARE * sum(spec.macs for spec in bundle.stages)
    macs = {stage: {name: mac for name, mac in found.items() if mac >= least} for stage, found in macs.items()}
    if not any(macs.values()):
        raise GateError("no convolution is large enough to gain from 8 bits", "use the other precisions for this model")
    probes = damage(photos[1::4], 10_000)
    ranged = [*damage(photos[::2], 0), *probes]
    report(f"ranges of the activations, {len(ranged)} pictures")
    ranges = _ranges(models, {stage: inputs_of(models[stage], macs[stage]) for stage in models}, ranged)
    reference = _Chain(models)
    right = [reference(probe) for probe in probes]
    settings, errors = _errors(reference, right, models, macs, ranges, probes, report)
    costs = {key: macs[key[0]][key[1]] for key in errors}
    made: dict[str, onnx.ModelProto] = models
    taken: dict[str, dict[str, Setting]] = {}
    for more in SUMS_DB:
        report(f"convolutions together, the sum of errors within {AIM_DB + more:g} dB")
        chosen = choose(costs, errors, AIM_DB + more)
        names = {stage: {name: settings[stage, name] for at, name in sorted(chosen) if at == stage} for stage in models}
        tried = {stage: quantized(model, names[stage], ranges[stage]) for stage, model in models.items()}
        if not min(drift.worst_db for drift in _drift(right, _Chain(tried), probes)) >= AIM_DB:
            if any(taken.values()):
                break
            continue
        made, taken = tried, names
    if not taken or not all(taken.values()):
        raise GateError("no convolution of a stage stands 8 bits", "use the other precisions for this model")
    report(f"the gate, {len(photos[3::4])} pictures")
    held = damage(photos[3::4], 20_000)
    restored, edges = _drift([reference(probe) for probe in held], _Chain(made), held)
    worst = min(restored.worst_db, edges.worst_db)
    shares = (macs[stage][name] for stage in taken for name in taken[stage])
    facts = {
        "convolutions": {
            stage: {name: setting._asdict() for name, setting in names.items()} for stage, names in taken.items()
        },
        "macs_share": round(sum(shares) / sum(spec.macs for spec in bundle.stages), 4),
        "pictures": len(photos),
        "psnr_db": {"pooled": restored.to_json()["pooled_db"], "worst": restored.to_json()["worst_db"]},
        "edges_worst_db": edges.to_json()["worst_db"],
    }
    if not worst >= GATE_DB:
        raise GateError(
            f"the 8-bit graphs are {worst:.1f} dB from float32 in the worst picture or its edges, the gate is "
            f"{GATE_DB:g} dB",
            "calibrate on more pictures, of the kind that will be restored",
        )
    return EightBitGraphs({stage: stored(model) for stage, model in made.items()}, facts)


Key = tuple[str, str]  # stage, name of the convolution


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
    """Both graphs on ONNX Runtime."""

    def __init__(self, models: Mapping[str, onnx.ModelProto]) -> None:
        self.edge, self.repair = (_session(models[stage]) for stage in ("edge", "repair"))

    def complete(self, probe: Probe) -> Bytes:
        """The edge stage's output."""
        return _run(self.edge, probe)

    def restore(self, probe: Probe, completed: Bytes) -> Bytes:
        """The repair stage's output on these edges."""
        return _run(self.repair, probe, completed_edges=completed)

    def __call__(self, probe: Probe) -> tuple[Bytes, Bytes]:
        """What both make of a picture: the restored one, and its completed edges."""
        completed = self.complete(probe)
        return self.restore(probe, completed), completed


def _session(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: Any, probe: Probe, **edges: Bytes) -> Bytes:
    output: Bytes = session.run(None, {"image": probe.image[None], "mask": probe.mask[None], **edges})[0]
    return output


def _ranges(
    models: Mapping[str, onnx.ModelProto], watched: Mapping[str, Mapping[str, str]], probes: Sequence[Probe]
) -> dict[str, dict[str, Ranges]]:
    """Of every watched activation, by stage."""
    found: dict[str, dict[str, Ranges]] = {stage: {} for stage in models}
    shown = {}
    for stage, model in models.items():
        shown[stage] = onnx.ModelProto()
        shown[stage].CopyFrom(model)
        for name in dict.fromkeys(watched[stage].values()):
            shown[stage].graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    chain = _Chain(shown)
    for probe in probes:
        feed = {"image": probe.image[None], "mask": probe.mask[None]}
        edges: dict[str, Bytes] = {}
        for stage, session in (("edge", chain.edge), ("repair", chain.repair)):
            output, *activations = session.run(None, {**feed, **edges})
            for info, values in zip(session.get_outputs()[1:], activations, strict=True):
                here = Ranges(values.min(axis=(0, 2, 3)), values.max(axis=(0, 2, 3)))
                found[stage][info.name] = here.joined(found[stage].get(info.name, here))
            edges = {"completed_edges": output}
    return found


def _errors(
    chain: _Chain,
    right: Sequence[tuple[Bytes, Bytes]],
    models: Mapping[str, onnx.ModelProto],
    macs: Mapping[str, Mapping[str, int]],
    ranges: Mapping[str, Mapping[str, Ranges]],
    probes: Sequence[Probe],
    report: Report,
) -> tuple[dict[Key, Setting], dict[Key, Errors]]:
    """The setting in which each convolution alone in 8 bits does least to restored pictures and completed edges, and
    what it does: to each picture, then to the edges of each."""
    settings: dict[Key, Setting] = {}
    found: dict[Key, Errors] = {}
    keys = [(stage, name) for stage in models for name in macs[stage]]
    for count, (stage, name) in enumerate(keys):
        report(f"errors of single convolutions, {count + 1} of {len(keys)}")
        for setting in SETTINGS:
            session = _session(quantized(models[stage], {name: setting}, ranges[stage]))
            errors: Errors = np.zeros((2, len(probes)))
            for i, (probe, (restored, completed)) in enumerate(zip(probes, right, strict=True)):
                edges = completed if stage == "repair" else _run(session, probe)
                if stage == "repair":
                    result = _run(session, probe, completed_edges=completed)
                else:
                    result = chain.restore(probe, edges)
                for row, made, wanted in ((0, result, restored), (1, edges, completed)):
                    errors[row, i] = np.mean((made.astype(np.float64) - wanted) ** 2)
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
