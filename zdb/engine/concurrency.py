"""Many requests in flight, and memory that stays flat meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["WORKERS", "Budget", "concurrently"]

WORKERS = 16
# What the calls in flight may hold together, in bytes.
BUDGET = 256 << 20
T = TypeVar("T")
R = TypeVar("R")


class Budget:
    """Bytes that calls in flight share; a call that needs more than there are runs alone."""

    def __init__(self, limit: int = BUDGET) -> None:
        self._limit = limit
        self._used = 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until there are so many bytes, and take them."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._limit)
            self._used += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()


def concurrently(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int = WORKERS,
    weight: Callable[[T], int] = lambda _: 0,
    budget: Budget | None = None,
) -> Iterator[R]:
    """Call a function in threads, and yield what it returns as it comes.

    Parameters
    ----------
    function : callable
    items : iterable
        Taken as threads become free.
    workers : int
        Number of threads.
    weight : callable, optional
        How many bytes a call holds in memory.
    budget : Budget, optional
        What the calls share with others; 256 MiB of their own by default.

    Raises
    ------
    Exception
        The first error of a call, when those in flight have ended.
    """
    shared = budget or Budget()
    pending: set[Future[R]] = set()

    def call(item: T, size: int) -> R:
        try:
            return function(item)
        finally:
            shared.give_back(size)

    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            while len(pending) >= workers:
                yield from _finished(pending)
            size = weight(item)
            shared.take(size)
            pending.add(pool.submit(call, item, size))
        while pending:
            yield from _finished(pending)


def _finished(pending: set[Future[R]]) -> Iterator[R]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        pending.remove(future)
        yield future.result()
