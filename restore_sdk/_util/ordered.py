"""Mapping a function over a stream with several threads: in order, and never far ahead of who reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from restore_sdk.errors import ExecutionError

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result]:
    """Yield ``function(item)`` for each item, in the items' order.

    At most ``2 * workers`` items are read ahead of what was yielded, in the caller's thread, and none while the next
    result is ready. The first exception, of ``function`` or of ``items``, is raised in its item's place and ends the
    iteration; work that runs then is finished, the rest is dropped.

    Raises:
        ExecutionError: the system gives no more threads; raised after the results of the items before.
    """
    pending: deque[Future[Result]] = deque()

    def futures() -> Iterator[Future[Result]]:
        try:
            for item in items:
                yield pool.submit(function, item)
        except Exception as error:
            raised, failed = error, Future[Result]()
            if "start new thread" in str(error):
                raised = ExecutionError(f"no thread can be started: {error}", "use fewer slots, or allow more threads")
                raised.__cause__ = error
            failed.set_exception(raised)
            yield failed

    with ThreadPoolExecutor(workers, thread_name_prefix="restore-sdk") as pool:
        try:
            for future in futures():
                pending.append(future)
                while pending and (len(pending) >= 2 * workers or pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def chunked(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items, the last one perhaps shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
