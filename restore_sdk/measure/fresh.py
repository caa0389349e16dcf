"""What a fresh process takes on a runtime: start, the first image, memory over many requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import restore_sdk
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ExecutionError, InputError
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.measure.host import peak_mb, resident_mb
from restore_sdk.runtime.select import Runtime

#: Requests before memory counts: buffers are made, pools of memory fill.
SETTLE = 50

#: Points of the curve of memory over requests.
POINTS = 100

_PROGRAM = """
import time
started = time.perf_counter()
import restore_sdk
imported = time.perf_counter() - started
from restore_sdk.measure.fresh import serve
serve(imported)
"""


def fresh_process(
    bundle: Path,
    runtime: Runtime,
    *,
    requests: int = 100,
    threads: int | None = None,
    device: int = 0,
    cuda_graph: bool = False,
    timeout: float = 3600,
) -> dict[str, Any]:
    """Start a Python process, restore ``requests`` images of 256 x 256 px on one runtime, and say what it took.

    Returns:
        JSON types. ``import_ms``: of ``import restore_sdk``. ``cold_ms``: from the start of the process to its first
        restored image. ``warm_ms``: once that engine is closed, another one and its first image, in the same process.
        ``first_mb``: memory after the first image; ``peak_mb``: the most there was; ``memory``: pairs of the number of
        requests done and MB; ``grown_percent``: the last tenth of them against the first tenth after :data:`SETTLE`
        requests. Memory is ``None`` where the system does not tell.

    Raises:
        InputError: ``requests`` below 1.
        ExecutionError: the process failed; its last line is in the message. Or it took longer than ``timeout`` seconds.
    """
    if requests < 1:
        raise InputError("requests count from 1", "pass a whole number from 1 up")
    engine = {
        "bundle": str(bundle.absolute()),  # a bare name would be that of a shipped one
        "runtime": runtime,
        "threads": threads,
        "device": device,
        "cuda_graph": cuda_graph,
    }
    arguments = json.dumps({"engine": engine, "requests": requests})
    home = str(Path(restore_sdk.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", _PROGRAM, arguments]
    run = watched(command, timeout, env={**os.environ, "PYTHONPATH": path})
    if run.late:
        raise ExecutionError(f"a process on {runtime} took longer than {timeout:g} s", "ask for fewer requests")
    if run.code:
        last = (run.errors.strip().splitlines() or [f"exit status {run.code}"])[-1]
        raise ExecutionError(f"a fresh process on {runtime} failed: {last}", "run: restore-sdk doctor")
    found: dict[str, Any] = json.loads(run.rest)
    return {"cold_ms": round(1e3 * run.seconds, 1), **found}


class Run(NamedTuple):
    """What a process did: seconds from before its start to its first line, that line, what it printed after it and on
    standard error, its exit status, and whether it was killed for taking too long."""

    seconds: float
    line: str
    rest: str
    errors: str
    code: int
    late: bool


def watched(command: Sequence[str], timeout: float, **how: Any) -> Run:
    """Run a command to its end, at most ``timeout`` seconds; ``how`` are arguments of :class:`subprocess.Popen`."""
    late = threading.Event()
    with tempfile.TemporaryFile("w+") as errors:  # not a pipe: nobody reads it before the first line
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, **how) as process:
            assert process.stdout is not None

            def kill() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(timeout, kill)
            timer.daemon = True  # whoever interrupts this does not wait for it
            timer.start()
            try:
                line = process.stdout.readline()
                seconds = time.perf_counter() - started
                rest = process.stdout.read()
                process.wait()
            finally:
                timer.cancel()
        errors.seek(0)
        return Run(seconds, line, rest, errors.read(), process.returncode, late.is_set())


def serve(imported: float) -> None:
    """The measured process: one JSON argument in, a line at the first image, one JSON object at the end."""
    options = json.loads(sys.argv[1])
    photo, mask = _picture()

    def opened() -> RestoreEngine:
        return RestoreEngine(**options["engine"])

    with opened() as engine:
        engine(photo, mask)
        print("first", flush=True)
        first = resident_mb()
    started = time.perf_counter()
    with opened() as engine:
        engine(photo, mask)
        warm = time.perf_counter() - started
        every, curve = max(1, options["requests"] // POINTS), []
        for turn in range(1, options["requests"] + 1):
            engine(photo, mask)
            if turn % every == 0:
                curve.append((turn, resident_mb()))
    print(
        json.dumps(
            {
                "import_ms": round(1e3 * imported, 2),
                "warm_ms": round(1e3 * warm, 1),
                "first_mb": _short(first),
                "peak_mb": _short(peak_mb()),
                "memory": [(turn, _short(value)) for turn, value in curve],
                "grown_percent": _grown(curve),
            }
        )
    )


def _grown(curve: list[tuple[int, float | None]]) -> float | None:
    """Percent between the means of the first tenth that counts and of the last tenth; ``None`` for too few points."""
    values = [value for turn, value in curve if turn > SETTLE and value is not None]
    tenth = len(values) // 10
    if tenth == 0:
        return None
    before, after = float(np.mean(values[:tenth])), float(np.mean(values[-tenth:]))
    return round(100 * (after - before) / before, 3)


def _picture() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture of gradients with a square in it, and a hole over a corner of that."""
    y, x = np.mgrid[:MODEL_SIZE, :MODEL_SIZE].astype(np.uint8)
    photo = np.stack((y, x, 255 - y), axis=-1)
    photo[64:192, 64:192] //= 2
    mask = np.zeros((MODEL_SIZE, MODEL_SIZE), np.uint8)
    mask[40:100, 40:120] = 255
    return photo, mask


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
