"""Many requests in flight, and memory that stays flat meanwhile."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["WORKERS", "concurrently"]

WORKERS = 16
# What the jobs in flight may hold together, in bytes.
BUDGET = 256 << 20
T = TypeVar("T")
R = TypeVar("R")


def concurrently(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int = WORKERS,
    weight: Callable[[T], int] = lambda _: 0,
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
        How many bytes a call holds in memory. So many calls run that it is 256 MiB together, or one.

    Raises
    ------
    Exception
        The first error of a call; calls that have not begun are given up.
    """
    pending: dict[Future[R], int] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                size = weight(item)
                while pending and (len(pending) >= workers or sum(pending.values()) + size > BUDGET):
                    yield from _finished(pending)
                pending[pool.submit(function, item)] = size
            while pending:
                yield from _finished(pending)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finished(pending: dict[Future[R], int]) -> Iterator[R]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        del pending[future]
        yield future.result()
