"""Progress of a build, and the end of it when the caller wants none: TensorRT asks between its steps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

#: Takes the done share (0..1, never falling) and the phase that TensorRT is in.
Progress = Callable[[float, str], None]

_LOG = logging.getLogger("restore_sdk")


class Watch:
    """When a build has to end: cancelled, or past its time.

    Args:
        seconds: allowed from now; ``None``: as long as it takes.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End the build at TensorRT's next step; from any thread."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled.is_set()

    @property
    def expired(self) -> bool:
        """Whether the time is over."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def over(self) -> bool:
        """Whether the build has to end."""
        return self.cancelled or self.expired


class Phases:
    """The tree of phases that TensorRT reports, as one share of the whole, 0..1.

    TensorRT runs phases again at times; the share does not fall.
    """

    def __init__(self) -> None:
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # parent, steps, steps done
        self._share = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> float:
        """A phase begins."""
        self._phases[name] = (parent, max(1, steps), 0)
        return self.share()

    def step(self, name: str, step: int) -> float:
        """Step number ``step`` (from 0) of a phase is done."""
        if name in self._phases:
            self._phases[name] = (*self._phases[name][:2], step + 1)
        return self.share()

    def finish(self, name: str) -> float:
        """A phase ends; its parent counts it with its own next step."""
        if self._phases.pop(name, ("",))[0] is None:
            self._share = 1.0
        return self.share()

    def share(self) -> float:
        """Done share of the whole."""
        self._share = max(self._share, self._running(None))
        return self._share

    def _running(self, parent: str | None) -> float:
        """Done share of the phases below ``parent``, which count as one step of it."""
        below = [(name, steps, done) for name, (above, steps, done) in self._phases.items() if above == parent]
        return min(1.0, sum((done + self._running(name)) / steps for name, steps, done in below))


def make_monitor(trt: Any, watch: Watch, progress: Progress | None) -> Any:
    """An ``IProgressMonitor`` for a TensorRT module. It never raises: an exception in it would end the process."""
    phases = Phases()

    def show(move: Callable[[], float], phase: str) -> None:
        try:
            share = move()
            if progress is not None:
                progress(share, phase)
        except BaseException as error:
            _LOG.warning("showing the progress of a build failed, which does not stop it: %r", error)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            show(lambda: phases.start(phase_name, parent_phase, num_steps), phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            show(lambda: phases.step(phase_name, step), phase_name)
            return not watch.over

        def phase_finish(self, phase_name: str) -> None:
            show(lambda: phases.finish(phase_name), phase_name)

    return Monitor()
