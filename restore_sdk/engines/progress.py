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
    """The tree of phases that TensorRT reports, as one share of the whole."""

    def __init__(self) -> None:
        self._phases: dict[str, list[Any]] = {}  # name -> [parent, steps, done]
        self._shown = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> float:
        """A phase begins."""
        self._phases[name] = [parent, max(1, steps), 0]
        return self.share()

    def step(self, name: str, step: int) -> float:
        """Step number ``step`` (from 0) of a phase is done."""
        if name in self._phases:
            self._phases[name][2] = step + 1
        return self.share()

    def finish(self, name: str) -> float:
        """A phase ends; its parent counts it with its own next step."""
        phase = self._phases.pop(name, None)
        if phase is not None and phase[0] is None:
            self._shown = 1.0
        return self.share()

    def share(self) -> float:
        """Done share of the whole, 0..1; TensorRT runs phases again at times, the share does not fall."""
        total = sum(self._done(name) for name, phase in self._phases.items() if phase[0] is None)
        self._shown = max(self._shown, min(1.0, total))
        return self._shown

    def _done(self, name: str) -> float:
        _, steps, done = self._phases[name]
        running = [self._done(child) for child, phase in self._phases.items() if phase[0] == name]
        return float(min(1.0, (done + min(1.0, sum(running))) / steps))


def make_monitor(trt: Any, watch: Watch, progress: Progress | None) -> Any:
    """An ``IProgressMonitor`` for a TensorRT module. It never raises: an exception in it would end the process."""
    phases = Phases()

    def show(move: Callable[[], float], name: str) -> None:
        if progress is None:
            return
        try:
            progress(move(), name)
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
