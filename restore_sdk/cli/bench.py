"""The command ``restore-sdk bench``: measured figures; ``restore-sdk verify`` judges the drift."""

from __future__ import annotations

import argparse
from typing import Any

from restore_sdk.cli.common import Result, add_bundle, add_device, finish, progress_line
from restore_sdk.runtime import RUNTIMES


def register(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "bench",
        help="measure latency, throughput and drift on this host",
        description="Measures every runtime that opens on this host, or those named; they take turns.",
    )
    command.add_argument("--runtime", choices=RUNTIMES, action="append", default=[], help="repeatable (default: all)")
    command.add_argument("--requests", type=int, default=200, metavar="N", help="requests that count (default 200)")
    command.add_argument("--batch", type=int, default=1, metavar="N", help="images a request (default 1)")
    command.add_argument("--slots", type=int, default=1, metavar="N", help="how many compute at a time (default 1)")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads a request (default: the usable cores)")
    add_device(command)
    add_bundle(command)
    finish(command, bench)


def bench(options: argparse.Namespace) -> Result:
    """Measure every runtime."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.measure.bench import measure

    with progress_line() as say:
        report = measure(
            Bundle.load(options.bundle),
            options.runtime,
            requests=options.requests,
            batch=options.batch,
            slots=options.slots,
            threads=options.threads,
            device=options.device,
            progress=say,
        )
    return report, describe(report), 0


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
        lines.append(f"  {'open':<15} {run['open_ms']:.0f} ms")
        for name, figure in run["figures"].items():
            times = "  ".join(f"{which} {figure['ms'][which]:8.3f}" for which in ("p50", "p95", "p99"))
            parts = "".join(f", {part} {ms['p50']:.2f}" for part, ms in figure["parts"].items())
            lines.append(f"  {name:<15} {times} ms, {figure['images_per_second']:.1f} images/s{parts}")
        for name, drift in run["drift"].items():
            said = "equal" if drift["worst_db"] is None else f"{drift['pooled_db']} dB, worst {drift['worst_db']} dB"
            lines.append(f"  {name:<15} {said}")
    return lines + [f"not here: {each['runtime']}: {each['why']}" for each in report["absent"]]
