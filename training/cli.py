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
from training.checkpoint import CheckpointError
from training.config import STAGES, Config, ConfigError, read_config
from training.data import DataError, find_images
from training.fit import DivergedError, Options, StoppedError, fit
from training.protocol import FRAMINGS


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 where training diverged, 2 on a mistake of the caller's, 130 when
    interrupted."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train and measure the two-stage model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _fit_arguments(commands.add_parser("fit", help="train both stages; run again to resume"))
    info = commands.add_parser("info", help="parameters and multiply-accumulates of both stages")
    info.add_argument("--config", type=Path, help="a configuration file (default: the shipped one)")
    info.set_defaults(run=_info)
    _evaluate_arguments(
        commands.add_parser("evaluate", help="PSNR, SSIM and L1 by hole ratio, beside OpenCV's methods")
    )
    _ablate_arguments(
        commands.add_parser("ablate", help="train the method without each of its parts, on equal budgets")
    )
    weights = commands.add_parser("weights", help="write what a run has learned so far, to evaluate or export")
    weights.add_argument("--run", type=Path, required=True, dest="folder", help="the --out folder of fit")
    weights.add_argument("--out", type=Path, required=True, help="weights.safetensors to write")
    weights.set_defaults(run=_weights)
    curve = commands.add_parser("plot", help="plot the log of a run")
    curve.add_argument("--run", type=Path, required=True, dest="folder", help="the --out folder of fit")
    curve.add_argument("--out", type=Path, required=True, help="picture to write, such as curve.png")
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
        resume = " The last checkpoint is intact; run again to resume." if arguments.run is _fit else ""
        print(f"error: {error}.{resume}", file=sys.stderr)
        return 2


def _fit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of aligned face photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, log and weights")
    parser.add_argument(
        "--config",
        type=Path,
        help="settings as JSON; see training/config.py (default: those of --out, else the shipped ones)",
    )
    parser.add_argument(
        "--init",
        type=Path,
        help="weights.safetensors to begin from, such as those of an earlier run or of a bundle "
        "(python -m export weights); --out's own checkpoints come first",
    )
    parser.add_argument("--edge-images", type=_at_least(0), help="length of the edge stage's run, in images")
    parser.add_argument("--coarse-images", type=_at_least(0), help="length of the coarse generator's run, in images")
    parser.add_argument("--repair-images", type=_at_least(0), help="length of the repair stage's run, in images")
    parser.add_argument("--seed", type=_at_least(0), help="of weights, samples and masks")
    parser.add_argument(
        "--validate", type=Path, nargs=2, metavar=("FACES", "MASKS"), help="folders to measure on as the run goes"
    )
    parser.add_argument(
        "--validate-every", type=int, default=12_000, help="images between measurements (default 12000)"
    )
    parser.add_argument(
        "--vgg",
        type=Path,
        help="VGG-19 weights as safetensors, for the perceptual and style losses of the configuration",
    )
    parser.add_argument("--workers", type=_at_least(0), default=1, help="processes that prepare samples (default 1)")
    parser.add_argument("--threads", type=_at_least(1), help="threads of the arithmetic (default: all cores)")
    parser.add_argument(
        "--compile", action="store_true", help="compile the networks first: a minute or two, then up to 20%% faster"
    )
    parser.add_argument(
        "--channels-last",
        action="store_true",
        help="keep channels last in memory: 12 to 24%% faster on a CPU with AMX; some small networks get NaN gradients",
    )
    parser.add_argument("--float32", action="store_true", help="do not use bfloat16 even where the CPU has it")
    parser.set_defaults(run=_fit)


