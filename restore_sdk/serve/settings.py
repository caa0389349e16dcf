"""What the service is told: where it listens, who may use it, and its limits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from restore_sdk.errors import InputError
from restore_sdk.tiling.faces import FaceDetector

#: Photographs up to this many pixels may share a run of the model with those of other users.
SMALL_PIXELS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and places of the service; every time is in seconds.

    Attributes:
        host: address to listen on. ``port``: 0 takes a free one.
        ui: also serve the page.
        token: bearer token that ``/v1`` and ``/metrics`` ask for; ``None`` asks for none.
        allowed_hosts: names that a request's ``Host`` may have, but for an orchestrator's probes. Empty: on a loopback
            address only names of this host (a page of another site can then not reach the service through DNS),
            elsewhere any.
        max_body_bytes: largest request body.
        max_pixels: largest photograph and mask, checked in their headers before a pixel is decoded.
        max_requests: requests in the house at a time: uploading, waiting, computing. More are answered 503.
        upload_s: a body must have arrived after this long, else 408.
        request_s: the answer must be there after this long, else 504. Also how long a client may stall while it reads.
        grace_s: after SIGTERM, how long requests may go on.
        batch: how many small photographs of different users one run of the model may take.
        workers: threads that decode, restore and encode.
        face_detector: asked where the faces are, unless a request says it.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    ui: bool = False
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 25_000_000
    max_requests: int = 64
    upload_s: float = 30.0
    request_s: float = 60.0
    grace_s: float = 30.0
    batch: int = 1
    workers: int = 2
    face_detector: FaceDetector | None = None

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_pixels", "max_requests", "batch", "workers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}", f"pass 1 or more for {name}")
        for name in ("upload_s", "request_s", "grace_s"):
            if not 0 < getattr(self, name) < 86_400:
                raise InputError(f"{name} is {getattr(self, name)}", f"pass seconds above 0 for {name}")
        object.__setattr__(self, "allowed_hosts", tuple(name.lower().strip("[]") for name in self.allowed_hosts))
        if not 0 <= self.port <= 65_535:
            raise InputError(f"the port is {self.port}", "pass 0 to 65535")
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise InputError("the token is too short or has characters that a header cannot carry", "use 8+ of ASCII")

    @property
    def local(self) -> bool:
        """Whether only this host can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def guarded(self) -> bool:
        """Whether strangers are kept out: only this host can reach the service, or it asks for a token."""
        return self.local or self.token is not None

    def takes_host(self, header: str) -> bool:
        """Whether a request with this ``Host`` header is meant for this service."""
        name = host_name(header)
        if self.allowed_hosts:
            return name in self.allowed_hosts
        return not self.local or name in ("localhost", "127.0.0.1", "::1", self.host)


def host_name(header: str) -> str:
    """``Host`` without port and brackets, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
