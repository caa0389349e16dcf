"""One way of running the model that is measured: its requests, by part, and the name that its figures stand under."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np

from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import DeviceError
from restore_sdk.files import read_mask, read_photo, write_image
from restore_sdk.runtime.base import U8, StageRunner
from restore_sdk.runtime.golden import golden_drift
from restore_sdk.runtime.select import Runtime

#: Requests that are not counted: clocks rise, memory is touched, CUDA graphs are captured.
WARMUP = 20

#: Milliseconds of one request, by part.
Sample = dict[str, float]


class Contender:
    """One way of running the model: an open runner for the stages, and an engine for whole requests."""

    def __init__(self, asked: Runtime, runner: StageRunner, reason: str, open_ms: float, engine: RestoreEngine) -> None:
        self.asked, self.runner, self.open_ms = asked, runner, open_ms
        self._reason, self._engine = reason, engine
        self.facts = runner.info()
        require_named(asked, self.facts)
        self._stages: list[list[Sample]] = []
        self._photos: list[list[Sample]] = []
        self._throughput: list[float] = []

    @property
    def name(self) -> str:
        """What runs, from the runner's own facts."""
        return run_name(self.facts)

    def load(self, bundle: Bundle, batch: int, folder: Path) -> None:
        """Give it the golden inputs, run them once for the drift, and warm up.

        A batch larger than the runner takes at a time goes in as many runs as it needs, as ``restore_batch`` does.
        """
        golden = bundle.golden()
        self._drift = {name: drift.to_json() for name, drift in golden_drift(self.runner, golden).items()}
        self._chunks = _chunks([golden[name] for name in ("image", "mask", "edges")], batch, self.runner.max_batch)
        self._batch = batch
        self._files = folder / "photo.png", folder / "mask.png", folder / "restored.png"
        write_image(self._files[0], golden["image"][0][..., ::-1])
        write_image(self._files[1], golden["mask"][0])
        for _ in range(WARMUP):
            self._request()
        for _ in range(WARMUP):
            restore_file(self._engine, *self._files)
        self.facts = self.runner.info()  # only now is it known whether the driver took the CUDA graph

    def round(self, requests: int) -> None:
        """Take as many requests of the stages, of whole photographs, and of all slots at once."""
        self._stages.append([self._request() for _ in range(requests)])
        self._photos.append([restore_file(self._engine, *self._files) for _ in range(requests)])
        self._throughput.append(self._images_per_second(requests))

    def report(self) -> dict[str, Any]:
        """Its entry among the ``runs``."""
        return {
            "name": self.name,
            "asked": self.asked,
            "reason": self._reason,
            "runtime": self.facts,
            "on_gpu": "upload" in self._stages[0][0],
            "open_ms": round(self.open_ms, 2),
            "drift": self._drift,
            "latency_ms": _by_part(self._stages),
            "photo_ms": _by_part(self._photos),
            "images_per_second": round(statistics.median(self._throughput), 2),
            "rounds": {
                "request_ms": _medians(self._stages, "request"),
                "photo_ms": _medians(self._photos, "total"),
                "images_per_second": [round(value, 3) for value in self._throughput],
            },
        }

    def _request(self) -> Sample:
        started = time.perf_counter()
        results = [self.runner.infer(*chunk) for chunk in self._chunks]
        found = {"request": 1e3 * (time.perf_counter() - started)}

        def total(part: str) -> float:
            return float(sum(getattr(result, part) for result in results))

        found |= {"edge": total("edge_ms"), "repair": total("repair_ms")}
        if getattr(results[0], "upload_ms", None) is not None:
            found |= {"upload": total("upload_ms"), "download": total("download_ms")}
            found["compute"] = found["edge"] + found["repair"] - found["upload"] - found["download"]
        return found

    def _images_per_second(self, requests: int) -> float:
        """With one request more under way than the runner computes at a time."""
        workers = self.runner.slots + 1
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda _: self._request(), range(workers)))
            started = time.perf_counter()
            list(pool.map(lambda _: self._request(), range(requests)))
            return requests * self._batch / (time.perf_counter() - started)


def restore_file(engine: RestoreEngine, photo: Path, mask: Path, restored: Path) -> Sample:
    """Restore a photograph from file to file, and say how many milliseconds each part took, and ``total``."""
    started = time.perf_counter()
    pixels, hole = read_photo(photo), read_mask(mask)
    decoded = time.perf_counter()
    result = engine.run(pixels, hole, color="bgr")
    computed = time.perf_counter()
    write_image(restored, result.image)
    ended = time.perf_counter()
    times = result.timings
    return {
        "total": 1e3 * (ended - started),
        "decode": 1e3 * (decoded - started),
        "prepare": times.prepare_ms,
        "wait": times.wait_ms,
        "edge": times.edge_ms,
        "repair": times.repair_ms,
        "paste": times.paste_ms,
        "encode": 1e3 * (ended - computed),
    }


def run_name(facts: dict[str, Any]) -> str:
    """What a runner's facts say it is: runtime, precision, and whether the chain is one CUDA graph."""
    return f"{facts['runtime']} {facts['precision']}{', CUDA graph' if facts.get('cuda_graph') else ''}"


def require_named(asked: Runtime, facts: dict[str, Any]) -> None:
    """Raise unless a runner is what was asked for by name, so that no fallback is reported under that name.

    Raises:
        DeviceError: it runs something else, or in another precision than the name says.
    """
    family, _, precision = asked.partition("-")
    if not precision and family == "openvino":
        precision = "fp32"
    found = str(facts["runtime"])
    named = found in (asked, family) or (found.startswith(family) and found not in get_args(Runtime))
    if asked != "auto" and not (named and (not precision or facts["precision"] == precision)):
        raise DeviceError(
            f"asked for {asked}, but what opened is {run_name(facts)}", "nothing was measured; run: restore-sdk doctor"
        )


def _chunks(arrays: Sequence[U8], batch: int, limit: int) -> list[list[U8]]:
    """A batch of the arrays' items, repeated as often as needed, in runs of at most ``limit``."""
    numbers = np.arange(batch) % len(arrays[0])
    runs = [numbers[start : start + limit] for start in range(0, batch, limit)]
    return [[np.ascontiguousarray(array[run]) for array in arrays] for run in runs]


def _by_part(rounds: list[list[Sample]]) -> dict[str, dict[str, float]]:
    samples = [sample for one in rounds for sample in one]
    return {part: percentiles([sample[part] for sample in samples]) for part in samples[0]}


def _medians(rounds: list[list[Sample]], part: str) -> list[float]:
    return [round(statistics.median(sample[part] for sample in one), 4) for one in rounds]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """``p50``, ``p95``, ``p99`` and ``max``, as every report gives them."""
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {name: round(float(v), 4) for name, v in (("p50", p50), ("p95", p95), ("p99", p99), ("max", max(values)))}