def _fit(arguments: argparse.Namespace) -> int:
    from training.perceptual import VggLosses
    from training.validate import Validator

    if arguments.validate_every < 1:
        raise ConfigError("--validate-every must be at least 1 image.")
    _require_apart(arguments.data, arguments.validate)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    own = arguments.out / "config.json"
    path = arguments.config or (own if own.exists() else None)
    config = read_config(path) if path else Config()
    if arguments.seed is not None:
        config = dataclasses.replace(config, seed=arguments.seed)
    for stage in STAGES:
        images = getattr(arguments, f"{stage}_images")
        if images is not None:
            part = config.stage(stage)
            part = dataclasses.replace(part, schedule=dataclasses.replace(part.schedule, images=images))
            config = dataclasses.replace(config, **{stage: part})
    if arguments.coarse_images is not None and not config.has_coarse:
        raise ConfigError("--coarse-images has no use: the configuration has no coarse generator.")
    wanted = config.repair.losses
    if (wanted.perceptual or wanted.style) and not arguments.vgg:
        raise ConfigError("The configuration weighs perceptual or style losses: name VGG-19's weights with --vgg.")
    if arguments.vgg and not (wanted.perceptual or wanted.style):
        raise ConfigError("--vgg has no use: the configuration weighs neither perceptual nor style losses above 0.")
    options = Options(
        arguments.data,
        arguments.out,
        workers=arguments.workers,
        compile=arguments.compile,
        bfloat16=False if arguments.float32 else None,
        channels_last=arguments.channels_last,
        validate_every=arguments.validate_every,
        validator=Validator(*arguments.validate) if arguments.validate else None,
        perceptual=VggLosses(arguments.vgg) if arguments.vgg else None,
        init=arguments.init,
    )
    print(f"weights: {fit(config, options)}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from training.cost import cost

    config = read_config(arguments.config) if arguments.config else Config()
    total = (0, 0)
    for stage in ("edge", "repair"):
        parameters, macs = cost(stage, config)
        total = (total[0] + parameters, total[1] + macs)
        print(f"{stage:8s} {parameters / 1e6:6.3f} M parameters  {macs / 1e9:6.3f} GMAC at 256 x 256")
    print(f"{'both':8s} {total[0] / 1e6:6.3f} M parameters  {total[1] / 1e9:6.3f} GMAC at 256 x 256")
    return 0


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--bundle", help="default, vivid, or the folder of another bundle")
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
    from training.evaluate import METHODS, bundle_model, evaluate, weights_model
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
    tables = f"{report.to_markdown()}\n{report.realism_markdown()}"
    print(tables, end="")
    for bucket, row in report.to_json().items():
        edges = row["edges"]
        print(
            f"edges in the hole, {bucket}: precision {edges['precision']:.3f}, recall {edges['recall']:.3f}; "
            f"within two pixels {edges['precision_2px']:.3f} and {edges['recall_2px']:.3f}"
        )
        print(f"rim and colour, {bucket}: " + ", ".join(_seam(name, row[name]) for name in METHODS))
    if arguments.json:
        write_file(arguments.json, json.dumps(report.to_json(), indent=2).encode())
    if arguments.markdown:
        write_file(arguments.markdown, tables.encode())
    if arguments.sheet:
        _write_picture(arguments.sheet, report.sheet())
    return 0


def _seam(method: str, figures: dict[str, float]) -> str:
    return f"{method} steps {figures['step']:.2f} of the true ones, {figures['tint']:+.2f}% off"


def _ablate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of aligned face photographs")
    parser.add_argument("--validate", type=Path, nargs=2, metavar=("FACES", "MASKS"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and tables; run again to go on")
    parser.add_argument(
        "--edge-images", type=_at_least(0), default=2_400, help="budget of each edge stage (default 2400)"
    )
    parser.add_argument(
        "--coarse-images", type=_at_least(0), default=19_200, help="budget of each coarse generator (default 19200)"
    )
    parser.add_argument(
        "--repair-images", type=_at_least(0), default=4_800, help="budget of each repair stage (default 4800)"
    )
    parser.add_argument("--per-bucket", type=_at_least(1), default=50, help="faces a bucket to measure on (default 50)")
    parser.add_argument("--seed", type=_at_least(0), default=0)
    parser.add_argument("--threads", type=_at_least(1), help="threads of the arithmetic (default: all cores)")
    parser.set_defaults(run=_ablate)


def _ablate(arguments: argparse.Namespace) -> int:
    from training.ablation import ablate, budget, to_markdown
    from training.protocol import cases

    _require_apart(arguments.data, arguments.validate)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    images = {stage: getattr(arguments, f"{stage}_images") for stage in STAGES}
    config = budget(Config(seed=arguments.seed), **images)
    chosen = list(cases(*arguments.validate, arguments.per_bucket))
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = ablate(config, Options(arguments.data, arguments.out), chosen)
    print(to_markdown(results), end="")
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

    print(f"weights: {save_weights(arguments.folder, arguments.out)}")
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    from training.curve import plot
    from training.log import RunLog

    plot(RunLog(arguments.folder), arguments.out)
    print(f"written: {arguments.out}")
    return 0
