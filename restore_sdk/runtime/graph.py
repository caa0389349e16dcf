"""CUDA graphs: work captured once from a stream, then launched as a whole with one call.

pycuda has no such API, so the driver's entry points are called directly, on the handle of the pycuda stream.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from restore_sdk.engines.driver import DriverCallError, check, load_driver
from restore_sdk.errors import ExecutionError

#: ``CU_STREAM_CAPTURE_MODE_THREAD_LOCAL``: other threads may go on calling the driver meanwhile.
_THREAD_LOCAL = 1
#: ``CU_EVENT_RECORD_EXTERNAL``: a mark inside a graph that can be read outside it.
_EXTERNAL = 1


class CaptureRefusedError(Exception):
    """The work cannot be captured here; it can still be queued call by call."""


class CapturedGraph:
    """Captured work and the marks inside it. Every method is to be called with the GPU's context current."""

    def __init__(self, marks: int) -> None:
        self._library = load_driver()
        self._events: list[ctypes.c_void_p] = []
        self._executable = ctypes.c_void_p()
        try:
            for _ in range(marks):
                event = ctypes.c_void_p()
                check(self._library, "cuEventCreate", ctypes.byref(event), 0)
                self._events.append(event)
        except DriverCallError as error:
            self.free()
            raise CaptureRefusedError(str(error)) from error

    @classmethod
    def capture(cls, stream: int, enqueue: Callable[[Callable[[int], None]], None], marks: int) -> CapturedGraph:
        """Capture what ``enqueue`` puts on ``stream``; nothing of it runs yet.

        Args:
            stream: handle of the stream; ``enqueue`` must use no other.
            enqueue: is given a function that sets mark number 0, 1, ... ``marks - 1``.
            marks: how many marks there are.

        Raises:
            CaptureRefusedError: the driver, or what is captured, does not allow it.
        """
        graph = cls(marks)
        try:
            graph._record(ctypes.c_void_p(stream), enqueue)
        except BaseException as error:
            graph.free()
            if not isinstance(error, Exception):
                raise
            # Whatever it was: it shows again when the work is queued call by call.
            raise CaptureRefusedError(str(error)) from error
        return graph

    def launch(self, stream: int) -> None:
        """Queue the whole work on a stream."""
        try:
            check(self._library, "cuGraphLaunch", self._executable, ctypes.c_void_p(stream))
        except DriverCallError as error:
            raise ExecutionError(f"the CUDA graph failed: {error}", "open the engine without a CUDA graph") from error

    def ms_between(self, start: int, end: int) -> float:
        """Milliseconds between two marks of the last launch, which must have run."""
        ms = ctypes.c_float()
        try:
            check(self._library, "cuEventElapsedTime", ctypes.byref(ms), self._events[start], self._events[end])
        except DriverCallError as error:
            raise ExecutionError(f"the CUDA graph failed: {error}", "open the engine without a CUDA graph") from error
        return ms.value

    def free(self) -> None:
        """Give everything back; nothing of it may be queued any more. Errors are of no use to anyone here."""
        if self._executable.value:
            self._library.cuGraphExecDestroy(self._executable)
            self._executable = ctypes.c_void_p()
        while self._events:
            self._library.cuEventDestroy_v2(self._events.pop())

    def _record(self, stream: ctypes.c_void_p, enqueue: Callable[[Callable[[int], None]], None]) -> None:
        library, graph = self._library, ctypes.c_void_p()

        def mark(number: int) -> None:
            check(library, "cuEventRecordWithFlags", self._events[number], stream, _EXTERNAL)

        check(library, "cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)
        try:
            enqueue(mark)
        except BaseException:
            # Whatever happened, the stream must not go on capturing.
            library.cuStreamEndCapture(stream, ctypes.byref(graph))
            if graph.value:
                library.cuGraphDestroy(graph)
            raise
        check(library, "cuStreamEndCapture", stream, ctypes.byref(graph))
        try:
            check(library, "cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0))
        finally:
            library.cuGraphDestroy(graph)
