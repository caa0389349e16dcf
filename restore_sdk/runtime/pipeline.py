"""Where one request at a time is worked on: its buffers, its stream, both stages' contexts bound to the buffers.

Two pipelines share each workspace, which one stage at a time may compute in: the copies of one request overlap with
the computing of another, and an event in the streams keeps their computing apart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.runtime.base import U8, Inference
from restore_sdk.runtime.cuda import DeviceMemory, Event, Gpu, PinnedMemory
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
    none holds what a request waited for another.
    """

    upload_ms: float
    download_ms: float


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

    def __init__(self, gpu: Gpu, workspace: Workspace, edge: TrtStage, repair: TrtStage, max_batch: int) -> None:
        self._workspace = workspace
        self._pinned: dict[str, PinnedMemory] = {}
        self._memory: dict[str, DeviceMemory] = {}
        self._contexts: list[TrtContext] = []  # of the edge stage, of the repair stage
        self._marks: list[Event] = []  # the last one ends the computing, for whoever waits for the workspace
        self._stream = gpu.stream()
        try:
            for _ in range(_MARKS + 1):
                self._marks.append(gpu.event())
            for name, shape in _SHAPES.items():
                self._pinned[name] = gpu.pinned((max_batch, *shape))
                self._memory[name] = gpu.allocate(max_batch * int(np.prod(shape)))
            addresses = {name: memory.address for name, memory in self._memory.items()}
            for stage in (edge, repair):
                self._contexts.append(stage.context(workspace.span, addresses, self._stream.handle))
        except BaseException:
            self.free()
            raise

    def run(self, images: U8, masks: U8) -> DeviceInference:
        """Restore a batch, copies and all; blocks until the result is in host memory.

        Raises:
            ExecutionError, OutOfMemoryError: nothing of the request is left running.
        """
        count = len(images)
        for name, array in zip(_UP, (images, masks), strict=True):
            self._pinned[name].array[:count] = array
        try:
            self._enqueue(count)
            self._stream.synchronize()  # the one wait of a request
        except BaseException:
            self._settle()
            raise
        restored, completed = (self._pinned[name].array[:count].copy() for name in _DOWN)

        def ms(start: int, end: int) -> float:
            return self._marks[end].ms_since(self._marks[start])

        up, down = ms(_START, _UPLOADED), ms(_REPAIR, _END)
        return DeviceInference(
            restored,
            completed,
            edge_ms=up + ms(_COMPUTE, _EDGE),
            repair_ms=ms(_EDGE, _REPAIR) + down,
            upload_ms=up,
            download_ms=down,
        )

    def free(self) -> None:
        """Free buffers, then contexts; nothing may be queued any more. The first failure is raised at the end."""
        parts: list[Freeable] = [*self._memory.values(), *self._pinned.values(), *self._marks, self._stream]
        parts += self._contexts
        self._memory, self._pinned, self._contexts, self._marks = {}, {}, [], []
        free_all(*parts)

    def _enqueue(self, count: int) -> None:
        """Put copies up, both stages and copies down on the stream."""
        stream, (edge, repair) = self._stream, self._contexts
        for context in self._contexts:
            context.resize(count)
        stream.record(self._marks[_START])
        for name in _UP:
            stream.upload(self._memory[name], self._pinned[name].array[:count])
        stream.record(self._marks[_UPLOADED])
        with self._turn():
            stream.record(self._marks[_COMPUTE])
            edge.enqueue(stream.handle)
            stream.record(self._marks[_EDGE])
            repair.enqueue(stream.handle)
            stream.record(self._marks[_REPAIR])
        for name in _DOWN:
            stream.download(self._pinned[name].array[:count], self._memory[name])
        stream.record(self._marks[_END])

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
