"""What every runtime offers to the engine, and what runners share: slots, so that threads share a runner."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from restore_sdk.errors import ClosedError, ExecutionError, OutOfMemoryError, RestoreError, ShapeError
from restore_sdk.imaging.image import MODEL_SIZE

U8 = NDArray[np.uint8]

_MAP = (MODEL_SIZE, MODEL_SIZE)
#: Names of the chain's inputs and outputs.
INPUTS, OUTPUTS = ("image", "mask"), ("restored", "completed_edges")

#: Shapes of the chain's tensors by name, without the batch.
SHAPES = {"image": (*_MAP, 3), "mask": _MAP, "completed_edges": _MAP, "restored": (*_MAP, 3)}

#: What runtimes say when memory is short, in lower case.
NO_MEMORY = ("bad_alloc", "failed to allocate", "out of memory", "outofmemory", "cudaerrormemoryallocation")

#: Largest batch of a call on the CPU. Four images give its threads longer pieces of work; more only costs memory.
MAX_BATCH = 4


@dataclass(frozen=True, slots=True)
class Inference:
    """What both stages gave for one batch, and how long each took.

    ``restored`` is ``(N, 256, 256, 3)``, ``completed_edges`` ``(N, 256, 256)``, both ``uint8``, fresh and contiguous:
    no later call writes into them. Times are in milliseconds of wall-clock, copies to and from the stage included.
    """

    restored: U8
    completed_edges: U8
    edge_ms: float
    repair_ms: float


def check_batch(images: object, masks: object, largest: int) -> None:
    """Refuse what :meth:`StageRunner.infer` does not take, before anything is copied.

    Raises:
        ShapeError: not ``uint8`` arrays of one batch of 1 to ``largest`` images; names the array and both forms.
    """
    count = len(images) if isinstance(images, np.ndarray) and images.ndim else 0
    if error := _form_error(count, images=images, masks=masks):
        raise ShapeError(error, "convert it")
    if not 1 <= count <= largest:
        raise ShapeError(f"a batch of {count}, the runtime takes 1 to {largest}", "split it")


def checked(result: Inference, count: int) -> Inference:
    """The result of a batch of ``count``, once it has the form that it must have; raises :class:`ExecutionError`."""
    if error := _form_error(count, restored=result.restored, completed_edges=result.completed_edges):
        raise ExecutionError(f"of the runtime's results, {error}", "run: restore-sdk verify")
    return result


def _form_error(count: int, **arrays: object) -> str:
    """What is wrong with arrays that should be a batch of ``count``: in colour the first, maps the second."""
    for (name, array), like in zip(arrays.items(), INPUTS, strict=True):
        shape = (count, *SHAPES[like])
        if not (isinstance(array, np.ndarray) and array.dtype == np.uint8 and array.shape == shape):
            found = f"{getattr(array, 'dtype', type(array).__name__)} {getattr(array, 'shape', '')}"
            return f"{name} is {found}, not uint8 {shape}"
    return ""


class StageRunner(Protocol):
    """Runs the edge stage, then the repair stage, on one device.

    Safe to call from as many threads as like; at most ``slots`` calls compute at a time, the others wait.
    """

    #: How many calls may compute at the same time.
    slots: int
    #: Largest N that :meth:`infer` takes.
    max_batch: int

    def infer(self, images: U8, masks: U8) -> Inference:
        """Restore a batch.

        Args:
            images: ``(N, 256, 256, 3)`` RGB, contiguous; may be the user's own array, so not to be written into.
            masks: ``(N, 256, 256)``, above 127 is to be restored.

        Raises:
            ShapeError: the arrays are something else; nothing was computed.
            ExecutionError: the runtime failed. ``OutOfMemoryError``: for want of memory.
            ClosedError: the runner was closed.
        """
        ...

    def info(self) -> dict[str, Any]:
        """Facts about the runner, of JSON types: ``runtime``, its version, device, precision, ..."""
        ...

    def close(self) -> None:
        """Wait for running calls, then free everything. Idempotent."""
        ...


class Slot(Protocol):
    """What serves one call at a time: buffers bound to both stages, or a connection."""

    def run(self, images: U8, masks: U8) -> Inference: ...  # noqa: D102
    def free(self) -> None: ...  # noqa: D102


class PooledRunner:
    """A :class:`StageRunner` on slots, each of which serves one thread at a time.

    ``facts`` are what :meth:`info` says.
    """

    def __init__(self, slots: Sequence[Slot], max_batch: int, facts: dict[str, Any]) -> None:
        self.slots, self.max_batch = len(slots), max_batch
        self._facts = {**facts, "slots": self.slots, "max_batch": max_batch}
        self._idle = deque(slots)  # first in, first out: calls one after another visit every slot
        self._count, self._open = len(slots), True
        self._changed = threading.Condition()

    def infer(self, images: U8, masks: U8) -> Inference:
        """Restore a batch; see :meth:`StageRunner.infer`."""
        check_batch(images, masks, self.max_batch)
        with self.slot() as slot:
            return slot.run(images, masks)

    def info(self) -> dict[str, Any]:
        """Facts about the runner, of JSON types."""
        return dict(self._facts)

    def close(self) -> None:
        """Wait for running calls, then free everything. Idempotent."""
        for slot in self._close():
            slot.free()

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """Wait for a free slot and hold it; raises :class:`ClosedError` when the runner is, or gets, closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._idle or not self._open)
            if not self._open:
                raise ClosedError("the engine is closed", "open a new RestoreEngine")
            slot = self._idle.popleft()
        try:
            yield slot
        finally:
            with self._changed:
                self._idle.append(slot)
                self._changed.notify_all()

    def _close(self) -> list[Slot]:
        """Refuse new calls, wait until every slot is idle, and return them to be freed (once)."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._count)
            freed, self._count = list(self._idle), 0
            self._idle.clear()
            return freed


def host_buffers(batch: int) -> dict[str, U8]:
    """One array for each tensor of the chain, by its name, for batches of up to ``batch``."""
    return {name: np.zeros((batch, *shape), np.uint8) for name, shape in SHAPES.items()}


@contextmanager
def mapped_errors(what: str, kind: type[RestoreError] = ExecutionError, *, hint: str) -> Iterator[None]:
    """A runtime's exceptions, which share no base class of their own, as ``kind``; their words follow ``what``."""
    try:
        yield
    except RestoreError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(f"{what}: out of memory", "free memory, or use fewer slots") from error
    except Exception as error:
        if any(sign in str(error).lower() for sign in NO_MEMORY):
            raise OutOfMemoryError(f"{what}: {error}", "free memory, or use fewer slots") from error
        raise kind(f"{what}: {error}", hint) from error
