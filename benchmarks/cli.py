"""The command line of the measurements."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import budgets
from benchmarks.processes import MeasurementError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all is within its limits, 1 when something is not, 2 when it cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Restore SDK on this host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("budgets", help="start-up, memory and host work, each against its limit")
    command.add_argument("--runs", type=_positive, default=5, help="processes a figure; its median counts (default 5)")
    command.add_argument("--bundle", type=Path, metavar="DIR", help="a model bundle (default: the one installed)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_budgets)
    command = commands.add_parser("serve", help="load on restore-sdk serve, every answer checked")
    command.add_argument("--clients", type=_positive, default=64, help="at a time (default 64)")
    command.add_argument("--seconds", type=_positive, default=60, help="how long (default 60)")
    command.add_argument("--max-requests", type=_positive, default=64, help="the service's own limit (default 64)")
    command.add_argument("--bundle", type=Path, metavar="DIR", help="a model bundle (default: the one installed)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_serve)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except MeasurementError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


def _budgets(arguments: argparse.Namespace) -> int:
    if not arguments.json:
        print(f"{arguments.runs} processes a figure ...", file=sys.stderr)
    results = budgets.measure(arguments.runs, arguments.bundle)
    if arguments.json:
        print(json.dumps(budgets.to_json(results), indent=2))
    else:
        print(budgets.to_table(results))
    return 0 if all(result.verdict != "OVER" for result in results) else 1


def _serve(arguments: argparse.Namespace) -> int:
    from benchmarks import serve
    from restore_sdk import Bundle

    if not arguments.json:
        print(f"{arguments.clients} clients for {arguments.seconds} s ...", file=sys.stderr)
    made = serve.cases(Bundle.load(arguments.bundle))
    with serve.served("--max-requests", str(arguments.max_requests), bundle=arguments.bundle) as url:
        result = serve.load(url, made, arguments.clients, arguments.seconds)
    print(json.dumps(result.to_json(), indent=2) if arguments.json else result.to_table())
    return 0 if result.passed else 1


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)
