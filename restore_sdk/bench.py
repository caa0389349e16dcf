"""How long a request takes on this host, copies and computing apart, and how far the result is from the reference."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, get_args

import numpy as np

from restore_sdk import __version__
from restore_sdk.bundle import Bundle
from restore_sdk.errors import InputError
from restore_sdk.runtime.base import U8, StageRunner
from restore_sdk.runtime.cores import usable_cores
from restore_sdk.runtime.golden import drift, golden_results
from restore_sdk.runtime.select import Runtime, open_runner

#: Requests that are not counted: clocks rise, memory is touched, CUDA graphs are captured.
WARMUP = 20

#: How the chain is queued on TensorRT: one way or the other, or one after the other.
Graphs = Literal["both", "on", "off"]


def measure(
    bundle: Bundle,
    runtime: Runtime = "auto",
    *,
    requests: int = 200,
    batch: int = 1,
    slots: int = 1,
    device: int = 0,
    cuda_graph: Graphs = "both",
) -> dict[str, Any]:
    """Time the two stages on golden inputs, one request after another, then as many at a time as the runtime takes.

    Args:
        requests: how many are counted, after :data:`WARMUP` that are not.
        batch: images a request.
        slots: how many requests may compute at the same time; one-after-another latency does not depend on it.
        cuda_graph: on TensorRT, ``"both"`` does all of it twice, with the chain queued call by call, then as one CUDA
            graph; ``"on"`` and ``"off"`` do it one way. On a CPU there is no such thing.

    Returns:
        JSON types. ``host``: facts on the machine. ``runs``: one entry a way of running, with ``runtime`` (facts on the
        runner, device memory among them), ``open_ms`` (from nothing to ready), ``drift`` (PSNR in dB against the
        float32 reference, ``None`` where equal), ``latency_ms`` (of ``request``, wall-clock, and of its parts ``edge``,
        ``repair``, on a GPU also ``upload``, ``download``, ``compute``: each ``p50``, ``p95``, ``p99``, ``max``) and
        ``images_per_second`` with all slots busy.

    Raises:
        InputError: an argument out of its range, or a CUDA graph asked for where there is none. The rest as
            :func:`restore_sdk.runtime.select.open_runner`.
    """
    if requests < 1 or batch < 1 or slots < 1:
        raise InputError("requests, batch and slots count from 1", "pass whole numbers from 1 up")
    if cuda_graph not in get_args(Graphs):
        raise InputError(f"cuda_graph is {cuda_graph!r}", f"choose one of {', '.join(get_args(Graphs))}")
    runs = [_run(bundle, runtime, requests, batch, slots, device, cuda_graph=cuda_graph == "on")]
    if cuda_graph == "both" and runs[0]["on_gpu"]:
        runs.append(_run(bundle, runtime, requests, batch, slots, device, cuda_graph=True))
    return {
        "restore_sdk": __version__,
        "bundle": bundle.name,
        "requests": requests,
        "batch": batch,
        "host": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": usable_cores(),
            "load": os.getloadavg()[0] if sys.platform != "win32" else None,
        },
        "runs": runs,
    }


def _run(
    bundle: Bundle, runtime: Runtime, requests: int, batch: int, slots: int, device: int, *, cuda_graph: bool
) -> dict[str, Any]:
    started = time.perf_counter()
    runner, reason = open_runner(runtime, bundle, device=device, slots=slots, threads=None, cuda_graph=cuda_graph)
    try:
        open_ms = 1e3 * (time.perf_counter() - started)
        if batch > runner.max_batch:
            raise InputError(
                f"a batch of {batch}, the runtime takes {runner.max_batch}", "pass a smaller one, or build for it"
            )
        golden = bundle.golden()
        results = golden_results(runner, golden)
        parts = tuple(_repeat(golden[name], batch) for name in ("image", "mask", "edges"))
        latency = _latency(runner, parts, requests)
        return {
            "reason": reason,
            "runtime": runner.info(),
            "on_gpu": "upload" in latency,
            "open_ms": round(open_ms, 2),
            "drift": {
                name: _decibel(*drift(golden[name], [getattr(result, name) for result in results]))
                for name in ("restored", "completed_edges")
            },
            "latency_ms": {name: _percentiles(values) for name, values in latency.items()},
            "images_per_second": round(_throughput(runner, parts, requests), 2),
        }
    finally:
        runner.close()


def _latency(runner: StageRunner, parts: tuple[U8, ...], requests: int) -> dict[str, list[float]]:
    """Milliseconds of each request, by part."""
    times: dict[str, list[float]] = {}
    for turn in range(WARMUP + requests):
        started = time.perf_counter()
        result = runner.infer(*parts)
        found = {
            "request": 1e3 * (time.perf_counter() - started),
            "edge": result.edge_ms,
            "repair": result.repair_ms,
        }
        upload, download = getattr(result, "upload_ms", None), getattr(result, "download_ms", None)
        if upload is not None and download is not None:
            compute = result.edge_ms + result.repair_ms - upload - download
            found |= {"upload": upload, "download": download, "compute": compute}
        if turn >= WARMUP:
            for name, value in found.items():
                times.setdefault(name, []).append(value)
    return times


def _throughput(runner: StageRunner, parts: tuple[U8, ...], requests: int) -> float:
    """Images a second, with one request more under way than the runner computes at a time."""
    workers = runner.slots + 1
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda _: runner.infer(*parts), range(workers)))
        started = time.perf_counter()
        list(pool.map(lambda _: runner.infer(*parts), range(requests)))
        return requests * len(parts[0]) / (time.perf_counter() - started)


def _repeat(images: U8, batch: int) -> U8:
    return np.ascontiguousarray(images[np.arange(batch) % len(images)])


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {name: round(float(v), 4) for name, v in (("p50", p50), ("p95", p95), ("p99", p99), ("max", max(values)))}


def _decibel(mean: float, worst: float) -> dict[str, float | None]:
    return {
        name: round(value, 2) if np.isfinite(value) else None
        for name, value in (("mean_db", mean), ("worst_db", worst))
    }


def describe(report: dict[str, Any]) -> list[str]:
    """What :func:`measure` gave, as lines for people."""
    lines = [f"{report['bundle']}, {report['requests']} requests of {report['batch']} image(s)"]
    for run in report["runs"]:
        facts = run["runtime"]
        how = "one CUDA graph" if facts.get("cuda_graph") else "call by call"
        lines.append(f"{facts['runtime']} {facts['runtime_version']} on {facts['device']}, {facts['precision']}, {how}")
        lines.append(f"  {'open':<10} {run['open_ms']:.0f} ms")
        for name, times in run["latency_ms"].items():
            text = "  ".join(f"{which} {times[which]:8.3f}" for which in ("p50", "p95", "p99"))
            lines.append(f"  {name:<10} {text} ms")
        lines.append(f"  {'throughput':<10} {run['images_per_second']:.1f} images/s")
        for name, drifts in run["drift"].items():
            text = ", ".join(
                "equal" if drifts[d] is None else f"{d[:-3]} {drifts[d]} dB" for d in ("mean_db", "worst_db")
            )
            lines.append(f"  {name:<15} {text}")
    return lines
