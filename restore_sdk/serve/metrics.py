"""Counts, times and logs every request: ``/metrics`` for Prometheus and one log line a request."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restore_sdk.serve.problems import problem_of

_LOG = logging.getLogger("restore_sdk.serve")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

#: The status in logs and metrics of a client that left before its answer; never sent.
CLIENT_LEFT = 499

_REQUEST_ID = re.compile("[A-Za-z0-9._-]{1,64}")


class Metrics:
    """Metrics of one service, in a registry of its own, so that several applications in a process do not collide."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "restore_requests", "Requests by route and status.", ("route", "status"), registry=registry
        )
        what = "From the request's header to the last byte of the answer."
        self.seconds = Histogram("restore_request_seconds", what, ("route",), buckets=_SECONDS, registry=registry)
        what = "Parts of a restoration."
        self.parts = Histogram("restore_part_seconds", what, ("part",), buckets=_SECONDS, registry=registry)
        self.uploaded = Counter("restore_uploaded_bytes", "Bytes of request bodies.", registry=registry)
        what = "Requests uploading, waiting or computing."
        self.inside = Gauge("restore_requests_inside", what, registry=registry)
        self.waiting = Gauge("restore_requests_waiting", "Requests in the queue.", registry=registry)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)


class ObserveMiddleware:
    """Gives every request an id, counts and logs it, and answers 500 to a fault of the service.

    Routes add to ``request.state.facts`` what the log line is to say. It never holds images, file names or tokens.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get("x-request-id", "")
        facts: dict[str, Any] = {
            "id": request_id if _REQUEST_ID.fullmatch(request_id) else secrets.token_hex(8),
            "client": scope["client"][0] if scope.get("client") else None,
            "method": scope["method"],
            "bytes_in": 0,
            "bytes_out": 0,
        }
        # What answers GET answers HEAD as well; the server leaves out the body.
        scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        scope.setdefault("state", {})["facts"] = facts
        started, status = time.perf_counter(), 0

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = facts["id"]
            facts["bytes_out"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        except ClientDisconnect:
            pass  # nobody reads an answer
        except Exception as error:
            _LOG.exception("a fault of the service", extra={"facts": {"event": "fault", "id": facts["id"]}})
            facts["error"] = type(error).__name__
            if not status:
                await problem_of(error).response()(scope, receive, send_counted)
        finally:
            route = getattr(scope.get("route"), "path", "other")  # what was asked for is not counted by its name
            self._note(route, status or CLIENT_LEFT, time.perf_counter() - started, facts)

    def _note(self, route: str, status: int, seconds: float, facts: dict[str, Any]) -> None:
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        self._metrics.uploaded.inc(facts["bytes_in"])
        if route in ("/healthz", "/readyz", "/metrics") and status < 400:
            return  # asked every few seconds
        line = {"event": "request", "route": route, "status": status, "seconds": round(seconds, 4), **facts}
        _LOG.info("%s %s %d", facts["method"], route, status, extra={"facts": line})
