"""The first thing that a request meets: who may come in, what is counted and logged, and how a refused upload ends.

An ASGI middleware, since it has to act before a byte of the body is read and after the last byte of the answer.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restore_sdk.serve.metrics import Metrics
from restore_sdk.serve.problems import CLIENT_LEFT, Refused, refusal
from restore_sdk.serve.settings import Settings, host_name

_LOG = logging.getLogger("restore_sdk.serve")

#: A refused upload is read on and thrown away so long and so far, so that the client gets to read the refusal.
LINGER_S = 2.0
LINGER_BYTES = 64 * 1024 * 1024

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ROUTES = {"/v1/restore", "/v1/info", "/healthz", "/readyz", "/metrics", "/openapi.json", "/"}

#: What anybody may ask of a service with a token; the page's files are open too.
_OPEN = {"/healthz", "/readyz", "/openapi.json", "/"}

#: What orchestrators ask by whatever address they know.
_PROBES = {"/healthz", "/readyz"}


class Gate:
    """Checks host, origin and token; counts and logs every request."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(scope, receive, send)
        route = _route(scope)
        scope.setdefault("state", {})["facts"] = visit.facts
        try:
            self._check(route, visit.headers)
            # What can be got can be asked for its head; the server sends no body then, and Starlette would say 405.
            asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            await self._app(asked, visit.receive, visit.send)
        except Refused as refused:
            visit.facts["error"] = refused.kind
            await refused.response()(scope, visit.receive, visit.send)
        except Exception as error:
            _LOG.exception("a fault of the service", extra={"event": "fault", "id": visit.id})
            visit.facts["error"] = type(error).__name__
            if visit.status == 0:
                await refusal(error).response()(scope, visit.receive, visit.send)
        finally:
            self._note(scope, route, visit)

    def _check(self, route: str, headers: dict[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if route not in _PROBES and not self._settings.takes_host(host):
            raise Refused(421, "WrongHost", "no service by that name here", "start it with --allow-host NAME")
        guarded = route not in _OPEN and not route.startswith("/page/")
        if guarded and _from_another_site(headers):
            raise Refused(
                403,
                "OtherSite",
                "pages of other sites may not use this service",
                "open its own page; a proxy in between must pass the Host header on",
            )
        token = self._settings.token
        if guarded and token is not None:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            right = hmac.compare_digest(given.strip(), token.encode())  # takes as long for a wrong one
            if not right or kind.lower() != b"bearer":
                raise Refused(
                    401,
                    "Unauthorized",
                    "a bearer token is needed",
                    "send the header Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": "Bearer"},
                )

    def _note(self, scope: Scope, path: str, visit: _Visit) -> None:
        seconds = time.perf_counter() - visit.started
        route = path if path in _ROUTES else "page" if path.startswith("/page/") else "other"
        status = CLIENT_LEFT if visit.left or visit.status == 0 else visit.status
        self._metrics.request(route, status, seconds, visit.bytes_in)
        if route in ("/healthz", "/readyz", "/metrics") and status < 400:
            return  # asked every few seconds
        client = scope.get("client")
        _LOG.info(
            "%s %s %d",
            scope["method"],
            route,
            status,
            extra={
                "event": "request",
                "id": visit.id,
                "client": client[0] if client else None,
                "method": scope["method"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "bytes_in": visit.bytes_in,
                "bytes_out": visit.bytes_out,
                **visit.facts,
            },
        )


def _route(scope: Scope) -> str:
    """The path within this application: ASGI's holds the place at which it is mounted, too."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and (path + "/").startswith(root + "/") else path


def _from_another_site(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser says that a page of another site asks; programs say nothing."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"none", b"same-origin")
    origin = headers.get(b"origin")  # all that browsers tell a host without TLS, unless it is their own
    if origin is None:
        return False
    # by name alone: a proxy may have left out the port
    asking, asked = origin.partition(b"://")[2], headers.get(b"host", b"")
    return host_name(asking.decode("latin-1")) != host_name(asked.decode("latin-1"))


class _Visit:
    """One request: its streams, watched."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        self.id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        self.started = time.perf_counter()
        self.facts: dict[str, object] = {}
        self.status = self.bytes_in = self.bytes_out = 0
        self.left = False
        length = self.headers.get(b"content-length", b"0")
        self._unread = length.strip(b"0") != b"" or b"transfer-encoding" in self.headers

    async def receive(self) -> Message:
        """The next piece of the body, counted."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.bytes_in += len(message.get("body", b""))
            self._unread = self._unread and message.get("more_body", False)
        elif message["type"] == "http.disconnect":
            self.left = self._unread = not self.status
        return message

    async def send(self, message: Message) -> None:
        """The next piece of the answer; before its end, what is left of a refused upload is read."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), (b"x-request-id", self.id.encode())]
            if self._unread:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))
            if self._unread and not message.get("more_body", False):
                await self._send({**message, "more_body": True})
                await self._linger()
                message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                while self._unread and self.bytes_in < LINGER_BYTES:
                    if (await self.receive())["type"] == "http.disconnect":
                        return
        except TimeoutError:
            return
