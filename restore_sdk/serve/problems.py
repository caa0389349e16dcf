"""Every answer that is no picture: status, and ``{"error": {"type", "message", "hint", "status"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from restore_sdk.errors import ClosedError, InputError, OutputError, RestoreError

#: Written to logs and metrics for a client that left before its answer; never sent.
CLIENT_LEFT = 499


class Refused(Exception):  # noqa: N818  (a refusal is an answer, no fault)
    """A request that is answered with ``status`` and an explanation."""

    def __init__(
        self, status: int, kind: str, message: str, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.hint = status, kind, message, hint
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer to send."""
        error = {"type": self.kind, "message": self.message, "hint": self.hint, "status": self.status}
        return JSONResponse({"error": error}, self.status, {"Cache-Control": "no-store", **self.headers})


class TooManyPixelsError(InputError):
    """A photograph or mask claims more pixels than the service decodes."""


class UnknownFormatError(InputError):
    """The bytes are no image of a format that is read."""


def refusal(error: BaseException) -> Refused:
    """The answer to an error of the SDK; anything unknown is 500 and tells the client nothing of its inside."""
    if isinstance(error, Refused):
        return error
    kind = type(error).__name__
    if isinstance(error, TooManyPixelsError):
        return Refused(413, kind, error.message, error.hint)
    if isinstance(error, UnknownFormatError):
        return Refused(415, kind, error.message, error.hint)
    if isinstance(error, InputError | OutputError):
        return Refused(422, kind, error.message, error.hint)
    if isinstance(error, ClosedError):
        return stopping()
    if isinstance(error, RestoreError):
        return Refused(500, kind, "the photograph could not be restored", "look into the service's log")
    return Refused(500, "InternalError", "a fault of the service", "look into the service's log")


def stopping() -> Refused:
    """The service is about to end."""
    return Refused(503, "Stopping", "the service is stopping", "try again soon", {"Retry-After": "5"})


def busy(seconds: int) -> Refused:
    """The house is full."""
    return Refused(503, "Busy", "the service is full", f"try again in {seconds} s", {"Retry-After": str(seconds)})


#: For OpenAPI.
ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message", "hint", "status"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
                "status": {"type": "integer"},
            },
        }
    },
}
