"""What stops an export."""

from __future__ import annotations


class ExportError(Exception):
    """The export cannot be done; ``hint`` says what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})"


class GateError(ExportError):
    """A check that every released model must pass did not; nothing was written."""
