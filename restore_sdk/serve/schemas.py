"""What a request and its answers hold, for pydantic and for OpenAPI."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, FiniteFloat, PlainSerializer, Tag
from pydantic_core import from_json

from restore_sdk.tiling.damage import Sensitivity
from restore_sdk.tiling.plan import MAX_CROPS
from restore_sdk.tiling.request import MAX_BORDER, Detail

MULTIPART, JSON = "multipart/form-data", "application/json"

Format = Literal["png", "jpeg", "webp", "tiff"]

#: Most faces of one photograph.
MAX_FACES = 64

Box = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
Boxes = Annotated[
    list[Box],
    Field(max_length=MAX_FACES),
    BeforeValidator(lambda boxes: from_json(boxes) if isinstance(boxes, str) else boxes),
]
Faces = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[Boxes, Tag("boxes")],
    Discriminator(lambda faces: "auto" if faces == "auto" else "boxes"),
]

Base64 = Annotated[bytes, PlainSerializer(lambda data: base64.b64encode(data).decode(), return_type=str)]
_BASE64: dict[str, Any] = {"format": "byte", "contentEncoding": "base64"}


class PhotoRequest(BaseModel):
    """What every request holds, not decoded yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photo: bytes = Field(strict=True, description="A PNG, JPEG, WebP, BMP or TIFF of 8 or 16 bits.")


class DamageRequest(PhotoRequest):
    """Where to look for damage, and how."""

    sensitivity: Sensitivity = Field("normal", description="low: what is certain; high: also what may be the picture.")


class RestoreRequest(PhotoRequest):
    """What to restore, and how."""

    mask: bytes = Field(strict=True, description="A file of the same size, white where to repaint.")
    format: Format = Field("png", description="Format of the answer; JPEG with loss, the others without.")
    edges: bool = Field(False, description="Also answer the completed edge map (in JSON answers).")
    model: str | None = Field(None, max_length=80, description="One of the service's models; without, its first.")
    dilate: int = Field(0, ge=0, le=MAX_BORDER, description="Grow the mask by so many pixels first.")
    feather: int = Field(0, ge=0, le=MAX_BORDER, description="Blend so many pixels inwards from the mask's border.")
    max_crops: int = Field(MAX_CROPS, ge=1, le=MAX_CROPS, description="Tiles at most; fewer: quicker, softer.")
    detail: Detail = Field("match", description="Add the grain and detail that are known around the damage, or none.")
    faces: Faces = Field(
        "auto",
        description="Tiles are framed around faces as the model was trained: auto looks for them; [x, y, width, "
        "height] each, in pixels of the upright photograph, from forehead to chin, says where they are; [] is none.",
        examples=[[[82, 66, 84, 118]]],
    )


class RestoreResponse(BaseModel):
    """The restored photograph and how it was made."""

    image: Base64 = Field(description="An image file, in base64.", json_schema_extra=_BASE64)
    media_type: str = Field(examples=["image/png"])
    edges: Base64 | None = Field(description="The completed edge map, a PNG in base64, if asked for.")
    notes: tuple[str, ...] = Field(description="What of the photograph's metadata is not in the image.")
    width: int
    height: int
    crops: list[dict[str, int]] = Field(description="x, y, width and height of what the model saw.")
    detail: Detail = Field(description="match where grain or detail was added to what the model gave.")
    timings_ms: dict[str, float]


class DamageResponse(BaseModel):
    """A proposal for the mask, to be looked at."""

    image: Base64 = Field(description="A grey PNG in base64, 255 where damage is.", json_schema_extra=_BASE64)
    media_type: str = Field(examples=["image/png"])
    share: float = Field(description="How much of the photograph is marked, 0 to 1.")
    width: int
    height: int
    timings_ms: dict[str, float]


class Problem(BaseModel):
    """Why there is no image, and what to do."""

    type: str
    message: str
    hint: str
    status: int


class ProblemResponse(BaseModel):
    """The body of every answer from 400 on."""

    error: Problem


def _body(model: type[PhotoRequest], note: str) -> dict[str, Any]:
    """OpenAPI of a request, which FastAPI does not know, since its body is read within limits."""
    schema = {**model.model_json_schema(), "description": note}
    return {"requestBody": {"required": True, "content": {MULTIPART: {"schema": schema}}}}


REQUEST_BODY = _body(RestoreRequest, "`faces` is auto, or a text that holds JSON.")
DAMAGE_BODY = _body(DamageRequest, "The photograph alone.")

_ERRORS = (400, 401, 403, 408, 413, 415, 421, 422, 500, 503, 504)


def _answers(what: str, model: type[BaseModel], kinds: tuple[str, ...], errors: tuple[int, ...]) -> Any:
    content = {f"image/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    problems = {status: {"model": ProblemResponse} for status in errors}
    return {200: {"description": what, "model": model, "content": content}, **problems}


RESPONSES = _answers("The restored photograph.", RestoreResponse, get_args(Format), _ERRORS)
DAMAGE_RESPONSES = _answers("The mask.", DamageResponse, ("png",), (*_ERRORS, 501))
