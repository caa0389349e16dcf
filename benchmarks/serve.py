"""Load on a real ``restore-sdk serve``: more clients than it takes, mixed photographs, every answer checked.

What it accepts must be right, the rest is told when to come again, its memory stays, and then it answers as before.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from benchmarks import ROOT
from restore_sdk import Bundle, RestoreEngine
from restore_sdk.errors import ExecutionError
from restore_sdk.files import open_photo, read_mask
from restore_sdk.measure.timing import percentiles

BOUNDARY = "restore-sdk-boundary"

#: How far the service's memory may have grown from a third of the time to the end.
GROWTH = 0.05

#: Seconds after the load within which a single request must be answered.
RECOVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and the one right answer to it."""

    name: str
    body: bytes
    content_type: str
    answer: bytes


@dataclass(slots=True)
class Load:
    """What the clients met.

    Attributes:
        seconds: of the requests answered 200.
        resident_mb: memory of the service after a third of the time, and at the end.
        open_files: before and after.
    """

    clients: int
    duration: float
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    resident_mb: tuple[float, float] = (0.0, 0.0)
    open_files: tuple[float, float] = (0.0, 0.0)

    @property
    def growth(self) -> float:
        """Memory at the end against that after a third of the time, less one; 0 for less than half a minute."""
        return self.resident_mb[1] / self.resident_mb[0] - 1 if self.duration > 30 and self.resident_mb[0] else 0.0

    @property
    def passed(self) -> bool:
        """No wrong picture, no broken connection, no status but 200 and 503, memory and files as they were."""
        answered = set(self.statuses) <= {200, 503} and self.statuses[200] > 0
        kept = self.growth <= GROWTH and self.open_files[1] <= self.open_files[0] + 8
        return answered and kept and not (self.wrong or self.broken)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "passed": self.passed,
            "clients": self.clients,
            "duration_s": round(self.duration, 2),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "answers_per_s": round(self.statuses[200] / self.duration, 2),
            "ms": percentiles([1e3 * each for each in self.seconds]) if self.seconds else {},
            "resident_mb": [round(size, 1) for size in self.resident_mb],
            "growth_percent": round(100 * self.growth, 2),
            "open_files": list(self.open_files),
            "wrong": self.wrong[:5],
            "broken": self.broken[:5],
        }

    def to_table(self) -> str:
        """Lines for people."""
        lines = [f"{name:<16} {value}" for name, value in self.to_json().items() if name != "passed"]
        return "\n".join([*lines, "passed" if self.passed else "FAILED"])


