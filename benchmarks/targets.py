"""What the SDK has to reach, as ratios within one report."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.figures import EDGECONNECT, STACK, Report, figures, one, peer, rates, ratio, runtimes, section
from benchmarks.figures import worst_drift as drift_of
from benchmarks.inputs import LEAST_DB, SIZES

#: The runtime that every host has.
BASE = "onnxruntime"


@dataclass(frozen=True)
class Target:
    """A figure and its limit; ``value`` is ``None`` where it was not measured.

    Where two things are to be equal at least, the median of equal ones is below the limit half of the time: ``highest``
    is then the best round, and a limit between the two is ``within the spread``.
    """

    name: str
    value: float | None
    limit: float
    least: bool = False
    unit: str = ""
    highest: float | None = None

    @property
    def verdict(self) -> str:
        """``reached``, ``within the spread``, ``MISSED`` or ``not measured``."""
        if self.value is None:
            return "not measured"
        if self.highest is not None and self.value < self.limit <= self.highest:
            return "within the spread"
        return "reached" if (self.value >= self.limit if self.least else self.value <= self.limit) else "MISSED"


def targets(report: Report) -> list[Target]:
    """Every target, in order."""
    return [*_speed(report), *_host(report), *_throughput(report), *_process(report)]


def _speed(report: Report) -> Iterator[Target]:
    request = one(report, "latency", "request", key=BASE)
    edgeconnect, stack = (peer(report, key) for key in (EDGECONNECT, STACK))
    name = "a whole request on ONNX Runtime"
    yield Target(f"{name}: faster than EdgeConnect's two stages on it, times", ratio(edgeconnect, request), 20.0, True)
    yield Target(f"{name}: of a stack of eighteen convolutions on it", ratio(request, stack), 0.55)
    others = [key for key in runtimes(report) if key != BASE and not key.startswith("tensorrt")]
    fastest = one(report, "latency", "request", key=others[0]) if others else None
    what = fastest["what"] if fastest else "another runtime"
    yield Target(f"the fastest CPU runtime ({what}): of ONNX Runtime's time", ratio(fastest, request), 0.5)
    yield Target(f"its drift in the worst picture ({what})", drift_of(report, what), LEAST_DB, True, "dB")


def _host(report: Report) -> Iterator[Target]:
    for key in runtimes(report) or [BASE]:
        figure = one(report, "latency", "request", key=key)
        share = None
        if figure:
            stages = figure["parts"]["edge"] + figure["parts"]["repair"]
            share = 100 * (1 - stages / figure["ms"]["p50"])
        yield Target(f"host work in a request, 256 px, {key}", share, 10.0, unit="%")
    for key in runtimes(report) or [BASE]:
        small, large = (
            one(report, "size", "size", key=key, width=width, height=height) for width, height in (SIZES[0], SIZES[-1])
        )
        yield Target(f"12 megapixels with one hole, of the 256 px request, {key}", ratio(large, small), 2.0)


def _throughput(report: Report) -> Iterator[Target]:
    for key in runtimes(report) or [BASE]:
        batches, callers = (
            {each["facts"][fact]: each for each in figures(report, "batch", fact, key=key)}
            for fact in ("batch", "callers")
        )
        by_rate = operator.itemgetter("images_per_second")
        single = max((each[1] for each in (batches, callers) if 1 in each), key=by_rate, default=None)
        best = max((each for count, each in batches.items() if count > 1), key=by_rate, default=None)
        yield _at_least(f"restore_batch at its best, of single requests, {key}", rates(best, single))
        yield _at_least(f"two calling threads, of single requests, {key}", rates(callers.get(2), single))


def _process(report: Report) -> Iterator[Target]:
    memory = section(report, "memory")
    requests = memory.get("requests", 5000)
    for what, run in memory.get("runs", {BASE: {}}).items():
        grown = run.get("grown_percent")
        value = None if grown is None or requests < 5000 else abs(grown)
        yield Target(f"memory over {requests} requests, changed by, {what}", value, 1.0, unit="%")
    found = {each["name"]: each["median"] for each in section(report, "start").get("budgets", ())}
    yield Target("import restore_sdk", found.get("import restore_sdk"), 0.2, unit="s")
    yield Target("restore-sdk restore, one photo", found.get("restore-sdk restore, the whole command"), 1.5, unit="s")


def _at_least(name: str, found: list[float]) -> Target:
    """That the one is at least as fast as the other."""
    return Target(name, statistics.median(found) if found else None, 1.0, True, highest=max(found, default=None))
