"""One way of running the model that is measured: its requests, by part, and the name that its figures stand under."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import DeviceError, InputError
from restore_sdk.files import read_mask, read_photo, write_image
from restore_sdk.quality import drift_psnr
from restore_sdk.runtime.base import U8, StageRunner
from restore_sdk.runtime.golden import golden_results
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
        """Give it the golden inputs, run them once for the drift, and warm up."""
        if batch > self.runner.max_batch:
            raise InputError(
                f"a batch of {batch}, {self.name} takes {self.runner.max_batch}", "pass a smaller one, or build for it"
            )
        golden = bundle.golden()
        results = golden_results(self.runner, golden)
        self._drift = {
            name: _decibel(drift_psnr(golden[name], np.concatenate([getattr(result, name) for result in results])))
            for name in ("restored", "completed_edges")
        }
        self._inputs = tuple(_repeat(golden[name], batch) for name in ("image", "mask", "edges"))
        self._files = folder / "photo.png", folder / "mask.png", folder / "restored.png"
        write_image(self._files[0], golden["image"][0][..., ::-1])
        write_image(self._files[1], golden["mask"][0])
        for _ in range(WARMUP):
            self._request()
        for _ in range(WARMUP):
            self._photo()
        self.facts = self.runner.info()  # only now is it known whether the driver took the CUDA graph

    def round(self, requests: int) -> None:
        """Take as many requests of the stages, of whole photographs, and of all slots at once."""
        self._stages.append([self._request() for _ in range(requests)])
        self._photos.append([self._photo() for _ in range(requests)])
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
        result = self.runner.infer(*self._inputs)
        found = {
            "request": 1e3 * (time.perf_counter() - started),
            "edge": result.edge_ms,
            "repair": result.repair_ms,
        }
        upload, download = getattr(result, "upload_ms", None), getattr(result, "download_ms", None)
        if upload is not None and download is not None:
            compute = result.edge_ms + result.repair_ms - upload - download
            found |= {"upload": upload, "download": download, "compute": compute}
        return found

    def _photo(self) -> Sample:
        started = time.perf_counter()
        photo, mask = read_photo(self._files[0]), read_mask(self._files[1])
        decoded = time.perf_counter()
        result = self._engine.run(photo, mask, color="bgr")
        restored = time.perf_counter()
        write_image(self._files[2], result.image)
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
            "encode": 1e3 * (ended - restored),
        }

    def _images_per_second(self, requests: int) -> float:
        """With one request more under way than the runner computes at a time."""
        workers = self.runner.slots + 1
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda _: self.runner.infer(*self._inputs), range(workers)))
            started = time.perf_counter()
            list(pool.map(lambda _: self.runner.infer(*self._inputs), range(requests)))
            return requests * len(self._inputs[0]) / (time.perf_counter() - started)


def run_name(facts: dict[str, Any]) -> str:
    """What a runner's facts say it is: runtime, precision, and whether the chain is one CUDA graph."""
    return f"{facts['runtime']} {facts['precision']}{', CUDA graph' if facts.get('cuda_graph') else ''}"


def require_named(asked: Runtime, facts: dict[str, Any]) -> None:
    """Raise unless a runner is what was asked for by name, so that no fallback is reported under that name.

    Raises:
        DeviceError: it runs something else, or in another precision than the name says.
    """
    family, _, precision = asked.partition("-")
    right = facts["runtime"] == asked or str(facts["runtime"]).startswith(family)
    if asked != "auto" and not (right and (not precision or facts["precision"] == precision)):
        raise DeviceError(
            f"asked for {asked}, but what opened is {run_name(facts)}", "nothing was measured; run: restore-sdk doctor"
        )


def _repeat(images: U8, batch: int) -> U8:
    return np.ascontiguousarray(images[np.arange(batch) % len(images)])


def _by_part(rounds: list[list[Sample]]) -> dict[str, dict[str, float]]:
    samples = [sample for one in rounds for sample in one]
    return {part: _percentiles([sample[part] for sample in samples]) for part in samples[0]}


def _medians(rounds: list[list[Sample]], part: str) -> list[float]:
    return [round(statistics.median(sample[part] for sample in one), 4) for one in rounds]


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {name: round(float(v), 4) for name, v in (("p50", p50), ("p95", p95), ("p99", p99), ("max", max(values)))}


def _decibel(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean, over the images that differ at all, and worst; ``None`` where every image is equal."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"mean_db": None, "worst_db": None}
    return {"mean_db": round(float(finite.mean()), 2), "worst_db": round(float(finite.min()), 2)}
