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

from benchmarks import detail, drift, report
from restore_sdk._util.disk import write_file
from restore_sdk.bundle import Bundle
from restore_sdk.cli.common import progress_line
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import InputError, RestoreError
from restore_sdk.measure import bench
from restore_sdk.measure.bench import NAMED
from training.cli import at_least

#: The exit code of drift beyond the gate, as of ``restore-sdk verify``; the gate in dB of the worst picture.
DRIFTED, MIN_PSNR = 6, 45.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(Bundle.load(arguments.bundle), arguments)
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status


def _report(bundle: Bundle, arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}", "pass --out") from error
    with progress_line() as progress:
        found = report.measure(bundle, arguments.runtime, quick=arguments.quick, progress=progress)
    reached = report.targets(found)
    found["targets"] = report.target_rows(reached)
    write_file(out / "report.json", json.dumps(found, indent=1).encode())
    write_file(out / "latency.md", report.latency_table(found).encode())
    print(f"wrote report.json and latency.md in {out}")
    return _print_targets(reached)


def _budgets(bundle: Bundle, arguments: argparse.Namespace) -> int:
    with progress_line() as progress:
        found = bench.measure(bundle, [report.BASE], requests=60, progress=progress)
        found["budgets"] = report.budgets(bundle, arguments.runs, progress)
    ours = [each for each in report.targets(found) if each.value is not None and not each.least]
    if arguments.json:
        print(json.dumps({**found, "targets": report.target_rows(ours)}, indent=1))
        return 1 if any(each.verdict == "MISSED" for each in ours) else 0
    return _print_targets(ours)


def _print_targets(found: Sequence[report.Target]) -> int:
    for name, value, limit, verdict in report.target_rows(found):
        print(f"{verdict:<17} {value:>10}  {limit:<16} {name}")
    return 1 if any(each.verdict == "MISSED" for each in found) else 0


def _drift(bundle: Bundle, arguments: argparse.Namespace) -> int:
    if arguments.masks and not arguments.faces:
        raise InputError("--masks needs --faces", "the golden vectors have masks of their own")
    if not math.isfinite(arguments.min_psnr):
        raise InputError(f"the gate is {arguments.min_psnr} dB", "pass a number")
    probes = drift.golden_probes(bundle)
    if arguments.faces:
        probes = drift.face_probes(arguments.faces, arguments.masks, arguments.limit)
    with progress_line() as progress:
        found = drift.measure(bundle, arguments.runtime, probes, progress)
    worst = {name: each["restored"]["worst_db"] for name, each in found["drift"].items()}
    beyond = [name for name, db in worst.items() if db is not None and db < arguments.min_psnr]
    found |= {"ok": not beyond, "min_psnr_db": arguments.min_psnr, "beyond": beyond}
    print(json.dumps(found, indent=2) if arguments.json else "\n".join(drift.describe(found)))
    if beyond:
        print(f"error: {', '.join(beyond)} beyond the gate of {arguments.min_psnr:g} dB", file=sys.stderr)
    return DRIFTED if beyond else 0


def _detail(bundle: Bundle, arguments: argparse.Namespace) -> int:
    photos = detail.photographs(arguments.photos)
    with RestoreEngine(bundle) as engine, progress_line() as progress:
        found = detail.measure(engine, photos, progress)
    print(json.dumps(found, indent=2) if arguments.json else detail.tables(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Restore SDK on this host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, as_json: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("--bundle", metavar="BUNDLE", help="default, faithful, or the folder of another bundle")
        if as_json:
            made.add_argument("--json", action="store_true", help="print one JSON object")
        made.set_defaults(run=run)
        return made

    def runtimes(made: argparse.ArgumentParser) -> None:
        text = "may be repeated (default: all that open here)"
        made.add_argument("--runtime", choices=NAMED, action="append", default=[], help=text)

    made = command("report", _report, "measure everything beside the peers; JSON, tables, targets", as_json=False)
    made.add_argument("--out", type=Path, default=Path("out/benchmarks"), metavar="DIR", help="default: out/benchmarks")
    made.add_argument("--quick", action="store_true", help="shorter; memory over 300 requests only")
    runtimes(made)
    made = command("budgets", _budgets, "start-up, memory and host work, each against its limit")
    made.add_argument("--runs", type=at_least(1), default=5, help="processes a figure; the median counts (default 5)")
    made = command("drift", _drift, "every runtime and precision against the PyTorch reference in float32")
    made.add_argument("--faces", type=Path, metavar="DIR", help="photographs (default: the golden vectors)")
    made.add_argument("--masks", type=Path, metavar="DIR", help="masks for these (default: random damage)")
    made.add_argument("--limit", type=at_least(1), help="how many photographs at most, evenly chosen (default: all)")
    made.add_argument(
        "--min-psnr", type=float, default=MIN_PSNR, metavar="DB", help=f"gate of the worst (default {MIN_PSNR:g})"
    )
    runtimes(made)
    made = command("detail", _detail, "grain and detail inside what was restored, without and with their transfer")
    made.add_argument("--photos", type=Path, metavar="DIR", help="larger than 256 px (default: the checkout's one)")
    return parser
