"""Logs as JSON lines on standard error: facts of requests, never pictures, file names or tokens."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

#: What a record may carry beside its message.
FIELDS = (
    "event",
    "id",
    "client",
    "method",
    "route",
    "status",
    "error",
    "seconds",
    "bytes_in",
    "bytes_out",
    "pixels",
    "parts",
    "url",
    "model",
    "runtime",
)


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


@contextmanager
def configured() -> Iterator[None]:
    """Send all logs of the process to standard error: this SDK's and uvicorn's from "info" on, others' warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    for name in ("restore_sdk", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)


def listening(url: str, facts: dict[str, Any], *, open_to_all: bool) -> None:
    """Say where the service is and what serves in it."""
    logger = logging.getLogger("restore_sdk.serve")
    model = f"{facts['bundle']['name']} {facts['bundle']['version']}"
    extra = {"event": "listening", "url": url, "model": model, "runtime": facts["runtime"]}
    logger.info("serving at %s", url, extra=extra)
    if open_to_all:
        logger.warning("anybody who can reach %s may use it: set a token", url, extra={"event": "open"})
