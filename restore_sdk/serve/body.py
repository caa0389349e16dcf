"""A request's body, read within its limits and taken apart: multipart/form-data or JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from restore_sdk.serve.pictures import Format
from restore_sdk.serve.problems import Refused
from restore_sdk.serve.settings import Settings
from restore_sdk.tiling.plan import MAX_CROPS
from restore_sdk.tiling.request import MAX_BORDER

MULTIPART = "multipart/form-data"
JSON = "application/json"


#: Most faces of one photograph.
MAX_FACES = 64


class Wishes(BaseModel):
    """How a photograph is to be restored and answered; multipart requests bring these as texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format = Field(default="png", description="Format of the answer; JPEG with loss, the others without.")
    edges: bool = Field(default=False, description="Also answer the completed edge map (in JSON answers).")
    dilate: int = Field(default=0, ge=0, le=MAX_BORDER, description="Grow the mask by so many pixels first.")
    feather: int = Field(
        default=0, ge=0, le=MAX_BORDER, description="Blend so many pixels inwards from the mask's border."
    )
    max_crops: int = Field(
        default=MAX_CROPS,
        ge=1,
        le=MAX_CROPS,
        description="Show the model at most so many squares; fewer: quicker, softer.",
    )
    faces: list[tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]] | None = Field(
        default=None,
        max_length=MAX_FACES,
        description="Where faces are, so that the squares around them are framed as the model was trained: "
        "[x, y, width, height] in pixels of the upright photograph, from forehead to chin. Without, the service's "
        "face detector is asked, where it has one; [] asks nobody.",
        examples=[[[82, 66, 84, 118]]],
    )


class RestoreBody(Wishes):
    """The JSON form of a request."""

    photo: str = Field(description="An image file in base64: PNG, JPEG, WebP, BMP or TIFF, 8 or 16 bits a channel.")
    mask: str = Field(description="An image file of the same size in base64, white where to repaint.")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was sent, not decoded yet."""

    photo: bytes
    mask: bytes
    wishes: Wishes


#: Fields of a multipart request that are no file.
_TEXTS = tuple(Wishes.model_fields)


#: Longest field that is no file: room for all faces, in numbers as long as programs write them.
_TEXT_BYTES = 256 * MAX_FACES


class _InMemory(MultiPartParser):
    """Parts stay in memory, whose size the body's limit bounds: no photograph ever lies in a temporary file."""

    spool_max_size = 2**62


def content_type(request: Request) -> Literal["multipart/form-data", "application/json"]:
    """The body's type, one of the two that are read; else 415."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART:
        return "multipart/form-data"
    if kind == JSON:
        return "application/json"
    raise Refused(
        415, "UnsupportedMediaType", f"the body is {kind[:80] or 'of no named type'}", f"send {MULTIPART} or {JSON}"
    )


def check_length(request: Request, settings: Settings) -> None:
    """Refuse a body that says beforehand that it is too large."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > settings.max_body_bytes:
        raise _too_large(settings)


async def read(request: Request, kind: str, settings: Settings) -> Asked:
    """Read and take apart the whole body.

    Raises:
        Refused: 408 too slow, 413 too large, 400 not what its content type says, 422 fields that are missing or wrong.
        ClientDisconnect: the client left.
    """
    stream = _bounded(request, settings)
    return await (_multipart(request, stream) if kind == MULTIPART else _json(stream))


async def _bounded(request: Request, settings: Settings) -> AsyncGenerator[bytes, None]:
    """The body's pieces, until they are too many or too late."""
    until, size = time.monotonic() + settings.upload_s, 0
    pieces = request.stream()
    while True:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refused(
                408, "TooSlow", f"the body did not arrive within {settings.upload_s:g} s", "send it faster"
            ) from None
        size += len(piece)
        if size > settings.max_body_bytes:
            raise _too_large(settings)
        yield piece


async def _multipart(request: Request, stream: AsyncGenerator[bytes, None]) -> Asked:
    parser = _InMemory(request.headers, stream, max_files=2, max_fields=len(_TEXTS), max_part_size=_TEXT_BYTES)
    try:
        form = await parser.parse()
    except (Refused, ClientDisconnect):
        raise
    except (MultiPartException, KeyError, ValueError) as error:  # KeyError: no boundary
        raise Refused(
            400, "BadMultipart", f"the body is no sound {MULTIPART}: {error}", "send it as curl -F does"
        ) from error
    try:
        unknown = set(form) - {"photo", "mask", *_TEXTS}
        if unknown:
            raise _wrong(f"unknown field {sorted(unknown)[0][:40]!r}")
        texts = {name: _text(form, name) for name in _TEXTS if name in form}
        wishes = _wishes({name: text for name, text in texts.items() if text})  # a form sends what was left empty, too
        return Asked(await _file(form, "photo"), await _file(form, "mask"), wishes)
    finally:
        await form.close()


def _wishes(texts: dict[str, str]) -> Wishes:
    values: dict[str, object] = {**texts}
    try:
        if "faces" in texts:
            values["faces"] = json.loads(texts["faces"])
        return Wishes.model_validate(values)
    except ValidationError as error:
        raise _invalid(error) from None
    except (ValueError, RecursionError):
        raise _wrong("faces is no JSON", "send [[x, y, width, height], ...]") from None


async def _file(form: FormData, name: str) -> bytes:
    parts = form.getlist(name)
    if len(parts) != 1 or not isinstance(parts[0], UploadFile):
        raise _wrong(f"{name} must be one file, not {'none' if not parts else 'text' if len(parts) == 1 else 'many'}")
    return await parts[0].read()


def _text(form: FormData, name: str) -> str:
    parts = form.getlist(name)
    if len(parts) > 1 or isinstance(parts[0], UploadFile):
        raise _wrong(f"{name} must be one word")
    return str(parts[0])


async def _json(stream: AsyncGenerator[bytes, None]) -> Asked:
    data = bytearray()
    async for piece in stream:
        data += piece
    return await asyncio.to_thread(_from_json, data)


def _from_json(data: bytearray) -> Asked:
    try:
        body = RestoreBody.model_validate_json(data)
    except ValidationError as error:
        raise _invalid(error) from None
    photo, mask = _base64(body.photo, "photo"), _base64(body.mask, "mask")
    return Asked(photo, mask, Wishes.model_validate(body.model_dump(exclude={"photo", "mask"})))


def _invalid(error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return Refused(400, "BadJson", f"the body is no JSON: {first['msg']}", "send one JSON object")
    return _wrong(f"{where[:80]}: {first['msg']}" if where else first["msg"])


def _base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(f"{name} is no base64", "encode the file's bytes, without data: in front") from None


def _wrong(message: str, hint: str = "see /openapi.json") -> Refused:
    return Refused(422, "BadRequest", message, hint)


def _too_large(settings: Settings) -> Refused:
    limit = settings.max_body_bytes / 2**20
    return Refused(413, "TooLarge", f"the body is over the limit of {limit:g} MiB", "send a smaller file")
