"""The application: routes in front of the queue, and who may use them, for any ASGI server."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.responses import FileResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from restore_sdk import __version__
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import RestoreError
from restore_sdk.files import readable_formats
from restore_sdk.serve.metrics import Metrics, ObserveMiddleware
from restore_sdk.serve.problems import ProblemError, answer_problem, stopping
from restore_sdk.serve.queue import RestoreQueue
from restore_sdk.serve.schemas import (
    DAMAGE_BODY,
    DAMAGE_RESPONSES,
    JSON,
    REQUEST_BODY,
    RESPONSES,
    DamageRequest,
    DamageResponse,
    Format,
    RestoreRequest,
    RestoreResponse,
)
from restore_sdk.serve.settings import Settings, host_name
from restore_sdk.serve.site import PAGE
from restore_sdk.serve.uploads import check_headers, read_request

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def create_app(engine: RestoreEngine, settings: Settings | None = None, also: Iterable[RestoreEngine] = ()) -> FastAPI:
    """The service as an ASGI application; the engines stay the caller's, to close after the application has ended.

    A request may name the bundle of one of ``also``; otherwise ``engine`` restores.

    Time limits for headers and for clients that stop reading are left to the server, or the proxy in front of it.
    """
    settings = settings or Settings()
    metrics = Metrics()
    queue = RestoreQueue(engine, settings, metrics, also)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await queue.close()

    app = FastAPI(
        title="Restore SDK",
        version=__version__,
        description="Restores damaged face photographs: repaints what a mask marks in white.",
        docs_url=None,  # these pages fetch their scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.engine, app.state.settings, app.state.metrics, app.state.queue = engine, settings, metrics, queue
    app.add_middleware(ObserveMiddleware, metrics=metrics)
    app.add_exception_handler(HTTPException, answer_problem)
    app.add_exception_handler(RestoreError, answer_problem)
    app.include_router(guarded, dependencies=[] if settings.token is None else [Depends(check_token)])
    app.include_router(probes)
    if settings.ui:
        app.add_api_route("/", index, include_in_schema=False)
        app.mount("/page", PageFiles(directory=PAGE))
    return app


async def check_host(request: Request) -> None:
    """Refuse a request that is meant for another service, as a page of another site may send through DNS."""
    if not request.app.state.settings.accepts_host(request.headers.get("host", "")):
        raise ProblemError(421, "WrongHost", "no service by that name here", "start it with --allow-host NAME")


async def check_site(request: Request) -> None:
    """Refuse a request that a browser says to come from a page of another site; programs say nothing."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        own = site in ("none", "same-origin")
    else:  # Origin is all that browsers tell a host without TLS; compared by name: a proxy may have left out the port
        host = host_name(request.headers.get("host", ""))
        own = origin is None or host_name(origin.partition("://")[2]) == host
    if not own:
        hint = "open its own page; a proxy in between must pass the Host header on"
        raise ProblemError(403, "OtherSite", "pages of other sites may not use this service", hint)


_BEARER = HTTPBearer(scheme_name="bearer", auto_error=False)


async def check_token(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
) -> None:
    """Refuse a request without the token."""
    token = request.app.state.settings.token.encode()
    if credentials is None or not hmac.compare_digest(credentials.credentials.strip().encode(), token):
        hint, headers = "send the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
        raise ProblemError(401, "Unauthorized", "a bearer token is needed", hint, headers)


guarded = APIRouter(dependencies=[Depends(check_host), Depends(check_site)])
probes = APIRouter()


@guarded.post("/v1/restore", response_class=Response, responses=RESPONSES, openapi_extra=REQUEST_BODY)
async def restore(request: Request) -> Response:
    """Repaints what the mask marks in white; every other pixel stays as it is, unless JPEG is asked for.

    The answer is an image; with `Accept: application/json` it is JSON. `Server-Timing` says how long each part took.
    """
    return await _answer(request, RestoreRequest)


