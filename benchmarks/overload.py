"""A real ``restore-sdk serve`` asked for twice what it can do: what is accepted comes in time, the rest is told.

First its capacity is measured: answers a second to a few clients that wait for each. Then requests come at twice that
rate whether it answers or not, while its memory and its health are watched. Then it is left alone, and how soon a
single request is answered, right and about as quickly as before, tells whether it recovers.
"""

from __future__ import annotations

import http.client
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks.processes import MeasurementError
from benchmarks.serve import Case, image_of, load

#: What is accepted must be answered within this many times what a full house takes at the capacity, and a second.
PATIENCE = 2.0

#: How far the service's resident memory may have grown from the second third of the time to the last.
GROWTH = 0.05

#: Seconds within which a single request is quick again.
RECOVERY_S = 5.0

#: A single request is quick again within so many times what it took before, and so many seconds more.
QUICK, QUICK_S = 2.0, 0.1

#: Seconds between two looks at the memory.
WATCH_S = 0.5


@dataclass(slots=True)
class Overload:
    """What was seen; seconds of what was answered 200, memory in bytes by second."""

    places: int
    capacity: float
    offered: float
    duration: float
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    broken: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    unhealthy: int = 0
    recovered: float = 0.0
    files: tuple[float, float] = (0.0, 0.0)

    @property
    def limit(self) -> float:
        """Seconds within which what is accepted must be answered."""
        return 1.0 + PATIENCE * self.places / self.capacity

    @property
    def growth(self) -> float:
        """The most memory in the last third of the time against that in the second, less one."""
        thirds: list[list[float]] = [[], [], []]
        for at, size in self.memory:
            thirds[min(2, int(3 * at / self.duration))].append(size)
        return max(thirds[2], default=0.0) / max(thirds[1], default=1.0) - 1

    @property
    def passed(self) -> bool:
        """No wrong answer, no broken connection, in time, bounded, and well again afterwards."""
        sound = set(self.statuses) <= {200, 503} and self.statuses[200] > 0 and self.statuses[503] > 0
        quick = bool(self.seconds) and max(self.seconds) <= self.limit and self.recovered <= RECOVERY_S
        return sound and quick and not (self.wrong or self.broken or self.unhealthy) and self.growth <= GROWTH

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        ordered = sorted(self.seconds) or [0.0]
        sizes = [size for _, size in self.memory] or [0.0]
        return {
            "passed": self.passed,
            "places": self.places,
            "capacity_per_s": round(self.capacity, 1),
            "offered_per_s": round(self.offered, 1),
            "duration_s": round(self.duration, 1),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "accepted_p50_s": round(ordered[len(ordered) // 2], 3),
            "accepted_p99_s": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 3),
            "accepted_max_s": round(ordered[-1], 3),
            "limit_s": round(self.limit, 3),
            "resident_mb": [round(min(sizes) / 1e6, 1), round(max(sizes) / 1e6, 1)],
            "growth_percent": round(100 * self.growth, 2),
            "unhealthy": self.unhealthy,
            "recovered_s": round(self.recovered, 2),
            "open_files": list(self.files),
            "wrong": self.wrong,
            "broken": self.broken[:5],
        }

    def to_table(self) -> str:
        """Lines for people."""
        facts = self.to_json()
        statuses = ", ".join(f"{count} x {status}" for status, count in facts["statuses"].items())
        low, high = facts["resident_mb"]
        return "\n".join(
            (
                f"{facts['offered_per_s']} requests a second for {self.duration:.0f} s, {self.places} places, "
                f"capacity {facts['capacity_per_s']}: {statuses}",
                f"accepted: p50 {facts['accepted_p50_s']} s, p99 {facts['accepted_p99_s']} s, "
                f"most {facts['accepted_max_s']} s (limit {facts['limit_s']} s)",
                f"{self.wrong} wrong, {len(self.broken)} broken, {self.unhealthy} times no metrics",
                f"resident {low} to {high} MB, {facts['growth_percent']:+}% in the last third",
                f"well again after {self.recovered:.1f} s: {'passed' if self.passed else 'FAILED'}",
                *(f"  {text}" for text in self.broken[:5]),
            )
        )


def overload(url: str, made: Sequence[Case], places: int, seconds: float, factor: float = 2.0) -> Overload:
    """Measure the capacity, ask for ``factor`` times that for ``seconds``, and see how soon it is well again.

    Args:
        url: of a service that takes ``places`` requests at a time.
        made: requests with their answers.
    """
    status, idle, right = _ask(url, made[0])
    if status != 200 or not right:
        raise MeasurementError(f"the idle service answered {status}, {'right' if right else 'and a wrong picture'}")
    probed = load(url, made, places, max(2.0, seconds / 20))  # as many as it takes keep all of it busy
    if not probed.statuses[200]:
        raise MeasurementError(f"the service answered nothing: {dict(probed.statuses)}")
    capacity = probed.statuses[200] / probed.duration
    found = Overload(places, capacity, factor * capacity, seconds)
    files = _metric(url, "process_open_fds")
    found.files = files, files
    _storm(url, made, found)
    started = time.monotonic()
    while not _well(url, made[0], QUICK * idle + QUICK_S) and time.monotonic() - started < 10 * RECOVERY_S:
        time.sleep(0.01)
    found.recovered = time.monotonic() - started
    try:
        found.files = files, _metric(url, "process_open_fds")
    except (OSError, http.client.HTTPException, MeasurementError) as error:  # it did not outlive the storm
        found.broken.append(f"no metrics afterwards: {error}")
    return found


def _storm(url: str, made: Sequence[Case], found: Overload) -> None:
    """Requests at the offered rate, each when its time has come."""
    started, numbers, lock = time.monotonic(), itertools.count(), threading.Lock()
    over = threading.Event()

    def client() -> None:
        while True:
            number = next(numbers)
            due = number / found.offered
            if due > found.duration:
                return
            time.sleep(max(0.0, started + due - time.monotonic()))
            try:
                status, seconds, right = _ask(url, made[number % len(made)])
            except Exception as error:  # an answer that cannot be read is broken, however it fails
                with lock:
                    found.broken.append(f"{type(error).__name__}: {error}")
                continue
            with lock:
                found.statuses[status] += 1
                if status == 200:
                    found.seconds.append(seconds)
                    found.wrong += not right

    def watch() -> None:
        while not over.wait(WATCH_S):
            try:
                found.memory.append((time.monotonic() - started, _metric(url, "process_resident_memory_bytes")))
            except (OSError, http.client.HTTPException, MeasurementError):
                found.unhealthy += 1

    # So many that some are free to ask even while every place of the house is taken by one that waits.
    clients = [threading.Thread(target=client) for _ in range(2 * found.places + 8)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *clients):
        thread.start()
    for thread in clients:
        thread.join()
    took = time.monotonic() - started
    over.set()
    watcher.join()
    found.offered = sum(found.statuses.values()) / took
    found.duration = took


def _well(url: str, case: Case, seconds: float) -> bool:
    try:
        status, took, right = _ask(url, case)
    except (OSError, http.client.HTTPException):
        return False
    return status == 200 and right and took <= seconds


def _ask(url: str, case: Case) -> tuple[int, float, bool]:
    """Status, seconds, and whether a 200 is the right picture."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
    try:
        started = time.perf_counter()
        connection.request("POST", "/v1/restore", case.body, {"Content-Type": case.content_type})
        answer = connection.getresponse()
        data = answer.read()
        seconds = time.perf_counter() - started
    finally:
        connection.close()
    if answer.status == 503 and answer.headers.get("Retry-After") is None:
        raise http.client.HTTPException("503 without Retry-After")
    return answer.status, seconds, answer.status != 200 or image_of(case, data) == case.answer


def _metric(url: str, name: str) -> float:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    if found is None:
        raise MeasurementError(f"the service tells no {name}")
    return float(found[1])
