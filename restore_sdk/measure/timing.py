"""The one way of timing: every case warms up and is checked, then all take turns in blocks.

What slows the machine down for a while slows all that is compared; the medians of the blocks show by how much.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from restore_sdk.errors import ExecutionError

#: Blocks of counted calls that each case has.
BLOCKS = 5

#: Calls that are not counted before the first block: clocks rise, memory is touched. Two at least; no more once they
#: have taken a second.
WARM_UP = 20

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """One thing to time, ``figure`` of ``run``: ``call``, which gives what ``check`` and ``parts`` take.

    ``check`` raises ``AssertionError`` where that is wrong; ``parts`` are its milliseconds by part.
    """

    run: str
    figure: str
    call: Callable[[], Any]
    check: Callable[[Any], None] = lambda result: None
    parts: Callable[[Any], dict[str, float]] = lambda result: {}
    images: int = 1
    requests: int = 1
    facts: dict[str, Any] = field(default_factory=dict)


def time_in_blocks(
    cases: Sequence[Case], requests: int, seconds: float = math.inf, progress: Progress = lambda line: None
) -> list[dict[str, Any]]:
    """Time each case in :data:`BLOCKS` blocks, taking turns; one call before each block is not counted.

    ``requests`` are counted of each case, or as many as take ``seconds``, if that is less.

    Returns:
        One entry a case, of JSON types: ``calls``, ``ms`` of a call (``p50``, ``p95``, ``p99``, ``max``), ``blocks``
        (the median of each), ``parts`` (the same percentiles by part), ``images_per_second``, and the case's ``facts``.

    Raises:
        ExecutionError: a result is wrong, so its time means nothing.
    """
    shares = []
    for case in cases:
        progress(f"warm-up: {case.run}, {case.figure}")
        took = _warm_up(case)
        limit = min(requests / case.requests, seconds / took)
        calls = max(1, round(limit))
        blocks = min(BLOCKS, calls)
        shares.append([calls * (block + 1) // blocks - calls * block // blocks for block in range(blocks)])
    times: list[list[list[float]]] = [[] for _ in cases]
    parts: list[list[dict[str, float]]] = [[] for _ in cases]
    for block in range(max(map(len, shares), default=0)):
        progress(f"block {block + 1} of {BLOCKS}")
        for turn in range(len(cases)):
            index = (turn + block) % len(cases)
            if block < len(shares[index]):
                counted, found = _block(cases[index], shares[index][block])
                times[index].append(counted)
                parts[index] += found
    return [_entry(*each) for each in zip(cases, times, parts, strict=True)]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """``p50``, ``p95``, ``p99`` and ``max``, as every report gives them."""
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {name: round(float(v), 4) for name, v in (("p50", p50), ("p95", p95), ("p99", p99), ("max", max(values)))}


def _warm_up(case: Case) -> float:
    """Seconds of a call that is neither the first nor, usually, the second."""
    begun, took = time.perf_counter(), 0.0
    for number in range(WARM_UP):
        started = time.perf_counter()
        result = case.call()
        took = time.perf_counter() - started
        if number == 0:
            _check(case, result)
        if number and time.perf_counter() - begun > 1.0:
            break
    _check(case, result)
    return max(took, 1e-6)


def _block(case: Case, calls: int) -> tuple[list[float], list[dict[str, float]]]:
    case.call()  # caches and threads are then its own
    gc.collect()
    times, parts = [], []
    for _ in range(calls):
        started = time.perf_counter()
        result = case.call()
        times.append(1e3 * (time.perf_counter() - started))
        parts.append(case.parts(result))
    _check(case, result)
    return times, parts


def _check(case: Case, result: Any) -> None:
    try:
        case.check(result)
    except AssertionError as error:
        raise ExecutionError(f"{case.run}, {case.figure}: {error}", "run: restore-sdk verify") from error


def _entry(case: Case, blocks: list[list[float]], parts: list[dict[str, float]]) -> dict[str, Any]:
    ms = percentiles([each for block in blocks for each in block])
    return {
        "calls": len(parts),
        "ms": ms,
        "blocks": [round(statistics.median(block), 4) for block in blocks],
        "parts": {part: percentiles([each[part] for each in parts]) for part in parts[0]},
        "images_per_second": round(1e3 * case.images / ms["p50"], 3),
        **case.facts,
    }
