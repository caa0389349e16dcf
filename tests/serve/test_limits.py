"""Limits on size, time and number, faults, the end of the service, and who may use it: over real HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.serve.settings import Settings
from tests.attacks.caught import error_of
from tests.serve.conftest import MULTIPART, Launch, Service, encoded, files, form, pair, start
from tests.serve.launch import FAILS, FAULT, HELD

TOKEN = "a-long-secret-word"
LEFT = 'restore_requests_total{route="/v1/restore",status="499"}'


def upload(width: int = 256) -> bytes:
    photo, mask = files(40, width)
    return form(photo=photo, mask=mask)


def test_a_large_body_is_refused_and_the_client_can_read_it(launch: Launch) -> None:
    with launch(max_body_bytes=100_000) as service:
        with service.connect() as connection:  # unread, where its length is told
            head = f"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
            connection.sendall(head.encode() + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
        assert service.post(b"x" * 8_000_000).error == (413, "TooLarge")
        body = form(photo=b"x" * 5_000_000)
        pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))  # counted while they come
        assert service.post(pieces).error == (413, "TooLarge")
        assert service.restore(*files(32, 32)).status == 200


def test_a_slow_upload(launch: Launch) -> None:
    with launch(upload_s=2.0) as service:
        with service.upload(upload(), sent=10) as connection:
            started = time.monotonic()
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
            assert time.monotonic() - started < 20  # its own limit, not one of half a minute
        assert service.restore(*files()).status == 200


def test_a_full_service(launch: Launch) -> None:
    with launch(max_requests=2, workers=1) as service, ThreadPoolExecutor(6) as pool:
        running = [pool.submit(service.post, upload(HELD)) for _ in range(6)]
        refused = [each.result() for each in islice(as_completed(running), 4)]
        service.let_go()
        for answer in refused:
            assert answer.error == (503, "Busy")
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert sorted(each.result().status for each in running) == [200, 200, 503, 503, 503, 503]
        assert service.restore(*files()).status == 200


def test_an_answer_that_takes_too_long(launch: Launch) -> None:
    with launch(request_s=2.0, workers=1, max_requests=1) as service:
        assert service.post(upload(HELD)).error == (504, "TooLong")
        # the model still has it, so its place is not given away yet
        assert service.post(upload()).error == (503, "Busy")
        service.let_go()
        service.wait_for_metric("restore_requests_inside", lambda inside: inside == 0)
        assert service.post(upload()).status == 200


def test_a_client_that_leaves_is_taken_out_of_the_queue(launch: Launch) -> None:
    with launch(workers=1) as service:
        for gone in range(4):  # the model has the first one
            with service.upload(upload(HELD)):
                service.wait_until_waiting(1) if gone else service.wait_until_running()
            service.wait_for_metric(LEFT, lambda count, gone=gone: count > gone)  # type: ignore[misc]
        assert service.metric("restore_requests_waiting") == 0, "let go of at once, not when its turn comes"
        assert service.metric("restore_requests_inside") == 1  # the one that the model has
        with service.upload(upload(HELD), sent=100):
            pass
        service.wait_for_metric(LEFT, lambda count: count == 5)
        service.let_go()
        assert service.post(upload()).status == 200
        assert service.metric('restore_part_seconds_count{part="repair"}') == 2  # the one that it had, and this one
        assert service.metric("restore_requests_inside") == 0


def test_a_fault_of_the_model_stays_inside_and_shows_in_readiness(launch: Launch) -> None:
    with launch() as service:
        for width, error in ((FAILS, (500, "ExecutionError")), (FAULT, (500, "InternalError"))):
            assert service.ask("GET", "/readyz").status == (200 if width == FAILS else 503)
            answer = service.post(upload(width))
            assert answer.error == error
            assert b"secret" not in answer.body
        failed = service.wait_for(event="restoration_failed")
        assert failed["level"] == "error"
        assert "secret" in failed["traceback"]
        assert service.ask("GET", "/readyz").error == (503, "NotReady")  # a fault of ours says nothing of the model
        service.let_go()
        assert service.ask("GET", "/readyz").status == 200  # it tried the model itself, which works again
        assert service.post(upload()).status == 200


def test_everybody_gets_his_own(launch: Launch, engine: RestoreEngine) -> None:
    with launch(workers=3) as service, ThreadPoolExecutor(12) as pool:
        pairs = [pair(100 + 10 * seed, 120, seed) for seed in range(12)]
        answers = pool.map(lambda each: service.restore(encoded(each[0]), encoded(each[1])), pairs)
        for (photo, mask), answer in zip(pairs, answers, strict=True):
            assert np.array_equal(answer.image(), engine(photo, mask, color="bgr"))


def test_requests_not_served_by_the_end_of_the_grace_get_an_answer(launch: Launch) -> None:
    with launch(workers=1, grace_s=1.0) as service, ThreadPoolExecutor(3) as pool:
        running = [pool.submit(service.post, upload(HELD)) for _ in range(2)]
        service.wait_until_waiting(1)
        stopped = pool.submit(service.stop)
        assert [answer.result().error for answer in running] == [(503, "Stopping")] * 2
        service.let_go()
        assert stopped.result() == 0
        assert {line["status"] for line in service.log if line.get("route") == "/v1/restore"} == {503}


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_finish_when_it_is_stopped(launch: Launch, kind: signal.Signals) -> None:
    with launch(workers=1) as service, ThreadPoolExecutor(3) as pool:
        running = [pool.submit(service.post, upload(HELD)) for _ in range(2)]
        service.wait_until_waiting(1)
        stopped = pool.submit(service.stop, kind)
        while error_of(ConnectionError, service.ask, "GET", "/healthz") is None:
            time.sleep(0.02)  # until it takes no more
        service.let_go()
        assert stopped.result() == 0
        assert [answer.result().status for answer in running] == [200, 200]
        assert not service.stray


@pytest.fixture(scope="module")
def secured(toy_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With a token and a page."""
    gate = tmp_path_factory.mktemp("gate") / "let-go"
    with start("tests.serve.launch", str(toy_bundle.path), f"token={TOKEN}", "ui=1", gate=gate) as service:
        yield service
        assert TOKEN not in json.dumps(service.log)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/restore"), ("GET", "/v1/info"), ("GET", "/metrics")])
