"""Time, size, company and strangers: each limit over real HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serve as load
from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.errors import InputError, OutputError
from restore_sdk.serve import server
from restore_sdk.serve.settings import Settings
from tests.attacks.caught import error_of
from tests.serve.conftest import MULTIPART, Launch, Service, encoded, files, multipart, pair
from tests.serve.launch import FAILS, HELD, UNSOUND


def test_a_body_that_says_it_is_too_large_is_refused_unread(service: Service) -> None:
    with service.connect() as connection:
        head = f"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
        connection.sendall(head.encode() + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_large_body_is_refused_and_the_client_can_read_it(launch: Launch) -> None:
    with launch(max_body_bytes=100_000) as service:
        answer = service.ask("POST", "/v1/restore", b"x" * 8_000_000, content_type=MULTIPART)
        assert answer.error == (413, "TooLarge")
        # without a length beforehand, it is counted while it comes
        body = multipart({"photo": b"x" * 5_000_000})
        pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        connection.request("POST", "/v1/restore", pieces, {"Content-Type": MULTIPART}, encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()
        assert service.restore(*files(32, 32)).status == 200


def test_slow_clients(launch: Launch) -> None:
    with launch(upload_s=2.0) as service:
        body = multipart(dict(zip(("photo", "mask"), files(), strict=True)))
        with service.connect() as connection:
            head = f"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            for at in range(10):
                connection.sendall(body[at : at + 1])
                time.sleep(0.08)
            started = time.monotonic()
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
            assert time.monotonic() - started < 20  # its own limit, not one of half a minute
        assert service.restore(*files()).status == 200


def test_a_header_that_never_ends(toy_bundle: Bundle) -> None:
    code = "import tests.serve.launch as l, restore_sdk.serve.protocol as p; p.HEADER_S = 1.5; l.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(toy_bundle.path)], stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL
    )
    with Service(process).until_end() as service, service.connect() as silent, service.connect() as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(3):
            time.sleep(0.1)
            slow.sendall(b"X-More: 1\r\n")
        assert slow.recv(100) == b""
        assert silent.recv(100) == b""
        with service.connect() as quick:  # kept open between requests, as ever
            for _ in range(2):
                quick.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = b""
                while not answer.endswith(b"}"):
                    answer += quick.recv(1000)
                assert answer.startswith(b"HTTP/1.1 200 ")
                time.sleep(1.7)


def test_a_client_that_does_not_read_is_cut_off(launch: Launch) -> None:
    """Its photograph is noise, whose answer is larger than what the kernel keeps for a stalled connection."""
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), dtype=np.uint8)
    mask = np.zeros((1600, 1600), np.uint8)
    mask[100:200, 100:200] = 255
    body = multipart({"photo": encoded(noise, ".bmp"), "mask": encoded(mask)})
    with launch(request_s=8.0) as service, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.connect(("127.0.0.1", service.port))
        head = f"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        ended = service.wait_for(lambda line: line.get("route") == "/v1/restore")
        assert ended["status"] == 200
        handles, until = service.metric("process_open_fds"), time.monotonic() + 60
        while service.metric("process_open_fds") >= handles:
            assert time.monotonic() < until, "it was not cut off"
            time.sleep(0.1)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1_000_000):
                got += len(data)
        assert got < ended["bytes_out"]
        assert service.stop() == 0  # nothing hangs on it


def test_a_full_house(launch: Launch) -> None:
    with launch(max_requests=2, workers=1) as service, ThreadPoolExecutor(6) as pool:
        running = [pool.submit(service.restore, *files(40, HELD)) for _ in range(6)]
        answers = [each.result() for each in islice(as_completed(running), 4)]
        service.let_go()
        assert [answer.status for answer in answers] == [503] * 4
        answers = [each.result() for each in running]
        assert sorted(answer.status for answer in answers) == [200, 200, 503, 503, 503, 503]
        for answer in answers:
            if answer.status == 503:
                assert answer.error == (503, "Busy")
                assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert service.restore(*files()).status == 200


def test_an_answer_that_takes_too_long(launch: Launch) -> None:
    with launch(request_s=2.0, workers=1, max_requests=1) as service:
        assert service.restore(*files(40, HELD)).error == (504, "TooLong")
        # the model still has it, so its place is not given away yet
        assert service.restore(*files()).error == (503, "Busy")
        service.let_go()
        while service.metric("restore_requests_inside") > 0:
            time.sleep(0.02)
        assert service.restore(*files(32, 32)).status == 200


def test_a_client_that_leaves_is_taken_out_of_the_line(launch: Launch) -> None:
    with launch(workers=1) as service:
        body = multipart(dict(zip(("photo", "mask"), files(40, HELD), strict=True)))
        head = f"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
        for waiting in range(5):  # the model has the first one
            with service.connect() as connection:
                connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                if waiting:
                    service.wait_for_metric("restore_requests_waiting", 1)
                else:
                    service.wait_for_metric('restore_part_seconds_count{part="wait"}', 1)
            service.wait_for_metric('restore_requests_total{route="/v1/restore",status="499"}', waiting + 1)
        assert service.metric("restore_requests_waiting") == 0, "let go of at once, not when its turn comes"
        assert service.metric("restore_requests_inside") == 1  # the one that the model has
        half = service.connect()
        half.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:100])
        half.close()
        service.wait_for_metric('restore_requests_total{route="/v1/restore",status="499"}', 6)
        service.let_go()
        assert service.restore(*files()).status == 200
        assert service.metric("restore_batch_photos_sum") == 2  # the one that it had, and this one
        assert service.metric("restore_requests_inside") == 0


def test_a_fault_of_the_model_stays_inside_and_shows_in_readiness(launch: Launch) -> None:
    with launch() as service:
        answer = service.restore(*files(40, FAILS))
        assert answer.error == (500, "ExecutionError")
        assert b"secret" not in answer.body
        assert service.wait_for(lambda line: line.get("event") == "model_failed")["level"] == "error"
        assert service.ask("GET", "/readyz").status == 200  # it tried the model itself, which works again
        assert service.restore(*files()).status == 200


def test_company_in_a_batch(launch: Launch, engine: RestoreEngine) -> None:
    """Waiting requests share a run; an unsound one among them spoils no other, and everybody gets his own."""
    with launch(batch=4, workers=1) as service, ThreadPoolExecutor(12) as pool:
        first = pool.submit(service.restore, *files(40, HELD))
        service.wait_for_metric('restore_part_seconds_count{part="wait"}', 1)
        pairs = [pair(100 + 10 * seed, 120, seed) for seed in range(6)]
        unsound = pool.submit(service.restore, *files(40, UNSOUND))
        running = [pool.submit(service.restore, encoded(photo), encoded(mask)) for photo, mask in pairs]
        service.wait_for_metric("restore_requests_waiting", 7)
        service.let_go()
        answers = [each.result() for each in running]
        assert first.result().status == 200
        assert unsound.result().error == (422, "MaskError")
        for (photo, mask), answer in zip(pairs, answers, strict=True):
            assert np.array_equal(answer.image(), engine(photo, mask, color="bgr"))
        runs, photos = (service.metric(f"restore_batch_photos_{end}") for end in ("count", "sum"))
        assert photos == 7
        assert runs < 7


def test_strangers(launch: Launch) -> None:
    with launch(token="a-long-secret-word") as service:
        assert service.ask("GET", "/healthz").status == 200
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic a-long-secret-word"}):
            answer = service.restore(*files(), **given)
            assert answer.error == (401, "Unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert service.ask("GET", "/metrics", **given).status == 401
        known = {"authorization": "Bearer a-long-secret-word"}
        assert service.restore(*files(), **known).status == 200
        assert service.ask("GET", "/metrics", **known).status == 200
        assert (
            service.ask("GET", "/openapi.json").json()["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        )
        assert "a-long-secret-word" not in json.dumps(service.log)


def test_pages_of_other_sites(service: Service) -> None:
    assert service.ask("GET", "/v1/info", host="localhost").status == 200
    assert service.ask("GET", "/v1/info", Host="evil.example").error == (421, "WrongHost")
    assert service.restore(*files(), Sec_Fetch_Site="cross-site").error == (403, "OtherSite")
    assert service.restore(*files(), Sec_Fetch_Site="same-origin").status == 200
    # without TLS, to a host that is not this one, browsers send an Origin alone
    assert service.restore(*files(), Origin="http://evil.example").error == (403, "OtherSite")
    assert service.restore(*files(), Origin="null").error == (403, "OtherSite")
    assert service.restore(*files(), Origin=f"http://127.0.0.1:{service.port}").status == 200


@pytest.mark.parametrize(
    ("settings", "header", "taken"),
    [
        ({}, "localhost:8000", True),
        ({}, "[::1]:8000", True),
        ({}, "printer.lan", False),
        ({}, "", False),
        ({"host": "0.0.0.0"}, "printer.lan", True),
        ({"host": "0.0.0.0", "allowed_hosts": ("a.example",)}, "A.example:80", True),
        ({"host": "0.0.0.0", "allowed_hosts": ("a.example",)}, "b.example", False),
    ],
)
def test_names_of_the_service(settings: dict[str, object], header: str, taken: bool) -> None:
    assert Settings(**settings).takes_host(header) is taken  # type: ignore[arg-type]


def test_it_listens_on_this_host_only() -> None:
    assert Settings().local
    assert Settings(host="::1").local
    assert not Settings(host="0.0.0.0").local
    assert not Settings(host="0.0.0.0").guarded
    assert Settings(host="0.0.0.0", token="12345678").guarded


@pytest.mark.parametrize(
    "wrong", [{"max_requests": 0}, {"request_s": 0.0}, {"port": 70_000}, {"token": "short"}, {"token": "ten spaces\n"}]
)
def test_settings_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_who_is_not_served_by_the_end_of_the_grace_is_told(launch: Launch) -> None:
    with launch(workers=1, grace_s=1.0) as service, ThreadPoolExecutor(3) as pool:
        running = [pool.submit(service.restore, *files(40, HELD)) for _ in range(2)]
        service.wait_for_metric("restore_requests_waiting", 1)
        stopped = pool.submit(service.stop)
        assert [answer.result().error for answer in running] == [(503, "Stopping")] * 2
        service.let_go()
        assert stopped.result() == 0
        assert {line["status"] for line in service.log if line.get("route") == "/v1/restore"} == {503}


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_finish_when_it_is_stopped(launch: Launch, kind: signal.Signals) -> None:
    with launch(workers=1) as service, ThreadPoolExecutor(3) as pool:
        running = [pool.submit(service.restore, *files(40, HELD)) for _ in range(2)]
        service.wait_for_metric("restore_requests_waiting", 1)
        stopped = pool.submit(service.stop, kind)
        while error_of(ConnectionError, service.ask, "GET", "/healthz") is None:
            time.sleep(0.02)  # until it takes no more
        service.let_go()
        assert stopped.result() == 0
        assert [answer.result().status for answer in running] == [200, 200]
        assert not service.stray


def test_the_log_has_facts_and_no_pictures(service: Service) -> None:
    service.restore(*files(90, 80), X_Request_ID="my-own.1")
    line = service.wait_for(lambda line: line.get("id") == "my-own.1")
    assert (line["status"], line["pixels"], line["route"]) == (200, 7200, "/v1/restore")
    assert line["parts"]["repair"] > 0
    assert max(len(json.dumps(line)) for line in service.log) < 3000
    assert service.ask("GET", "/healthz", X_Request_ID="new\tline").headers["X-Request-ID"] != "new\tline"


def test_metrics(service: Service) -> None:
    before = service.metric('restore_requests_total{route="/v1/restore",status="200"}')
    service.restore(*files())
    assert service.metric('restore_requests_total{route="/v1/restore",status="200"}') == before + 1
    assert service.metric('restore_part_seconds_count{part="repair"}') > 0
    service.ask("GET", "/a-path-of-a-scanner")
    assert "scanner" not in service.ask("GET", "/metrics").body.decode()


def test_many_clients(toy_bundle: Bundle) -> None:
    """A few seconds of the load that ``python -m benchmarks serve`` gives for a minute."""
    made = load.cases(toy_bundle)
    with load.served("--max-requests", "16", bundle=toy_bundle.path) as url:
        result = load.load(url, made, clients=64, seconds=3)
    assert result.passed, result.to_table()
    assert result.statuses[200] > 0
    assert result.statuses[503] > 0, "64 clients and 16 places: some must be turned away"
    assert 0 < result.percentile(0.5) <= result.percentile(0.99)


def test_the_load_test_sees_a_wrong_picture(service: Service, toy_bundle: Bundle) -> None:
    made = load.cases(toy_bundle, 1)
    wrong = load.Case("wrong", made[0].body, made[0].content_type, b"something else")
    result = load.load(service.url, [wrong], clients=1, seconds=0.2)
    assert not result.passed
    assert result.wrong


class TestCommand:
    """What ends ``restore-sdk serve`` before it serves."""

    def failed(self, capsys: pytest.CaptureFixture[str], *options: object) -> tuple[int, str]:
        code = cli.main(["serve", *map(str, options)])
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.splitlines()[1].startswith("  hint: ")
        return code, captured.err

    def test_a_port_that_is_taken(self, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
        code, text = self.failed(capsys, "--port", service.port)
        assert code == 2
        assert f"cannot listen on 127.0.0.1 port {service.port}" in text

    @pytest.mark.parametrize("options", [("--max-megapixels", "0"), ("--timeout", "-1"), ("--port", "99999")])
    def test_options_that_make_no_sense(self, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert self.failed(capsys, *options)[0] == 2

    def test_token_files(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "empty").touch()
        assert self.failed(capsys, "--token-file", tmp_path / "empty")[0] == 2
        assert self.failed(capsys, "--token-file", tmp_path / "none")[0] == 2

    @pytest.mark.parametrize("empty", ["", " "])
    def test_a_token_that_is_set_but_empty_is_not_taken_for_none(
        self, empty: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RESTORE_SDK_TOKEN", empty)
        assert "RESTORE_SDK_TOKEN is set, but empty" in self.failed(capsys)[1]

    def test_without_the_extra(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        for name in [name for name in sys.modules if name.startswith("restore_sdk.serve")]:
            monkeypatch.delitem(sys.modules, name)
        code, text = self.failed(capsys)
        assert code == 3
        assert re.search(r"pip install '.+\[serve\]'", text)

    def test_a_host_that_is_not_here(self) -> None:
        with pytest.raises(OutputError, match="cannot listen"):
            server.bind("192.0.2.1", 0)
