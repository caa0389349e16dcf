"""The command ``restore-sdk detect``: a proposal for the mask of one photograph."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from restore_sdk.cli.common import (
    Result,
    add_bundle,
    add_max_megapixels,
    add_sensitivity,
    check_outputs,
    finish,
    max_pixels,
)


def register(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("detect", help="propose a mask: find scratches, cracks, tears and stains")
    command.add_argument("photo", type=Path, metavar="PHOTO", help="PNG, JPEG, WebP, BMP, TIFF, AVIF or HEIC")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="MASK", help="white where damage is")
    add_sensitivity(command)
    command.set_defaults(sensitivity="normal")
    command.add_argument("--overwrite", action="store_true", help="also where MASK exists: corrections in it are lost")
    command.add_argument("--overlay", type=Path, metavar="FILE", help="also write the photo with the damage in red")
    add_max_megapixels(command)
    add_bundle(command)
    finish(command, detect)


def detect(options: argparse.Namespace) -> Result:
    """Find the damage of one photograph."""
    import numpy as np

    from restore_sdk.bundle import Bundle
    from restore_sdk.errors import InputError, OutputError
    from restore_sdk.files import open_photo, write_image
    from restore_sdk.imaging.image import to_rgb
    from restore_sdk.runtime.onnxruntime import open_extra
    from restore_sdk.tiling.damage import TOO_MUCH, find_damage

    check_outputs(options.photo, output=options.output, overlay=options.overlay)
    if options.output.exists() and not options.overwrite:
        raise OutputError(f"{options.output} exists, and may hold corrections", "name another file, or add --overwrite")
    if options.photo.is_dir():
        raise InputError(f"{options.photo} is a folder", "for all of it: restore-sdk restore DIR --mask auto -o OUT")
    photo = open_photo(options.photo, max_pixels(options)).eight
    bundle = Bundle.load(options.bundle)
    damage = find_damage(open_extra(bundle, bundle.damage), photo, sensitivity=options.sensitivity, color="bgr")
    write_image(options.output, damage.mask)
    if options.overlay is not None:
        marked = to_rgb(photo)  # blue stays first
        marked[damage.mask > 0] = marked[damage.mask > 0] // 3 + np.array([0, 0, 170], np.uint8)
        write_image(options.overlay, marked)
    height, width = damage.mask.shape
    lines = [f"{options.output}: {damage.share:.2%} of {width} x {height} px marked: a proposal, look at it"]
    if not damage.share:
        hint = "" if options.sensitivity == "high" else "; see --sensitivity high"
        lines = [f"{options.output}: no damage found, the mask is black{hint}"]
    if damage.share > TOO_MUCH:
        lines.append("note: more than half: restore-sdk restore --mask auto wants --force for it")
    report = {
        "output": str(options.output),
        "overlay": None if options.overlay is None else str(options.overlay),
        "width": width,
        "height": height,
        "sensitivity": options.sensitivity,
        "share": round(damage.share, 6),
    }
    return report, lines, 0
