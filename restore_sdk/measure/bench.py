"""How long a request takes on the runtimes of this host, and how far its result drifts from the reference."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from restore_sdk import __version__
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import DeviceError, InputError, RestoreError
from restore_sdk.imaging.image import MASKED_ABOVE
from restore_sdk.imaging.quality import Drift
from restore_sdk.measure.timing import Case, Progress, time_in_blocks
from restore_sdk.runtime import RUNTIMES, Runtime, usable_cores
from restore_sdk.runtime.base import U8, Inference, StageRunner
from restore_sdk.runtime.golden import gate_of, golden_drift
from restore_sdk.runtime.select import open_runner

#: Every runtime that has a name of its own.
NAMED: tuple[Runtime, ...] = tuple(name for name in RUNTIMES if name != "auto")

#: Whose versions a report names, as far as they are installed.
_PACKAGES = (
    *("numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "openvino"),
    *("torch", "tensorrt", "tensorrt-rtx-cu13", "pycuda"),
)


class Run:
    """One way of running the model: an open runner for the stages, an engine for whole requests, and their cases."""

    def __init__(
        self, runtime: Runtime, runner: StageRunner, reason: str, open_ms: float, engine: RestoreEngine
    ) -> None:
        self.asked, self.runner, self.engine = runtime, runner, engine
        self.name = run_name(runner.info())
        self._about = {"name": self.name, "asked": runtime, "reason": reason, "open_ms": round(open_ms, 2)}

    def cases(self, bundle: Bundle, batch: int) -> list[Case]:
        """Its three figures, on the golden inputs.

        ``stages``: both stages on a batch. ``request``: from array to array. ``throughput``: the stages, with one
        request more under way than it computes at a time.
        """
        golden = bundle.golden()
        self._about["drift"] = {name: drift.to_json() for name, drift in golden_drift(self.runner, golden).items()}
        chunks = _chunks([golden[name] for name in ("image", "mask")], batch, self.runner.max_batch)
        image, mask = golden["image"][0], golden["mask"][0]
        callers = self.runner.slots + 1

        def stages(_: object = None) -> list[Inference]:
            return [self.runner.infer(*chunk) for chunk in chunks]

        def throughput() -> list[list[Inference]]:
            with ThreadPoolExecutor(callers) as pool:
                return list(pool.map(stages, range(2 * callers)))

        def check_stages(results: list[Inference]) -> None:
            require_known(chunks[0][0][0], chunks[0][1][0], results[0].restored[0])

        return [
            Case(self.name, "stages", stages, check_stages, _stage_parts, images=batch),
            request_case(self.name, "request", self.engine, image, mask),
            Case(
                self.name,
                "throughput",
                throughput,
                lambda results: check_stages(results[-1]),
                images=2 * callers * batch,
                requests=2 * callers,
                facts={"callers": callers},
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """Its entry among the ``runs``, without figures."""
        return {**self._about, "runtime": self.runner.info()}


def measure(
    bundle: Bundle,
    runtimes: Sequence[Runtime] = (),
    *,
    requests: int = 200,
    batch: int = 1,
    slots: int = 1,
    threads: int | None = None,
    device: int = 0,
    seconds: float = math.inf,
    more: Callable[[Sequence[Run]], Sequence[Case]] = lambda runs: (),
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Time stages and whole requests on the golden inputs, all runtimes taking turns.

    Args:
        runtimes: those to measure; one that cannot be opened is an error. None named: all that open on this host.
        requests: how many are counted of each figure. ``seconds``: about how long a figure may take, if that is less.
        batch: images a request of the stages and of the throughput.
        slots, threads, device: see :class:`restore_sdk.RestoreEngine`.
        more: gives further cases that take turns with these, from what is open.

    Returns:
        JSON types. ``host``: the machine and versions. ``absent``: what does not open, and why. ``runs``:
        what ran, each with ``name``, ``figures`` (:func:`restore_sdk.measure.timing.time_in_blocks`), and of the SDK
        ``runtime``, ``open_ms`` and ``drift``.

    Raises:
        InputError: an argument out of its range. The rest as :func:`restore_sdk.runtime.select.open_runner`.
    """
    for name, number in {"requests": requests, "batch": batch, "slots": slots, "threads": threads}.items():
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}", "pass a whole number from 1 up")
    settings = {"slots": slots, "threads": threads, "device": device}
    about = _host()  # now: later its load is what this has made
    with ExitStack() as stack:
        opened, absent = _open(bundle, runtimes, settings, stack, progress)
        cases = [*(case for run in opened for case in run.cases(bundle, batch)), *more(opened)]
        entries = time_in_blocks(cases, requests, seconds, progress)
        runs: dict[str, dict[str, Any]] = {run.name: run.to_json() for run in opened}
    for case, entry in zip(cases, entries, strict=True):
        runs.setdefault(case.run, {"name": case.run}).setdefault("figures", {})[case.figure] = entry
    return {
        "bundle": bundle.name,
        "fingerprint": bundle.fingerprint,
        "requests": requests,
        "batch": batch,
        **settings,
        "host": about,
        "absent": absent,
        "runs": list(runs.values()),
    }


