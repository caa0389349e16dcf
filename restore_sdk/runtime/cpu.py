"""What the runtimes on the CPU share: slots that take turns, their buffers, and exceptions as the SDK's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from restore_sdk.errors import ExecutionError, OutOfMemoryError, RestoreError
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.runtime.base import U8, Inference, SlotPool, check_batch

#: Largest batch of a call. Four images give the threads of a run longer pieces of work; more only costs memory.
MAX_BATCH = 4


class CpuSlot(Protocol):
    """What serves one call at a time: buffers, bound to both stages."""

    def run(self, images: U8, masks: U8, edges: U8) -> Inference:
        """Restore a batch; see :meth:`restore_sdk.runtime.base.StageRunner.infer`."""
        ...

    def free(self) -> None:
        """Let go of everything."""
        ...


class CpuRunner:
    """The part of a runner on the CPU that does not depend on the runtime; see ``StageRunner``.

    Args:
        slots: one for each call that may compute at the same time.
    """

    def __init__(self, slots: list[CpuSlot]) -> None:
        self._slots = len(slots)
        self._pool = SlotPool(slots)

    @property
    def slots(self) -> int:
        """How many calls may compute at the same time."""
        return self._slots

    @property
    def max_batch(self) -> int:
        """Largest N that :meth:`infer` takes."""
        return MAX_BATCH

    def infer(self, images: U8, masks: U8, edges: U8) -> Inference:
        """Restore a batch; see :meth:`restore_sdk.runtime.base.StageRunner.infer`."""
        check_batch(images, masks, edges, MAX_BATCH)
        with self._pool.take() as slot:
            return slot.run(images, masks, edges)

    def close(self) -> None:
        """Wait for running calls, then free everything. Idempotent."""
        for slot in self._pool.close():
            slot.free()


def host_buffers(batch: int) -> dict[str, U8]:
    """One array for each tensor of the chain, by its name, for batches of up to ``batch``."""
    square = (batch, MODEL_SIZE, MODEL_SIZE)
    return {
        "image": np.zeros((*square, 3), np.uint8),
        "mask": np.zeros(square, np.uint8),
        "edges": np.zeros(square, np.uint8),
        "completed_edges": np.zeros(square, np.uint8),
        "restored": np.zeros((*square, 3), np.uint8),
    }


@contextmanager
def mapped_errors(what: str, kind: type[RestoreError] = ExecutionError, *, no_memory: str, hint: str) -> Iterator[None]:
    """A runtime's exceptions, which share no base class of their own, as ``kind``; want of memory is told apart.

    Args:
        what: failed; the runtime's own words follow.
        kind: of error to raise.
        no_memory: what the runtime says, beside ``bad_alloc``, when memory is short.
        hint: what to do next.
    """
    try:
        yield
    except RestoreError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(f"{what}: out of memory", "free memory, or use fewer slots") from error
    except Exception as error:
        if "bad_alloc" in str(error) or no_memory in str(error):
            raise OutOfMemoryError(f"{what}: {error}", "free memory, or use fewer slots") from error
        raise kind(f"{what}: {error}", hint) from error
