"""Run tasks with the scheduler of dask that is set, and say how far they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from dask.base import compute, get_scheduler
from dask.callbacks import Callback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask.delayed import Delayed

__all__ = ["Progress", "reporting", "run_tasks"]

Progress = bool | Callable[[str, int, int], None] | None


def run_tasks(tasks: Sequence[Delayed], step: str, progress: Progress) -> list[Any]:
    """Compute all tasks, and return their results in order."""
    if not tasks:
        return []
    client = getattr(get_scheduler(), "__self__", None)  # type: ignore[no-untyped-call]
    if hasattr(client, "scheduler_info"):  # dask callbacks do not hear of distributed
        return _run_distributed(client, tasks, step, progress)
    with reporting(step, progress):
        return list(compute(*tasks))  # type: ignore[no-untyped-call]


def _run_distributed(client: Any, tasks: Sequence[Delayed], step: str, progress: Progress) -> list[Any]:
    from distributed import as_completed
    from tqdm import tqdm

    futures = client.compute(list(tasks))
    with tqdm(total=len(futures), desc=step, disable=None if progress is True else True) as bar:
        for done, future in enumerate(as_completed(futures), 1):  # type: ignore[no-untyped-call]
            future.result()
            bar.update()
            if callable(progress):
                progress(step, done, len(futures))
    return list(client.gather(futures))


def reporting(step: str, progress: Progress) -> AbstractContextManager[Any]:
    """Report on the tasks of local schedulers that run meanwhile: by a bar, or by calling a function."""
    if progress is True:
        from tqdm.dask import TqdmCallback

        bar: AbstractContextManager[Any] = TqdmCallback(desc=step, disable=None)
        return bar
    return _TaskCounter(step, progress) if callable(progress) else nullcontext()


class _TaskCounter(Callback):
    """Calls a function each time that dask has finished a task."""

    def __init__(self, step: str, report: Callable[[str, int, int], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._step = step
        self._report = report

    def _posttask(
        self,
        key: Any,  # noqa: ARG002
        result: Any,  # noqa: ARG002
        dsk: Any,  # noqa: ARG002
        state: dict[str, Any],
        worker_id: Any,  # noqa: ARG002
    ) -> None:
        done = len(state["finished"])
        total = done + sum(len(state[name]) for name in ("ready", "waiting", "running"))
        self._report(self._step, done, total)
