"""The command ``restore-sdk restore`` on a folder."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from restore_sdk._util.reading import is_folder
from restore_sdk.errors import InputError, OutputError

if TYPE_CHECKING:
    from restore_sdk.folder import PhotoSettings

#: Exit code where some photographs were not restored; see :mod:`restore_sdk.cli.main`.
INCOMPLETE = 9

#: Options that only a folder takes, with their defaults; on one photograph they are refused.
_DEFAULTS: dict[str, object] = {
    "format": None,
    "mask_suffix": "",
    "on_error": "skip",
    "unmarked": "fail",
    "overwrite": False,
    "slots": None,
}


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of a folder."""
    group = command.add_argument_group("a folder of photographs")
    group.add_argument(
        "--format", choices=("png", "jpg", "webp", "tiff", "bmp"), help="of all results (default: each as it is)"
    )
    group.add_argument("--mask-suffix", metavar="TEXT", help="masks are named PHOTO_mask: --mask-suffix _mask")
    group.add_argument("--on-error", choices=("skip", "stop"), help="where a photograph fails (default: skip it)")
    group.add_argument(
        "--unmarked", choices=("fail", "skip"), help="photographs without mask, or with an empty one (default: fail)"
    )
    group.add_argument("--overwrite", action="store_true", help="replace files that no run has written")
    group.add_argument("--slots", type=int, metavar="N", help="how many compute at a time (default: the cores, <= 8)")
    command.set_defaults(**_DEFAULTS)


def refuse_options(options: argparse.Namespace) -> None:
    """Raise where an option of a folder was given for one photograph."""
    for name, default in _DEFAULTS.items():
        if getattr(options, name) != default:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} is for a folder, and {options.photo} is none", f"leave {option} out")


def restore_folder(options: argparse.Namespace, settings: PhotoSettings) -> tuple[dict[str, Any], list[str], int]:
    """Restore every photograph of a folder that an earlier run has not."""
    from restore_sdk import folder
    from restore_sdk._util.terminal import escape
    from restore_sdk.bundle import Bundle
    from restore_sdk.engine import RestoreEngine
    from restore_sdk.folder.pairing import PHOTO_SUFFIXES
    from restore_sdk.runtime.cores import usable_cores

    if options.edges is not None:
        raise InputError("--edges is for one photograph", "leave it out")
    if options.faces is not None:
        raise InputError("--faces is for one photograph", "leave it out")
    if options.output.suffix.lower() in PHOTO_SUFFIXES and not is_folder(options.output):
        raise OutputError(f"{options.photo} is a folder, and -o {options.output} names an image", "name a folder")
    slots = min(8, usable_cores()) if options.slots is None else options.slots
    bundle = Bundle.load(options.bundle)
    done = folder.restore_folder(
        options.photo,
        None if settings.mask_auto else options.mask,
        options.output,
        settings,
        bundle=bundle,
        open_engine=lambda: RestoreEngine(bundle, runtime=options.runtime, slots=slots),
        mask_suffix=options.mask_suffix,
        workers=slots + 1,  # one decodes or encodes while as many compute as may
        on_error=options.on_error,
        unmarked=options.unmarked,
        overwrite=options.overwrite,
    )
    told = {
        "were done before": done.resumed,
        "without damage marked": done.unmarked,
        "FAILED": done.failed,
        "not tried": done.pending,
    }
    counts = ", ".join([f"{done.restored} restored", *(f"{count} {what}" for what, count in told.items() if count)])
    pace = f" in {done.seconds:.1f} s, {done.photos_per_second:.1f}/s by {done.bundle} on {done.runtime}"
    lines = [f"{escape(done.output)}: {counts} of {done.photos} photographs{pace if done.restored else ''}"]
    if masks := done.masks_without_photo:
        lines.append(f"{len(masks)} mask(s) without a photograph, the first: {escape(masks[0])}")
    lines += [*map(escape, dict.fromkeys(done.notes)), f"log: {escape(done.log)}"]
    return asdict(done), lines, INCOMPLETE if done.failed or done.pending else 0