@guarded.post("/v1/damage", response_class=Response, responses=DAMAGE_RESPONSES, openapi_extra=DAMAGE_BODY)
async def damage(request: Request) -> Response:
    """Proposes a mask: white where scratches, cracks, tears or stains are found. Look at it before it is used.

    The answer is a PNG, and its header `Damage-Share` says how much is marked, 0 to 1; or JSON, as for `/v1/restore`.
    """
    if not request.app.state.engine.finds_damage:
        raise ProblemError(501, "NoDamageStage", "the model of this service finds no damage", "mark it by hand")
    return await _answer(request, DamageRequest)


async def _answer(request: Request, model: type[RestoreRequest] | type[DamageRequest]) -> Response:
    facts, queue, settings = request.state.facts, request.app.state.queue, request.app.state.settings
    check_headers(request, settings)
    try:
        with queue.place(request):
            result = await _result(request, await read_request(request, settings, model))
    except asyncio.CancelledError:
        if queue.stopping:  # the server's grace is over
            raise stopping() from None
        raise
    facts["pixels"] = result.width * result.height
    facts["parts"] = {part: round(ms / 1e3, 4) for part, ms in result.timings_ms.items()}
    timings = ", ".join(f"{part};dur={ms:.1f}" for part, ms in result.timings_ms.items())
    headers = {"Server-Timing": timings, "Cache-Control": "no-store"}
    if isinstance(result, DamageResponse):
        headers["Damage-Share"] = f"{result.share:.6f}"
    if JSON in request.headers.get("accept", ""):
        return Response(result.model_dump_json(), media_type=JSON, headers=headers)
    return Response(result.image, media_type=result.media_type, headers=headers)


async def _result(request: Request, payload: RestoreRequest | DamageRequest) -> RestoreResponse | DamageResponse:
    """The result, unless time runs out or the client leaves; then the request leaves the queue."""
    queue: RestoreQueue = request.app.state.queue
    seconds = request.app.state.settings.request_s
    job = asyncio.ensure_future(queue.result(request, payload))
    disconnect = asyncio.ensure_future(_until_disconnect(request))
    try:
        await asyncio.wait({disconnect, job}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        if disconnect.done():
            raise ClientDisconnect
        raise ProblemError(504, "TooLong", f"no result within {seconds:g} s", "try again, or a smaller photograph")
    finally:
        disconnect.cancel()
        job.cancel()


async def _until_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@guarded.get("/v1/info")
async def info(request: Request) -> dict[str, Any]:
    """The model, the formats of answers, and the limits, with the formats that are read."""
    settings: Settings = request.app.state.settings
    facts = await asyncio.to_thread(request.app.state.engine.info)
    return {
        "version": __version__,
        "model": {key: facts["bundle"][key] for key in ("name", "version", "size", "parameters", "macs")},
        "models": request.app.state.queue.models,
        "runtime": facts["runtime"],
        "damage": facts["finds_damage"],
        "formats": get_args(Format),
        "limits": {
            "formats": readable_formats(),
            "body_bytes": settings.max_body_bytes,
            "pixels": settings.max_pixels,
            "requests": settings.max_requests,
            "seconds": settings.request_s,
        },
    }


@guarded.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@probes.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process lives."""
    return {"status": "alive"}


@probes.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """Whether requests are taken: 503 while stopping, and after a failed run until one succeeds again."""
    queue: RestoreQueue = request.app.state.queue
    if queue.stopping:
        raise stopping()
    if not await queue.is_healthy():
        raise ProblemError(503, "NotReady", "the model fails", "look into the log", {"Retry-After": "10"})
    return {"status": "ready"}


async def index() -> FileResponse:
    """The page."""
    return FileResponse(PAGE / "index.html", headers=PAGE_HEADERS)


class PageFiles(StaticFiles):
    """The files of the page, which may load nothing from elsewhere."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with the page's headers."""
        response = await super().get_response(path, scope)
        response.headers.update(PAGE_HEADERS)
        return response
