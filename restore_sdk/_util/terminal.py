"""Text for a terminal: names of files and messages come from strangers, and nothing in them may steer it."""

from __future__ import annotations

import shlex


def shown(text: object) -> str:
    """One line that any terminal can print: control characters and undecodable bytes are escaped."""
    valid = str(text).encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in valid)


def word(text: object) -> str:
    """One word of a command that is to be pasted into a shell, whatever it holds."""
    return shlex.quote(str(text))
