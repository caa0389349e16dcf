"""Reading what a user has named, without surprises: too large, a link or a pipe, or writable by others."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from restore_sdk._util.terminal import quote
from restore_sdk.errors import EngineError


def read_plain(path: Path, limit: int, check: Callable[[os.stat_result, Path], None] | None = None) -> bytes:
    """Bytes of a plain file, at most ``limit``; never through a link, a pipe or a device.

    ``check`` is given what the system says of the file before it is read, to raise.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is something else or larger; the text goes on after its name.
    """
    if path.is_symlink():  # for systems without O_NOFOLLOW
        raise ValueError("is a link, not a plain file")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is not a plain file")
        if check is not None:
            check(found, path)
        if found.st_size > limit:
            raise ValueError(f"is larger than the {limit} bytes it may have")
        return file.read()


def read_owned(path: Path, limit: int) -> bytes:
    """Bytes of a plain file of the user's own, at most ``limit``: for engines, which are executable code.

    Raises :class:`FileNotFoundError`; :class:`EngineError` (integrity) for what is not the user's alone.
    """
    try:
        return read_plain(path, limit, require_owned)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        text = f"cannot read {path}: {error.strerror}" if isinstance(error, OSError) else f"{path} {error}"
        raise EngineError(text, "run: restore-sdk engines prune", reason="integrity") from error


def require_owned(found: os.stat_result, path: Path) -> None:
    """Raise :class:`EngineError` unless the file is the user's or root's, and only the owner may write it."""
    if sys.platform == "win32":  # the user's profile is guarded by its access lists
        return
    if found.st_uid not in (os.geteuid(), 0):
        raise EngineError(
            f"{path} belongs to another user; an engine is executable code",
            "use a store of your own: RESTORE_SDK_STORE",
            reason="integrity",
        )
    if found.st_mode & 0o022:
        raise EngineError(
            f"others can write {path}; an engine is executable code",
            f"run: chmod go-w {quote(path)}, then build again",
            reason="integrity",
        )
