"""Looking at what a user has named, without surprises: files that are too large, folders that may not be searched."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from restore_sdk.errors import InputError


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
