"""A lock between processes, on a file that stays where it is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restore_sdk.errors import OutputError

#: Seconds between two tries; waiting by polling can be given up, waiting in the kernel cannot.
POLL_SECONDS = 0.05


@contextmanager
def file_lock(path: Path, poll: Callable[[float], None] | None = None) -> Iterator[None]:
    """Hold the lock at ``path`` against every other process, and every other thread of this one.

    The system frees the lock of a process that dies, once no child that it forked in the block lives. ``poll`` is
    called with the seconds waited so far before every further try; it gives up by raising.

    Raises:
        OutputError: the file cannot be made, or its file system has no locks.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as error:
        raise OutputError(f"cannot lock {path}: {error.strerror}", "check space and permissions") from error
    owner = os.getpid()
    try:
        started = time.monotonic()
        while not _try_or_raise(handle, path):
            if poll is not None:
                poll(time.monotonic() - started)
            time.sleep(POLL_SECONDS)
        yield
    finally:
        if os.getpid() == owner:  # a child that was forked meanwhile has the file too, but not the say
            _unlock(handle)
        os.close(handle)


def _try_or_raise(handle: int, path: Path) -> bool:
    try:
        return _try_lock(handle)
    except OSError as error:  # a network's file system that has no locks
        raise OutputError(f"cannot lock {path}: {error.strerror}", "use a folder on a local disk") from error


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        """Closing does it."""

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: int) -> None:
        """Not left to closing: a forked child keeps the file open."""
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
