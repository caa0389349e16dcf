"""Doing something in a child process that is killed on the way. For scripts of their own, since it forks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

#: A child that takes longer hangs: on a lock that a killed one left, say.
SECONDS = 240


def survives(work: Callable[[], object], writers: set[str], kill_at: int) -> bool:
    """Do it in a child that is killed by SIGKILL at its ``kill_at``-th executed line in files of these names.

    Returns whether it got through; with ``kill_at`` 0 it is not killed.
    """
    child = os.fork()
    if child == 0:
        left = kill_at

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if Path(frame.f_code.co_filename).name not in writers:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        signal.alarm(SECONDS)
        sys.settrace(trace)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, f"it hung or failed: {status}"
    return status == 0
