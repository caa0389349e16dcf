"""Errors as the service answers them: a status, and ``{"error": {"type", "message", "hint", "status"}}``."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from restore_sdk.errors import InputError, OutputError, RestoreError


class ProblemError(HTTPException):
    """A request that is answered with ``status`` and an explanation."""

    def __init__(
        self, status: int, kind: str, message: str, hint: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.kind, self.hint = kind, hint

    def response(self) -> JSONResponse:
        """The answer to send."""
        error = {"type": self.kind, "message": self.detail, "hint": self.hint, "status": self.status_code}
        return JSONResponse({"error": error}, self.status_code, {"Cache-Control": "no-store", **(self.headers or {})})


def problem_of(error: BaseException) -> ProblemError:
    """The answer to an error. Whatever is not the client's fault is 500 and tells nothing of the inside."""
    kind = type(error).__name__
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, HTTPException):  # Starlette's own: no such path, wrong method
        return ProblemError(error.status_code, "HttpError", str(error.detail), "see /openapi.json", error.headers)
    if isinstance(error, InputError | OutputError):
        return ProblemError(422, kind, error.message, error.hint)
    if isinstance(error, RestoreError):
        return ProblemError(500, kind, "the photograph could not be restored", "look into the service's log")
    return ProblemError(500, "InternalError", "a fault of the service", "look into the service's log")


async def answer_problem(request: Request, error: Exception) -> Response:
    """Exception handler of the application."""
    problem = problem_of(error)
    request.state.facts["error"] = problem.kind
    return problem.response()


def stopping() -> ProblemError:
    """The service is about to end."""
    return ProblemError(503, "Stopping", "the service is stopping", "try again soon", {"Retry-After": "5"})


def first_problem(error: ValidationError) -> str:
    """The first error that pydantic found, with its field's name."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))[:80]
    return f"{place}: {first['msg']}" if place else first["msg"]
