"""What the SDK promises about start-up, memory and host work, each measured in fresh processes against its limit."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.processes import MASK, PEAK_MB, PHOTO, answer, seconds_to_exit, seconds_to_first_line

#: A program that prints the seconds of ``import restore_sdk``.
IMPORT = """
import time
started = time.perf_counter()
import restore_sdk
print(time.perf_counter() - started)
"""

_OPEN = """
import sys
from restore_sdk import RestoreEngine
from restore_sdk.files import read_mask, read_photo
photo, mask, bundle = sys.argv[1:]
photo, mask = read_photo(photo), read_mask(mask)
engine = RestoreEngine(bundle or None)
"""

_FIRST_IMAGE = f"""{_OPEN}
engine(photo, mask, color="bgr")
print("restored", flush=True)
"""

_MEMORY = f"""{_OPEN}{PEAK_MB}
for _ in range(25):
    engine(photo, mask, color="bgr")
print(peak_mb())
"""

# The clock stands outside the engine, so that nothing of a request can be missing from the total.
_HOST_SHARE = f"""{_OPEN}
import statistics, time
shares = []
for turn in range(80):
    started = time.perf_counter()
    timings = engine.run(photo, mask, color="bgr").timings
    total = 1e3 * (time.perf_counter() - started)
    shares.append(100 * (1 - (timings.edge_ms + timings.repair_ms) / total))
print(statistics.median(shares[20:]))
"""


@dataclass(frozen=True, slots=True)
class Result:
    """One figure: what was measured, a value a process, and the limit that their median must stay below."""

    name: str
    unit: str
    limit: float
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """``within`` or ``OVER`` the limit."""
        return "within" if self.median < self.limit else "OVER"

    def to_json(self) -> dict[str, Any]:
        """The figure as plain values."""
        return {
            "name": self.name,
            "unit": self.unit,
            "limit": self.limit,
            "median": round(self.median, 4),
            "values": [round(value, 4) for value in self.values],
            "verdict": self.verdict,
        }


def measure(runs: int, bundle: Path | None = None) -> list[Result]:
    """Measure everything, ``runs`` processes a figure.

    Raises:
        MeasurementError: a process failed, for instance because there is no bundle.
    """
    inputs = (str(PHOTO), str(MASK), str(bundle.resolve()) if bundle else "")

    def command_line() -> float:
        with tempfile.TemporaryDirectory() as folder:
            extra = ("--bundle", inputs[2]) if bundle else ()
            out = str(Path(folder, "out.png"))
            return seconds_to_exit("-m", "restore_sdk", "restore", inputs[0], "--mask", inputs[1], "-o", out, *extra)

    figures: tuple[tuple[str, str, float, Callable[[], float]], ...] = (
        ("import restore_sdk", "s", 0.2, lambda: answer(IMPORT)),
        ("process start to first restored image", "s", 1.5, lambda: seconds_to_first_line(_FIRST_IMAGE, *inputs)),
        ("restore-sdk restore, the whole command", "s", 1.5, command_line),
        ("peak memory, 25 images restored", "MB", 400.0, lambda: answer(_MEMORY, *inputs)),
        ("host work in a request", "%", 10.0, lambda: answer(_HOST_SHARE, *inputs)),
    )
    for _, _, _, figure in figures[:2]:
        figure()  # reads the files from the disk and writes byte code, once
    return [
        Result(name, unit, limit, tuple(float(figure()) for _ in range(runs))) for name, unit, limit, figure in figures
    ]


def facts() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "onnxruntime")},
    }


def to_json(results: list[Result], about: dict[str, Any]) -> dict[str, Any]:
    """The figures as plain values; ``about`` are the :func:`facts` from before they were measured."""
    return {
        "ok": all(result.verdict != "OVER" for result in results),
        "facts": about,
        "budgets": [result.to_json() for result in results],
    }


def to_table(results: list[Result], about: dict[str, Any]) -> str:
    """The same for a terminal."""
    rows = [("", "median", "lowest to highest", "limit", "")]
    for result in results:
        digits = 3 if result.unit == "s" else 1
        low, high = min(result.values), max(result.values)
        rows.append(
            (
                result.name,
                f"{result.median:.{digits}f} {result.unit}",
                f"{low:.{digits}f} to {high:.{digits}f}",
                f"{result.limit:g} {result.unit}",
                result.verdict,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3)), row[4]]).rstrip()
        for row in rows
    ]
    told = ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
    return "\n".join([*lines, "", told])
