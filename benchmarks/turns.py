"""Timing cases in turns: what slows the machine down for a while slows all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.cases import Case
from benchmarks.processes import WrongResultError
from restore_sdk.measure.bench import ROUNDS
from restore_sdk.measure.contender import percentiles

#: Calls of a case in a round, at most.
MOST_CALLS = 50

#: A case that takes fewer milliseconds than this has a call before each round that is not counted: caches and threads
#: are then its own. Beside a longer one, what that saves is nothing.
SHORT_MS = 200.0

#: A figure: JSON types; see :func:`take_turns`.
Figure = dict[str, Any]


def take_turns(
    cases: Sequence[Case], seconds: float, progress: Callable[[str], None] = lambda line: None
) -> list[Figure]:
    """Time every case in :data:`restore_sdk.measure.bench.ROUNDS` rounds, in turns, about ``seconds`` a case.

    Two results of every case are checked before any is timed, and the last one of all.

    Returns:
        One entry a case, of JSON types: ``group``, ``what``, ``facts``, ``calls`` counted, ``ms`` (``p50``, ``p95``,
        ``p99``, ``max`` of a call), ``rounds`` (the median of each), ``parts`` (medians, ms), ``images_per_second``.

    Raises:
        WrongResultError: a result is wrong.
    """
    shares = []
    for case in cases:
        progress(f"{case.group}: {case.what}")
        _check(case, case.call())  # may be slow: buffers are made, code is compiled
        started = time.perf_counter()
        result = case.call()
        took = max(time.perf_counter() - started, 1e-6)
        _check(case, result)
        shares.append((round(min(max(seconds / ROUNDS / took, 1), MOST_CALLS)), 1e3 * took < SHORT_MS))
    samples: list[list[list[float]]] = [[] for _ in cases]
    parts: list[list[dict[str, float]]] = [[] for _ in cases]
    for number in range(ROUNDS):
        progress(f"round {number + 1} of {ROUNDS}")
        for turn in range(len(cases)):
            index = (turn + number) % len(cases)
            times, found = _round(cases[index], *shares[index], check=number == ROUNDS - 1)
            samples[index].append(times)
            parts[index] += found
    return [_figure(*each) for each in zip(cases, samples, parts, strict=True)]


def _check(case: Case, result: Any) -> None:
    try:
        case.check(result)
    except AssertionError as error:
        raise WrongResultError(f"{case.group}: {case.what}: {error}") from error


def _round(case: Case, calls: int, warm: bool, check: bool) -> tuple[list[float], list[dict[str, float]]]:
    if warm:
        case.call()
    gc.collect()
    times, parts = [], []
    for _ in range(calls):
        started = time.perf_counter()
        result = case.call()
        times.append(1e3 * (time.perf_counter() - started))
        parts.append(case.parts(result))
    if check:
        _check(case, result)
    return times, parts


def _figure(case: Case, rounds: list[list[float]], parts: list[dict[str, float]]) -> Figure:
    times = [each for one in rounds for each in one]
    ms = percentiles(times)
    return {
        "group": case.group,
        "what": case.what,
        "facts": case.facts,
        "calls": len(times),
        "ms": ms,
        "rounds": [round(statistics.median(one), 4) for one in rounds],
        "parts": {part: round(statistics.median(each[part] for each in parts), 4) for part in parts[0]},
        "images_per_second": round(1e3 * case.images / ms["p50"], 2) if case.images else None,
    }
