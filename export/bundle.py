"""The whole export: graphs, gates, golden vectors, manifest, and only then a bundle on disk."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export import ExportError
from export.gates import check_numbers, check_structure, make_probes
from export.graph import cpu_graph, fp16_graph
from export.model import Model
from export.pictures import Image, drawn_face, mask_of
from export.stages import Bytes, TorchStage
from export.writing import StageFiles, share_weights, write_bundle
from restore_sdk.bundle import Bundle
from training.data import read_rgb, square
from training.weights import costs

#: Shares of the golden pictures that are missing, from a speck to almost all.
GOLDEN_SHARES = (0.001, 0.05, 0.15, 0.3, 0.5, 0.85)

#: A photograph that anyone may pass on.
PORTRAIT = Path(__file__).resolve().parent.parent / "examples" / "portrait.png"

#: What the shipped model was trained on.
DATA_CARD = Path(__file__).with_name("data_card.toml")


def export_bundle(
    model: Model,
    path: Path,
    *,
    name: str,
    version: str,
    card: Mapping[str, Any],
    quality: Mapping[str, Any] = {},
) -> Bundle:
    """Export both stages, check them, write the bundle in one step, and print what is done.

    Args:
        model: what to export.
        path: the folder to write; a bundle that stands there is replaced.
        name: name of the model. ``version``: its version.
        card: the data card, see :func:`read_card`.
        quality: the evaluation table, as ``python -m training evaluate --json`` gives it.

    Raises:
        GateError: a gate did not pass; nothing was written.
        restore_sdk.errors.OutputError: ``path`` cannot be written, or holds something that is no bundle.
    """
    graphs = {}
    for stage, module in model.stages.items():
        graphs[stage] = {"fp32": cpu_graph(stage, module), "fp16": fp16_graph(stage, module)}
        for precision, graph in graphs[stage].items():
            check_structure(stage, graph, precision)
            size = f"{len(graph.graph.node)} nodes, {graph.ByteSize() / 1e6:.2f} MB"
            print(f"{stage} {precision}: {size}, valid", flush=True)
    portrait = square(read_rgb(PORTRAIT))
    figures = check_numbers(model, graphs, make_probes({"portrait": portrait}))
    errors, headroom = max(figures["max_error"].values()), figures["fp16_headroom"]
    print(
        f"{figures['probes']} probes: float32 off by {errors:.1e} of full scale at most; FP16 headroom {headroom:.0f}"
    )
    written = {
        f"{stage} {key}": graph.SerializeToString() for stage, each in graphs.items() for key, graph in each.items()
    }
    written, weights = share_weights(written)
    parts = {}
    for stage, (parameters, macs) in costs(model.config).items():
        peak = max(figures["largest_activation"][stage].values())
        parts[stage] = StageFiles(stage, written[f"{stage} fp32"], written[f"{stage} fp16"], parameters, macs, peak)
    return write_bundle(
        path,
        name=name,
        version=version,
        **parts,
        golden=golden_vectors(model, golden_inputs(portrait)),
        training={
            **{key: value for key, value in card.items() if key != "damage"},  # that stage is added later
            "images_seen": sum(model.images.values()),
            "images_seen_by_part": model.images,
            "config": model.config.to_json(),
        },
        quality={**quality, "export": figures},
        weights=weights,
    )


def golden_inputs(portrait: Image, seed: int = 1) -> dict[str, Bytes]:
    """``image`` ``(N, 256, 256, 3)`` and ``mask`` ``(N, 256, 256)``: drawn faces, and a photograph in the middle."""
    images = [drawn_face(seed + i) for i in range(len(GOLDEN_SHARES))]
    images[2] = portrait
    masks = [mask_of(share, seed + i) for i, share in enumerate(GOLDEN_SHARES)]
    return {"image": np.stack(images), "mask": np.stack(masks)}


def golden_vectors(model: Model, inputs: dict[str, Bytes]) -> dict[str, Bytes]:
    """The inputs with ``completed_edges`` and ``restored``, as PyTorch makes them in float32."""
    completed = TorchStage(model.edge)(inputs["image"], inputs["mask"]).output
    restored = TorchStage(model.repair)(inputs["image"], inputs["mask"], completed).output
    return {**inputs, "completed_edges": completed, "restored": restored}


def read_card(path: Path = DATA_CARD) -> dict[str, Any]:
    """Read a data card: ``[[data]]`` tables with ``name``, ``licence`` and ``images``; anything else is kept as it is.

    Raises:
        ExportError: the file is missing, no TOML, or a table lacks a key.
    """
    try:
        card = tomllib.loads(path.read_text(encoding="utf-8"))
        for entry in card["data"]:
            if not (isinstance(entry["name"], str) and isinstance(entry["licence"], str) and entry["images"] >= 0):
                raise ValueError(f"a table under [[data]] is not sound: {entry}")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f"{path} is no data card: {error}",
            "each [[data]] table needs name, licence and images; see export/data_card.toml",
        ) from error
    return card
