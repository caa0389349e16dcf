"""Trying what may work or may be refused, but must not end in any other way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=Exception)


def error_of(kind: type[Kind], call: Callable[..., Any], *arguments: Any) -> Kind | None:
    """The error of that kind that the call ended in, or ``None`` where it returned; any other is let through."""
    try:
        call(*arguments)
    except kind as error:
        return error
    return None
