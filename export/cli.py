"""The command line.

python -m export --weights W.safetensors --out BUNDLE     export a bundle
python -m export drift --faces FOLDER [--bundle BUNDLE]   how far half precision is from float32
python -m export int8 --faces FOLDER --out BUNDLE         a bundle with 8-bit graphs besides, for openvino-int8
python -m export damage --weights W [--bundle B]          a bundle with the stage that finds damage besides
python -m export weights --out W.safetensors [--bundle B] the weights of a bundle, to go on training from
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import cli_int8
from export.command import status
from export.errors import ExportError
from restore_sdk.errors import RestoreError

ROOT = Path(__file__).resolve().parent.parent
PORTRAIT = ROOT / "examples" / "portrait.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Export a bundle; 0 when it was written, 1 when a gate stopped it, 2 on a mistake of the caller's.

    ``drift`` measures one that was exported; 0 when it is within the gate, 6 when it is beyond, 2 as above.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["drift"]:
        return _drift_command(argv[1:])
    if argv[:1] == ["int8"]:
        return cli_int8.main(argv[1:])
    if argv[:1] == ["damage"]:
        from export import damage

        return damage.main(argv[1:])
    if argv[:1] == ["weights"]:
        return _weights_command(argv[1:])
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.masks and not arguments.faces:
        parser.error("--masks needs --faces")
    if arguments.limit < 1:
        parser.error("--limit must be at least 1")
    return status(lambda: _export(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Export trained weights as a checked model bundle for restore_sdk.",
        epilog="python -m export drift --help: how far the FP16 graphs of a bundle are from float32; "
        "python -m export int8 --help: 8-bit graphs for CPUs; "
        "python -m export weights --help: the weights of a bundle, to go on training from",
    )
    parser.add_argument("--weights", type=Path, required=True, help="weights.safetensors of python -m training fit")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; replaces one there")
    parser.add_argument("--name", help="name of the model (default: the name of the folder)")
    parser.add_argument("--version", default="1.0", help="version of the model (default: 1.0)")
    parser.add_argument("--quality", type=Path, help="evaluation table, from: python -m training evaluate --json")
    parser.add_argument("--card", type=Path, help="data card as TOML (default: export/data_card.toml)")
    golden = parser.add_mutually_exclusive_group()
    golden.add_argument(
        "--photo",
        type=Path,
        action="append",
        help="256 x 256 photograph to go into the golden vectors, up to three (default: examples/portrait.png)",
    )
    golden.add_argument("--drawn-only", action="store_true", help="golden vectors of drawn pictures only")
    parser.add_argument("--faces", type=Path, help="folder of photographs to check on; they stay out of the bundle")
    parser.add_argument("--masks", type=Path, help="folder of masks for these (default: random damage)")
    parser.add_argument("--limit", type=int, default=24, help="how many of --faces to check on (default: 24)")
    return parser


def _export(arguments: argparse.Namespace) -> None:
    from export.bundle import export_bundle
    from export.card import DATA_CARD, read_card
    from export.model import load_model
    from export.writing import check_bundle_target
    from training.checkpoint import CheckpointError
    from training.config import ConfigError
    from training.data import DataError, evenly, find_images, read_rgb
    from training.protocol import read_faces, read_mask, square

    check_bundle_target(arguments.out)  # before the long work
    try:
        chosen = [] if arguments.drawn_only else _existing(arguments.photo or [PORTRAIT])
        golden = [square(read_rgb(path)) for path in chosen]
        faces = dict(read_faces(arguments.faces, arguments.limit)) if arguments.faces else {}
        files = evenly(find_images(arguments.masks), len(faces)) if arguments.masks else []
        masks = [read_mask(path) for path in files]
        model = load_model(arguments.weights)
    except (DataError, CheckpointError, ConfigError) as error:
        raise ExportError(str(error), "see: python -m export --help") from error
    bundle = export_bundle(
        model,
        arguments.out,
        name=arguments.name or arguments.out.resolve().name,
        version=arguments.version,
        card=read_card(arguments.card or DATA_CARD),
        quality=_read_json(arguments.quality) if arguments.quality else {},
        golden_photos=golden,
        probe_photos=faces,
        probe_masks=masks,
        report=lambda line: print(line, flush=True),
    )
    size = sum(spec.bytes for spec in bundle.manifest.files.values())
    print(f"wrote {bundle.path}: {bundle.name}, {size / 1e6:.2f} MB")


def _drift_command(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export drift",
        description="Measure how far half precision takes each stage and the chain from the float32 reference.",
        epilog="exit codes: 0 within the gate, 6 beyond it, 2 usage",
    )
    parser.add_argument("--bundle", help="default, faithful, or the folder of another bundle")
    parser.add_argument("--faces", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--masks", type=Path, help="folder of masks for these (default: random damage)")
    parser.add_argument("--limit", type=int, help="how many photographs at most, evenly chosen (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    if options.limit is not None and options.limit < 1:
        parser.error("--limit must be at least 1")
    return status(lambda: _drift(options), gate=6, gate_note="")


def _weights_command(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export weights",
        description="Write the weights of a bundle as python -m training writes them: fit --init goes on from there.",
    )
    parser.add_argument("--bundle", help="default, faithful, or the folder of another bundle")
    parser.add_argument("--out", type=Path, required=True, help="weights.safetensors to write")
    options = parser.parse_args(argv)
    from export.reference import save_reference
    from training.checkpoint import CheckpointError

    try:
        save_reference(options.out, options.bundle)
    except (ExportError, RestoreError, CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"weights: {options.out}")
    return 0


def _drift(options: argparse.Namespace) -> None:
    from export.drift import damaged, describe, measure_drift, require_drift
    from training.checkpoint import CheckpointError
    from training.config import ConfigError
    from training.data import DataError, find_images
    from training.protocol import read_faces, read_mask

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {len(probes)} pictures ", end="" if done < len(probes) else "\n", file=sys.stderr)

    try:
        photos = dict(read_faces(options.faces, options.limit))
        masks = [read_mask(path) for path in find_images(options.masks)] if options.masks else []
        probes = damaged(photos, masks)
        figures = measure_drift(options.bundle, probes, progress)
    except (DataError, CheckpointError, ConfigError) as error:
        raise ExportError(str(error), "see: python -m export drift --help") from error
    print(json.dumps(figures, indent=2) if options.json else "\n".join(describe(figures)), flush=True)
    require_drift(figures)


def _existing(paths: Sequence[Path]) -> Sequence[Path]:
    for path in paths:
        if not path.is_file():
            raise ExportError(f"no photograph at {path}", "pass --photo FILE, or --drawn-only")
    return paths


def _read_json(path: Path) -> dict[str, Any]:
    hint = "write it with: python -m training evaluate --json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read as JSON: {error}", hint) from error
    if not isinstance(values, dict):
        raise ExportError(f"{path} holds no JSON object", hint)
    return values
