"""Computing on a cluster of dask.distributed, whose workers may be lost.

The cluster is asked for each piece by itself, and a piece that is done is let go at once: when a worker is lost, only
what it was just doing is done again, and not all that it ever wrote, so that a value can be written that takes longer
than any worker lives.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from distributed import as_completed, futures_of, rejoin, secede
from distributed.worker import thread_state  # type: ignore[attr-defined]

from zdb.engine.gate import close_gate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import dask.array
    from dask.delayed import Delayed
    from distributed import Client, Future

    from zdb.engine.gate import Gate

__all__ = ["close_on", "compute_on", "persist_on"]


def compute_on(client: Client, tasks: Sequence[Delayed], label: str | None = None) -> list[Any]:
    """Compute all tasks, whose results are small, and return these in order.

    Parameters
    ----------
    client : distributed.Client
    tasks : sequence of Delayed
    label : str, optional
        Show a progress bar with this label.
    """
    futures = client.compute(list(tasks))  # type: ignore[no-untyped-call]
    keys = [future.key for future in futures]
    results: dict[Any, Any] = {}
    for batch in _batches_of_done(futures, label):
        found = client.gather(batch)  # type: ignore[no-untyped-call]
        results |= zip((future.key for future in batch), found, strict=True)
    return [results[key] for key in keys]


def persist_on(client: Client, arrays: Sequence[dask.array.Array], label: str | None = None) -> None:
    """Compute each block of some arrays for what that does, and keep none."""
    futures = futures_of(client.persist(list(arrays)))  # type: ignore[no-untyped-call]
    for _ in _batches_of_done(futures, label):
        pass


def close_on(client: Client, gate: Gate) -> None:
    """Close a gate in all workers."""
    client.run(_close_gate_of_worker, gate.id, on_error="ignore")


async def _close_gate_of_worker(gate_id: str) -> None:
    await asyncio.to_thread(close_gate, gate_id)  # it may wait for a write, and the worker must answer meanwhile


def _batches_of_done(futures: list[Future[Any]], label: str | None) -> Iterator[list[Future[Any]]]:
    """Yield futures as they are done, several at a time, and let them go when the next are asked for.

    Raises
    ------
    Exception
        What the first task raised that failed.
    """
    try:
        with _thread_given_back(), _bar(label, len(futures)) as bar:
            for batch in as_completed(futures).batches():  # type: ignore[no-untyped-call]
                for future in batch:
                    if future.status != "finished":
                        future.result()  # failed, or cancelled
                yield batch
                for future in batch:
                    future.release()
                bar.update(len(batch))
    finally:
        for future in futures:
            future.release()  # type: ignore[no-untyped-call]


def _bar(label: str | None, total: int) -> Any:
    from tqdm.auto import tqdm

    return tqdm(desc=label, total=total, disable=label is None)


@contextlib.contextmanager
def _thread_given_back() -> Iterator[None]:
    """In a task, let the worker run other tasks while this one waits for them."""
    in_task = bool(getattr(thread_state, "key", None))
    if in_task:
        secede()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if in_task:
            rejoin()  # type: ignore[no-untyped-call]
