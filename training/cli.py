"""The command line of the trainer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import torch

from restore_sdk._util.disk import check_writable, write_file
from restore_sdk.errors import RestoreError
from training.checkpoint import load_tensors
from training.config import PARTS, Config, ConfigError, from_json, read_config
from training.data import DataError, find_images
from training.fit import DivergedError, Options, StoppedError, fit
from training.protocol import cases


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 where training diverged, 2 on a mistake of the caller's, 130 when
    interrupted."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train and measure the two-stage model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _fit_arguments(commands.add_parser("fit", help="train all parts; run again to resume"))
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
        arguments.run(arguments)
    except (StoppedError, KeyboardInterrupt) as interruption:
        print(str(interruption) or "interrupted", file=sys.stderr)
        return 130
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (OSError, RestoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run_arguments(parser: argparse.ArgumentParser, init: str, required: bool = False) -> None:
    """What fit and ablation both ask for; with ``required``, weights to begin from and faces to measure on, too."""
    parser.add_argument("--data", type=Path, required=True, help="folder of aligned face photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is written")
    parser.add_argument("--config", type=Path, help="settings as JSON (default: those of --out, else of --init)")
    parser.add_argument("--init", type=Path, required=required, help=init)
    parser.add_argument(
        "--validate", type=Path, nargs=2, required=required, metavar=("FACES", "MASKS"),
        help="folders to measure on, or to draw sheets of",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--masks", type=at_least(1), default=24_000, help="how many masks to draw (default 24000)")


def _fit_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser, "weights.safetensors to begin from; --out's checkpoints come first")
    parser.add_argument("--labels", type=Path, help="contours of the faces, made by training/label.py")
    parser.add_argument("--only", choices=PARTS, help="train one part, on the others as they are")
    parser.add_argument("--images", type=at_least(0), help="length of the run of --only, in images")
    parser.add_argument("--threads", type=at_least(1), help="threads of the arithmetic (default: all cores)")
    parser.add_argument("--float32", action="store_true", help="do not use bfloat16 even where the device has it")
    parser.add_argument("--sheet-every", type=at_least(1), default=20_000, help="images between sheets (20000)")
    parser.set_defaults(run=_fit)


def _ablation_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser, "weights.safetensors with the other parts", required=True)
    parser.add_argument("--images", type=at_least(1), required=True, help="length of each run, in images")
    parser.add_argument("--per-bucket", type=at_least(1), default=40, help="faces a bucket of hole ratio (40)")
    parser.set_defaults(run=_ablation)


def _config(arguments: argparse.Namespace) -> Config:
    """The settings of a run; those that ``--init`` was trained by where nothing else says, or the networks would not
    fit."""
    _require_apart(arguments.data, arguments.validate)
    own = arguments.out / "config.json"
    if arguments.config or own.exists():
        return read_config(arguments.config or own)
    return from_json(load_tensors(arguments.init)[1].get("config", {})) if arguments.init else Config()


def _fit(arguments: argparse.Namespace) -> None:
    from training.sheet import Sheet

    config = _config(arguments)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.images is not None:
        if arguments.only is None:
            raise ConfigError("--images is the length of one part's run: name it with --only.")
        config = config.changed(arguments.only, images=arguments.images)
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


def _ablation(arguments: argparse.Namespace) -> None:
    from training.ablation import ablate, to_markdown

    config = _config(arguments).changed("repair", images=arguments.images)
    options = Options(
        arguments.data, arguments.out, device=arguments.device, init=arguments.init, masks=arguments.masks
    )
    print(to_markdown(ablate(config, options, cases(*arguments.validate, arguments.per_bucket))), end="")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--bundle", help="default, faithful, or the folder of another bundle")
    model.add_argument("--weights", type=Path, help="weights.safetensors of a run, in PyTorch")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of face photographs (CelebA-HQ's layout will do)"
    )
    parser.add_argument("--masks", type=Path, required=True, help="folder of masks, white = hole")
    parser.add_argument("--per-bucket", type=at_least(1), help="take only so many faces a bucket")
    parser.add_argument("--runtime", default="auto", help="runtime of the bundle (default auto)")
    parser.add_argument("--json", type=Path, help="write the table as JSON")
    parser.add_argument("--markdown", type=Path, help="write the table as Markdown")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet: damaged, edges, restored, original")
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from training.evaluate import bundle_model, evaluate, weights_model

    for path in (arguments.json, arguments.markdown, arguments.sheet):
        if path:
            check_writable(path)
    if arguments.sheet and not cv2.haveImageWriter(str(arguments.sheet)):
        raise DataError(f"{arguments.sheet} does not end in a picture format. Use .png or .jpg.")
    weights = arguments.weights
    model = weights_model(weights) if weights else bundle_model(arguments.bundle, arguments.runtime)
    report = evaluate(model, cases(arguments.images, arguments.masks, arguments.per_bucket))
    tables = report.to_markdown()
    print(tables, end="")
    if arguments.json:
        write_file(arguments.json, json.dumps(report.to_json(), indent=2).encode())
    if arguments.markdown:
        write_file(arguments.markdown, tables.encode())
    if arguments.sheet:
        _, encoded = cv2.imencode(arguments.sheet.suffix, report.sheet()[..., ::-1])
        write_file(arguments.sheet, encoded.tobytes())


def _weights(arguments: argparse.Namespace) -> None:
    from training.weights import save_weights

    print(f"weights: {save_weights(arguments.folder, arguments.out, arguments.discriminators)}")


def _plot(arguments: argparse.Namespace) -> None:
    from training.log import RunLog, plot

    plot(RunLog(arguments.folder), arguments.out)
    print(f"curve: {arguments.out}")


def _require_apart(data: Path, validate: Sequence[Path] | None) -> None:
    """Raise :class:`DataError` where there is nothing to train on, or validation faces are among it."""
    learned = {path.resolve() for path in find_images(data)}
    shared = sorted(learned & {path.resolve() for path in find_images(validate[0])}) if validate else []
    if shared:
        raise DataError(
            f"{len(shared)} of the validation faces lie below {data} as well, such as {shared[0]}: they would be "
            "learned by heart. Move them out of it."
        )


def at_least(least: int) -> Callable[[str], int]:
    """An argument's type: a whole number from ``least`` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
        return value

    number.__name__ = "whole number"  # what argparse calls it where it is none
    return number
