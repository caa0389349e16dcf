"""TensorRT's log, into :mod:`logging` and kept for the error that may follow.

TensorRT keeps the first logger of a process and ignores every later one, so there is one an edition, shared by
building and running; :func:`capture` collects the messages of one piece of work.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Messages that are remembered, and go into a sidecar.
KEEP = 200

_LOG = logging.getLogger("restore_sdk.tensorrt")
_LOG.addHandler(logging.NullHandler())  # its messages reach the caller in errors; standard error only where configured
_LOCK = threading.Lock()
_LOGGERS: dict[str, Any] = {}
_CAPTURES: list[Capture] = []


class Capture:
    """What was logged during a piece of work, in ``thread`` or in all: the last messages of INFO and above, as
    ``(severity, text)`` with the severity as in ``"ERROR"``."""

    def __init__(self, thread: int | None = None) -> None:
        self.thread = thread
        self.lines: deque[tuple[str, str]] = deque(maxlen=KEEP)

    @property
    def errors(self) -> list[str]:
        """Texts of errors and internal errors, oldest first."""
        return [text for severity, text in list(self.lines) if severity in ("INTERNAL_ERROR", "ERROR")]


def logger(trt: Any) -> Any:
    """The one ``ILogger`` of this process for a TensorRT module; it never raises, and never prints."""
    with _LOCK:
        if trt.__name__ not in _LOGGERS:
            _LOGGERS[trt.__name__] = _make_logger(trt)
        return _LOGGERS[trt.__name__]


@contextmanager
def capture(*, own: bool = False) -> Iterator[Capture]:
    """Collect TensorRT's messages while the block runs, from all threads: a builder has several.

    ``own`` takes only those of the caller's thread, as all of an engine that is opened or runs: other threads may run
    engines of their own meanwhile.
    """
    captured = Capture(threading.get_ident() if own else None)
    with _LOCK:
        _CAPTURES.append(captured)
    try:
        yield captured
    finally:
        with _LOCK:
            _CAPTURES.remove(captured)


def _make_logger(trt: Any) -> Any:
    levels = {
        int(trt.ILogger.INTERNAL_ERROR): ("INTERNAL_ERROR", logging.ERROR),
        int(trt.ILogger.ERROR): ("ERROR", logging.ERROR),
        int(trt.ILogger.WARNING): ("WARNING", logging.WARNING),
        int(trt.ILogger.INFO): ("INFO", logging.DEBUG),  # its INFO is what others call debugging
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            try:
                known = levels.get(int(severity))
                if known is None:  # VERBOSE: thousands of lines a build
                    return
                thread = threading.get_ident()
                for captured in list(_CAPTURES):
                    if captured.thread in (None, thread):
                        captured.lines.append((known[0], str(message)))
                _LOG.log(known[1], "%s", message)
            except BaseException:  # an exception in here would end the process inside C++
                return

    return Logger()
