"""The chain on the GPU: pycuda's buffers, one stream, and both stages bound to the buffers; one request at a time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk.runtime.base import INPUTS, OUTPUTS, SHAPES, U8, Inference
from restore_sdk.runtime.cuda import Gpu, free_all
from restore_sdk.runtime.native import hold, release
from restore_sdk.runtime.trtstage import TrtContext, TrtStage

#: ``CU_STREAM_NON_BLOCKING``: a stream that does not wait for work that others put on the legacy default stream.
_NON_BLOCKING = 1


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

    The address of the edge stage's output is the address of the repair stage's input: both are the one buffer
    ``completed_edges``. Both stages compute in one workspace, one after the other.

    It is made and freed with the GPU's context current.
    """

    def __init__(self, gpu: Gpu, edge: TrtStage, repair: TrtStage) -> None:
        cuda, batch = gpu.cuda, min(edge.max_batch, repair.max_batch)
        self._gpu = gpu
        self._pinned: dict[str, NDArray[np.uint8]] = {}  # page-locked: the device copies from and to it by itself
        self._device: dict[str, Any] = {}  # device memory
        self._contexts: list[TrtContext] = []  # of the edge stage, of the repair stage
        self._marks: list[Any] = []  # events
        self._stream: Any = hold(cuda.Stream(_NON_BLOCKING))
        try:
            for _ in range(_END + 1):
                self._marks.append(hold(cuda.Event()))
            for name, shape in SHAPES.items():
                self._pinned[name] = cuda.pagelocked_empty((batch, *shape), np.uint8)
                hold(self._pinned[name].base)
                self._device[name] = hold(cuda.mem_alloc(batch * int(np.prod(shape))))
            addresses = {name: int(memory) for name, memory in self._device.items()}
            workspace = 0, max(edge.workspace_bytes, repair.workspace_bytes)
            if workspace[1]:
                self._device["workspace"] = hold(cuda.mem_alloc(workspace[1]))
                workspace = int(self._device["workspace"]), workspace[1]
            for stage in (edge, repair):
                self._contexts.append(stage.context(workspace, addresses, self._stream.handle))
        except BaseException:
            self.free()
            raise

    def run(self, images: U8, masks: U8) -> DeviceInference:
        """Restore a batch, copies and all; after an error nothing of the request is left running."""
        count = len(images)
        with self._gpu.current("the request failed"):
            for name, array in zip(INPUTS, (images, masks), strict=True):
                self._pinned[name][:count] = array
            try:
                self._enqueue(count)
                self._stream.synchronize()  # the one wait of a request
            except BaseException:
                # What was queued ends, so that the next request finds the buffers at rest. The failure that brought us
                # here is the one to report; a lost context fails again with the next request.
                with suppress(Exception):
                    self._stream.synchronize()
                raise
            restored, completed = (self._pinned[name][:count].copy() for name in OUTPUTS)
            up, edge, repair, down = (
                float(self._marks[mark + 1].time_since(self._marks[mark])) for mark in range(_START, _END)
            )
        return DeviceInference(restored, completed, up + edge, repair + down, up, down)

    def free(self) -> None:
        """Free buffers, then contexts; nothing may be queued any more. The first failure is raised at the end."""
        for each in (*self._marks, self._stream):
            release(each)
        buffers = (*self._device.values(), *(array.base for array in self._pinned.values()))
        contexts, self._contexts = self._contexts, []
        self._device, self._pinned, self._marks, self._stream, each = {}, {}, [], None, None
        free_all(*buffers, *contexts)

    def _enqueue(self, count: int) -> None:
        """Put copies up, both stages and copies down on the stream."""
        cuda, (edge, repair) = self._gpu.cuda, self._contexts
        for context in self._contexts:
            context.resize(count)
        # No local variable holds an object of pycuda: an error's traceback would keep it alive.
        self._marks[_START].record(self._stream)
        for name in INPUTS:
            cuda.memcpy_htod_async(self._device[name], self._pinned[name][:count], self._stream)
        self._marks[_UPLOADED].record(self._stream)
        edge.enqueue(self._stream.handle)
        self._marks[_EDGE].record(self._stream)
        repair.enqueue(self._stream.handle)
        self._marks[_REPAIR].record(self._stream)
        for name in OUTPUTS:
            cuda.memcpy_dtoh_async(self._pinned[name][:count], self._device[name], self._stream)
        self._marks[_END].record(self._stream)
