"""Computing what is lazy, by the scheduler of dask that is set, with a progress bar where one is wanted."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["compute", "showing_progress", "store"]

_shown: ContextVar[bool] = ContextVar("shown", default=False)


@contextmanager
def showing_progress(label: str) -> Iterator[None]:
    """Show a bar for each computation of this module that begins meanwhile, as dask does: tasks done, of how many."""
    from tqdm.auto import tqdm
    from tqdm.dask import TqdmCallback

    token = _shown.set(True)
    try:
        # For the schedulers of this machine. A bar below another goes away when it is full.
        with TqdmCallback(desc=label, tqdm_class=tqdm, leave=None):
            yield
    finally:
        _shown.reset(token)


def compute(tasks: Sequence[Any]) -> list[Any]:
    """Compute Delayed objects, and return their results in order."""
    import dask.base

    client = _watched_client()
    if client is not None:
        return _watch(client, tasks)
    return list(dask.base.compute(*tasks))  # type: ignore[no-untyped-call]


def store(sources: list[Any], targets: list[Any]) -> None:
    """Compute dask arrays chunk by chunk, into targets that are set by region."""
    import dask.array

    client = _watched_client()
    stored: Any = dask.array.store(sources, targets, lock=False, compute=client is None)
    if client is not None:
        _watch(client, [stored])


def _watched_client() -> Any:
    """Return the client of dask.distributed if it is the scheduler and its progress is shown, else None."""
    if not _shown.get():
        return None
    from dask.base import get_scheduler

    client = getattr(get_scheduler(), "__self__", None)  # type: ignore[no-untyped-call]
    return client if hasattr(client, "scheduler_info") else None


def _watch(client: Any, tasks: Sequence[Any]) -> list[Any]:
    from distributed import progress

    futures = client.compute(list(tasks))
    bar = progress(futures)  # type: ignore[no-untyped-call]
    if bar is not None:  # in a notebook
        from IPython.display import display

        display(bar)  # type: ignore[no-untyped-call]
    return list(client.gather(futures))
