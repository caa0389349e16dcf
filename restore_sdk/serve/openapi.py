"""The words and examples of the API's description; the rest FastAPI derives from the routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from restore_sdk.serve.body import RestoreBody
from restore_sdk.serve.problems import ERROR_SCHEMA

# A 2 x 1 photograph and its mask, so that the examples are real.
_PHOTO = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAD0lEQVQIHWM8UWHDwMAAAAgGAX5dTsuxAAAAAElFTkSuQmCC"
_MASK = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAAAAADRSSBWAAAAC0lEQVQIHWNk+A8AAQUBAUNZpE0AAAAASUVORK5CYII="

RESTORE = (
    "Repaints what the mask marks in white; every other pixel stays as it is (JPEG answers lose a little everywhere). "
    "Send `multipart/form-data` for an image in return, `application/json` for JSON. With `Accept: application/json` "
    "a multipart request is answered in JSON too. `Server-Timing` says how long each part took."
)

_IMAGE = {"type": "string", "format": "binary"}

#: The JSON form without its base64: a multipart request brings the same fields, its pictures as files.
_FIELDS: dict[str, Any] = RestoreBody.model_json_schema()["properties"]

RESTORE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photo", "mask"],
                    "additionalProperties": False,
                    "properties": {
                        **_FIELDS,
                        "photo": {**_IMAGE, "description": "PNG, JPEG, WebP, BMP or TIFF, 8 or 16 bits."},
                        "mask": {**_IMAGE, "description": "An image of the same size, white where to repaint."},
                    },
                    "description": "`faces` is a text that holds JSON.",
                }
            },
            "application/json": {
                "schema": RestoreBody.model_json_schema(),
                "examples": {
                    "photo": {
                        "summary": "A photograph of 2 x 1 px, its right pixel damaged",
                        "value": {"photo": _PHOTO, "mask": _MASK, "format": "png", "edges": True},
                    }
                },
            },
        },
    }
}

_RESULT: dict[str, Any] = {
    "type": "object",
    "required": ["image", "media_type", "notes", "edges", "width", "height", "crops", "timings_ms"],
    "properties": {
        "image": {"type": "string", "format": "byte", "description": "The restored photograph in base64."},
        "media_type": {"type": "string", "examples": ["image/png"]},
        "edges": {"type": ["string", "null"], "description": "The completed edge map, a PNG in base64, if asked for."},
        "notes": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What of the photograph's metadata is not in the image.",
        },
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "crops": {
            "type": ["array", "null"],
            "description": "The parts that the model saw; null where they are not known.",
            "items": {
                "type": "object",
                "properties": {key: {"type": "integer"} for key in ("x", "y", "width", "height")},
            },
        },
        "timings_ms": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}


def _error(what: str, kind: str, message: str, status: int) -> dict[str, Any]:
    example = {"error": {"type": kind, "message": message, "hint": "...", "status": status}}
    return {"description": what, "content": {"application/json": {"schema": ERROR_SCHEMA, "example": example}}}


RESTORE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The restored photograph.",
        "content": {
            "image/png": {"schema": _IMAGE},
            "image/jpeg": {"schema": _IMAGE},
            "image/webp": {"schema": _IMAGE},
            "application/json": {"schema": _RESULT},
        },
    },
    400: _error("The body is not what its content type says.", "BadJson", "the body is no JSON", 400),
    401: _error("No token, or a wrong one.", "Unauthorized", "a bearer token is needed", 401),
    403: _error("Sent by a page of another site.", "OtherSite", "pages of other sites may not use this service", 403),
    408: _error("The body came too slowly.", "TooSlow", "the body did not arrive within 30 s", 408),
    413: _error("Too many bytes or pixels.", "TooManyPixelsError", "the photo has 60000 x 60000 px, ...", 413),
    415: _error("Neither multipart nor JSON, or no image.", "UnknownFormatError", "the photo is no image of ...", 415),
    421: _error("The Host header names another service.", "WrongHost", "no service by that name here", 421),
    422: _error("Photograph, mask or a field cannot be used.", "MaskError", "the mask marks the whole image, ...", 422),
    500: _error("A fault of the service.", "ExecutionError", "the photograph could not be restored", 500),
    503: {
        **_error("Full, or stopping.", "Busy", "the service is full", 503),
        "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
    },
    504: _error("Not done in time.", "TooLong", "no result within 60 s", 504),
}


def describe_token(app: FastAPI, *, wanted: bool) -> None:
    """Add the bearer scheme to the description where a token is asked for."""
    build = app.openapi

    def described() -> dict[str, Any]:
        schema = build()
        if wanted:
            schema.setdefault("components", {})["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        return schema

    app.openapi = described  # type: ignore[method-assign]
