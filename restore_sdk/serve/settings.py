"""Settings of the service: where it listens, who may use it, and its limits."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from restore_sdk.errors import InputError
from restore_sdk.serve.problems import first_problem

Seconds = Annotated[float, Field(gt=0, lt=86_400)]
HostName = Annotated[str, AfterValidator(lambda name: name.lower().strip("[]"))]


class Settings(BaseModel):
    """Raises ``pydantic.ValidationError``, a ``ValueError``. Times are in seconds.

    Attributes:
        token: bearer token that ``/v1`` and ``/metrics`` ask for; ``None`` asks for none.
        allowed_hosts: names that a request's ``Host`` header may have. Empty: on a loopback address only names of this
            host (a page of another site can then not reach the service through DNS), elsewhere any.
        max_pixels: of photograph and mask, checked in their headers before a pixel is decoded.
        max_requests: uploading, waiting and computing at a time. More are answered 503.
        upload_s: a body must have arrived after this long, else 408. ``request_s``: the answer, else 504.
        grace_s: after SIGTERM, how long requests may go on.
        workers: threads that decode, restore and encode.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)  # 0 takes a free one
    ui: bool = False
    token: str | None = Field(default=None, min_length=8, pattern="^[ -~]+$", repr=False)
    allowed_hosts: tuple[HostName, ...] = ()
    max_body_bytes: PositiveInt = 32 * 1024 * 1024
    max_pixels: PositiveInt = 25_000_000
    max_requests: PositiveInt = 64
    upload_s: Seconds = 30.0
    request_s: Seconds = 60.0
    grace_s: Seconds = 30.0
    workers: PositiveInt = 2

    @property
    def is_local(self) -> bool:
        """Whether only this host can reach the service."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_open(self) -> bool:
        """Whether anybody may use the service: other hosts can reach it, and it asks for no token."""
        return not self.is_local and self.token is None

    def accepts_host(self, header: str) -> bool:
        """Whether a request with this ``Host`` header is meant for this service."""
        name = host_name(header)
        if self.allowed_hosts:
            return name in self.allowed_hosts
        return not self.is_local or name in ("localhost", "127.0.0.1", "::1", self.host)


def check_settings(**values: Any) -> Settings:
    """Settings from options of the command; raises :class:`InputError`."""
    try:
        return Settings(**values)
    except ValidationError as error:
        raise InputError(first_problem(error), "see restore-sdk serve --help") from error


def host_name(header: str) -> str:
    """``Host`` without port and brackets, in lower case."""
    name = header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0]
    return name.lower()
