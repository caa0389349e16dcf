"""Very many requests on one engine, from many threads: byte-equal to serial ones, and nothing grows."""

from __future__ import annotations

import itertools
import math
import os
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serve import picture
from restore_sdk import Bundle, RestoreEngine
from restore_sdk.measure.contender import run_name
from restore_sdk.runtime.select import Runtime

Pixels = NDArray[np.uint8]

#: Heights and widths of the photographs; each also in grey or with alpha.
SIZES = ((256, 256), (300, 260), (64, 48), (512, 384), (1, 9), (257, 255), (700, 900), (33, 400))

#: Share of the requests that counts as warm-up, and share at the end that is compared with what follows it.
WARM_UP, TAIL = 0.2, 0.2

#: After each of these all threads have ended, and the memory is looked at.
ROUNDS = 40

#: How far resident memory may have grown from then to the end.
GROWTH = 0.01


@dataclass(frozen=True, slots=True)
class Case:
    """A request and the one right answer to it."""

    image: Pixels
    mask: Pixels
    answer: Pixels


@dataclass(frozen=True, slots=True)
class Soak:
    """What was seen: memory in bytes by number of requests done, open files and threads before and after."""

    runtime: str
    requests: int
    threads: int
    seconds: float
    wrong: int
    errors: list[str]
    memory: list[tuple[int, int]]
    files: tuple[int, int]
    running: tuple[int, int]

    def median(self, start: float, end: float) -> float:
        """Median of the resident bytes in this part of the requests, as shares from 0 to 1."""
        part = [size for done, size in self.memory if start * self.requests <= done <= end * self.requests]
        return statistics.median(part) if part else 0.0

    @property
    def growth(self) -> float:
        """Resident memory at the end against that after the warm-up, less one; 0 where it was not looked at in both."""
        warm, end = self.median(WARM_UP, WARM_UP + TAIL), self.median(1 - TAIL, 1)
        return end / warm - 1 if warm and end else 0.0

    @property
    def passed(self) -> bool:
        """Every answer right; memory flat where it can be told; no file or thread more than before."""
        kept = self.files[1] <= self.files[0] and self.running[1] <= self.running[0]
        return not self.wrong and not self.errors and kept and self.growth <= GROWTH

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "passed": self.passed,
            "runtime": self.runtime,
            "requests": self.requests,
            "threads": self.threads,
            "seconds": round(self.seconds, 1),
            "requests_per_s": round(self.requests / self.seconds, 1),
            "wrong": self.wrong,
            "errors": self.errors[:5],
            "resident_mb_after_warm_up": round(self.median(WARM_UP, WARM_UP + TAIL) / 1e6, 2),
            "resident_mb_at_end": round(self.median(1 - TAIL, 1) / 1e6, 2),
            "growth_percent": round(100 * self.growth, 3),
            "open_files": list(self.files),
            "running_threads": list(self.running),
        }

    def to_table(self) -> str:
        """Lines for people."""
        facts = self.to_json()
        return "\n".join(
            (
                f"{self.requests} requests on {self.runtime} over {self.threads} threads in {self.seconds:.0f} s: "
                f"{self.wrong} differ from serial, {len(self.errors)} errors",
                f"resident: {facts['resident_mb_after_warm_up']} MB after the warm-up, "
                f"{facts['resident_mb_at_end']} MB at the end: {100 * self.growth:+.2f}% (at most {100 * GROWTH:g}%)",
                f"open files {self.files[0]} -> {self.files[1]}, threads {self.running[0]} -> {self.running[1]}: "
                f"{'passed' if self.passed else 'FAILED'}",
                *(f"  {text}" for text in self.errors[:5]),
            )
        )


def cases(engine: RestoreEngine, count: int = 24) -> list[Case]:
    """Photographs of mixed sizes and forms with what the engine makes of each, one after the other."""
    made = []
    for number in range(count):
        height, width = SIZES[number % len(SIZES)]
        image = picture(number, height, width)
        image = (image, np.ascontiguousarray(image[..., 0]), np.dstack((image, image[..., 1])))[
            number // len(SIZES) % 3
        ]
        mask = np.zeros((height, width), np.uint8)
        mask[height // 3 : height // 3 + max(1, height // 4), width // 4 : width // 4 + max(1, width // 3)] = 255
        made.append(Case(image, mask, engine.restore(image, mask)))
    return made


def soak(bundle: Bundle, requests: int, threads: int, slots: int = 2, runtime: Runtime = "auto") -> Soak:
    """Let ``threads`` threads share one engine until ``requests`` were answered; every fourth time as a batch of three.

    They work in :data:`ROUNDS` rounds. After each one all of them have ended, and the memory is looked at: what
    requests hold while they are on their way, here more and there less, is not in it.
    """
    with RestoreEngine(bundle, runtime=runtime, slots=slots, threads=1) as engine:
        name = run_name(engine.info())
        made = cases(engine)
        before = _open_files(), threading.active_count()
        memory: list[tuple[int, int]] = []
        numbers, lock = itertools.count(), threading.Lock()
        wrong, errors, done = [0], [], [0]

        def work(enough: int) -> None:
            while done[0] < enough:
                try:
                    bad, size = _ask(engine, made, next(numbers))
                except Exception as error:
                    bad, size = 0, 1
                    errors.append(f"{type(error).__name__}: {error}")
                with lock:
                    wrong[0] += bad
                    done[0] += size

        started = time.monotonic()
        for number in range(1, ROUNDS + 1):
            enough = math.ceil(number * requests / ROUNDS)
            pool = [threading.Thread(target=work, args=(enough,)) for _ in range(threads)]
            for thread in pool:
                thread.start()
            for thread in pool:
                thread.join()
            memory.append((done[0], _resident()))
        seconds = time.monotonic() - started
        after = _open_files(), threading.active_count()
    files, running = zip(before, after, strict=True)
    return Soak(name, done[0], threads, seconds, wrong[0], errors, memory, files, running)


def _ask(engine: RestoreEngine, made: Sequence[Case], turn: int) -> tuple[int, int]:
    """One call; how many of its answers differ, and how many they are."""
    chosen = [made[(7 * turn + step) % len(made)] for step in range(3 if turn % 4 == 0 else 1)]
    if len(chosen) == 1:
        answers = [engine.restore(chosen[0].image, chosen[0].mask)]
    else:
        answers = engine.restore_batch([case.image for case in chosen], [case.mask for case in chosen])
    return sum(not np.array_equal(one, case.answer) for one, case in zip(answers, chosen, strict=True)), len(chosen)


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
