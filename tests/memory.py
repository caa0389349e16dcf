"""Memory of this process, as Linux tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

#: Whether this host can tell the peak of a part of a process's life.
KNOWN = _STATUS.exists() and _CLEAR.exists()


def _bytes(name: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))


def resident() -> int:
    """Bytes in memory now."""
    return _bytes("VmRSS")


@contextmanager
def bounded(limit: int, what: str) -> Iterator[None]:
    """Assert that no more than ``limit`` bytes more than before were in memory at any time inside."""
    if not KNOWN:
        yield
        return
    _CLEAR.write_text("5")  # the peak begins anew
    before = resident()
    try:
        yield
    finally:
        taken = _bytes("VmHWM") - before
        assert taken <= limit, f"{what} took {taken / 1e6:.0f} MB, at most {limit / 1e6:.0f} MB are its due"
