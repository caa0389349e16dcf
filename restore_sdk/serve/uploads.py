"""A request's body, read within its limits, to a :class:`RestoreRequest`, and that to pixels: headers come first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from restore_sdk.errors import MaskError
from restore_sdk.files import InvalidImageError, Photo, check_form, open_photo, read_mask
from restore_sdk.serve.problems import ProblemError, first_problem
from restore_sdk.serve.schemas import MAX_FACES, MULTIPART, PhotoRequest, RestoreRequest
from restore_sdk.serve.settings import Settings

Asked = TypeVar("Asked", bound=PhotoRequest)

#: Longest field that is no file: enough for all faces, in numbers as long as programs write them.
MAX_TEXT_BYTES = 256 * MAX_FACES


def check_headers(request: Request, settings: Settings) -> None:
    """Refuse a body by its headers, before a byte of it is read."""
    if request.url.query:  # which would go unheard
        message = "the address has options behind its ?, and only fields of the body are taken"
        raise ProblemError(422, "BadRequest", message, "send them as fields: curl -F dilate=4")
    length = request.headers.get("content-length", "")
    if length and "transfer-encoding" in request.headers:  # what a proxy took for a body may be another request
        message, close = "the request has a length and is chunked", {"Connection": "close"}
        raise ProblemError(400, "BadRequest", message, "send one of the two headers", close)
    if length.isdecimal() and int(length) > settings.max_body_bytes:
        raise _too_large(settings)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART:
        message = f"the body is {kind[:80] or 'of no named type'}"
        raise ProblemError(415, "UnsupportedMediaType", message, f"send {MULTIPART}, as curl -F does")


async def read_request(request: Request, settings: Settings, model: type[Asked]) -> Asked:
    """Read and check the body.

    Raises:
        ProblemError: 408 too slow, 413 too large, 400 no valid multipart, 422 fields that are missing or wrong.
        ClientDisconnect: the client left.
    """
    texts = len(model.model_fields.keys() - {"photo", "mask"})
    body = _limited(request, settings)
    parser = InMemoryParser(request.headers, body, max_files=2, max_fields=texts, max_part_size=MAX_TEXT_BYTES)
    try:
        async with asyncio.timeout(settings.upload_s):
            parts = (await parser.parse()).multi_items()
    except TimeoutError:
        message = f"the body did not arrive within {settings.upload_s:g} s"
        raise ProblemError(408, "TooSlow", message, "send it faster") from None
    except (MultiPartException, KeyError, ValueError) as error:  # KeyError: no boundary
        message = f"the body is no valid {MULTIPART}: {error}"
        raise ProblemError(400, "BadMultipart", message, "send it as curl -F does") from error
    fields = {name: await part.read() if isinstance(part, UploadFile) else part for name, part in parts}
    hint = "photo and mask are files, as in curl -F photo=@FILE; see /openapi.json"
    if len(fields) < len(parts):
        raise ProblemError(422, "BadRequest", "a field is there twice", hint)
    try:  # a form sends what was left empty, too
        return model.model_validate({name: value for name, value in fields.items() if value != ""})
    except ValidationError as error:
        raise ProblemError(422, "BadRequest", first_problem(error), hint) from None


async def _limited(request: Request, settings: Settings) -> AsyncGenerator[bytes, None]:
    """The body's pieces, until they are too many."""
    facts = request.state.facts
    async for piece in request.stream():
        facts["bytes_in"] += len(piece)
        if facts["bytes_in"] > settings.max_body_bytes:
            raise _too_large(settings)
        yield piece


class InMemoryParser(MultiPartParser):
    """Parts stay in memory, whose size the body's limit bounds: no photograph ever lies in a temporary file."""

    spool_max_size = 2**62


def decode_photo(request: PhotoRequest, max_pixels: int) -> Photo:
    """The photograph, upright; raises :class:`ProblemError` as :func:`decode`."""
    with _errors_named("photo"):
        return open_photo(request.photo, max_pixels)


def decode(request: RestoreRequest, max_pixels: int) -> tuple[Photo, NDArray[np.uint8]]:
    """Photograph and mask, ``(H, W)`` grey, upright.

    Raises:
        ProblemError: 415 no image of a known format, 413 more than ``max_pixels``, 422 damaged, animated, CMYK, ...
        MaskError: all of the mask is black.
        OutputError: the answer's format cannot keep what the photograph has: alpha, or 16 bits.
    """
    photo = decode_photo(request, max_pixels)
    with _errors_named("mask"):
        mask = read_mask(request.mask, max_pixels)
    if not mask.any():
        raise MaskError("the mask is all black, so nothing is to be restored", "white is what to repaint")
    check_form(Path(f"photo.{request.format}"), photo.pixels)
    return replace(photo, source=b""), mask  # to keep its blocks would take temporary files


@contextmanager
def _errors_named(what: str) -> Iterator[None]:
    """What is wrong with a file, as the service answers it."""
    try:
        yield
    except InvalidImageError as error:
        content = 422, "ImageError" if what == "photo" else "MaskError"
        status, kind = {"format": (415, "UnknownFormatError"), "size": (413, "TooManyPixelsError")}.get(
            error.reason, content
        )
        hint = error.hint.partition(", or raise the limit")[0]  # which the sender cannot
        raise ProblemError(status, kind, f"the {what} {error.message}", hint) from error


def _too_large(settings: Settings) -> ProblemError:
    message = f"the body is over the limit of {settings.max_body_bytes / 2**20:g} MiB"
    return ProblemError(413, "TooLarge", message, "send a smaller file")
