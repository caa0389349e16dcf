"""How far a run is, as one line that is drawn over itself; only where somebody watches."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from restore_sdk._util.terminal import shown

#: Seconds between two drawings.
_PACE = 0.1

_WIDTH = 24


class Progress:
    """A bar with rate and time left on ``stream``, a terminal; on anything else it draws nothing.

    Args:
        total: photographs of the whole run.
        before: how many of them an earlier run has done, which say nothing about the rate.
    """

    def __init__(self, stream: TextIO | None, total: int, before: int = 0) -> None:
        self._errors = stream
        self._stream = stream if stream is not None and stream.isatty() else None
        self._total, self._before, self._count, self._failed = total, before, 0, 0
        self._started = time.monotonic()
        self._drawn = 0.0

    def step(self, *, failed: bool) -> None:
        """One photograph more is dealt with."""
        self._count += 1
        self._failed += failed
        now = time.monotonic()
        if self._stream is not None and (now - self._drawn >= _PACE or self._before + self._count == self._total):
            self._drawn = now
            self._draw(now - self._started)

    def failed(self, name: str, message: str, hint: str) -> None:
        """A line that stays about a photograph that was not restored; written without a terminal too."""
        self.clear()
        if self._errors is not None:
            print(f"restore-sdk: {shown(name)}: {shown(message)} ({shown(hint)})", file=self._errors, flush=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._stream is not None:
            print("\r\033[K", end="", file=self._stream, flush=True)

    def _draw(self, seconds: float) -> None:
        assert self._stream is not None
        done = self._before + self._count
        rate = self._count / seconds if seconds > 0 else 0.0
        left = (self._total - done) / rate if rate > 0 else 0.0
        filled = _WIDTH * done // max(1, self._total)
        failed = f"  {self._failed} failed" if self._failed else ""
        bar = "#" * filled + "-" * (_WIDTH - filled)
        line = f"[{bar}] {done}/{self._total}  {rate:.1f}/s  {clock(left)} left{failed}"
        width = shutil.get_terminal_size().columns
        print(f"\r\033[K{line[: width - 1]}", end="", file=self._stream, flush=True)


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
