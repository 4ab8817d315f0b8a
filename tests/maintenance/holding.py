"""A process that holds the claim of a key for as long as a test wants."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from other_processes import CONTEXT, new_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from places import Place

__all__ = ["Writer", "holding"]

LONG = 120


class Writer:
    """Writes 20 ones to a key as soon as it may go on."""

    def __init__(self, place: Place, key: str) -> None:
        is_held, self._may_go_on = CONTEXT.Event(), CONTEXT.Event()
        self.process = new_process(_write, place, key, is_held, self._may_go_on)
        self.process.start()
        assert is_held.wait(LONG)

    def finish(self) -> None:
        self._may_go_on.set()
        self.process.join()
        assert self.process.exitcode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@contextlib.contextmanager
def holding(place: Place, *keys: str) -> Iterator[list[Writer]]:
    """Start a writer for each key; when this is entered, all hold their claims."""
    writers: list[Writer] = []
    try:
        writers += [Writer(place, key) for key in keys]
        yield writers
    finally:
        for writer in writers:
            writer.kill()


def _write(place: Place, key: str, is_held: Any, may_go_on: Any) -> None:
    def compute(block: Any) -> Any:
        is_held.set()
        assert may_go_on.wait(LONG)
        return block + 1

    lazy = da.zeros((20,), chunks=(20,)).map_blocks(compute, dtype=float, meta=np.empty(0))
    place.open("r+").set(key, lazy, chunks=(5,))
