"""What the runtimes on the CPU share: buffers in host memory, and their exceptions as the SDK's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from restore_sdk.errors import ExecutionError, OutOfMemoryError, RestoreError
from restore_sdk.imaging.image import MODEL_SIZE
from restore_sdk.runtime.base import U8

#: Largest batch of a call. Four images give the threads of a run longer pieces of work; more only costs memory.
MAX_BATCH = 4


def host_buffers(batch: int) -> dict[str, U8]:
    """One array for each tensor of the chain, by its name, for batches of up to ``batch``."""
    maps = (batch, MODEL_SIZE, MODEL_SIZE)
    shapes = {"image": (*maps, 3), "mask": maps, "completed_edges": maps, "restored": (*maps, 3)}
    return {name: np.zeros(shape, np.uint8) for name, shape in shapes.items()}


@contextmanager
def mapped_errors(what: str, kind: type[RestoreError] = ExecutionError, *, no_memory: str, hint: str) -> Iterator[None]:
    """A runtime's exceptions, which share no base class of their own, as ``kind``; their words follow ``what``.

    ``no_memory`` is what the runtime says, beside ``bad_alloc``, when memory is short.
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
