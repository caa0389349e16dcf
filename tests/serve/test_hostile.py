"""Requests that no honest client sends: each is refused in words or answered right, and the service stays well."""

from __future__ import annotations

import pytest
from starlette.formparsers import MultiPartParser

from restore_sdk.serve.uploads import InMemoryParser
from tests.serve.conftest import END, MULTIPART, Service, files, part
from tests.serve.conftest import form as plain_form

PHOTO, MASK = files(32, 32)


def form(*more: bytes) -> bytes:
    return plain_form(*more, photo=PHOTO, mask=MASK)


def test_uploads_stay_in_memory() -> None:
    """The limit that the service lifts is the one that Starlette asks for."""
    assert MultiPartParser.spool_max_size < InMemoryParser.spool_max_size


@pytest.fixture(autouse=True)
def stays_well(service: Service) -> None:
    """Before each: the one before it left nothing behind."""
    assert service.post(form()).status == 200
    assert not service.stray
    assert all(line.get("level") != "error" for line in service.log)


REFUSED: dict[str, tuple[bytes, str, int]] = {
    "the photograph twice": (form(part(b"photo", PHOTO, b"c.png")), MULTIPART, 400),
    "the mask as a text as well": (form(part(b"mask", b"x")), MULTIPART, 422),
    "a format that is no text": (form(part(b"format", b"\xff\xfe")), MULTIPART, 422),
    "a line break in a file's name": (
        part(b"photo", PHOTO, b"a\r\nX-Evil: 1\r\n\r\n.png") + part(b"mask", MASK, b"b.png") + END,
        MULTIPART,
        415,
    ),
    "20,000 fields": (b"".join(part(b"x%d" % number, b"") for number in range(20_000)) + END, MULTIPART, 400),
    "an endless header": (part(b"photo", b"x", b"a.png", b"; " + b"a" * 5_000_000) + END, MULTIPART, 400),
    "100,000 headers": (part(b"photo", b"x", b"a.png", b"\r\nX: y" * 100_000) + END, MULTIPART, 400),
    "a face of 400 digits": (form(part(b"faces", b"[[1,1,1" + b"0" * 400 + b",1]]")), MULTIPART, 422),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bodies(service: Service, name: str) -> None:
    body, content_type, status = REFUSED[name]
    answer = service.post(body, content_type)
    assert answer.error[0] == status
    assert "X-Evil" not in answer.headers


@pytest.mark.parametrize("name", [b"../../../etc/passwd", b"a\x1b[31m\xff.png", b"", b"x" * 2000])
def test_the_name_of_a_file_says_nothing(service: Service, name: bytes) -> None:
    """It is neither opened nor logged nor answered."""
    answer = service.post(part(b"photo", PHOTO, name) + part(b"mask", MASK, name) + END)
    assert answer.body == service.post(form()).body


HEAD = b"Host: localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
WIRE: dict[str, tuple[bytes, int]] = {
    "no host": (b"GET /v1/info HTTP/1.0\r\n\r\n", 421),
    "a length and chunks, and a request behind them": (
        b"POST /v1/restore HTTP/1.1\r\n" + HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /v1/info HTTP/1.1\r\n" + HEAD + CLOSE,
        400,
    ),
    "a path out of the page": (b"GET /page/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\n" + HEAD + CLOSE, 404),
}


@pytest.mark.parametrize("name", WIRE)
def test_what_stands_on_the_wire(service: Service, name: str) -> None:
    """One refusal, and the connection is closed: nothing behind it is taken for a request."""
    sent, status = WIRE[name]
    with service.connect() as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"root:" not in answer
