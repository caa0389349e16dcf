"""The command ``restore-sdk restore`` on a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore_sdk._util.reading import is_folder
from restore_sdk.errors import InputError, OutputError

if TYPE_CHECKING:
    from restore_sdk.folder.work import Settings

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
    "workers": None,
    "ray": None,
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
    group.add_argument(
        "--workers", type=int, metavar="N", help="threads that also decode and encode (default: slots + 1)"
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help='restore on the Ray cluster there, or "auto", or "local"; --workers are then its actors',
    )
    command.set_defaults(**_DEFAULTS)


def refuse_options(options: argparse.Namespace) -> None:
    """Raise where an option of a folder was given for one photograph."""
    for name, default in _DEFAULTS.items():
        if getattr(options, name) != default:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} is for a folder, and {options.photo} is none", f"leave {option} out")


def restore_folder(options: argparse.Namespace, settings: Settings) -> tuple[dict[str, Any], list[str], int]:
    """Restore every photograph of a folder that an earlier run has not."""
    from restore_sdk._util.terminal import shown
    from restore_sdk.bundle import Bundle
    from restore_sdk.engine import RestoreEngine
    from restore_sdk.folder.batch import Batch, on_threads
    from restore_sdk.folder.jobs import PHOTO_SUFFIXES, find_jobs
    from restore_sdk.folder.ledger import open_ledger
    from restore_sdk.folder.progress import Progress
    from restore_sdk.runtime.cores import usable_cores

    if options.edges is not None:
        raise InputError("--edges is for one photograph", "leave it out")
    if options.faces is not None:
        raise InputError("--faces is for one photograph", "name a --face-detector, or leave it out")
    if options.output.suffix.lower() in PHOTO_SUFFIXES and not is_folder(options.output):
        raise OutputError(f"{options.photo} is a folder, and -o {options.output} names an image", "name a folder")
    if options.ray is not None and options.slots is not None:
        raise InputError("--slots is for this host, and --ray restores elsewhere", "leave one of them out")
    slots = min(8, usable_cores()) if options.slots is None else options.slots
    workers = slots + 1 if options.workers is None else options.workers
    if not 1 <= workers <= 256:
        raise InputError(f"--workers is {workers}", "pass a number from 1 to 256")
    bundle = Bundle.load(options.bundle)
    target: Path = options.output
    plan = find_jobs(options.photo, options.mask, target, suffix=settings.format, mask_suffix=options.mask_suffix)
    facts: dict[str, Any] = {}
    with open_ledger(target, {"bundle": bundle.name, "model": bundle.fingerprint, **settings.look()}) as ledger:
        batch = Batch(plan, ledger, on_error=options.on_error, unmarked=options.unmarked, overwrite=options.overwrite)
        progress = Progress(sys.stderr, batch.summary.photos, batch.summary.resumed)
        if batch.todo and options.ray is not None:
            from restore_sdk.cluster.folder import on_ray

            facts = {"runtime": f"Ray at {options.ray}"}
            restorer = on_ray(options.ray, bundle, settings, runtime=options.runtime, workers=options.workers)
            summary = batch.run(restorer, progress)
        elif batch.todo:
            with RestoreEngine(bundle, runtime=options.runtime, slots=slots) as engine:
                facts = engine.info()
                summary = batch.run(on_threads(engine, settings, workers), progress)
        else:
            summary = batch.run(lambda _: iter(()), progress)
    orphans = [str(path) for path in plan.orphans]
    report = {
        "output": str(target),
        "log": str(ledger.path),
        **summary.to_json(),
        "masks_without_photo": orphans,
        "notes": list(plan.notes),
        "runtime": facts.get("runtime"),
        "bundle": bundle.name,
    }
    counts = [f"{summary.restored} restored"]
    counts += [f"{summary.resumed} were done before"] if summary.resumed else []
    counts += [f"{summary.unmarked} without damage marked"] if summary.unmarked else []
    counts += [f"{summary.failed} FAILED"] if summary.failed else []
    counts += [f"{summary.pending} not tried"] if summary.pending else []
    pace = (
        f" in {summary.seconds:.1f} s, {report['photos_per_second']:.1f}/s by {bundle.name} on {facts['runtime']}"
        if summary.restored
        else ""
    )
    lines = [f"{shown(target)}: {', '.join(counts)} of {summary.photos} photographs{pace}"]
    if orphans:
        lines.append(f"{len(orphans)} mask(s) without a photograph, the first: {shown(orphans[0])}")
    lines += [shown(note) for note in plan.notes]
    lines.append(f"log: {shown(ledger.path)}")
    return report, lines, INCOMPLETE if summary.failed or summary.pending else 0
