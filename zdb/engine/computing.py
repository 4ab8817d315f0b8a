"""Computing what is lazy, by the scheduler of dask that is set, with a progress bar where one is wanted.

The schedulers of this machine (threads, processes, synchronous) take a graph as a whole; ``cluster.py`` says how
dask.distributed does it.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from zdb.errors import UnsupportedValueError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed import Client

    from zdb.engine.gate import Gate

__all__ = ["close_everywhere", "compute", "showing_progress", "store"]

_label: ContextVar[str | None] = ContextVar("label", default=None)


@contextmanager
def showing_progress(label: str) -> Iterator[None]:
    """Show a bar for each computation of this module that begins meanwhile: tasks done, of how many."""
    from tqdm.auto import tqdm
    from tqdm.dask import TqdmCallback

    token = _label.set(label)
    try:
        # For the schedulers of this machine. A bar below another goes away when it is full.
        with TqdmCallback(desc=label, tqdm_class=tqdm, leave=None):
            yield
    finally:
        _label.reset(token)


def compute(tasks: Sequence[Any]) -> list[Any]:
    """Compute Delayed objects, whose results are small, and return these in order."""
    client = _client()
    if client is not None:
        from zdb.engine.cluster import compute_on

        return compute_on(client, tasks, _label.get())
    import dask.base

    return list(dask.base.compute(*tasks))  # type: ignore[no-untyped-call]


def store(path: str, sources: list[Any], targets: list[Any]) -> None:
    """Compute dask arrays of the value at a path chunk by chunk, into targets that are set by region."""
    import dask.array

    client = _client()
    try:
        stored: Any = dask.array.store(sources, targets, lock=False, compute=client is None)
        if client is not None:
            from zdb.engine.cluster import persist_on

            persist_on(client, stored if isinstance(stored, tuple) else (stored,), _label.get())
    except UnsupportedValueError as error:  # of a format, which does not know where its blocks go
        raise UnsupportedValueError(f"{path}: {error}") from error


def close_everywhere(gate: Gate) -> None:
    """Close a gate in this process and in all workers of the cluster that is active, and wait for what they write."""
    gate.close()
    with suppress(Exception):  # a cluster that is gone writes nothing
        client = _client()
        if client is not None:
            from zdb.engine.cluster import close_on

            close_on(client, gate)


def _client() -> Client | None:
    """Return the client of dask.distributed, if it is the scheduler that is set."""
    from dask.base import get_scheduler

    client = getattr(get_scheduler(), "__self__", None)  # type: ignore[no-untyped-call]
    return client if hasattr(client, "scheduler_info") else None
