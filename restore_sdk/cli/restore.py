"""The command ``restore-sdk restore``: one photograph, or a folder of them."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore_sdk._util.terminal import escape
from restore_sdk.cli.common import Result, add_max_megapixels, add_sensitivity, check_outputs, finish, max_pixels
from restore_sdk.errors import InputError, OutputError

if TYPE_CHECKING:
    from restore_sdk.folder import PhotoSettings

#: The exit code where some photographs of a folder were not restored; see :mod:`restore_sdk.cli.main`.
INCOMPLETE = 9

#: Options that only one photograph takes, and that only a folder takes.
_PHOTO_ONLY = ("edges",)
_FOLDER_ONLY = ("format", "mask_suffix", "unmarked", "overwrite", "slots")


def register(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("restore", help="restore one photograph, or a folder of them")
    command.add_argument(
        "photo", type=Path, metavar="PHOTO|DIR", help="PNG, JPEG, WebP, BMP, TIFF, AVIF, HEIC; a folder"
    )
    marks = command.add_mutually_exclusive_group()
    marks.add_argument(
        "--mask",
        "--masks",
        type=Path,
        metavar="MASK|DIR",
        help="white where to repaint; for a folder one for all, or a folder of masks by the photographs' names; auto: "
        "find the damage, and keep the mask as OUT_mask.png",
    )
    marks.add_argument("--mask-color", metavar="'#RRGGBB'", help="repaint what is painted over in this colour")
    marks.add_argument("--mask-alpha", action="store_true", help="repaint what is transparent")
    add_sensitivity(command, "with --mask auto")
    command.add_argument("--force", action="store_true", help="with --mask auto: also where more than half is damaged")
    command.add_argument("--invert-mask", action="store_true", help="black in the mask file is what to repaint")
    command.add_argument("--mask-tolerance", type=int, metavar="N", help="distance from it (default 0; of JPEG 64)")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="an image, or a folder")
    command.add_argument("--quality", type=int, metavar="N", help="1 to 100 (default: JPEG as it was, WebP no loss)")
    command.add_argument("--edges", type=Path, metavar="OUT", help="also write the completed edge map")
    command.add_argument("--dilate", type=int, default=0, metavar="N", help="grow the mask by N pixels first")
    command.add_argument("--feather", type=int, default=0, metavar="N", help="blend the outermost N masked pixels")
    command.add_argument("--max-crops", type=int, default=64, metavar="N", help="fewer: quicker, softer (default 64)")
    command.add_argument(
        "--detail", choices=["match", "none"], default="match", help="add the grain around the damage (default: match)"
    )
    command.add_argument(
        "--faces",
        action="append",
        type=_box,
        metavar="X,Y,WIDTH,HEIGHT",
        help="a face, forehead to chin; repeatable. none: do not look for faces (default: auto)",
    )
    add_max_megapixels(command)
    group = command.add_argument_group("a folder of photographs")
    group.add_argument("--format", choices=("png", "jpg", "webp", "tiff", "bmp"), help="default: each as it is")
    group.add_argument("--mask-suffix", metavar="TEXT", help="masks are named PHOTO_mask: --mask-suffix _mask")
    group.add_argument(
        "--unmarked",
        choices=("fail", "skip"),
        help="photographs without a mask, or damage that is found (default: fail; with --mask auto: skip)",
    )
    group.add_argument("--overwrite", action="store_true", help="replace files that no run has written")
    group.add_argument("--slots", type=int, metavar="N", help="how many compute at a time (default: the cores, <= 8)")
    finish(command, restore, model=True)


def restore(options: argparse.Namespace) -> Result:
    """Restore one photograph, or a folder."""
    settings, folder = _settings(options), os.path.isdir(options.photo)
    for name in _PHOTO_ONLY if folder else _FOLDER_ONLY:
        if getattr(options, name) not in (None, False):
            option, what = "--" + name.replace("_", "-"), "one photograph" if folder else "a folder"
            raise InputError(f"{option} is for {what}, and {options.photo} is none", f"leave {option} out")
    if folder and not isinstance(settings.options.faces, str | None):
        raise InputError(f"faces have places in one photograph, and {options.photo} is none", "leave --faces out")
    return _restore_folder(options, settings) if folder else _restore_photo(options, settings)


def _settings(options: argparse.Namespace) -> PhotoSettings:
    from restore_sdk.files import parse_color
    from restore_sdk.folder import PhotoSettings
    from restore_sdk.tiling.request import RestoreOptions

    if options.mask is None and options.mask_color is None and not options.mask_alpha:
        hint = "pass --mask FILE, --mask auto, --mask-color or --mask-alpha"
        raise InputError("nothing says what is to be restored", hint)
    auto = options.mask == Path("auto")
    if options.invert_mask and (options.mask is None or auto):
        raise InputError("--invert-mask is for a mask file", "pass --mask")
    for name in ("force", "sensitivity"):
        if getattr(options, name) and not auto:
            raise InputError(f"--{name} is for --mask auto", "leave it out")
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise InputError(f"--quality is {options.quality}", "pass a number from 1 to 100")
    if options.mask_tolerance is not None and (options.mask_color is None or not 0 <= options.mask_tolerance <= 255):
        raise InputError(f"--mask-tolerance is {options.mask_tolerance}", "pass 0 to 255, with --mask-color")
    restore_options = RestoreOptions(
        dilate=options.dilate,
        feather=options.feather,
        max_crops=options.max_crops,
        detail=options.detail,
        faces=_faces(options.faces),
    )
    return PhotoSettings(
        max_pixels=max_pixels(options),
        mask_color=None if options.mask_color is None else parse_color(options.mask_color),
        mask_tolerance=options.mask_tolerance,
        mask_alpha=options.mask_alpha,
        mask_auto=(options.sensitivity or "normal") if auto else None,
        force=options.force,
        invert_mask=options.invert_mask,
        options=restore_options,
        quality=options.quality,
        format=None if options.format is None else f".{options.format}",
    )


def _faces(given: list[Any] | None) -> Any:
    """What ``--faces`` said, in all."""
    words = [each for each in given or ["auto"] if isinstance(each, str)]
    if not words:
        return given
    if len(given or words) > 1:
        raise InputError(f"--faces {words[0]} stands beside other faces", "leave it out, or them")
    return None if words == ["none"] else "auto"


def _box(text: str) -> str | tuple[float, ...]:
    if text in ("auto", "none"):
        return text
    try:
        x, y, width, height = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y,WIDTH,HEIGHT, auto or none") from None
    return x, y, width, height


def _restore_photo(options: argparse.Namespace, settings: PhotoSettings) -> Result:
    from restore_sdk._util.disk import write_file
    from restore_sdk.bundle import Bundle
    from restore_sdk.engine import RestoreEngine
    from restore_sdk.files import write_image
    from restore_sdk.folder import photograph
    from restore_sdk.folder.pairing import Pair, proposed_mask

    options.mask = proposed_mask(options.output) if settings.mask_auto else options.mask
    check_outputs(options.photo, options.mask, output=options.output, edges=options.edges)
    if settings.mask_auto:
        check_outputs(options.photo, mask=options.mask)
    pair = Pair(str(options.photo), options.photo, options.mask, options.output)
    bundle = Bundle.load(options.bundle)
    with RestoreEngine(bundle, runtime=options.runtime) as engine:
        photo, mask = photograph.load(pair, settings, engine)
        result, file = photograph.restore(engine, photo, mask, options.output, settings)
        facts = engine.info()
    write_file(options.output, file.data)
    if options.edges is not None:
        write_image(options.edges, result.edges)
    times = {**result.timings.parts(), "total": result.timings.total_ms}
    report: dict[str, Any] = {
        "output": str(options.output),
        "edges": None if options.edges is None else str(options.edges),
        "mask": None if options.mask is None else str(options.mask),
        **photograph.facts_of(file, mask),
        "crops": [crop.to_json() for crop in result.crops],
        "detail": result.detail,
        "runtime": facts["runtime"],
        "bundle": facts["bundle"],
        "timings_ms": {name: round(ms, 3) for name, ms in times.items()},
    }
    size = f"{report['width']} x {report['height']} px"
    summary = f"{size}, restored in {times['total']:.0f} ms by {bundle.name} on {facts['runtime']}"
    return report, [f"{options.output}: {summary}", *(f"note: {note}" for note in file.notes)], 0


def _restore_folder(options: argparse.Namespace, settings: PhotoSettings) -> Result:
    from restore_sdk.bundle import Bundle
    from restore_sdk.engine import RestoreEngine
    from restore_sdk.folder import restore_folder
    from restore_sdk.folder.pairing import PHOTO_SUFFIXES
    from restore_sdk.runtime import usable_cores

    if options.output.suffix.lower() in PHOTO_SUFFIXES and not os.path.isdir(options.output):
        raise OutputError(f"{options.photo} is a folder, and -o {options.output} names an image", "name a folder")
    slots = min(8, usable_cores()) if options.slots is None else options.slots
    bundle = Bundle.load(options.bundle)
    summary = restore_folder(
        options.photo,
        None if settings.mask_auto else options.mask,
        options.output,
        settings,
        bundle=bundle,
        open_engine=lambda: RestoreEngine(bundle, runtime=options.runtime, slots=slots),
        mask_suffix=options.mask_suffix or "",
        workers=slots + 1,  # one decodes or encodes while as many compute as may
        unmarked=options.unmarked or ("skip" if settings.mask_auto else "fail"),
        overwrite=options.overwrite,
    )
    other_counts = {
        "were done before": summary.resumed,
        "without damage marked": summary.unmarked,
        "FAILED": summary.failed,
    }
    counts = ", ".join(
        [f"{summary.restored} restored", *(f"{count} {label}" for label, count in other_counts.items() if count)]
    )
    pace = f" in {summary.seconds:.1f} s, {summary.photos_per_second:.1f}/s by {summary.bundle} on {summary.runtime}"
    lines = [f"{escape(summary.output)}: {counts} of {summary.photos} photographs{pace if summary.restored else ''}"]
    lines += [*map(escape, dict.fromkeys(summary.notes)), f"log: {escape(summary.log)}"]
    return asdict(summary), lines, INCOMPLETE if summary.failed else 0
