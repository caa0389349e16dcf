"""Everything measured on one host: one JSON, the targets as ratios within it, and its tables."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import ROOT, peers
from benchmarks.fresh import fresh_process
from restore_sdk.bundle import Bundle
from restore_sdk.errors import ExecutionError
from restore_sdk.measure import bench
from restore_sdk.measure.bench import Run, request_case, require_known
from restore_sdk.measure.timing import Case, Progress
from restore_sdk.runtime import Runtime
from restore_sdk.runtime.base import U8

#: The runtime that every host has, and its run.
BASE: Runtime = "onnxruntime"
BASE_RUN = "onnxruntime fp32"

#: A large photograph, width and height; 12 megapixels.
LARGE = (4000, 3000)

#: Photographs a call of ``restore_batch``.
BATCHES = (4, 16)

#: Requests after which memory must be where it was, and how many ``quick`` has.
REQUESTS, QUICK_REQUESTS = 5000, 300

_Report = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A figure and its limit; ``value`` is ``None`` where it was not measured.

    Where two things are to be equal at least, the median of equal ones is below the limit half of the time: ``highest``
    is then the best block, and a limit between the two is ``within the spread``.
    """

    name: str
    value: float | None
    limit: float
    unit: str = ""
    least: bool = False
    highest: float | None = None

    @property
    def verdict(self) -> str:
        """``reached``, ``within the spread``, ``MISSED`` or ``not measured``."""
        if self.value is None:
            return "not measured"
        if self.highest is not None and self.value < self.limit <= self.highest:
            return "within the spread"
        return "reached" if (self.value >= self.limit if self.least else self.value <= self.limit) else "MISSED"


def measure(
    bundle: Bundle,
    runtimes: Sequence[Runtime] = (),
    *,
    quick: bool = False,
    progress: Progress = lambda line: None,
) -> _Report:
    """What ``restore-sdk bench`` measures; reference, peers, batches and a large photograph take turns with it.

    Returns:
        What :func:`restore_sdk.measure.bench.measure` does, with ``budgets``: see :func:`budgets`.
    """
    made, absent = peers.cases(bundle)
    report = bench.measure(
        bundle,
        runtimes,
        requests=QUICK_REQUESTS if quick else REQUESTS,
        seconds=1.2 if quick else 4.0,
        more=lambda runs: [*made, *(case for run in runs for case in more_cases(run, bundle))],
        progress=progress,
    )
    for run in _own(report):
        progress(f"a fresh process on {run['name']}")
        run["process"] = fresh_process(bundle.path, run["asked"], report["requests"])
    report["absent"] += absent
    report["budgets"] = budgets(bundle, 2 if quick else 5, progress)
    return report


def more_cases(run: Run, bundle: Bundle) -> list[Case]:
    """Batches of photographs, and a large one with a mask of 120 x 100 px in its middle."""
    golden = bundle.golden()
    image, mask = golden["image"][0], golden["mask"][0]

    def batch(count: int) -> Case:
        return Case(
            run.name,
            f"batch of {count}",
            lambda: run.engine.restore_batch([image] * count, [mask] * count),
            lambda found: [require_known(image, mask, each) for each in found],
            images=count,
            requests=count,
        )

    large, large_mask = enlarged(image, *LARGE)
    name = f"{LARGE[0]} x {LARGE[1]}"
    return [*map(batch, BATCHES), request_case(run.name, name, run.engine, large, large_mask)]


def enlarged(image: U8, width: int, height: int) -> tuple[U8, U8]:
    """A photograph scaled to a size, and a mask with one ellipse of 120 x 100 px in its middle."""
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (60, 50), 0, 0, 360, 255, -1)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)), mask


