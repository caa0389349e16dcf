"""Looking at what a user has named, without surprises: files that are too large, folders that may not be searched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


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
    """Whether there is a folder; no, where that cannot be told (``Path.is_dir`` raises there): reading says why."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
