"""Where one request at a time is worked on: its buffers, its stream, both stages' contexts bound to the buffers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

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

#: Marks in the stream, in order: copies up to _UPLOADED, the edge stage to _EDGE, the repair stage to _REPAIR, copies
#: down to _END.
_START, _UPLOADED, _EDGE, _REPAIR, _END = range(5)


@dataclass(frozen=True, slots=True)
class DeviceInference(Inference):
    """:class:`~restore_sdk.runtime.base.Inference` with the device's own times, in milliseconds.

    ``edge_ms`` is ``upload_ms`` plus the edge stage's computing, ``repair_ms`` the repair stage's plus ``download_ms``.
    """

    upload_ms: float
    download_ms: float


class Pipeline:
    """Copies up, both stages and copies down, of one request at a time, on one stream.

    Every method is to be called with the GPU's context current.

    The address of the edge stage's output is the address of the repair stage's input: both are the one buffer
    ``completed_edges``. Both stages compute in one workspace, one after the other.
    """

    def __init__(self, gpu: Gpu, edge: TrtStage, repair: TrtStage) -> None:
        batch = min(edge.max_batch, repair.max_batch)
        self._pinned: dict[str, PinnedMemory] = {}
        self._memory: dict[str, DeviceMemory] = {}
        self._contexts: list[TrtContext] = []  # of the edge stage, of the repair stage
        self._marks: list[Event] = []
        self._stream = gpu.stream()
        try:
            for _ in range(_END + 1):
                self._marks.append(gpu.event())
            for name, shape in _SHAPES.items():
                self._pinned[name] = gpu.pinned((batch, *shape))
                self._memory[name] = gpu.allocate(batch * int(np.prod(shape)))
            addresses = {name: memory.address for name, memory in self._memory.items()}
            workspace = 0, 0
            if size := max(edge.workspace_bytes, repair.workspace_bytes):
                self._memory["workspace"] = gpu.allocate(size)
                workspace = self._memory["workspace"].address, size
            for stage in (edge, repair):
                self._contexts.append(stage.context(workspace, addresses, self._stream.handle))
        except BaseException:
            self.free()
            raise

    def run(self, images: U8, masks: U8) -> DeviceInference:
        """Restore a batch, copies and all; after an error nothing of the request is left running."""
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
        up, edge, repair, down = (end.ms_since(start) for start, end in zip(self._marks, self._marks[1:], strict=False))
        return DeviceInference(restored, completed, up + edge, repair + down, up, down)

    def free(self) -> None:
        """Free buffers, then contexts; nothing may be queued any more. The first failure is raised at the end."""
        parts = (*self._memory.values(), *self._pinned.values(), *self._marks, self._stream, *self._contexts)
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
        edge.enqueue(stream.handle)
        stream.record(self._marks[_EDGE])
        repair.enqueue(stream.handle)
        stream.record(self._marks[_REPAIR])
        for name in _DOWN:
            stream.download(self._pinned[name].array[:count], self._memory[name])
        stream.record(self._marks[_END])

    def _settle(self) -> None:
        """After a failure: wait for what was queued, so that the next request finds the buffers at rest."""
        try:
            self._stream.synchronize()
        except Exception as error:
            # The failure that brought us here is the one to report; a lost context fails again with the next request.
            _LOG.debug("after a failed request the stream does not come to rest: %s", error)


def free_all(*parts: Any) -> None:
    """Free all parts in the order given, whatever fails; then raise the first failure."""
    failure: Exception | None = None
    for part in parts:
        try:
            part.free()
        except Exception as error:  # after a lost context every call fails; what can be given back is
            failure = failure or error
    if failure is not None:
        raise failure
