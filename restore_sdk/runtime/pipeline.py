"""Where one request at a time is worked on: its buffers, its stream, both stages' contexts bound to the buffers.

Two pipelines share each workspace, which one stage at a time may compute in: the copies of one request overlap with
the computing of another, and an event in the streams keeps their computing apart.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.runtime.base import U8, Inference
from restore_sdk.runtime.cuda import DeviceMemory, Event, Gpu, PinnedMemory
from restore_sdk.runtime.graph import CapturedGraph, CaptureRefusedError
from restore_sdk.runtime.trtstage import TrtContext, TrtStage

_LOG = logging.getLogger("restore_sdk")

_MAP = (MODEL_SIZE, MODEL_SIZE)
_SHAPES = {"image": (*_MAP, 3), "mask": _MAP, "completed_edges": _MAP, "restored": (*_MAP, 3)}
_UP = ("image", "mask")
_DOWN = ("restored", "completed_edges")

#: Marks in the stream, in order: copying up from _START to _UPLOADED; the edge stage from _COMPUTE to _EDGE (before it
#: stands the wait for the workspace); the repair stage to _REPAIR; copying down to _END.
_START, _UPLOADED, _COMPUTE, _EDGE, _REPAIR, _END = range(6)
_MARKS = 6


@dataclass(frozen=True, slots=True)
class DeviceInference(Inference):
    """:class:`~restore_sdk.runtime.base.Inference` with the device's own times, in milliseconds.

    ``edge_ms`` is ``upload_ms`` plus the edge stage's computing, ``repair_ms`` the repair stage's plus ``download_ms``;
    none holds what a request waited for another. ``total_ms`` is wall-clock, from before the first copy to the result.
    """

    upload_ms: float
    download_ms: float
    total_ms: float
    graph: bool


class Workspace:
    """Device memory that stages compute in, and whose turn it is to. Made with the GPU's context current.

    Attributes:
        lock: held while a pipeline queues its computing.
        last: recorded behind the computing that was queued last.
    """

    def __init__(self, gpu: Gpu, size: int) -> None:
        self.lock = threading.Lock()
        self.last: Event | None = None
        self._memory: DeviceMemory | None = gpu.allocate(size) if size else None

    @property
    def span(self) -> tuple[int, int]:
        """Its address and size; both stages use it, one after the other."""
        return (self._memory.address, self._memory.size) if self._memory else (0, 0)

    def free(self) -> None:
        """Free it; nothing may compute any more."""
        self.last = None
        if self._memory:
            self._memory.free()
        self._memory = None


class Pipeline:
    """Copies up, both stages and copies down, of one request at a time, on one stream.

    Every method is to be called with the GPU's context current.

    The address of the edge stage's output is the address of the repair stage's input: both are the one buffer
    ``completed_edges``.
    """

    def __init__(
        self, gpu: Gpu, workspace: Workspace, edge: TrtStage, repair: TrtStage, max_batch: int, *, graph: bool
    ) -> None:
        self._workspace, self._stages = workspace, (edge, repair)
        #: Whether requests are queued as a CUDA graph: asked for, and not refused since.
        self.graph = graph
        self._pinned: dict[str, PinnedMemory] = {}
        self._memory: dict[str, DeviceMemory] = {}
        # With graphs by batch size, else one pair under 0: a context's graph is good as long as its shapes stay.
        self._contexts: dict[int, list[TrtContext]] = {}
        self._graphs: dict[int, CapturedGraph] = {}
        self._marks: list[Event] = []  # the last one ends the computing, for whoever waits for the workspace
        self._stream = gpu.stream()
        try:
            for _ in range(_MARKS + 1):
                self._marks.append(gpu.event())
            for name, shape in _SHAPES.items():
                self._pinned[name] = gpu.pinned((max_batch, *shape))
                self._memory[name] = gpu.allocate(max_batch * int(np.prod(shape)))
            if not graph:
                self._contexts_of(0)
        except BaseException:
            self.free()
            raise

    def run(self, images: U8, masks: U8) -> DeviceInference:
        """Restore a batch, copies and all; blocks until the result is in host memory.

        Raises:
            ExecutionError, OutOfMemoryError: nothing of the request is left running.
        """
        started = time.perf_counter()
        count = len(images)
        for name, array in zip(_UP, (images, masks), strict=True):
            self._pinned[name].array[:count] = array
        try:
            graph = self._enqueue(count)
            self._stream.synchronize()  # the one wait of a request
        except BaseException:
            self._settle()
            raise
        restored, completed = (self._pinned[name].array[:count].copy() for name in _DOWN)

        def ms(start: int, end: int) -> float:
            return graph.ms_between(start, end) if graph else self._marks[end].ms_since(self._marks[start])

        up, down = ms(_START, _UPLOADED), ms(_REPAIR, _END)
        result = DeviceInference(
            restored,
            completed,
            edge_ms=up + ms(_COMPUTE, _EDGE),
            repair_ms=ms(_EDGE, _REPAIR) + down,
            upload_ms=up,
            download_ms=down,
            total_ms=1e3 * (time.perf_counter() - started),
            graph=graph is not None,
        )
        if self.graph and graph is None:
            self._capture(count)
        return result

    def free(self) -> None:
        """Free buffers, then contexts; nothing may be queued any more. The first failure is raised at the end."""
        parts: list[Freeable] = [*self._graphs.values(), *self._memory.values(), *self._pinned.values()]
        parts += [*self._marks, self._stream, *(context for pair in self._contexts.values() for context in pair)]
        self._graphs, self._memory, self._pinned, self._contexts, self._marks = {}, {}, {}, {}, []
        free_all(*parts)

    def _enqueue(self, count: int) -> CapturedGraph | None:
        """Queue the whole request; returns the graph that it was queued as, if it was."""
        graph = self._graphs.get(count)
        if graph is not None:
            with self._turn():
                graph.launch(self._stream.handle)
            return graph
        contexts = self._contexts_of(count if self.graph else 0)
        for context in contexts:
            context.resize(count)
        self._queue(count, contexts, lambda number: self._stream.record(self._marks[number]), self._turn())
        return None

    def _queue(
        self, count: int, contexts: list[TrtContext], mark: Callable[[int], None], turn: AbstractContextManager[None]
    ) -> None:
        """Put copies up, both stages and copies down on the stream, call by call; the stages inside ``turn``."""
        stream, (edge, repair) = self._stream, contexts
        mark(_START)
        for name in _UP:
            stream.upload(self._memory[name], self._pinned[name].array[:count])
        mark(_UPLOADED)
        with turn:
            mark(_COMPUTE)
            edge.enqueue(stream.handle)
            mark(_EDGE)
            repair.enqueue(stream.handle)
            mark(_REPAIR)
        for name in _DOWN:
            stream.download(self._pinned[name].array[:count], self._memory[name])
        mark(_END)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """What is queued in the block starts when the workspace is free, whichever pipeline used it last."""
        with self._workspace.lock:
            if self._workspace.last is not None:
                self._stream.wait(self._workspace.last)
            try:
                yield
            except BaseException:
                # The first stage may be queued when the second is refused: the next turn waits for that one as well.
                with suppress(Exception):
                    self._leave()
                raise
            self._leave()

    def _leave(self) -> None:
        self._stream.record(self._marks[-1])
        self._workspace.last = self._marks[-1]

    def _contexts_of(self, key: int) -> list[TrtContext]:
        """Both stages' contexts, made when they are first asked for."""
        if key not in self._contexts:
            addresses = {name: memory.address for name, memory in self._memory.items()}
            made: list[TrtContext] = []
            try:
                for stage in self._stages:
                    made.append(stage.context(self._workspace.span, addresses, self._stream.handle))
            except BaseException:
                free_all(*made)
                raise
            self._contexts[key] = made
        return self._contexts[key]

    def _capture(self, count: int) -> None:
        """Capture the chain for batches of ``count``; it just ran with these shapes, so TensorRT has made ready."""
        contexts = self._contexts_of(count)
        try:
            with self._workspace.lock:
                self._graphs[count] = CapturedGraph.capture(
                    self._stream.handle, lambda mark: self._queue(count, contexts, mark, nullcontext()), _MARKS
                )
        except CaptureRefusedError as error:
            _LOG.warning("no CUDA graph for batches of %d, the chain is queued call by call: %s", count, error)
            self.graph = False
            # They have just worked, and there may be no room for more.
            self._contexts[0] = self._contexts.pop(count)

    def _settle(self) -> None:
        """After a failure: wait for what was queued, so that the next request finds the buffers at rest."""
        try:
            self._stream.synchronize()
        except Exception as error:
            # The failure that brought us here is the one to report; a lost context fails again with the next request.
            _LOG.debug("after a failed request the stream does not come to rest: %s", error)


class Freeable(Protocol):
    """What holds memory of the device, or an object of TensorRT."""

    def free(self) -> None:
        """Give it back."""
        ...


def free_all(*parts: Freeable) -> None:
    """Free all parts in the order given, whatever fails; then raise the first failure."""
    failure: Exception | None = None
    for part in parts:
        try:
            part.free()
        except Exception as error:  # after a lost context every call fails; what can be given back is
            failure = failure or error
    if failure is not None:
        raise failure
