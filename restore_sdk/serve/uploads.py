"""A request's body, read within its limits, to a :class:`RestoreRequest`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from restore_sdk.serve.pictures import check_header
from restore_sdk.serve.problems import ProblemError, first_problem
from restore_sdk.serve.schemas import JSON, MAX_FACES, MULTIPART, RestoreRequest
from restore_sdk.serve.settings import Settings

#: Longest field that is no file: room for all faces, in numbers as long as programs write them.
MAX_TEXT_BYTES = 256 * MAX_FACES


def check_headers(request: Request, settings: Settings) -> str:
    """Refuse a body by its headers, before a byte of it is read; returns its type, one of the two that are taken."""
    length = request.headers.get("content-length", "")
    if length and "transfer-encoding" in request.headers:  # what a proxy took for a body may be another request
        message, close = "the request has a length and is chunked", {"Connection": "close"}
        raise ProblemError(400, "BadRequest", message, "send one of the two headers", close)
    if length.isdecimal() and int(length) > settings.max_body_bytes:
        raise _too_large(settings)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (MULTIPART, JSON):
        message = f"the body is {kind[:80] or 'of no named type'}"
        raise ProblemError(415, "UnsupportedMediaType", message, f"send {MULTIPART} or {JSON}")
    return kind


async def read_request(request: Request, kind: str, settings: Settings) -> RestoreRequest:
    """Read and check the whole body.

    Raises:
        ProblemError: 408 too slow, 413 too large, 400 not what its content type says, 422 fields that are missing or
            wrong.
        ClientDisconnect: the client left.
    """
    body = _limited(request, settings)
    try:
        if kind == MULTIPART:
            return RestoreRequest.model_validate(await _multipart(request, body))
        data = b"".join([piece async for piece in body])
        return await asyncio.to_thread(RestoreRequest.model_validate_json, data)
    except ValidationError as error:
        reason, message = first_problem(error)
        if reason == "json_invalid":
            raise ProblemError(400, "BadJson", message, "send one JSON object") from None
        in_base64 = "encode the file's bytes, without data: in front"
        hint = in_base64 if reason == "bytes_invalid_encoding" else "see /openapi.json"
        raise ProblemError(422, "BadRequest", message, hint) from None


def claimed_pixels(request: RestoreRequest, max_pixels: int) -> int:
    """Pixels of photograph or mask, whichever is larger, as their headers claim; raises where one is not decoded."""
    sizes = check_header(request.photo, "photo", max_pixels), check_header(request.mask, "mask", max_pixels)
    return max(width * height for width, height in sizes)


async def _limited(request: Request, settings: Settings) -> AsyncGenerator[bytes, None]:
    """The body's pieces, until they are too many or too late."""
    until, facts = time.monotonic() + settings.upload_s, request.state.facts
    pieces = request.stream()
    while True:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            message = f"the body did not arrive within {settings.upload_s:g} s"
            raise ProblemError(408, "TooSlow", message, "send it faster") from None
        facts["bytes_in"] += len(piece)
        if facts["bytes_in"] > settings.max_body_bytes:
            raise _too_large(settings)
        yield piece


class InMemoryParser(MultiPartParser):
    """Parts stay in memory, whose size the body's limit bounds: no photograph ever lies in a temporary file."""

    spool_max_size = 2**62


async def _multipart(request: Request, body: AsyncGenerator[bytes, None]) -> dict[str, Any]:
    texts = len(RestoreRequest.model_fields) - 2
    parser = InMemoryParser(request.headers, body, max_files=2, max_fields=texts, max_part_size=MAX_TEXT_BYTES)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:  # KeyError: no boundary
        message = f"the body is no valid {MULTIPART}: {error}"
        raise ProblemError(400, "BadMultipart", message, "send it as curl -F does") from error
    fields: dict[str, Any] = {}
    for name, part in form.multi_items():
        wanted = "a file" if name in ("photo", "mask") else "text"
        if name in fields or isinstance(part, UploadFile) != (wanted == "a file"):
            raise ProblemError(422, "BadRequest", f"{name[:40]!r} must be {wanted}, once", "see /openapi.json")
        fields[name] = await part.read() if isinstance(part, UploadFile) else part
    return {name: value for name, value in fields.items() if value != ""}  # a form sends what was left empty, too


def _too_large(settings: Settings) -> ProblemError:
    message = f"the body is over the limit of {settings.max_body_bytes / 2**20:g} MiB"
    return ProblemError(413, "TooLarge", message, "send a smaller file")
