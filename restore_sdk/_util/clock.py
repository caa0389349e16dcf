"""Where the time of a request goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall-clock milliseconds of one request, by part."""

    prepare_ms: float
    edge_ms: float
    repair_ms: float
    paste_ms: float
    wait_ms: float = 0.0

    @property
    def host_ms(self) -> float:
        """What is not the two stages: checks, crop, paste."""
        return self.prepare_ms + self.paste_ms

    @property
    def total_ms(self) -> float:
        """The whole request, with :attr:`wait_ms`: waiting for a free slot, and the slot's first set-up."""
        return self.host_ms + self.wait_ms + self.edge_ms + self.repair_ms


class Clock:
    """Adds up where the time of a request goes."""

    def __init__(self) -> None:
        self._ms = dict.fromkeys(("prepare", "edge", "repair", "paste", "wait"), 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what the block takes to the part."""
        started = time.perf_counter()
        yield
        self._ms[name] += 1e3 * (time.perf_counter() - started)

    def computed(self, edge_ms: float, repair_ms: float) -> None:
        """What the stages took was no waiting."""
        self._ms["edge"] += edge_ms
        self._ms["repair"] += repair_ms
        self._ms["wait"] -= edge_ms + repair_ms

    def timings(self) -> Timings:
        """The sums."""
        return Timings(**{f"{name}_ms": max(0.0, ms) for name, ms in self._ms.items()})
