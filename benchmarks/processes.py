"""Measuring fresh processes from outside and from inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from restore_sdk.measure.fresh import watched

#: The root of the checkout: what the measured processes import from.
ROOT = Path(__file__).resolve().parent.parent

#: The example that the measured processes restore.
PHOTO = ROOT / "examples" / "portrait_damaged.png"
MASK = ROOT / "examples" / "portrait_mask.png"

#: No measured process takes nearly as long, on any host.
TIMEOUT_S = 300

_TOO_LONG = f"the measured process took longer than {TIMEOUT_S} s"

#: Peak memory of the process that runs it. A program for ``python -c`` appends this and prints ``peak_mb()``.
#: VmHWM, where there is one, since ``ru_maxrss`` of a child starts at its parent's.
PEAK_MB = """
def peak_mb():
    import sys
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1000 * 1.024
    except FileNotFoundError:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak / 1000 * 1.024
"""


class MeasurementError(Exception):
    """What was to be measured cannot be."""


class WrongResultError(MeasurementError):
    """What was measured gave a wrong result, so its time means nothing."""


def answer(program: str, *arguments: str) -> Any:
    """Run ``program`` in a fresh interpreter and return what it prints, read as JSON."""
    finished = _run([sys.executable, "-c", program, *arguments])
    try:
        return json.loads(finished.stdout)
    except ValueError as error:
        raise MeasurementError(f"the measured process printed no JSON: {finished.stdout[:200]!r}") from error


def seconds_to_first_line(program: str, *arguments: str) -> float:
    """Seconds from before the start of a fresh interpreter that runs ``program`` until its first line arrives."""
    run = watched([sys.executable, "-c", program, *arguments], TIMEOUT_S, cwd=ROOT, env=_environment())
    if run.late:
        raise MeasurementError(_TOO_LONG)
    if not run.line or run.code:
        raise MeasurementError(_last_line(run.errors) or "the measured process printed nothing")
    return run.seconds


def seconds_to_exit(*command: str) -> float:
    """Seconds from before the start of ``python COMMAND`` until it has ended."""
    started = time.perf_counter()
    _run([sys.executable, *command])
    return time.perf_counter() - started


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=ROOT, env=_environment(), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(_TOO_LONG) from error
    if finished.returncode:
        raise MeasurementError(_last_line(finished.stderr) or f"the measured process ended with {finished.returncode}")
    return finished


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