def budgets(bundle: Bundle, processes: int, progress: Progress = lambda line: None) -> dict[str, list[float]]:
    """Of fresh processes on the default path, ``processes`` values a figure.

    Seconds of the import, from the start to the first image, of the whole command; and the peak of memory in MB.

    Raises:
        ExecutionError: one of them failed.
    """
    found: dict[str, list[float]] = {"import_s": [], "first_image_s": [], "command_s": [], "peak_mb": []}
    for number in range(processes + 1):
        progress(f"processes: {number} of {processes}")
        fresh = fresh_process(bundle.path, BASE, 25)
        command = _command_seconds(bundle)
        if number == 0:  # reads the files from the disk and writes byte code, once
            continue
        found["import_s"].append(fresh["import_ms"] / 1e3)
        found["first_image_s"].append(fresh["cold_ms"] / 1e3)
        found["command_s"].append(command)
        found["peak_mb"] += [] if fresh["peak_mb"] is None else [fresh["peak_mb"]]
    return {name: [round(value, 4) for value in values] for name, values in found.items()}


def _command_seconds(bundle: Bundle) -> float:
    with tempfile.TemporaryDirectory() as folder:
        photo, mask = ROOT / "examples" / "portrait_damaged.png", ROOT / "examples" / "portrait_mask.png"
        command = [sys.executable, "-m", "restore_sdk", "restore", photo, "--mask", mask, "-o", Path(folder, "out.png")]
        started = time.perf_counter()
        done = subprocess.run(
            [*map(str, command), "--bundle", str(bundle.path.resolve())],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
    if done.returncode:
        raise ExecutionError(f"restore-sdk restore failed: {done.stderr.strip()[-200:]}", "run: restore-sdk doctor")
    return seconds


def figure(report: _Report, run: str, name: str) -> dict[str, Any] | None:
    """One figure of a run, ``None`` where it was not measured."""
    found: list[dict[str, Any]] = [each for each in report["runs"] if each["name"] == run]
    return found[0]["figures"].get(name) if found else None


def ratios(above: dict[str, Any] | None, below: dict[str, Any] | None) -> list[float]:
    """Time of ``above`` by that of ``below``, block by block, since what slows the machine slows both."""
    return [a / b for a, b in zip(above["blocks"], below["blocks"], strict=False)] if above and below else []


def targets(report: _Report) -> list[Target]:
    """Every target, in order."""
    return [*_speed(report), *_each_runtime(report), *_budget_targets(report)]


def _speed(report: _Report) -> Iterator[Target]:
    request = figure(report, BASE_RUN, "request")
    stack = figure(report, peers.STACK, "stack")
    edgeconnect = figure(report, peers.EDGECONNECT, "stages")
    name = "a whole request on ONNX Runtime"
    yield Target(
        f"{name}: faster than EdgeConnect's stages on it, times", _median(ratios(edgeconnect, request)), 20, "", True
    )
    yield Target(f"{name}: of eighteen convolutions on it", _median(ratios(request, stack)), 0.55)
    others = [run for run in _own(report) if run["name"] != BASE_RUN and run["runtime"]["device"].lower() == "cpu"]
    fastest = min(others, key=lambda run: run["figures"]["request"]["ms"]["p50"], default=None)
    share = _median(ratios(fastest["figures"]["request"], request)) if fastest else None
    yield Target("the fastest other CPU runtime: of ONNX Runtime's time", share, 0.5)


def _each_runtime(report: _Report) -> Iterator[Target]:
    for run in _own(report):
        name, figures = run["name"], run["figures"]
        request, stages = figures["request"], figures["stages"]
        worst = run["drift"]["restored"]["worst_db"]
        yield Target(f"{name}: worst drift", 999.0 if worst is None else worst, 45.0, "dB", True)
        yield Target(f"{name}: host work in a request", host_percent(request), 10.0, "%")
        large = _median(ratios(figures.get(f"{LARGE[0]} x {LARGE[1]}"), request))
        yield Target(f"{name}: 12 megapixels, of the 256 px request", large, 2.0)
        batches = [figures[f"batch of {count}"] for count in BATCHES if f"batch of {count}" in figures]
        best = max(batches, key=lambda each: each["images_per_second"], default=None)
        yield _at_least(f"{name}: restore_batch, of single requests", best, request)
        yield _at_least(f"{name}: two callers, of one", figures["throughput"], stages)
        grown = run.get("process", {}).get("grown_percent")
        enough = grown is not None and report["requests"] >= REQUESTS
        yield Target(f"{name}: memory over {REQUESTS} requests", abs(grown) if enough else None, 1.0, "%")


def _budget_targets(report: _Report) -> Iterator[Target]:
    for key, name, limit, unit in (
        ("import_s", "import restore_sdk", 0.2, "s"),
        ("first_image_s", "from process start to the first image", 1.5, "s"),
        ("command_s", "restore-sdk restore, one photograph", 1.5, "s"),
        ("peak_mb", "peak memory, 25 images", 400.0, "MB"),
    ):
        yield Target(name, _median(report["budgets"].get(key, [])), limit, unit)


def host_percent(request: dict[str, Any]) -> float:
    """Percent of a request that is not in the two stages."""
    stages = sum(request["parts"][part]["p50"] for part in ("edge", "repair"))
    return float(100 * (1 - stages / request["ms"]["p50"]))


def target_rows(found: Sequence[Target]) -> list[list[str]]:
    """Name, value, limit, verdict."""
    return [
        [
            each.name,
            "" if each.value is None else f"{each.value:.4g} {each.unit}".strip(),
            f"{'at least' if each.least else 'at most'} {each.limit:g} {each.unit}".strip(),
            each.verdict,
        ]
        for each in found
    ]


def latency_table(report: _Report) -> str:
    """What one 256 x 256 image takes on the SDK's runtimes and beside them, fastest first; the machine under it."""
    edgeconnect = figure(report, peers.EDGECONNECT, "stages")
    rows = []
    for run in report["runs"]:
        own = "runtime" in run
        each = run["figures"].get("request") or run["figures"].get("stages")
        if each is None:
            continue  # a yardstick for the machine, no method
        label = f"**Restore SDK, {run['name']}, whole request**" if own else run["name"]
        worst = run["drift"]["restored"]["worst_db"] if own else None
        blocks, faster = each["blocks"], _median(ratios(edgeconnect, each))
        row = [
            label if own or "request" in run["figures"] else f"{label}, stages only",
            f"{_ms(each['ms']['p50'])} ({_ms(min(blocks))} to {_ms(max(blocks))})",
            "" if faster is None else f"{faster:.1f}",
            "" if worst is None else f"{worst:.0f} dB",
        ]
        rows.append((each["ms"]["p50"], row))
    facts = report["host"]
    shown = ("onnxruntime", "openvino", "torch", "opencv-python-headless", "tensorrt")
    versions = ", ".join(f"{name} {facts['packages'][name]}" for name in shown if name in facts["packages"])
    head = ["one 256 x 256 image", "ms, median (spread)", "times EdgeConnect's speed", "drift, worst picture"]
    return "\n".join(
        (
            *table(head, [row for _, row in sorted(rows)]),
            "",
            f"*{facts['processor']}, {facts['cores']} cores, {facts['system']}; Python {facts['python']}, {versions}.",
            "EdgeConnect's speed is that of its two stages on ONNX Runtime, written from the published layer sizes,",
            "with random weights. Drift is the distance from the PyTorch reference in float32.*",
        )
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]


def _own(report: _Report) -> list[dict[str, Any]]:
    return [run for run in report["runs"] if "runtime" in run]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _at_least(name: str, above: dict[str, Any] | None, below: dict[str, Any]) -> Target:
    """That the images a second of the one are those of the other at least."""
    found: list[float] = []
    if above:
        images = above["images_per_second"] * above["ms"]["p50"] / (below["images_per_second"] * below["ms"]["p50"])
        found = [images * each for each in ratios(below, above)]
    return Target(name, _median(found), 1.0, "", True, highest=max(found, default=None))


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"
