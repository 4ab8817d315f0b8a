"""Other processes for tests, which start quickly because a server that has imported all forks them."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING, Any

import zdb

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONTEXT", "new_process"]

# The server has no threads when it forks: what it imports starts none.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "pytest",
        "zdb",
        "zarr",
        "xarray",
        "pandas",
        "dask.array",
        "dask.dataframe",
        "s3fs",
        "zdb.engine.writer",
        "zdb.engine.reader",
    ]
)


def new_process(target: Callable[..., object], *args: Any) -> Any:
    """Return a process that is to be started, with the settings that this one has in its environment."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("ZDB_")}
    return CONTEXT.Process(target=_run, args=(settings, target, args))


def _run(settings: dict[str, str], target: Callable[..., object], args: tuple[Any, ...]) -> None:
    os.environ.update(settings)
    zdb.config.refresh()
    target(*args)
