"""A service in a process of its own, and what tests send to it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk.bundle import Bundle
from tests.conftest import make_photo
from tests.needs import unavailable
from tests.serve.launch import LET_GO

ROOT = Path(__file__).resolve().parents[2]
BOUNDARY = b"a-boundary"
MULTIPART, JSON = f"multipart/form-data; boundary={BOUNDARY.decode()}", "application/json"
END = b"--" + BOUNDARY + b"--\r\n"


def part(name: bytes, data: bytes, filename: bytes | None = None, more: bytes = b"") -> bytes:
    """A part of a multipart body; without a file's name it is a text."""
    head = b'Content-Disposition: form-data; name="' + name + b'"'
    head += b"" if filename is None else b'; filename="' + filename + b'"'
    return b"--" + BOUNDARY + b"\r\n" + head + more + b"\r\n\r\n" + data + b"\r\n"


def form(*parts: bytes, **named: bytes) -> bytes:
    """A multipart body: parts, then texts and files by their names."""
    more = (part(name.encode(), data, b"a" if name in ("photo", "mask") else None) for name, data in named.items())
    return b"".join((*parts, *more, END))


def encoded(picture: NDArray[Any], suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1])


def decoded(data: bytes | str) -> NDArray[np.uint8]:
    """An image file, or one in base64, as OpenCV reads it."""
    data = base64.b64decode(data) if isinstance(data, str) else data
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def pair(height: int = 256, width: int = 256, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A photograph (BGR) and a mask."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : height // 2, width // 4 : width // 2] = 255
    return np.ascontiguousarray(make_photo(height, width, seed)[..., ::-1]), mask


def files(height: int = 256, width: int = 256) -> tuple[bytes, bytes]:
    photo, mask = pair(height, width)
    return encoded(photo), encoded(mask)


class Answer:
    """Status, headers and body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self) -> Any:
        return json.loads(self.body)

    def image(self) -> NDArray[np.uint8]:
        assert self.status == 200, self.body[:500]
        return decoded(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and type, after a look at the form that every problem has."""
        error = self.json()["error"]
        assert set(error) == {"type", "message", "hint", "status"}
        assert error["status"] == self.status
        assert error["message"]
        assert error["hint"]
        return self.status, error["type"]


class Service:
    """A running service: its address, its log, its end."""

    def __init__(self, process: subprocess.Popen[str], gate: Path | None = None) -> None:
        self.process, self._gate = process, gate
        self.log: list[dict[str, Any]] = []
        self.stray: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.wait_for(event="listening")["url"]
        self.port = urlsplit(self.url).port

    def _read(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(ValueError):  # the test closes it at the end, while this thread may still read
            for line in self.process.stderr:
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.stray.append(line)

    def wait_for(self, seconds: float = 30, **wanted: Any) -> dict[str, Any]:
        """The first line of the log with these facts, which may be still to come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.log:
                if wanted.items() <= line.items():
                    return line
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.stray}"
            time.sleep(0.02)
        raise AssertionError(f"no {wanted} in {self.log}")

    def ask(self, method: str, path: str, body: Any = None, host: str = "127.0.0.1", **headers: str) -> Answer:
        connection = http.client.HTTPConnection(host, self.port, timeout=60)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named, encode_chunked=not isinstance(body, bytes | None))
            return Answer(connection.getresponse())

    def post(self, body: Any, content_type: str = MULTIPART, **headers: str) -> Answer:
        return self.ask("POST", "/v1/restore", body, content_type=content_type, **headers)

    def restore(self, photo: bytes, mask: bytes, **texts: bytes) -> Answer:
        """A multipart request."""
        return self.post(form(photo=photo, mask=mask, **texts))

    def restore_json(self, photo: bytes, mask: bytes, **texts: bytes) -> Any:
        """The same, answered in JSON."""
        answer = self.post(form(photo=photo, mask=mask, **texts), accept=JSON)
        assert answer.status == 200, answer.body[:500]
        return answer.json()

    @contextlib.contextmanager
    def upload(self, body: bytes, sent: int | None = None) -> Iterator[socket.socket]:
        """A bare connection that has sent so much of a multipart request's body, all unless told otherwise."""
        head = f"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
        with self.connect() as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:sent])
            yield connection

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def metric(self, name: str) -> float:
        """A sample of ``/metrics``, by its name with labels; 0 where there is none."""
        for line in self.ask("GET", "/metrics").body.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def wait_for_metric(self, name: str, wanted: Callable[[float], bool]) -> None:
        until = time.monotonic() + 30
        while not wanted(seen := self.metric(name)):
            assert time.monotonic() < until, f"{name} is {seen}"
            time.sleep(0.02)

    def wait_until_running(self) -> None:
        """Until a worker has a request."""
        self.wait_for_metric('restore_part_seconds_count{part="wait"}', lambda count: count >= 1)

    def wait_until_waiting(self, count: int) -> None:
        """Until so many requests wait in the queue."""
        self.wait_for_metric("restore_requests_waiting", lambda waiting: waiting >= count)

    def let_go(self) -> None:
        """Let the model of ``launch`` go on with what it holds, from now on."""
        assert self._gate is not None
        self._gate.touch()

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(kind)
        return self.process.wait(60)


Launch = Callable[..., contextlib.AbstractContextManager[Service]]


@contextlib.contextmanager
def start(*arguments: str, gate: Path | None = None) -> Iterator[Service]:
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **({} if gate is None else {LET_GO: str(gate)})},
    )
    with process:
        try:
            yield Service(process, gate)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        unavailable("no Chromium on this host: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--force-color-profile=srgb"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=flags) as browser:
        yield browser


@pytest.fixture(scope="session")
def service(toy_bundle: Bundle) -> Iterator[Service]:
    """The command itself, with its page, on the toy bundle."""
    with start("restore_sdk", "serve", "--port", "0", "--ui", "--bundle", str(toy_bundle.path)) as service:
        yield service
        assert service.stop() == 0
        assert not service.stray


@pytest.fixture
def launch(toy_bundle: Bundle, tmp_path: Path) -> Launch:
    """Starts a service with a moody engine: ``with launch(max_requests=2) as service``."""

    def launched(**settings: object) -> contextlib.AbstractContextManager[Service]:
        pairs = [f"{name}={value}" for name, value in settings.items()]
        return start("tests.serve.launch", str(toy_bundle.path), *pairs, gate=tmp_path / "let-go")

    return launched
