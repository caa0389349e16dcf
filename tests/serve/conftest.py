"""A service in a process of its own, and what tests send to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
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

from benchmarks.processes import ROOT
from benchmarks.serve import BOUNDARY, multipart
from restore_sdk.bundle import Bundle
from tests.conftest import make_photo
from tests.serve.launch import LET_GO

MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


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
        """Status and type, after a look at the form that every refusal has."""
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
        self.url = self.wait_for(lambda line: line.get("event") == "listening")["url"]
        self.port = urlsplit(self.url).port

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.stray.append(line)

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 30) -> dict[str, Any]:
        """The first line of the log that is wanted, which may be still to come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.log:
                if wanted(line):
                    return line
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.stray}"
            time.sleep(0.02)
        raise AssertionError(f"no such line in {self.log}")

    def ask(
        self, method: str, path: str, body: Any = None, timeout: float = 60, host: str = "127.0.0.1", **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection(host, self.port, timeout=timeout)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def restore(self, photo: bytes, mask: bytes, *, more: dict[str, bytes] | None = None, **headers: str) -> Answer:
        """A multipart request."""
        body = multipart({"photo": photo, "mask": mask})
        for name, value in (more or {}).items():
            field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
            body = field + body
        return self.ask("POST", "/v1/restore", body, content_type=MULTIPART, **headers)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def metric(self, name: str) -> float:
        """A sample of ``/metrics``, by its name with labels; 0 where there is none."""
        for line in self.ask("GET", "/metrics").body.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def wait_for_metric(self, name: str, value: float, seconds: float = 30) -> None:
        """Until a sample of ``/metrics`` is as large as that."""
        until = time.monotonic() + seconds
        while (seen := self.metric(name)) < value:
            assert time.monotonic() < until, f"{name} is {seen}"
            time.sleep(0.02)

    def let_go(self) -> None:
        """Let the model of ``launch`` go on with what it holds, from now on."""
        assert self._gate is not None
        self._gate.touch()

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(kind)
        return self.process.wait(60)

    @contextlib.contextmanager
    def until_end(self) -> Iterator[Service]:
        try:
            yield self
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stderr is not None
            self.process.stderr.close()


Launch = Callable[..., contextlib.AbstractContextManager[Service]]


def start(*arguments: str, gate: Path | None = None) -> contextlib.AbstractContextManager[Service]:
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **({} if gate is None else {LET_GO: str(gate)})},
    )
    return Service(process, gate).until_end()


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


def encoded(picture: NDArray[Any], suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1])


def decoded(data: bytes) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def pair(height: int = 256, width: int = 256, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A photograph (BGR) and a mask."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : height // 2, width // 4 : width // 2] = 255
    return np.ascontiguousarray(make_photo(height, width, seed)[..., ::-1]), mask


def files(height: int = 256, width: int = 256, seed: int = 0) -> tuple[bytes, bytes]:
    photo, mask = pair(height, width, seed)
    return encoded(photo), encoded(mask)
