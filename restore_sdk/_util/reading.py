"""Looking at what a user has named, without surprises: too large, not to be searched, or writable by others."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from restore_sdk._util.terminal import word
from restore_sdk.errors import EngineIntegrityError, InputError

#: Opens no link, and does not wait for a pipe.
PLAIN_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_PRUNE = "run: restore-sdk engines prune"


def read_at_most(file: BinaryIO, limit: int) -> bytes | None:
    """All bytes of a file just opened, or ``None`` where those are more than ``limit``.

    The size that the system tells is only where reading begins: a file may grow, and some have none to tell.
    """
    expected = os.fstat(file.fileno()).st_size
    if expected > limit:
        return None
    data = file.read(expected + 1)  # Python takes the memory for as many bytes as are asked for
    while expected < len(data) <= limit:
        expected = min(2 * len(data) + 4096, limit)
        data += file.read(expected + 1 - len(data))
    return data if len(data) <= limit else None


def read_owned(path: Path, limit: int) -> bytes:
    """Bytes of a plain file of the user's own, at most ``limit``: for engines, which are executable code.

    Raises:
        FileNotFoundError: there is no such file.
        EngineIntegrityError: it is something else, belongs to another user, can be written by others, or is too large.
    """
    try:
        with os.fdopen(os.open(path, PLAIN_FILE), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise EngineIntegrityError(f"{path} is not a plain file", _PRUNE)
            require_owned(found, path)
            data = read_at_most(file, limit)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise EngineIntegrityError(f"cannot read {path}: {error.strerror}", _PRUNE) from error
    if data is None:
        raise EngineIntegrityError(f"{path} is larger than {limit} bytes", _PRUNE)
    return data


def require_owned(found: os.stat_result, path: Path) -> None:
    """Raise :class:`EngineIntegrityError` unless the file is the user's or root's, and only the owner may write it."""
    if sys.platform == "win32":  # the user's profile is guarded by its access lists
        return
    if found.st_uid not in (os.geteuid(), 0):
        raise EngineIntegrityError(
            f"{path} belongs to another user; an engine is executable code",
            "use a store of your own: RESTORE_SDK_STORE",
        )
    if found.st_mode & 0o022:
        raise EngineIntegrityError(
            f"others can write {path}; an engine is executable code", f"run: chmod go-w {word(path)}, then build again"
        )


def is_folder(path: Path) -> bool:
    """Whether there is a folder; raises as :func:`is_there`."""
    found = _facts(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_there(path: Path) -> bool:
    """Whether there is anything by this name; a name that no file system takes names nothing.

    Raises :class:`InputError` where that cannot be told, as in a folder that may not be searched.
    """
    return _facts(path) is not None


def _facts(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except ValueError:  # a null character
        return None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
            return None
        raise InputError(
            f"{path} cannot be looked at: {error.strerror}", "check the permissions of the folders that it is in"
        ) from error
