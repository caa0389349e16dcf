"""The command line of the measurements.

Exit codes: 0 all within its limits, 1 something is not, 2 it cannot be measured, 6 drift beyond the gate.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import budgets
from benchmarks.figures import SECTIONS
from benchmarks.processes import MeasurementError
from restore_sdk._util.atomic import write_file
from restore_sdk.cli.bench import DRIFTED, MIN_PSNR
from restore_sdk.errors import RestoreError
from restore_sdk.measure.bench import NAMED as RUNTIMES


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Restore SDK on this host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("budgets", help="start-up, memory and host work, each against its limit")
    command.add_argument("--runs", type=_positive, default=5, help="processes a figure; its median counts (default 5)")
    _bundle_and_json(command)
    command.set_defaults(run=_budgets)
    command = commands.add_parser("serve", help="load on restore-sdk serve, every answer checked")
    command.add_argument("--clients", type=_positive, default=64, help="at a time (default 64)")
    command.add_argument("--seconds", type=_positive, default=60, help="how long (default 60)")
    command.add_argument("--max-requests", type=_positive, default=64, help="the service's own limit (default 64)")
    _bundle_and_json(command)
    command.set_defaults(run=_serve)
    _drift_options(commands)
    _report_options(commands)
    _soak_options(commands)
    _plans_options(commands)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (MeasurementError, RestoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status


def _drift_options(commands: Any) -> None:
    command = commands.add_parser("drift", help="every runtime and precision against the PyTorch reference in float32")
    command.add_argument("--faces", type=Path, metavar="DIR", help="photographs (default: the golden vectors)")
    command.add_argument("--masks", type=Path, metavar="DIR", help="masks for these (default: random damage)")
    command.add_argument("--limit", type=_positive, help="how many photographs at most, evenly chosen (default: all)")
    command.add_argument(
        "--runtime", choices=RUNTIMES, action="append", help="may be repeated (default: all that open here)"
    )
    command.add_argument(
        "--min-psnr", type=_decibel, default=MIN_PSNR, metavar="DB", help=f"gate of the worst (default {MIN_PSNR:g})"
    )
    _bundle_and_json(command)
    command.set_defaults(run=_drift)


def _soak_options(commands: Any) -> None:
    command = commands.add_parser("soak", help="very many requests on one engine: all right, nothing grows")
    command.add_argument("--requests", type=_positive, default=20_000, help="how many (default 20000)")
    command.add_argument("--runtime", choices=("auto", *RUNTIMES), default="auto", help="default: auto")
    command.add_argument("--threads", type=_positive, default=8, help="that share the engine (default 8)")
    command.set_defaults(run=_soak)
    _bundle_and_json(command)
    command = commands.add_parser("overload", help="restore-sdk serve at twice its capacity, and its recovery")
    command.add_argument("--seconds", type=_positive, default=600, help="how long (default 600)")
    command.add_argument("--max-requests", type=_positive, default=16, help="the service's own limit (default 16)")
    command.set_defaults(run=_overload)
    _bundle_and_json(command)


def _plans_options(commands: Any) -> None:
    command = commands.add_parser("plans", help="quality of large photographs by the damage's thickness and the plan")
    command.add_argument("--photos", type=Path, metavar="DIR", help="larger than 256 px (default: the checkout's one)")
    command.add_argument("--cases", type=_positive, default=16, help="damages a photograph and thickness (default 16)")
    command.add_argument("--faces", type=Path, metavar="DIR", help="aligned faces, for those that are small")
    command.add_argument("--limit", type=_positive, default=40, help="how many of these at most (default 40)")
    command.set_defaults(run=_plans)
    _bundle_and_json(command)


def _plans(arguments: argparse.Namespace) -> int:
    from benchmarks import plans
    from restore_sdk import Bundle, RestoreEngine
    from training.data import evenly

    photos = plans.photographs(arguments.photos)
    faces = plans.photographs(arguments.faces, above=128) if arguments.faces else []
    faces = evenly(faces, arguments.limit)
    with RestoreEngine(Bundle.load(arguments.bundle)) as engine:
        found = plans.Plans(
            plans.by_thickness(engine, photos, arguments.cases, progress=progress),
            plans.by_face(engine, faces, progress=progress) if faces else (),
            plans.by_strip(engine, faces, progress=progress) if faces else (),
        )
    progress("")
    return _print(found, arguments.json)


def _bundle_and_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--bundle", metavar="BUNDLE", help="default, vivid, or the folder of another bundle")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _soak(arguments: argparse.Namespace) -> int:
    from benchmarks.soak import soak
    from restore_sdk import Bundle

    bundle = Bundle.load(arguments.bundle)
    found = soak(bundle, arguments.requests, arguments.threads, runtime=arguments.runtime)
    return _print(found, arguments.json)


def _overload(arguments: argparse.Namespace) -> int:
    from benchmarks import serve
    from benchmarks.overload import overload
    from restore_sdk import Bundle

    bundle = Bundle.load(arguments.bundle)
    made = serve.cases(bundle)
    with serve.served("--max-requests", str(arguments.max_requests), bundle=bundle.path.resolve()) as url:
        return _print(overload(url, made, arguments.max_requests, arguments.seconds), arguments.json)


def _print(result: Any, as_json: bool) -> int:
    print(json.dumps(result.to_json(), indent=2) if as_json else result.to_table())
    return 0 if result.passed else 1


def _drift(arguments: argparse.Namespace) -> int:
    from benchmarks import drift
    from benchmarks.subjects import Stable
    from restore_sdk import Bundle

    if arguments.masks and not arguments.faces:
        raise MeasurementError("--masks needs --faces: the golden vectors have masks of their own")
    bundle = Bundle.load(arguments.bundle)
    if arguments.faces:
        probes = drift.face_probes(arguments.faces, arguments.masks, arguments.limit)
    else:
        probes = drift.golden_probes(bundle)
    with Stable(bundle) as stable:
        if arguments.runtime:  # asked for by name: it is measured, or that is an error
            subjects, absent = [stable.subject(key) for key in arguments.runtime], []
        else:
            subjects, absent = stable.here(RUNTIMES)
        found = drift.measure_drift(stable, subjects, probes, half=not arguments.runtime, progress=progress)
    progress("")
    over = drift.beyond(found, arguments.min_psnr)
    found |= {"ok": not over, "min_psnr_db": arguments.min_psnr, "beyond": over, "absent": absent}
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join((*drift.describe(found), *(f"not here: {each['runtime']}: {each['why']}" for each in absent))))
    if over:
        print(f"error: {', '.join(over)} beyond the gate of {arguments.min_psnr:g} dB", file=sys.stderr)
        return DRIFTED
    return 0


def _report_options(commands: Any) -> None:
    command = commands.add_parser("report", help="measure everything; Markdown, JSON and plots")
    command.add_argument(
        "--out", type=Path, default=Path("out/benchmarks"), metavar="DIR", help="default: out/benchmarks"
    )
    command.add_argument("--quick", action="store_true", help="shorter; memory over 300 requests only")
    command.add_argument(
        "--only",
        choices=SECTIONS,
        action="append",
        help="measure this section and keep DIR's others; may be repeated",
    )
    command.add_argument(
        "--runtime", choices=RUNTIMES, action="append", default=[], help="may be repeated (default: all that open here)"
    )
    command.add_argument("--faces", type=Path, metavar="DIR", help="photographs to measure the drift over as well")
    command.add_argument("--masks", type=Path, metavar="DIR", help="masks for these (default: random damage)")
    command.add_argument("--bundle", metavar="BUNDLE", help="default, vivid, or the folder of another bundle")
    command.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from benchmarks import report
    from benchmarks.page import page, readme_table
    from benchmarks.plots import draw
    from benchmarks.targets import targets
    from restore_sdk import Bundle

    if arguments.masks and not arguments.faces:
        raise MeasurementError("--masks needs --faces")
    bundle, out = Bundle.load(arguments.bundle), arguments.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MeasurementError(f"{out} cannot be written: {error.strerror}") from error
    kept = report.read_kept(out / "report.json", bundle) if arguments.only else None
    found = report.measure(
        bundle,
        sections=arguments.only or SECTIONS,
        runtimes=arguments.runtime,
        quick=arguments.quick,
        faces=arguments.faces,
        masks=arguments.masks,
        kept=kept,
        save=lambda report: write_file(out / "report.json", json.dumps(report, indent=1).encode()),
        progress=progress,
    )
    progress("")
    pictures = draw(found, out)
    write_file(out / "report.md", page(found, pictures).encode())
    write_file(out / "readme.md", readme_table(found).encode())
    for each in targets(found):
        value = "" if each.value is None else f"{each.value:.4g} {each.unit}"
        print(f"{each.verdict:<17} {value:>10}  {'>=' if each.least else '<='} {each.limit:<5g} {each.name}")
    print(f"{out / 'report.md'}, report.json, readme.md, {', '.join(pictures)}")
    return 1 if any(each.verdict == "MISSED" for each in targets(found)) else 0


def progress(line: str) -> None:
    """Show what is being done, where somebody watches."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def _budgets(arguments: argparse.Namespace) -> int:
    from restore_sdk import Bundle

    if not arguments.json:
        print(f"{arguments.runs} processes a figure ...", file=sys.stderr)
    about = budgets.facts()  # now: later its load is what the measurement has made
    results = budgets.measure(arguments.runs, Bundle.load(arguments.bundle).path)
    if arguments.json:
        print(json.dumps(budgets.to_json(results, about), indent=2))
    else:
        print(budgets.to_table(results, about))
    return 0 if all(result.verdict != "OVER" for result in results) else 1


def _serve(arguments: argparse.Namespace) -> int:
    from benchmarks import serve
    from restore_sdk import Bundle

    if not arguments.json:
        print(f"{arguments.clients} clients for {arguments.seconds} s ...", file=sys.stderr)
    bundle = Bundle.load(arguments.bundle)
    made = serve.cases(bundle)
    with serve.served("--max-requests", str(arguments.max_requests), bundle=bundle.path.resolve()) as url:
        return _print(serve.load(url, made, arguments.clients, arguments.seconds), arguments.json)


def _decibel(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of dB")
    return value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)
