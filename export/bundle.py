"""The whole export: graphs, gates, golden vectors, manifest, and only then a bundle on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from export.command import decibel
from export.gates import check_numbers, make_probes
from export.golden import golden_inputs, golden_vectors
from export.graph import cpu_graph, fp16_graph, share_weights
from export.model import Model
from export.pictures import Image, Mask
from export.runners import TorchStage
from export.structure import check_structure
from export.writing import StageFiles, check_bundle_target, sealed_manifest, write_bundle
from restore_sdk._util.atomic import write_folder
from restore_sdk.bundle import Bundle
from restore_sdk.bundle.bundle import weights_name
from training.cost import costs


def export_bundle(
    model: Model,
    path: Path,
    *,
    name: str,
    version: str,
    card: Mapping[str, Any],
    quality: Mapping[str, Any] = {},
    golden_photos: Sequence[Image] = (),
    probe_photos: Mapping[str, Image] = {},
    probe_masks: Sequence[Mask] = (),
    created: str | None = None,
    report: Callable[[str], None] = lambda _line: None,
) -> Bundle:
    """Export both stages, check them, and write the bundle in one step.

    Args:
        model: what to export.
        path: the folder to write; a bundle that stands there is replaced.
        name: name of the model. ``version``: its version.
        card: the data card, see :mod:`export.card`.
        quality: the evaluation table, as ``python -m training evaluate --json`` gives it.
        golden_photos: photographs ``(256, 256, 3)`` that anyone may pass on, for the golden vectors.
        probe_photos: further photographs by name for the gates; they stay out of the bundle.
        probe_masks: masks ``(256, 256)`` for these.
        created: date and time in UTC; ``None`` means now.
        report: is told what is done.

    Raises:
        GateError: a gate did not pass; nothing was written.
        restore_sdk.errors.OutputError: ``path`` cannot be written, or holds something that is no bundle.
    """
    graphs = {}
    for stage, module in model.stages.items():
        graphs[stage] = {"fp32": cpu_graph(stage, module), "fp16": fp16_graph(stage, module)}
        for precision, graph in graphs[stage].items():
            check_structure(stage, graph, precision)
            report(f"{stage} {precision}: {len(graph.graph.node)} nodes, {graph.ByteSize() / 1e6:.2f} MB, valid")
    inputs = golden_inputs(golden_photos)
    photos = {f"golden photograph {i}": photo for i, photo in enumerate(golden_photos)} | dict(probe_photos)
    figures = check_numbers(model, graphs, make_probes(photos, probe_masks))
    report(_summary(figures))
    golden = golden_vectors(TorchStage(model.edge), TorchStage(model.repair), inputs)
    parts = {}
    written = {
        f"{stage} {key}": graph.SerializeToString() for stage, each in graphs.items() for key, graph in each.items()
    }
    written, weights = share_weights(written)
    for stage in model.stages:
        parameters, macs = costs(model.config)[stage]
        peak = max(figures["largest_activation"][stage].values())
        parts[stage] = StageFiles(stage, written[f"{stage} fp32"], written[f"{stage} fp16"], parameters, macs, peak)
    return write_bundle(
        path,
        name=name,
        version=version,
        edge=parts["edge"],
        repair=parts["repair"],
        golden=golden,
        training={
            **card,
            "images_seen": sum(model.images.values()),
            "images_seen_by_part": model.images,
            "config": model.config.to_json(),
        },
        quality={**quality, "export": figures},
        weights=weights,
        created=created,
    )


def add_int8(bundle: Bundle, path: Path, graphs: Mapping[str, bytes], facts: Mapping[str, Any]) -> Bundle:
    """Write a bundle anew with 8-bit graphs, in one step as :func:`export.writing.write_bundle` does, and open it.

    Args:
        bundle: all else is taken from it, its name, version and date too; graphs in 8 bits that it has are replaced.
        path: the folder to write, which may be the bundle's own.
        graphs: serialised ONNX by stage.
        facts: how they were made and how far they are from float32, JSON types; kept under ``quality.int8``.

    Raises:
        restore_sdk.errors.BundleError: a file of ``bundle`` is not what its manifest says.
        restore_sdk.errors.OutputError: ``path`` cannot be written, or holds something that is no bundle.
    """
    manifest = bundle.manifest
    check_bundle_target(path)
    names = {stage: f"{stage}.int8.onnx" for stage in graphs}
    held = {name for stage in manifest.stages for name in stage.files.values()} - set(names.values())
    shared, weights = share_weights(
        {name: bundle.read(name) for name in sorted(held)} | {names[stage]: graph for stage, graph in graphs.items()}
    )
    others = [name for name, spec in manifest.files.items() if name not in held and name != weights_name(spec.sha256)]
    files = {**{name: bundle.read(name) for name in others if name not in names.values()}, **shared}
    if weights:
        files[weights_name(hashlib.sha256(weights).hexdigest())] = weights
    named = replace(
        manifest,
        stages=tuple(replace(spec, files=spec.files | {"int8": names[spec.name]}) for spec in manifest.stages),
        quality={**manifest.quality, "int8": dict(facts)},
    )
    write_folder(path, {**files, "manifest.json": sealed_manifest(named, files)})
    return Bundle.load(path)


def _summary(figures: Mapping[str, Any]) -> str:
    errors, drift = figures["max_error"], figures["fp16_psnr_db"]
    half, ort = ({key: decibel(db) for key, db in drift[name].items()} for name in ("pytorch_half", "onnxruntime_fp16"))
    return (
        f"{figures['probes']} probes: float32 off by {max(errors.values()):.1e} of full scale at most; FP16 "
        f"{half['pooled']}, worst {half['worst']} (ONNX Runtime {ort['pooled']}, {ort['worst']}); "
        f"FP16 headroom {figures['fp16_headroom']:.0f} times"
    )
