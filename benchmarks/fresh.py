"""What a fresh process takes on a runtime: start, the first image, memory over many requests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ExecutionError
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.runtime import Runtime

#: Requests before memory counts: buffers are made, pools of memory fill.
SETTLE = 50

_PROGRAM = """
import time
started = time.perf_counter()
import restore_sdk
imported = time.perf_counter() - started
from benchmarks.fresh import measured
measured(imported)
"""


def fresh_process(bundle: Path, runtime: Runtime, requests: int) -> dict[str, Any]:
    """Start a Python process, restore ``requests`` images of 256 x 256 px on one runtime, and say what it took.

    Returns:
        JSON types. ``import_ms``: of ``import restore_sdk``. ``cold_ms``: from the start of the process to its first
        restored image. ``peak_mb``: the most memory there was; ``grown_percent``: see :func:`grown_percent`. ``None``
        where nobody tells.

    Raises:
        ExecutionError: the process failed; its last line is in the message.
    """
    folder = str(bundle.absolute())  # a bare name would be that of a shipped one
    given = json.dumps({"bundle": folder, "runtime": runtime, "requests": requests, "started": time.monotonic()})
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, given],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))},
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ExecutionError(f"a fresh process on {runtime} failed: {last}", "run: restore-sdk doctor")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(imported: float) -> None:
    """The measured process: one JSON argument in, one JSON object out."""
    given = json.loads(sys.argv[1])
    y, x = np.mgrid[:MODEL_SIZE, :MODEL_SIZE].astype(np.uint8)
    photo, mask = np.stack((y, x, 255 - y), axis=-1), np.zeros((MODEL_SIZE, MODEL_SIZE), np.uint8)
    mask[40:100, 40:120] = 255
    with RestoreEngine(given["bundle"], runtime=given["runtime"]) as engine:
        engine(photo, mask)
        cold = time.monotonic() - given["started"]  # one clock for all processes of a host
        memory = []
        for _ in range(given["requests"]):
            engine(photo, mask)
            memory.append(memory_mb("VmRSS"))
    found = {
        "import_ms": 1e3 * imported,
        "cold_ms": 1e3 * cold,
        "peak_mb": memory_mb("VmHWM"),
        "grown_percent": grown_percent(memory),
    }
    print(json.dumps({name: None if value is None else round(value, 2) for name, value in found.items()}))


def grown_percent(memory: list[float | None]) -> float | None:
    """Percent between the means of the first tenth after :data:`SETTLE` and of the last; ``None`` for too few."""
    values = [value for value in memory[SETTLE:] if value is not None]
    tenth = len(values) // 10
    if tenth == 0:
        return None
    before, after = float(np.mean(values[:tenth])), float(np.mean(values[-tenth:]))
    return 100 * (after - before) / before


def memory_mb(field: str) -> float | None:
    """Memory of this process in RAM, in MB: now for ``VmRSS``, the most there was for ``VmHWM``; ``None`` without
    ``/proc``."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    # not ru_maxrss: that of a child starts at its parent's
    found = re.search(rf"^{field}:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) * 1.024 / 1000 if found else None
