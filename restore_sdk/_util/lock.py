"""A lock between processes, on a file that stays where it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from restore_sdk.errors import OutputError

#: Seconds between two tries; waiting by polling can be given up, waiting in the kernel cannot.
POLL_SECONDS = 0.05


@contextmanager
def file_lock(path: Path, poll: Callable[[float], None] | None = None) -> Iterator[None]:
    """Hold the lock at ``path`` against every other process, and every other thread of this one.

    The system frees the lock of a process that dies. ``poll`` is called with the seconds waited so far before every
    further try; it gives up by raising. :class:`OutputError`: the file cannot be made, or there are no locks.
    """
    lock, owner, started = FileLock(path, mode=0o600, fallback_to_soft=False), os.getpid(), time.monotonic()
    while True:
        try:
            # filelock makes folders that are missing, and tries for ever where a file cannot be made (ENOENT in /proc).
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
            lock.acquire(timeout=-1 if poll is None else 0, poll_interval=POLL_SECONDS)
            break
        except Timeout:
            if poll is not None:
                poll(time.monotonic() - started)
            time.sleep(POLL_SECONDS)
        except OSError as error:
            raise OutputError(f"cannot lock {path}: {error.strerror}", "use a folder on a local disk") from error
    try:
        yield
    finally:
        if os.getpid() == owner:  # a child that was forked meanwhile must not free its parent's lock
            lock.release()