def cases(bundle: Bundle, count: int = 12) -> list[Case]:
    """Photographs of several sizes, in colour and grey, PNG and JPEG, with what an engine here makes of them."""
    sizes = [(256, 256), (300, 260), (64, 48), (512, 384), (700, 900), (257, 255)]
    made = []
    with RestoreEngine(bundle) as engine:
        for number in range(count):
            height, width = sizes[number % len(sizes)]
            rng = np.random.default_rng(number)
            coarse = rng.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), dtype=np.uint8)
            photo, mask = cv2.resize(coarse, (width, height)), np.zeros((height, width), np.uint8)
            mask[height // 4 + number :, width // 5 + 2 * number :][: height // 4, : width // 5] = 255
            if number % 5 == 3:
                photo = np.ascontiguousarray(photo[..., 1])
            suffix = ".jpg" if number % 4 == 2 else ".png"
            parts = {"photo": bytes(cv2.imencode(suffix, photo)[1]), "mask": bytes(cv2.imencode(".png", mask)[1])}
            sent = open_photo(parts["photo"])
            restored = engine.restore(sent.eight, read_mask(parts["mask"]), color="bgr")
            content_type = f"multipart/form-data; boundary={BOUNDARY}"
            answer = sent.encode("answer.png", sent.with_restored(restored)).data
            made.append(Case(f"{number}: {width} x {height}", _multipart(parts), content_type, answer))
    return made


def _multipart(parts: dict[str, bytes]) -> bytes:
    body = b""
    for name, data in parts.items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        body += head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


@contextlib.contextmanager
def served(*options: str, bundle: Path | None = None) -> Iterator[str]:
    """The address of a ``restore-sdk serve`` in a process of its own, stopped by SIGTERM at the end."""
    command = [sys.executable, "-m", "restore_sdk", "serve", "--port", "0", *options]
    command += [] if bundle is None else ["--bundle", str(bundle)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    assert process.stderr is not None
    try:
        seen = []
        for line in process.stderr:
            seen.append(line)
            if '"event": "listening"' in line:
                break
        else:
            last = seen[-1].strip() if seen else "no output"
            raise ExecutionError(f"the service did not start: {last}", "run: restore-sdk serve")
        rest = threading.Thread(target=lambda stream: [None for _ in stream], args=(process.stderr,), daemon=True)
        rest.start()  # its log must not fill the pipe
        yield json.loads(line)["url"]
        process.terminate()
        if process.wait(60) != 0:
            raise ExecutionError(f"the service ended with {process.returncode}", "look at its log")
        rest.join()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def load(url: str, made: Sequence[Case], clients: int, seconds: float) -> Load:
    """Let ``clients`` ask one request after the other for ``seconds``; what was begun then is finished.

    Afterwards a single request must be answered, and right, as soon as before.
    """
    found, lock = Load(clients, seconds), threading.Lock()
    files = _metric(url, "process_open_fds")
    started = time.monotonic()
    until = started + seconds

    def client(number: int) -> None:
        connection = _connect(url)
        try:
            for turn in itertools.count(number):
                if time.monotonic() >= until:
                    return
                wait = _ask(connection, made[turn % len(made)], found, lock)
                time.sleep(max(0.0, min(wait, until - time.monotonic())))
        except Exception as error:  # an answer that cannot be read is broken, however it fails
            with lock:
                found.broken.append(f"client {number}: {type(error).__name__}: {error}")
        finally:
            connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 3)
    early = _metric(url, "process_resident_memory_bytes") / 1e6
    for thread in threads:
        thread.join()
    found.duration = time.monotonic() - started
    after = Load(1, RECOVERY_S)
    with contextlib.closing(_connect(url)) as connection:
        while not after.statuses[200] and time.monotonic() < until + RECOVERY_S:
            time.sleep(min(_ask(connection, made[0], after, lock), 0.1))
    if not after.statuses[200]:
        found.broken.append(f"no answer within {RECOVERY_S:g} s after the load: {dict(after.statuses)}")
    found.wrong += after.wrong
    found.resident_mb = early, _metric(url, "process_resident_memory_bytes") / 1e6
    found.open_files = files, _metric(url, "process_open_fds")
    return found


def _ask(connection: http.client.HTTPConnection, case: Case, found: Load, lock: threading.Lock) -> float:
    """Ask once and note the answer; seconds to wait before the next one."""
    started = time.perf_counter()
    connection.request("POST", "/v1/restore", case.body, {"Content-Type": case.content_type})
    answer = connection.getresponse()
    data = answer.read()
    duration = time.perf_counter() - started
    wait = answer.headers.get("Retry-After")
    with lock:
        found.statuses[answer.status] += 1
        if answer.status == 200:
            found.seconds.append(duration)
            if data != case.answer:
                found.wrong.append(f"{case.name} got another picture")
        elif answer.status == 503 and wait is None:
            found.broken.append("503 without Retry-After")
    return float(wait or 1) if answer.status == 503 else 0.0


def _connect(url: str) -> http.client.HTTPConnection:
    place = urlsplit(url)
    return http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)


def _metric(url: str, name: str) -> float:
    """One of the service's own figures; 0 where the system does not tell."""
    with contextlib.closing(_connect(url)) as connection:
        connection.request("GET", "/metrics")
        found = re.search(rf"^{name} (\S+)$", connection.getresponse().read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0
