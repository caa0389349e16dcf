"""Where the user's own files lie, and reading none but those: plans are executable code."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from restore_sdk._util.reading import read_at_most
from restore_sdk._util.terminal import word
from restore_sdk.errors import EngineError, EngineIntegrityError


def default_root() -> Path:
    """``RESTORE_SDK_STORE`` where it is set, else ``restore-sdk/engines`` in the user's cache folder."""
    named = os.environ.get("RESTORE_SDK_STORE")
    if named:
        return Path(named)
    try:
        if sys.platform == "win32":
            caches = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            caches = Path.home() / "Library" / "Caches"
        else:
            caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # no home
        raise EngineError(
            f"no place for the engine store: {error}", "set RESTORE_SDK_STORE to a folder of yours"
        ) from error
    return caches / "restore-sdk" / "engines"


def read_owned(path: Path, limit: int) -> bytes:
    """Bytes of a plain file of the user's own, at most ``limit``; never through a link, never from a pipe or a device.

    Raises:
        FileNotFoundError: there is no such file.
        EngineIntegrityError: it is something else, belongs to another user, can be written by others, or is too large.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise EngineIntegrityError(f"{path} is not a plain file", "run: restore-sdk engines prune")
            require_owned(found, path)
            data = read_at_most(file, limit)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise EngineIntegrityError(f"cannot read {path}: {error.strerror}", "run: restore-sdk engines prune") from error
    if data is None:
        raise EngineIntegrityError(f"{path} is larger than {limit} bytes", "run: restore-sdk engines prune")
    return data


def require_owned(found: os.stat_result, path: Path) -> None:
    """Raise :class:`EngineIntegrityError` unless the file is the user's or root's, and only the owner may write it."""
    if sys.platform == "win32":  # the user's profile is guarded by its access lists
        return
    if found.st_uid not in (os.geteuid(), 0):
        raise EngineIntegrityError(
            f"{path} belongs to another user; a plan is executable code", "use a store of your own: RESTORE_SDK_STORE"
        )
    if found.st_mode & 0o022:
        raise EngineIntegrityError(
            f"others can write {path}; a plan is executable code", f"run: chmod go-w {word(path)}, then build again"
        )
