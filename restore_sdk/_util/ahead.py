"""A copy of a large array, made by a thread of its own while the caller works on."""

from __future__ import annotations

from contextlib import suppress
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes of an array from which on a thread costs less than it saves.
LEAST_BYTES = 4 << 20


class CopyAhead:
    """A fresh contiguous copy of ``source``. A large source is copied by a thread of its own.

    The source must neither change nor go before :meth:`get` or :meth:`wait` returned. For one caller's thread.

    Raises:
        MemoryError: there is no room for the copy.
    """

    def __init__(self, source: NDArray[Any]) -> None:
        self._source, self._copy = source, np.empty(source.shape, source.dtype)
        self._error: BaseException | None = None
        self._thread: Thread | None = None
        if source.nbytes >= LEAST_BYTES:
            thread = Thread(target=self._work, name="restore-sdk-copy")
            with suppress(RuntimeError):  # the process may have no more threads; then the copy is made now
                thread.start()
                self._thread = thread
        if self._thread is None:
            np.copyto(self._copy, source)

    def get(self) -> NDArray[Any]:
        """The copy, once it is whole; the same array each time. Raises what the thread met, if it failed."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._copy

    def wait(self) -> None:
        """Return once the source is not read any more."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        try:
            np.copyto(self._copy, self._source)
        except BaseException as error:  # must not be lost with the thread
            self._error = error
