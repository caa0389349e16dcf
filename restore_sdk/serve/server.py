"""A uvicorn server around the application: its socket, its signals, its end."""

from __future__ import annotations

import logging
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from restore_sdk.errors import OutputError
from restore_sdk.serve.app import Service
from restore_sdk.serve.protocol import GuardedProtocol

_LOG = logging.getLogger("restore_sdk.serve")


def bind(host: str, port: int) -> socket.socket:
    """A listening address, taken before anything else, so that its failure is known early.

    Raises:
        OutputError: no such address here, or the port is taken or not for this user.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)  # who connects from now on waits, and is not turned away
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        raise OutputError(f"cannot listen on {host} port {port}: {error}", "choose another --port or --host") from error
    return listener


def url(listener: socket.socket) -> str:
    """Where a browser finds the service."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C: then no more connections are taken, and running requests finish."""
    service: Service = app.state.service
    protocol = type("Protocol", (GuardedProtocol,), {"stall_s": service.settings.request_s})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(service.settings.grace_s)),
    )
    _Server(config, service).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Uvicorn's server, which ends by returning, not by the signal that it caught."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: finish what runs. A second Ctrl-C: end at once."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = self._service.stopping = True
