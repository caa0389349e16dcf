"""The page: static files, served to a browser that may load nothing else.

Plain HTML, CSS and JavaScript, without a build step: the page uses the same ``/v1/restore`` as every other client. Its
content security policy allows no inline script or style and no other host, so it works without a network.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import FastAPI
from starlette.responses import Response

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page/faces.js": ("faces.js", "text/javascript; charset=utf-8"),
    "/page/mask.js": ("mask.js", "text/javascript; charset=utf-8"),
}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def mount(app: FastAPI) -> None:
    """Add the page at ``/``."""
    for path, (name, kind) in _FILES.items():
        content = (files(__package__) / name).read_bytes()
        app.add_api_route(path, _route(content, kind), include_in_schema=False, methods=["GET", "HEAD"])


def _route(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    return send
