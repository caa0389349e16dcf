"""The command line of the trainer."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from restore_sdk._util.atomic import check_writable, write_file
from restore_sdk.errors import RestoreError
from training.checkpoint import CheckpointError, load_tensors
from training.config import PARTS, Config, ConfigError, from_json, read_config
from training.data import DataError, find_images
from training.fit import DivergedError, Options, StoppedError, fit
from training.protocol import FRAMINGS


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 where training diverged, 2 on a mistake of the caller's, 130 when
    interrupted."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train and measure the two-stage model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _fit_arguments(commands.add_parser("fit", help="train all parts; run again to resume"))
    info = commands.add_parser("info", help="parameters and multiply-accumulates of both stages")
    info.add_argument("--config", type=Path, help="a configuration file (default: training/config.py)")
    info.set_defaults(run=_info)
    _evaluate_arguments(
        commands.add_parser(
            "evaluate", help="PSNR, SSIM and L1 by hole ratio, and what a judge of faces says, beside OpenCV's"
        )
    )
    weights = commands.add_parser("weights", help="write what a run has learned so far, to evaluate or export")
    weights.add_argument("--run", type=Path, required=True, dest="folder", help="the --out folder of fit")
    weights.add_argument("--out", type=Path, required=True, help="weights.safetensors to write")
    weights.add_argument("--discriminators", action="store_true", help="keep them, to go on training from the file")
    weights.set_defaults(run=_weights)
    _ablation_arguments(commands.add_parser("ablation", help="what each piece of the repair part is worth"))
    curve = commands.add_parser("plot", help="draw the losses of a run")
    curve.add_argument("--run", type=Path, required=True, dest="folder", help="the --out folder of fit")
    curve.add_argument("--out", type=Path, required=True, help="the picture, .png or .svg")
    curve.set_defaults(run=_plot)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        return status
    except StoppedError as interruption:
        print(interruption)
        return 130
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (DataError, ConfigError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (OSError, RestoreError) as error:
        print(f"error: {error}.", file=sys.stderr)
        return 2


def _fit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of aligned face photographs")
    parser.add_argument("--labels", type=Path, help="contours of them, made by training/label.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, log, sheets and weights")
    parser.add_argument(
        "--config", type=Path, help="settings as JSON (default: those of --out, --init, or training/config.py)"
    )
    parser.add_argument("--init", type=Path, help="weights.safetensors to begin from; --out's checkpoints come first")
    parser.add_argument("--only", choices=PARTS, help="train one part, on the others as they are")
    parser.add_argument("--images", type=_at_least(0), help="length of the run of --only, in images")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=_at_least(1), help="threads of the arithmetic (default: all cores)")
    parser.add_argument("--float32", action="store_true", help="do not use bfloat16 even where the device has it")
    parser.add_argument("--masks", type=_at_least(1), default=24_000, help="how many masks to draw (default 24000)")
    parser.add_argument("--validate", type=Path, nargs=2, metavar=("FACES", "MASKS"), help="folders to draw sheets of")
    parser.add_argument("--sheet-every", type=_at_least(1), default=20_000, help="images between sheets (20000)")
    parser.set_defaults(run=_fit)


def _fit(arguments: argparse.Namespace) -> int:
    from training.sheet import Sheet

    _require_apart(arguments.data, arguments.validate)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    own = arguments.out / "config.json"
    path = arguments.config or (own if own.exists() else None)
    if path:
        config = read_config(path)
    else:  # what --init was trained by, or the networks would not fit
        config = from_json(load_tensors(arguments.init)[1].get("config", {})) if arguments.init else Config()
    if arguments.images is not None:
        if arguments.only is None:
            raise ConfigError("--images is the length of one part's run: name it with --only.")
        part = dataclasses.replace(config.part(arguments.only), images=arguments.images)
        config = dataclasses.replace(config, **{arguments.only: part})
    options = Options(
        arguments.data,
        arguments.out,
        labels=arguments.labels,
        device=arguments.device,
        bfloat16=False if arguments.float32 else None,
        init=arguments.init,
        only=arguments.only,
        sheet=Sheet(*arguments.validate) if arguments.validate else None,
        sheet_every=arguments.sheet_every,
        masks=arguments.masks,
    )
    print(f"trained: {fit(config, options)}")
    return 0


def _ablation_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of aligned face photographs")
    parser.add_argument("--init", type=Path, required=True, help="weights.safetensors with the other parts")
    parser.add_argument(
        "--validate", type=Path, nargs=2, required=True, metavar=("FACES", "MASKS"), help="to measure on"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the table, and a run for each variant")
    parser.add_argument("--images", type=_at_least(1), required=True, help="length of each run, in images")
    parser.add_argument("--config", type=Path, help="settings as JSON (default: those of --init)")
    parser.add_argument("--per-bucket", type=_at_least(1), default=40, help="faces a bucket of hole ratio (40)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--masks", type=_at_least(1), default=24_000, help="how many masks to draw (default 24000)")
    parser.set_defaults(run=_ablation)


def _ablation(arguments: argparse.Namespace) -> int:
    from training.ablation import ablate, to_markdown
    from training.checkpoint import load_facts
    from training.protocol import cases

    _require_apart(arguments.data, arguments.validate)
    path = arguments.config
    config = read_config(path) if path else from_json(load_facts(arguments.init).get("config", {}))
    config = dataclasses.replace(config, repair=dataclasses.replace(config.repair, images=arguments.images))
    options = Options(
        arguments.data, arguments.out, device=arguments.device, init=arguments.init, masks=arguments.masks
    )
    print(to_markdown(ablate(config, options, list(cases(*arguments.validate, arguments.per_bucket)))), end="")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from training.cost import costs

    config = read_config(arguments.config) if arguments.config else Config()
    total = (0, 0)
    for stage, (parameters, macs) in costs(config).items():
        total = (total[0] + parameters, total[1] + macs)
        print(f"{stage:8s} {parameters / 1e6:6.3f} M parameters  {macs / 1e9:6.3f} GMAC at 256 x 256")
    print(f"{'both':8s} {total[0] / 1e6:6.3f} M parameters  {total[1] / 1e9:6.3f} GMAC at 256 x 256")
    return 0


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--bundle", help="default, faithful, or the folder of another bundle")
    model.add_argument("--weights", type=Path, help="weights.safetensors of a run, in PyTorch")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of face photographs (CelebA-HQ's layout will do)"
    )
    parser.add_argument("--masks", type=Path, required=True, help="folder of masks, white = hole")
    parser.add_argument("--per-bucket", type=_at_least(1), help="take only so many faces a bucket")
    parser.add_argument(
        "--framing",
        choices=list(FRAMINGS),
        default="aligned",
        help="how the faces lie in their squares: aligned as they come (default), shifted by 15%%, at 0.8 of their "
        "size, turned by 15 degrees, or all at once",
    )
    parser.add_argument("--runtime", default="auto", help="runtime of the bundle (default auto)")
    parser.add_argument("--json", type=Path, help="write the table as JSON")
    parser.add_argument("--markdown", type=Path, help="write the table as Markdown")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet: damaged, edges, restored, original")
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from training.evaluate import bundle_model, evaluate, weights_model
    from training.protocol import cases, count_cases

    for path in (arguments.json, arguments.markdown, arguments.sheet):
        if path:
            check_writable(path)
    if arguments.sheet and not cv2.haveImageWriter(str(arguments.sheet)):
        raise DataError(f"{arguments.sheet} does not end in a picture format. Use .png or .jpg.")
    weights = arguments.weights
    model = weights_model(weights) if weights else bundle_model(arguments.bundle, arguments.runtime)
    chosen = (arguments.images, arguments.masks, arguments.per_bucket)
    report = evaluate(model, cases(*chosen, arguments.framing), count_cases(*chosen))
    tables = report.to_markdown()
    print(tables, end="")
    if arguments.json:
        write_file(arguments.json, json.dumps(report.to_json(), indent=2).encode())
    if arguments.markdown:
        write_file(arguments.markdown, tables.encode())
    if arguments.sheet:
        _write_picture(arguments.sheet, report.sheet())
    return 0


def _require_apart(data: Path, validate: Sequence[Path] | None) -> None:
    """Raise :class:`DataError` where there is nothing to train on, or validation faces are among it."""
    learned = find_images(data)
    if not validate:
        return
    shared = sorted({path.resolve() for path in learned} & {path.resolve() for path in find_images(validate[0])})
    if shared:
        raise DataError(
            f"{len(shared)} of the validation faces lie below {data} as well, such as {shared[0]}: they would be "
            "learned by heart. Move them out of it."
        )


def _at_least(least: int) -> Callable[[str], int]:
    """An argument's type: a whole number from ``least`` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    number.__name__ = "whole number"  # what argparse calls it where it is none
    return number


def _write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    _, encoded = cv2.imencode(path.suffix, rgb[..., ::-1])
    write_file(path, encoded.tobytes())


def _weights(arguments: argparse.Namespace) -> int:
    from training.weights import save_weights

    print(f"weights: {save_weights(arguments.folder, arguments.out, arguments.discriminators)}")
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    from training.curve import plot
    from training.log import RunLog

    plot(RunLog(arguments.folder), arguments.out)
    print(f"curve: {arguments.out}")
    return 0
