"""The application: routes over :class:`restore_sdk.serve.workers.Workers`, for any ASGI server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from restore_sdk import __version__
from restore_sdk.engine import RestoreEngine
from restore_sdk.serve import openapi
from restore_sdk.serve.body import JSON, Asked, check_length, content_type, read
from restore_sdk.serve.gate import Gate
from restore_sdk.serve.metrics import Metrics
from restore_sdk.serve.pictures import check_header
from restore_sdk.serve.problems import CLIENT_LEFT, Refused, busy, refusal, stopping
from restore_sdk.serve.settings import Settings
from restore_sdk.serve.workers import Answer, Workers


def create_app(engine: RestoreEngine, settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application; the engine stays the caller's, to close after the application has ended.

    ``app.state.service`` is its :class:`Service`. Header and stalled-write timeouts are the server's: see
    :mod:`restore_sdk.serve.server`.
    """
    service = Service(engine, settings or Settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            service.stopping = True
            await asyncio.to_thread(service.workers.close)

    app = FastAPI(
        title="Restore SDK",
        version=__version__,
        description="Restores damaged face photographs: repaints what a mask marks in white.",
        docs_url=None,  # these pages fetch their scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_middleware(Gate, settings=service.settings, metrics=service.metrics)
    app.add_exception_handler(HTTPException, _plain)
    secured: dict[str, Any] = {"security": [{"bearer": []}]} if service.settings.token is not None else {}
    app.add_api_route(
        "/v1/restore",
        service.restore,
        methods=["POST"],
        summary="Restore a photograph",
        description=openapi.RESTORE,
        response_class=Response,
        responses=openapi.RESTORE_RESPONSES,
        openapi_extra={**openapi.RESTORE_BODY, **secured},
    )
    app.add_api_route("/v1/info", service.info, summary="The model and the limits", openapi_extra=secured)
    app.add_api_route("/healthz", service.healthz, summary="Whether the process lives")
    app.add_api_route("/readyz", service.readyz, summary="Whether requests are taken")
    app.add_api_route(
        "/metrics", service.metrics_text, response_class=Response, summary="For Prometheus", openapi_extra=secured
    )
    openapi.describe_token(app, wanted=service.settings.token is not None)
    if service.settings.ui:
        from restore_sdk.serve.page import mount

        mount(app)
    return app


class Service:
    """State and routes of one application."""

    def __init__(self, engine: RestoreEngine, settings: Settings) -> None:
        self.engine, self.settings, self.metrics = engine, settings, Metrics()
        self.workers = Workers(engine, settings, self.metrics)
        self.metrics.watch_line(lambda: self.workers.waiting)
        self.stopping = False
        self._inside = 0

    async def restore(self, request: Request) -> Response:
        """``POST /v1/restore``."""
        facts: dict[str, object] = request.state.facts
        kind = content_type(request)
        check_length(request, self.settings)
        if self.stopping:
            raise stopping()
        if self._inside >= self.settings.max_requests:
            raise busy(self.workers.patience())
        self._enter()
        future: Future[Answer] | None = None
        try:
            asked = await read(request, kind, self.settings)
            # in a thread: what a stranger has sent is read here, and nobody else must wait for that
            pixels, of_mask = await asyncio.to_thread(self._pixels, asked)
            facts["pixels"] = pixels
            future = self.workers.submit(asked, max(pixels, of_mask))
            answer = await self._wait(request, future)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)  # nobody reads it
        except Refused:
            raise
        except asyncio.CancelledError:
            if self.stopping:  # the server's patience at its end is over
                raise stopping() from None
            raise
        except Exception as error:
            raise refusal(error) from error
        finally:
            if future is None or future.done():
                self._leave()
            else:  # a worker still has it, and its memory
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _: _call_soon(loop, self._leave))
        facts["parts"] = {part: round(seconds, 4) for part, seconds in answer.seconds.items()}
        as_json = kind == JSON or JSON in request.headers.get("accept", "")
        return _json_answer(answer) if as_json else _image_answer(answer)

    def _pixels(self, asked: Asked) -> tuple[int, int]:
        """Pixels that the headers of photograph and mask claim; raises where one is not decoded."""
        most = self.settings.max_pixels
        headers = check_header(asked.photo, "photo", most), check_header(asked.mask, "mask", most)
        photo, mask = (header.width * header.height for header in headers)
        return photo, mask

    async def _wait(self, request: Request, future: Future[Answer]) -> Answer:
        """The answer, unless time runs out or the client leaves; then the order is taken out of the line."""
        left = asyncio.ensure_future(_left(request))
        done = asyncio.wrap_future(future)
        try:
            both: set[asyncio.Future[Any]] = {left, done}
            await asyncio.wait(both, timeout=self.settings.request_s, return_when=asyncio.FIRST_COMPLETED)
            if done.done():
                return done.result()
            if left.done():
                raise ClientDisconnect
            raise Refused(
                504, "TooLong", f"no result within {self.settings.request_s:g} s", "try again, or a smaller photograph"
            )
        except asyncio.CancelledError:
            if done.cancelled() and self.workers.closed:  # dropped from the line, while this request is still wanted
                raise stopping() from None
            raise
        finally:
            left.cancel()
            future.cancel()
            if not done.done():
                done.add_done_callback(_forget)

    async def info(self) -> dict[str, Any]:
        """``GET /v1/info``."""
        facts = await asyncio.to_thread(self.engine.info)
        model = {key: facts["bundle"][key] for key in ("name", "version", "size", "parameters", "macs")}
        return {
            "version": __version__,
            "model": model,
            "runtime": facts["runtime"],
            "face_detector": self.settings.face_detector is not None,
            "limits": {
                "body_bytes": self.settings.max_body_bytes,
                "pixels": self.settings.max_pixels,
                "requests": self.settings.max_requests,
                "seconds": self.settings.request_s,
            },
        }

    async def healthz(self) -> dict[str, str]:
        """``GET /healthz``."""
        return {"status": "alive"}

    async def readyz(self) -> JSONResponse:
        """``GET /readyz``: 503 while stopping, and after a failed run until one succeeds again."""
        if self.stopping:
            raise stopping()
        if not self.workers.healthy:
            await asyncio.to_thread(self.workers.probe)
        if not self.workers.healthy:
            raise Refused(503, "NotReady", "the model fails", "look into the log", {"Retry-After": "10"})
        return JSONResponse({"status": "ready"})

    async def metrics_text(self) -> Response:
        """``GET /metrics``."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _enter(self) -> None:
        self._inside += 1
        self.metrics.inside.set(self._inside)

    def _leave(self) -> None:
        self._inside -= 1
        self.metrics.inside.set(self._inside)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _call_soon(loop: asyncio.AbstractEventLoop, function: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)


def _forget(done: asyncio.Future[Answer]) -> None:
    if not done.cancelled():
        done.exception()  # fetched, so that nobody complains that it was not


def _timing(answer: Answer) -> dict[str, str]:
    parts = ", ".join(f"{part};dur={1e3 * seconds:.1f}" for part, seconds in answer.seconds.items())
    return {"Server-Timing": parts, "Cache-Control": "no-store"}


def _image_answer(answer: Answer) -> Response:
    return Response(answer.image, media_type=f"image/{answer.format}", headers=_timing(answer))


def _json_answer(answer: Answer) -> Response:
    return JSONResponse(
        {
            "image": base64.b64encode(answer.image).decode(),
            "media_type": f"image/{answer.format}",
            "edges": None if answer.edges is None else base64.b64encode(answer.edges).decode(),
            "notes": list(answer.notes),
            "width": answer.width,
            "height": answer.height,
            "crops": None if answer.crops is None else [crop.to_json() for crop in answer.crops],
            "timings_ms": {part: round(1e3 * seconds, 3) for part, seconds in answer.seconds.items()},
        },
        headers=_timing(answer),
    )


async def _plain(_: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such page, wrong method) in the form of ours."""
    assert isinstance(error, HTTPException)
    return Refused(error.status_code, "HttpError", str(error.detail), "see /openapi.json", error.headers).response()
