"""The command ``restore-sdk restore``: one photograph, or a folder of them (:mod:`restore_sdk.cli_folder`)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restore_sdk import cli_folder
from restore_sdk.errors import InputError, MaskError, OutputError

Result = tuple[dict[str, Any], list[str], int]
Command = Callable[[argparse.Namespace], Result]


def register(commands: Any, finish: Callable[[argparse.ArgumentParser, Command], None]) -> None:
    """Add the command to the parser; ``finish`` gives it its function and the options that all have."""
    command = commands.add_parser("restore", help="restore one photograph, or a folder of them")
    command.add_argument("photo", type=Path, metavar="PHOTO|DIR", help="PNG, JPEG, WebP, BMP or TIFF, or a folder")
    command.add_argument(
        "--mask",
        "--masks",
        type=Path,
        required=True,
        metavar="MASK|DIR",
        help="an image of the same size, white where to repaint; for a folder one mask for all, or a folder of masks "
        "that have their photographs' names",
    )
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="the extension is the format; for a folder a folder",
    )
    command.add_argument("--edges", type=Path, metavar="OUT", help="also write the completed edge map")
    command.add_argument("--dilate", type=int, default=0, metavar="N", help="grow the hole by N pixels first")
    command.add_argument(
        "--feather", type=int, default=0, metavar="N", help="blend the outermost N pixels of the hole with the photo"
    )
    command.add_argument("--max-crops", type=int, default=64, metavar="N", help="fewer: quicker, softer (default 64)")
    command.add_argument("--max-megapixels", type=float, default=100.0, metavar="N", help="largest input (default 100)")
    cli_folder.add_options(command)
    finish(command, restore)


def restore(options: argparse.Namespace) -> Result:
    """Restore one photograph, or a folder."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.engine import RestoreEngine
    from restore_sdk.files import LOSSY, check_alpha, check_output, read_mask, read_photo, write_image
    from restore_sdk.request import Options

    if not 0 < options.max_megapixels < 1e6:
        raise InputError("--max-megapixels must be above 0 and below a million", "leave it out for 100")
    how = {"dilate": options.dilate, "feather": options.feather, "max_crops": options.max_crops}
    Options(**how)  # before any work
    if options.photo.is_dir():
        return cli_folder.restore_folder(options, how)
    cli_folder.refuse_options(options)
    outputs = [path for path in (options.output, options.edges) if path is not None]
    for path in outputs:  # before any work
        check_output(path, options.photo, options.mask)
    if len(outputs) == 2 and outputs[0].resolve() == outputs[1].resolve():
        raise OutputError(f"--output and --edges both name {options.output}", "name two files")
    limit = int(options.max_megapixels * 1e6)
    photo, mask = read_photo(options.photo, limit), read_mask(options.mask, limit)
    check_alpha(options.output, photo)  # before the model runs
    if not mask.any():
        raise MaskError(
            f"the mask {options.mask} is all black, so nothing is to be restored", "white is what to repaint"
        )
    with RestoreEngine(Bundle.load(options.bundle), runtime=options.runtime) as engine:
        result = engine.run(photo, mask, color="bgr", **how)
        facts = engine.info()
    write_image(options.output, result.image)
    if options.edges is not None:
        write_image(options.edges, result.edges)
    timings = result.timings
    report: dict[str, Any] = {
        "output": str(options.output),
        "edges": None if options.edges is None else str(options.edges),
        "width": int(photo.shape[1]),
        "height": int(photo.shape[0]),
        "lossless": options.output.suffix.lower() not in LOSSY,
        "crops": [crop.to_json() for crop in result.crops],
        "runtime": facts["runtime"],
        "bundle": facts["bundle"],
        "timings_ms": {
            "prepare": round(timings.prepare_ms, 3),
            "wait": round(timings.wait_ms, 3),
            "edge": round(timings.edge_ms, 3),
            "repair": round(timings.repair_ms, 3),
            "paste": round(timings.paste_ms, 3),
            "total": round(timings.total_ms, 3),
        },
    }
    done = f"restored in {timings.total_ms:.0f} ms on {facts['runtime']}"
    return report, [f"{options.output}: {photo.shape[1]} x {photo.shape[0]} px, {done}"], 0
