"""How every command of ``python -m export`` ends, and what it says of drift."""

from __future__ import annotations

import sys
from collections.abc import Callable

from export.errors import ExportError, GateError
from restore_sdk.errors import RestoreError


def decibel(value: float | None) -> str:
    """For people; ``None`` is no difference at all."""
    return "equal" if value is None else f"{value:.1f} dB"


def status(work: Callable[[], None], *, gate: int = 1, gate_note: str = ". Nothing was written.") -> int:
    """Do the work and tell its errors on stderr: 0, 2 on a mistake of the caller's, ``gate`` where a gate stopped it,
    130 when interrupted.

    Args:
        work: raises :class:`GateError`, :class:`ExportError` or :class:`RestoreError`; others pass.
        gate: exit status of a gate.
        gate_note: follows what the gate said.
    """
    try:
        work()
    except GateError as error:
        print(f"error: {error}{gate_note}", file=sys.stderr)
        return gate
    except (ExportError, RestoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
