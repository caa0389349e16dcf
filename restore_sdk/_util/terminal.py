"""Text for a terminal: names of files and messages come from strangers, and nothing in them may steer it."""

from __future__ import annotations

import shlex


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
