"""The command line.

python -m export --weights W.safetensors --out BUNDLE     export a bundle
python -m export drift --faces FOLDER [--bundle BUNDLE]   how far half precision is from float32
python -m export int8 --faces FOLDER --out BUNDLE         a bundle with 8-bit graphs besides, for openvino-int8
python -m export damage --weights W [--bundle B]          a bundle with the stage that finds damage besides
python -m export face --weights W [--bundle B]            a bundle with the stage that frames faces besides
python -m export weights --out W.safetensors [--bundle B] the weights of a bundle, to go on training from
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import ExportError, GateError
from restore_sdk.bundle import Bundle
from restore_sdk.cli.common import add_bundle, progress_line
from restore_sdk.errors import RestoreError
from training.cli import at_least
from training.data import find_images
from training.protocol import read_faces, read_mask


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0 when it is done, 1 when a gate stopped it (6: ``drift`` is beyond its gate), 2 on a mistake of
    the caller's, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    name = argv.pop(0) if argv and argv[0] in COMMANDS else ""
    add_arguments, run, text = COMMANDS[name]
    others = "; ".join(f"python -m export {each} --help: {what}" for each, (_, _, what) in COMMANDS.items() if each)
    parser = argparse.ArgumentParser(
        prog=f"python -m export {name}".strip(), description=text, epilog=None if name else others
    )
    add_arguments(parser)
    options = parser.parse_args(argv)
    try:
        run(options)
    except GateError as error:
        print(f"error: {error}{'' if name == 'drift' else '. Nothing was written.'}", file=sys.stderr)
        return 6 if name == "drift" else 1
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, required=True, help="weights.safetensors of python -m training fit")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; replaces one there")
    parser.add_argument("--name", help="name of the model (default: the name of the folder)")
    parser.add_argument("--version", default="1.0", help="version of the model (default: 1.0)")
    parser.add_argument("--quality", type=Path, help="evaluation table, from: python -m training evaluate --json")
    parser.add_argument("--card", type=Path, help="data card as TOML (default: export/data_card.toml)")


def _export(options: argparse.Namespace) -> None:
    from export.bundle import DATA_CARD, export_bundle, read_card
    from export.model import load_model
    from export.writing import check_bundle_target

    check_bundle_target(options.out)  # before the long work
    bundle = export_bundle(
        load_model(options.weights),
        options.out,
        name=options.name or options.out.resolve().name,
        version=options.version,
        card=read_card(options.card or DATA_CARD),
        quality=_read_json(options.quality) if options.quality else {},
    )
    size = sum(spec.bytes for spec in bundle.manifest.files.values())
    print(f"wrote {bundle.path}: {bundle.name}, {size / 1e6:.2f} MB")


def _drift_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "exit codes: 0 within the gate, 6 beyond it, 2 usage"
    add_bundle(parser)
    parser.add_argument("--faces", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--masks", type=Path, help="folder of masks for these (default: random damage)")
    parser.add_argument("--limit", type=at_least(1), help="how many photographs at most, evenly chosen (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _drift(options: argparse.Namespace) -> None:
    from export.drift import damaged, describe, measure_drift, require_drift

    masks = [read_mask(path) for path in find_images(options.masks)] if options.masks else []
    probes = damaged(dict(read_faces(options.faces, options.limit)), masks)
    with progress_line() as progress:
        figures = measure_drift(options.bundle, probes, lambda done: progress(f"{done} of {len(probes)} pictures"))
    print(json.dumps(figures, indent=2) if options.json else "\n".join(describe(figures)), flush=True)
    require_drift(figures)


def _int8_arguments(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument("--faces", type=Path, required=True, help="photographs to calibrate on; they stay out of it")
    parser.add_argument(
        "--limit", type=at_least(1), default=128, help="how many of --faces to take, evenly (default: 128)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the new bundle; may be that of --bundle")


def _int8(options: argparse.Namespace) -> None:
    from export.calibrate import quantize_bundle
    from export.writing import add_int8, check_bundle_target

    bundle = Bundle.load(options.bundle)
    check_bundle_target(options.out)  # before the long work
    photos = [photo for _, photo in read_faces(options.faces, options.limit)]
    with progress_line() as progress:
        graphs, facts = quantize_bundle(bundle, photos, progress)
    add_int8(bundle, options.out, graphs, facts)
    pooled, worst = ("equal" if db is None else f"{db:.1f} dB" for db in facts["psnr_db"].values())
    print(
        f"wrote {options.out}: {sum(map(len, facts['convolutions'].values()))} convolutions in 8 bits, "
        f"{facts['macs_share']:.0%} of the multiplications, {pooled} from float32, worst {worst}; "
        f"{sum(map(len, graphs.values())) / 1e6:.2f} MB more"
    )


def _damage_arguments(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument("--weights", type=Path, required=True, help="as python -m training.damage weights writes them")


def _damage(options: argparse.Namespace) -> None:
    from export.damage import add_damage

    add_damage(Bundle.load(options.bundle), options.weights)


def _face_arguments(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument("--weights", type=Path, required=True, help="weights.safetensors of python -m training fit")


def _face(options: argparse.Namespace) -> None:
    from export.face import add_face

    add_face(Bundle.load(options.bundle), options.weights)


def _weights_arguments(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument("--out", type=Path, required=True, help="weights.safetensors to write")


def _weights(options: argparse.Namespace) -> None:
    from export.model import save_reference

    save_reference(options.out, options.bundle)
    print(f"weights: {options.out}")


def _read_json(path: Path) -> dict[str, Any]:
    hint = "write it with: python -m training evaluate --json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read as JSON: {error}", hint) from error
    if not isinstance(values, dict):
        raise ExportError(f"{path} holds no JSON object", hint)
    return values


#: By name: what adds its arguments, what runs it, what it does. The one without a name exports a bundle.
COMMANDS: dict[str, tuple[Any, Any, str]] = {
    "": (_export_arguments, _export, "export trained weights as a checked model bundle"),
    "drift": (_drift_arguments, _drift, "how far half precision takes each stage and the chain from float32"),
    "int8": (_int8_arguments, _int8, "put 8-bit graphs for CPUs (openvino-int8) into a bundle; takes minutes"),
    "damage": (_damage_arguments, _damage, "put the stage that finds damage into a bundle, which is written anew"),
    "face": (_face_arguments, _face, "put the stage that frames faces into a bundle, which is written anew"),
    "weights": (_weights_arguments, _weights, "write the weights of a bundle, for training fit --init to go on from"),
}
