"""The command ``restore-sdk bench``: measured figures for people, a gate on drift, a verdict against a baseline."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore_sdk.errors import InputError

if TYPE_CHECKING:
    from restore_sdk.measure.baseline import Comparison

Result = tuple[dict[str, Any], list[str], int]
Command = Callable[[argparse.Namespace], Result]

#: Exit codes of its own findings; see :mod:`restore_sdk.cli.main`.
NOTHING, DRIFTED, SLOWER = 2, 6, 8

#: Least PSNR in dB of the worst golden image against the reference, for a runtime that is to be shipped.
MIN_PSNR = 45.0


def register(
    commands: Any, runtimes: tuple[str, ...], finish: Callable[[argparse.ArgumentParser, Command], None]
) -> None:
    """Add the command to the parser; ``finish`` gives it its function and the options that all have."""
    command = commands.add_parser(
        "bench",
        help="measure latency, throughput, start-up, memory and drift on this host",
        description="Measures every runtime that opens on this host, or those named; they take turns.",
    )
    command.add_argument(
        "--runtime", choices=runtimes, action="append", default=[], help="may be repeated (default: all that open here)"
    )
    command.add_argument("--requests", type=int, default=200, metavar="N", help="requests that count (default 200)")
    command.add_argument("--batch", type=int, default=1, metavar="N", help="images a request (default 1)")
    command.add_argument("--slots", type=int, default=1, metavar="N", help="how many compute at a time (default 1)")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads a request (default: the usable cores)")
    command.add_argument("--device", type=int, default=0, metavar="N", help="the GPU (default 0)")
    command.add_argument("--cuda-graph", choices=("both", "on", "off"), default="both", help="on TensorRT")
    command.add_argument("--no-processes", action="store_true", help="leave out start-up and memory, which take longer")
    command.add_argument(
        "--min-psnr", type=float, default=MIN_PSNR, metavar="DB", help=f"gate of the drift (default {MIN_PSNR:g})"
    )
    command.add_argument("--compare", type=Path, metavar="OLD.json", help="an earlier report of --json, of this host")
    command.add_argument(
        "--tolerance", type=float, default=10.0, metavar="PERCENT", help="change that is no news (default 10)"
    )
    command.add_argument("--bundle", metavar="BUNDLE", help="default, vivid, or the folder of another bundle")
    finish(command, bench)


def bench(options: argparse.Namespace) -> Result:
    """Measure, judge the drift, and compare where there is a baseline."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.measure import host
    from restore_sdk.measure.baseline import compare, read_baseline
    from restore_sdk.measure.bench import measure

    if not 0 <= options.tolerance < 1000:
        raise InputError(f"--tolerance is {options.tolerance:g} percent", "pass a number from 0 up")
    if not math.isfinite(options.min_psnr):
        raise InputError(f"the gate is {options.min_psnr} dB", "pass a number")
    settings = {
        "batch": options.batch,
        "slots": options.slots,
        "threads": options.threads,
        "device": options.device,
    }
    baseline = read_baseline(options.compare, host.facts(), settings) if options.compare else None
    report = measure(
        Bundle.load(options.bundle),
        options.runtime,
        requests=options.requests,
        cuda_graph=options.cuda_graph,
        processes=not options.no_processes,
        progress=_progress,
        **settings,
    )
    _progress("")
    lines, code = describe(report), 0
    drifted = [run["name"] for run in report["runs"] if _beyond(run, options.min_psnr)]
    report["drifted"], report["min_psnr_db"] = drifted, options.min_psnr
    if baseline is not None:
        comparison = compare(baseline, report, options.tolerance / 100)
        report["comparison"] = comparison.to_json()
        lines += ["", f"compared with {options.compare}", *describe_comparison(comparison)]
        code = NOTHING if comparison.empty else SLOWER if comparison.regressed else 0
    if drifted:
        lines.append(f"FAILED: {', '.join(drifted)} beyond the gate of {options.min_psnr:g} dB")
        code = DRIFTED
    return report, lines, code


def describe(report: dict[str, Any]) -> list[str]:
    """What was measured, as lines for people."""
    facts = report["host"]
    lines = [
        f"{report['bundle']}, {report['requests']} requests of {report['batch']} image(s), "
        f"restore-sdk {facts['restore_sdk']}, Python {facts['python']}",
        f"{facts['processor']}, {facts['cores']} core(s), {facts['system']}, load {facts['load']}",
    ]
    for run in report["runs"]:
        facts = run["runtime"]
        lines += ["", f"{run['name']} ({facts['runtime_version']}, {facts['device']}; {run['reason']})"]
        lines.append(f"  {'open':<10} {run['open_ms']:.0f} ms")
        for name, times in run["latency_ms"].items():
            lines.append(f"  {name:<10} {_times(times)}")
        lines.append(f"  {'throughput':<10} {run['images_per_second']:.1f} images/s")
        parts = [f"{part} {times['p50']:.2f}" for part, times in run["photo_ms"].items() if part != "total"]
        lines.append(f"  {'photo':<10} {_times(run['photo_ms']['total'])}")
        lines.append(f"  {'':<10} {', '.join(parts)}")
        if "process" in run:
            found = run["process"]
            lines.append(
                f"  {'start':<10} import {found['import_ms']:.0f} ms, first image after {found['cold_ms']:.0f} ms, "
                f"a second engine's after {found['warm_ms']:.0f} ms"
            )
            if found["peak_mb"] is not None:
                grown = "" if found["grown_percent"] is None else f", grown by {found['grown_percent']:.2f} %"
                lines.append(f"  {'memory':<10} peak {found['peak_mb']:.0f} MB{grown}")
        for name, drifts in run["drift"].items():
            text = ", ".join(
                "equal" if drifts[d] is None else f"{d[:-3]} {drifts[d]} dB" for d in ("pooled_db", "worst_db")
            )
            lines.append(f"  {name:<15} {text}")
    if report["absent"]:
        lines += ["", *(f"not here: {each['runtime']}: {each['why']}" for each in report["absent"])]
    return lines


def describe_comparison(comparison: Comparison) -> list[str]:
    """A comparison, as lines for people."""
    lines = [f"  note: {note}" for note in comparison.notes]
    for change in comparison.changes:
        then, now = (
            f"{value:.2f} ({low:.2f} to {high:.2f})"
            for value, (low, high) in ((change.old, change.old_spread), (change.new, change.new_spread))
        )
        lines.append(
            f"  {change.verdict:<8} {change.ratio:6.2f} x  {change.run} {change.figure}: {then} -> {now} {change.unit}"
        )
    if any(change.verdict == "unclear" for change in comparison.changes):
        lines.append("  unclear: changed by more than the tolerance, but the rounds overlap; measure on a quieter host")
    if comparison.empty:
        lines.append("FAILED: nothing to compare; pass --runtime with one that the baseline has")
    else:
        lines.append("FAILED: slower than the baseline, or drifted" if comparison.regressed else "no regression")
    return lines


def _times(times: dict[str, float]) -> str:
    return "  ".join(f"{which} {times[which]:8.3f}" for which in ("p50", "p95", "p99")) + " ms"


def _beyond(run: dict[str, Any], gate: float) -> bool:
    worst = run["drift"]["restored"]["worst_db"]
    return worst is not None and worst < gate


def _progress(line: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
