"""Load on a real ``restore-sdk serve``: many clients, mixed photographs, every answer checked against its own."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.processes import ROOT, MeasurementError
from restore_sdk import Bundle, RestoreEngine
from restore_sdk.files import open_photo, read_mask

Pixels = NDArray[np.uint8]
BOUNDARY = "restore-sdk-boundary"


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and the one right answer to it."""

    name: str
    body: bytes
    content_type: str
    answer: bytes


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients met; ``seconds`` are of the requests answered 200, sorted."""

    clients: int
    duration: float
    statuses: Counter[int]
    seconds: list[float]
    wrong: list[str]
    broken: list[str]
    without_retry_after: int

    @property
    def passed(self) -> bool:
        """No wrong picture, no broken connection, no status but 200 and a 503 that says when to come again."""
        sound = set(self.statuses) <= {200, 503} and self.statuses[200] > 0
        return sound and not (self.wrong or self.broken or self.without_retry_after)

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the answers came."""
        return self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))] if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "passed": self.passed,
            "clients": self.clients,
            "duration_s": round(self.duration, 2),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "answers_per_s": round(self.statuses[200] / self.duration, 2),
            "p50_ms": round(1e3 * self.percentile(0.50), 1),
            "p95_ms": round(1e3 * self.percentile(0.95), 1),
            "p99_ms": round(1e3 * self.percentile(0.99), 1),
            "wrong": self.wrong[:5],
            "broken": self.broken[:5],
            "503_without_retry_after": self.without_retry_after,
        }

    def to_table(self) -> str:
        """Lines for people."""
        facts = self.to_json()
        statuses = ", ".join(f"{count} x {status}" for status, count in facts["statuses"].items())
        return "\n".join(
            (
                f"{self.clients} clients, {self.duration:.0f} s: {statuses}; {facts['answers_per_s']} answers a second",
                f"p50 {facts['p50_ms']} ms, p95 {facts['p95_ms']} ms, p99 {facts['p99_ms']} ms",
                f"{len(self.wrong)} wrong, {len(self.broken)} broken: {'passed' if self.passed else 'FAILED'}",
                *(f"  {text}" for text in (*self.wrong[:5], *self.broken[:5])),
            )
        )


def cases(bundle: Bundle, count: int = 12) -> list[Case]:
    """Photographs of several sizes and forms, in both content types, with what an engine here makes of them."""
    sizes = [(256, 256), (300, 260), (64, 48), (512, 384), (700, 900), (257, 255)]
    made = []
    with RestoreEngine(bundle) as engine:
        for number in range(count):
            height, width = sizes[number % len(sizes)]
            photo, mask = picture(number, height, width), np.zeros((height, width), np.uint8)
            y, x = height // 4 + number, width // 5 + 2 * number
            mask[y : y + height // 4, x : x + width // 5] = 255
            if number % 5 == 3:
                photo = np.ascontiguousarray(photo[..., 1])
            lossy = number % 4 == 2
            parts = {"photo": _encoded(photo, ".jpg" if lossy else ".png"), "mask": _encoded(mask, ".png")}
            sent = open_photo(parts["photo"])
            restored = engine.restore(sent.eight, read_mask(parts["mask"]), color="bgr")
            answer = sent.encode("answer.png", sent.with_restored(restored)).data
            name = f"{number}: {width} x {height}"
            if number % 3 == 1:
                text = json.dumps({key: base64.b64encode(data).decode() for key, data in parts.items()})
                made.append(Case(name, text.encode(), "application/json", answer))
            else:
                made.append(Case(name, multipart(parts), f"multipart/form-data; boundary={BOUNDARY}", answer))
    return made


def multipart(parts: dict[str, bytes]) -> bytes:
    """Files as a multipart/form-data body."""
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
            raise MeasurementError(f"the service did not start: {seen[-1].strip() if seen else 'no output'}")
        rest = threading.Thread(target=lambda stream: [None for _ in stream], args=(process.stderr,), daemon=True)
        rest.start()  # its log must not fill the pipe
        yield json.loads(line)["url"]
        process.terminate()
        if process.wait(60) != 0:
            raise MeasurementError(f"the service ended with {process.returncode}")
        rest.join()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def load(url: str, made: Sequence[Case], clients: int, seconds: float) -> Load:
    """Let ``clients`` ask one request after the other for ``seconds``; what was begun then is finished."""
    place = urlsplit(url)
    lock = threading.Lock()
    found = Load(clients, seconds, Counter(), [], [], [], 0)
    missing = 0
    until = time.monotonic() + seconds

    def client(number: int) -> None:
        nonlocal missing
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        turn = number
        try:
            while time.monotonic() < until:
                case = made[turn % len(made)]
                turn += 1
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
                        if image_of(case, data) != case.answer:
                            found.wrong.append(f"{case.name} got another picture")
                    elif answer.status == 503 and wait is None:
                        missing += 1
                if answer.status == 503:
                    time.sleep(min(float(wait or 1), max(0.0, until - time.monotonic())))
        except Exception as error:  # an answer that cannot be read is broken, however it fails
            with lock:
                found.broken.append(f"client {number}: {type(error).__name__}: {error}")
        finally:
            connection.close()

    started = time.monotonic()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    duration = time.monotonic() - started
    return Load(clients, duration, found.statuses, sorted(found.seconds), found.wrong, found.broken, missing)


def image_of(case: Case, data: bytes) -> bytes:
    """The picture in an answer to ``case``."""
    return base64.b64decode(json.loads(data)["image"]) if case.content_type == "application/json" else data


def picture(seed: int, height: int, width: int) -> Pixels:
    """A smooth picture of random colours, ``(height, width, 3)``."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), dtype=np.uint8)
    picture: Pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture


def _encoded(picture: Pixels, suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1])
