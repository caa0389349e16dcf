"""The gate by itself, in front of an application that lets everybody in: mounted anywhere, asked in any way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import ASGIApp

from restore_sdk.serve.gate import Gate
from restore_sdk.serve.metrics import Metrics
from restore_sdk.serve.settings import Settings

TOKEN = "a-long-secret-word"


def gate(**settings: Any) -> Gate:
    return Gate(PlainTextResponse("come in"), Settings(**settings), Metrics())


def ask(app: ASGIApp, path: str, root_path: str = "", method: str = "GET", **headers: str) -> int:
    """The status of an answer."""
    named = {"host": "localhost", **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root_path,
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize("root_path", ["", "/api", "/api/"])
@pytest.mark.parametrize("path", ["/v1/restore", "/v1/info", "/metrics", "/what-may-come"])
def test_a_token_is_asked_for_wherever_the_application_is_mounted(root_path: str, path: str) -> None:
    app, whole = gate(token=TOKEN), root_path.rstrip("/") + path
    assert ask(app, whole, root_path) == 401
    assert ask(app, whole, root_path, authorization=f"Bearer {TOKEN}") == 200
    assert ask(app, whole, root_path, authorization=f"Bearer {TOKEN}", sec_fetch_site="cross-site") == 403
    mounted = Starlette(routes=[Mount("/faces", app)])
    assert ask(mounted, "/faces" + path) == 401
    assert ask(mounted, "/faces" + path, authorization=f"Bearer {TOKEN}") == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/openapi.json", "/page/page.js"])
def test_what_is_open_is_open_wherever_it_is_mounted(path: str) -> None:
    app = gate(token=TOKEN)
    assert ask(app, path) == ask(app, "/api" + path, "/api") == 200
    assert ask(app, "/apiv1/info", "/api") == 401, "no part of the place at which it is mounted"


def test_probes_come_by_any_name() -> None:
    app = gate(allowed_hosts=("Photos.Example.org", "[::1]"))
    for host, status in (
        ("photos.example.org", 200),
        ("PHOTOS.example.org:443", 200),
        ("[::1]:80", 200),
        ("10.0.0.7", 421),
    ):
        assert ask(app, "/v1/info", host=host) == status
        assert ask(app, "/healthz", host=host) == ask(app, "/readyz", host=host) == 200
