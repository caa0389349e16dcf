"""The process around the application: its socket, its log, its signals, its end."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Literal

import uvicorn

from restore_sdk._util.terminal import escape
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import OutputError
from restore_sdk.serve.app import create_app
from restore_sdk.serve.queue import RestoreQueue
from restore_sdk.serve.settings import Settings

_LOG = logging.getLogger("restore_sdk.serve")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything else, so that a failure is known early.

    Raises:
        OutputError: no such address here, or the port is taken or not for this user.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Who connects while the model is loaded waits, and is not turned away.
        dual = ":" in host and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=dual)
    except (OSError, UnicodeError) as error:
        raise OutputError(f"cannot listen on {host} port {port}: {error}", "choose another --port or --host") from error


def run(engine: RestoreEngine, settings: Settings, listener: socket.socket, also: Sequence[RestoreEngine] = ()) -> None:
    """Serve until SIGTERM or Ctrl-C: then no more connections are taken, and running requests finish."""
    app = create_app(engine, settings, also)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(settings.grace_s)),
    )
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    _LOG.info("serving at %s (Ctrl-C ends it)", url, extra={"facts": {"event": "listening", "url": url}})
    if settings.is_open:
        _LOG.warning("anybody who can reach %s may use it: set a token", url, extra={"facts": {"event": "open"}})
    _Server(config, app.state.queue).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Uvicorn's server, which ends by returning, not by raising the signal that it caught again."""

    def __init__(self, config: uvicorn.Config, queue: RestoreQueue) -> None:
        super().__init__(config)
        self._queue = queue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: finish what runs. A second Ctrl-C: end at once."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = self._queue.stopping = True


class JsonFormatter(logging.Formatter):
    """One JSON object a record, with the facts in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """For people at a terminal, which nothing in a message may steer."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback of a fault."""
        text = f"{record.levelname.lower()}: {escape(record.getMessage())}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def start_log(kind: Literal["text", "json"] | None = None) -> None:
    """Send all logs of the process to standard error: this SDK's from "info" on, others' warnings.

    By default as text on a terminal, else as JSON lines.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = sys.stderr.isatty() if kind is None else kind == "text"
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("restore_sdk").setLevel(logging.INFO)