def test_who_may_use_it(secured: Service, method: str, path: str) -> None:
    body = upload() if method == "POST" else None
    known = {"authorization": f"Bearer {TOKEN}", "content_type": MULTIPART}
    for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        answer = secured.ask(method, path, body, **given)
        assert answer.error == (401, "Unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert secured.ask(method, path, body, **known).status == 200
    assert secured.ask(method, path, body, host="localhost", **known).status == 200
    own = f"http://127.0.0.1:{secured.port}"
    for headers, error in (
        ({"Host": "evil.example"}, (421, "WrongHost")),
        ({"Sec_Fetch_Site": "cross-site"}, (403, "OtherSite")),
        ({"Sec_Fetch_Site": "same-origin"}, None),
        # without TLS, to a host that is not this one, browsers send an Origin alone
        ({"Origin": "http://evil.example"}, (403, "OtherSite")),
        ({"Origin": "null"}, (403, "OtherSite")),
        ({"Origin": own}, None),
    ):
        answer = secured.ask(method, path, body, **known, **headers)
        assert (None if answer.status == 200 else answer.error) == error


def test_what_anybody_may_see(secured: Service) -> None:
    for path in ("/", "/page/page.js", "/openapi.json", "/healthz", "/readyz"):
        assert secured.ask("GET", path).status == 200
        assert secured.ask("GET", path, Host="10.0.0.7").status == 200  # as orchestrators ask
    assert secured.ask("GET", "/openapi.json").json()["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


@pytest.mark.parametrize(
    ("settings", "header", "accepted"),
    [
        ({}, "localhost:8000", True),
        ({}, "[::1]:8000", True),
        ({}, "printer.lan", False),
        ({}, "", False),
        ({"host": "0.0.0.0"}, "printer.lan", True),
        ({"host": "0.0.0.0", "allowed_hosts": ("a.Example", "[::1]")}, "A.example:80", True),
        ({"host": "0.0.0.0", "allowed_hosts": ("a.example", "[::1]")}, "[::1]:80", True),
        ({"host": "0.0.0.0", "allowed_hosts": ("a.example",)}, "b.example", False),
    ],
)
def test_names_of_the_service(settings: dict[str, object], header: str, accepted: bool) -> None:
    assert Settings.model_validate(settings).accepts_host(header) is accepted


def test_log_and_metrics(service: Service) -> None:
    before = service.metric('restore_requests_total{route="/v1/restore",status="200"}')
    service.post(upload(), X_Request_ID="my-own.1")
    line = service.wait_for(id="my-own.1")
    assert (line["status"], line["pixels"], line["route"]) == (200, 40 * 256, "/v1/restore")
    assert line["parts"]["repair"] > 0
    assert max(len(json.dumps(line)) for line in service.log) < 3000
    assert service.ask("GET", "/healthz", X_Request_ID="new\tline").headers["X-Request-ID"] != "new\tline"
    assert service.metric('restore_requests_total{route="/v1/restore",status="200"}') == before + 1
    assert service.metric('restore_part_seconds_count{part="repair"}') > 0
    service.ask("GET", "/a-path-of-a-scanner")
    assert "scanner" not in service.ask("GET", "/metrics").body.decode()


@pytest.mark.parametrize("options", [(), ("--log-format", "json")])
def test_on_a_terminal_the_log_is_text(options: tuple[str, ...], toy_bundle: Bundle) -> None:
    ours, theirs = os.openpty()
    start = [sys.executable, "-m", "restore_sdk", "serve", "--port", "0", "--bundle", str(toy_bundle.path), *options]
    process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    with process, open(ours, errors="replace") as terminal:
        runtime, address = (next(terminal).strip() for _ in range(2))
        process.kill()
    if options:
        assert json.loads(address)["event"] == "listening"
    else:
        assert runtime.startswith("info: runtime onnxruntime (auto: ")
        assert re.fullmatch(r"info: serving at http://127\.0\.0\.1:\d+ \(Ctrl-C ends it\)", address)


def test_what_ends_the_command_before_it_serves(
    service: Service, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").touch()
    monkeypatch.chdir(tmp_path)

    def ended(*options: str, code: int = 2) -> str:
        assert cli.main(["serve", *options]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.splitlines()[1].startswith("  hint: ")
        return captured.err

    for options, message in (
        (("--max-megapixels", "0"), "--max-megapixels"),
        (("--timeout", "-1"), "request_s: "),
        (("--also", "default"), "two models have one name"),
        (("--token-file", "empty"), "the token file empty is empty"),
        (("--token-file", "none"), "the token cannot be read"),
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1"),
        (("--host", "no.host\u2026"), "cannot listen on no.host"),
        (("--port", str(service.port)), f"cannot listen on 127.0.0.1 port {service.port}"),
    ):
        assert message in ended(*options)
    monkeypatch.setenv("RESTORE_SDK_TOKEN", "short")
    assert "short" not in ended()
    monkeypatch.setenv("RESTORE_SDK_TOKEN", "")  # is not taken for none
    assert "RESTORE_SDK_TOKEN is set, but empty" in ended()
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # without the extra
    for name in [name for name in sys.modules if name.startswith("restore_sdk.serve")]:
        monkeypatch.delitem(sys.modules, name)
    assert "[serve]'" in ended(code=3)
