"""A copy of a large array that is made while its maker already goes on."""

from __future__ import annotations

from contextlib import suppress
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes of an array from which on a thread costs less than it saves.
LEAST_BYTES = 4 << 20


class CopyAhead:
    """A fresh contiguous copy of ``source``, which must not change before :meth:`get` returned.

    A large source is copied by a thread of its own, meanwhile.

    Raises:
        MemoryError: there is no room for the copy.
    """

    def __init__(self, source: NDArray[Any]) -> None:
        self._copy = np.empty(source.shape, source.dtype)
        self._thread: Thread | None = None
        if source.nbytes >= LEAST_BYTES:
            thread = Thread(target=np.copyto, args=(self._copy, source), name="restore-sdk-copy")
            with suppress(RuntimeError):  # the process may have no more threads; then the copy is made now
                thread.start()
                self._thread = thread
        if self._thread is None:
            np.copyto(self._copy, source)

    def get(self) -> NDArray[Any]:
        """The copy, once it is whole; the same array each time."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return self._copy
