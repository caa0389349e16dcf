"""Builds recipe after recipe, each in a process of its own: the editions do not meet, and a crash costs one target."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restore_sdk.engines.recipe import load_recipe, names
from restore_sdk.errors import RestoreError

#: The git-ignored store of the checkout.
STORE = Path(__file__).resolve().parent / "store"

#: Exit codes of ``restore-sdk build`` that say that this host is not the one for the target.
NOT_HERE = 3


@dataclass(frozen=True)
class Result:
    """One target: ``"built"``, ``"skipped"`` (not for this host) or ``"failed"``, and why or what."""

    target: str
    status: str
    detail: str
    report: dict[str, Any]


def build(target: str, options: argparse.Namespace) -> Result:
    """Build one target in a process of its own."""
    command = [sys.executable, "-m", "restore_sdk", "build", "--json", "--target", target, "--store", options.store]
    if options.bundle is not None:
        command += ["--bundle", options.bundle]
    if options.force:
        command.append("--force")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, said = process.communicate()
        except KeyboardInterrupt:  # it got the same signal, and ends at TensorRT's next step
            process.communicate()
            raise
    try:
        report = json.loads(output)
    except ValueError:
        report = {}
    if process.returncode == 0 and report.get("ok"):
        sizes = ", ".join(f"{e['key']['stage']} {e['plan_bytes'] / 1e6:.1f} MB" for e in report["engines"])
        reused = " (was there already)" if all(engine["reused"] for engine in report["engines"]) else ""
        return Result(target, "built", f"{report['seconds']:.1f} s, {sizes}{reused}", report)
    error = report.get("error", {}).get("message")
    if error is None:  # it crashed: what it said last is all there is
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        error = f"the build ended with exit code {process.returncode}: {last}"
    return Result(target, "skipped" if process.returncode == NOT_HERE else "failed", error, report)


def _say(results: list[Result], store: str, *, ok: bool) -> None:
    print(json.dumps({"ok": ok, "store": store, "targets": list(map(asdict, results))}, indent=2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the targets that are named, or all; 0 when some were built, none failed, and none that was named was
    skipped."""
    parser = argparse.ArgumentParser(prog="python -m engines", description="Build the engines of many targets.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: every shipped recipe")
    parser.add_argument("--store", default=str(STORE), metavar="DIR", help="default: engines/store in the checkout")
    parser.add_argument("--bundle", metavar="BUNDLE", help="default, faithful, or the folder of another bundle")
    parser.add_argument("--force", action="store_true", help="build even what the store has")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        for target in options.targets:
            load_recipe(target)
    except RestoreError as error:
        parser.error(str(error))
    results = []
    for target in options.targets or names():
        try:
            result = build(target, options)
        except KeyboardInterrupt:
            print("interrupted; what was built is in the store", file=sys.stderr)
            if options.json:
                _say(results, options.store, ok=False)
            return 130
        results.append(result)
        if not options.json:
            print(f"{result.status:<8} {result.target:<12} {result.detail}", flush=True)
    bad = {"failed", "skipped"} if options.targets else {"failed"}
    failed = any(result.status in bad for result in results) or not any(r.status == "built" for r in results)
    if options.json:
        _say(results, options.store, ok=not failed)
    return 1 if failed else 0