@dataclass(frozen=True, slots=True)
class Verification:
    """What :func:`verify` found: by output the drift and its gate, least PSNR in dB pooled over all images and of the
    worst one; and facts about the runner."""

    drift: dict[str, Drift]
    gates: dict[str, tuple[float, float]]
    runtime: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether both outputs are within their gates."""
        return all(drift.within(*self.gates[name]) for name, drift in self.drift.items())


def verify(
    bundle: Bundle, runtime: Runtime = "auto", *, min_psnr: float | None = None, device: int = 0
) -> Verification:
    """Run a bundle's golden vectors through a runtime, and check every file of the bundle.

    Returns the figures whether they pass or not: see :attr:`Verification.passed`. ``min_psnr`` is the least PSNR in dB,
    pooled and of every image; ``None``: the gate of the runtime's precision (:data:`restore_sdk.runtime.golden.GATES`).

    Raises:
        InputError: ``min_psnr`` is no finite number. The rest as :func:`restore_sdk.runtime.select.open_runner`.
    """
    if min_psnr is not None and not math.isfinite(min_psnr):
        raise InputError(f"the gate is {min_psnr} dB", "pass a number")
    bundle.verify_files()
    golden = bundle.golden()
    runner, _ = open_runner(runtime, bundle, device=device, slots=1, threads=None)
    try:
        drift, facts = golden_drift(runner, golden), runner.info()
    finally:
        runner.close()
    given = None if min_psnr is None else (min_psnr, min_psnr)
    return Verification(drift, {name: given or gate_of(name, facts["precision"]) for name in drift}, facts)


def request_case(run: str, figure: str, engine: RestoreEngine, image: U8, mask: U8) -> Case:
    """A whole request from array to array: checks, crop, both stages, paste."""
    return Case(
        run,
        figure,
        lambda: engine.run(image, mask),
        lambda found: require_known(image, mask, found.image),
        lambda found: found.timings.parts(),
    )


def require_known(image: U8, mask: U8, restored: U8) -> None:
    """Raise ``AssertionError`` unless every known pixel is as it was."""
    known = mask <= MASKED_ABOVE
    assert restored.shape == image.shape, f"{restored.shape} is not the photograph's {image.shape}"
    assert np.array_equal(restored[known], image[known]), "known pixels were changed"


def run_name(facts: dict[str, Any]) -> str:
    """What a runner's facts say it is: runtime and precision."""
    return f"{facts['runtime']} {facts['precision']}"


def _open(
    bundle: Bundle, runtimes: Sequence[Runtime], settings: dict[str, Any], stack: ExitStack, progress: Progress
) -> tuple[list[Run], list[dict[str, str]]]:
    """What was asked for, or all that opens, and what does not and why."""
    opened: list[Run] = []
    absent: list[dict[str, str]] = []
    for name in dict.fromkeys(runtimes or NAMED):
        progress(f"opening {name}")
        started = time.perf_counter()
        try:
            runner, reason = open_runner(name, bundle, **settings)
        except RestoreError as error:
            if runtimes:
                raise
            absent.append({"runtime": name, "why": error.message, "hint": error.hint})
            continue
        open_ms = 1e3 * (time.perf_counter() - started)
        engine = stack.enter_context(RestoreEngine(runtime=runner))  # which closes the runner
        opened.append(Run(name, runner, reason, open_ms, engine))
    if not opened:
        raise DeviceError("no runtime opens on this host", "run: restore-sdk doctor")
    return opened, absent


def _chunks(arrays: Sequence[U8], batch: int, limit: int) -> list[list[U8]]:
    """A batch of the arrays' items, repeated as often as needed, in runs of at most ``limit``."""
    numbers = np.arange(batch) % len(arrays[0])
    runs = [numbers[start : start + limit] for start in range(0, batch, limit)]
    return [[np.ascontiguousarray(array[run]) for array in arrays] for run in runs]


def _stage_parts(results: list[Inference]) -> dict[str, float]:
    names = ["edge", "repair"]
    if getattr(results[0], "upload_ms", None) is not None:
        names += ["upload", "download"]
    found = {name: float(sum(getattr(result, f"{name}_ms") for result in results)) for name in names}
    if "upload" in found:
        found["compute"] = found["edge"] + found["repair"] - found["upload"] - found["download"]
    return found


def _host() -> dict[str, Any]:
    """The machine and the versions at work, which a measured time depends on; ``cores`` are those that are usable."""
    packages = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 2) if sys.platform != "win32" else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "restore_sdk": __version__,
        "packages": packages,
    }


def _processor() -> str:
    info = {}
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        info = dict(re.findall(r"^(.+?)\s*: (.+)$", first, re.MULTILINE))
    name = info.get("model name") or platform.processor() or platform.machine()
    # virtual machines often give a name without a generation
    return f"{name} (family {info['cpu family']}, model {info['model']})" if "cpu family" in info else name
