"""Text for a terminal: names of files and messages come from strangers, and nothing in them may steer it.

And who writes to standard error: libraries in C are heard, and said again with the file's name.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


def escape(text: object) -> str:
    """One line that any terminal can print: control characters and undecodable bytes are escaped."""
    decoded = str(text).encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in decoded)


def quote(text: object) -> str:
    """One word of a command that is to be pasted into a shell, whatever it holds."""
    return shlex.quote(str(text))


def install_command(extra: str) -> str:
    """``pip install '/path/to/restore-sdk[serve]'`` for extra ``serve``: by path, since the package is on no index."""
    return f"pip install {quote(f'/path/to/restore-sdk[{extra}]')}"


#: What OpenCV and Pillow put before what libtiff says: level and time, a function, a file of no such name.
_NOT_SAID_AGAIN = re.compile(r"^(\[[^]]*\] global \S+ \w+ (\w+: (: )?)?|tempfile\.tif: )")

_separate, _one_at_a_time = False, threading.Lock()


@contextmanager
def own_stderr() -> Iterator[None]:
    """Meanwhile Python writes to another descriptor than libraries in C, so that these can be heard by themselves.

    For the command alone, to which standard error belongs.
    """
    global _separate
    before = sys.stderr
    try:
        os.fstat(2)
        _separate = True
        if before is not None and before.fileno() == 2:
            sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    except (OSError, ValueError):  # closed; or, in a test, no file
        pass
    try:
        yield
    finally:
        _separate = False
        if sys.stderr is not before:
            sys.stderr.close()
            sys.stderr = before


def _scratch() -> IO[bytes]:
    """A file without a name; on Linux in memory, where the file system may not be written."""
    return open(os.memfd_create("stderr"), "w+b") if sys.platform == "linux" else tempfile.TemporaryFile()


@contextmanager
def library_lines() -> Iterator[list[str]]:
    """The lines that libraries in C write to standard error meanwhile, there afterwards; in the command only."""
    lines: list[str] = []
    if not _separate:
        yield lines
        return
    with _one_at_a_time, _scratch() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said = file.read(10_000).decode(errors="replace").splitlines()
            lines += [_NOT_SAID_AGAIN.sub("", line) for line in said]
