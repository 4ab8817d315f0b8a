"""How the benchmarks are measured, and the tables they make.

Every contender does an operation once per round, so that whatever slows the machine down for a while meets all of them.
A table shows medians over the rounds. Peers that are not installed are left out.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["ZDB", "Goal", "Row", "Settings", "Topic", "fresh_folder", "measure", "size_on_disk"]

ZDB = "zdb"


@dataclass(frozen=True)
class Settings:
    """How large the data is and where it lies.

    Attributes
    ----------
    folder : pathlib.Path
        Where the contenders write; everything in it is removed.
    scale : float
        Fraction of the full size of the data.
    rounds : int
        How often every operation is done by every contender.
    """

    folder: Path
    scale: float = 1.0
    rounds: int = 5

    def sized(self, full: int) -> int:
        """Scale a number of rows or bytes."""
        return max(4, round(full * self.scale))


@dataclass(frozen=True)
class Goal:
    """What zdb is to reach in one row.

    Attributes
    ----------
    text : str
        The goal as it stands in the table.
    limit : float, optional
        The largest value that reaches it.
    peer : str, optional
        Compare with this peer ...
    factor : float
        ... of which zdb may need at most this multiple.
    """

    text: str
    limit: float | None = None
    peer: str | None = None
    factor: float = 1.0

    def is_reached(self, values: Mapping[str, float]) -> bool | None:
        """Whether it is reached; None if the peer was not measured."""
        if self.limit is not None:
            return values[ZDB] <= self.limit
        assert self.peer is not None
        return values[ZDB] <= self.factor * values[self.peer] if self.peer in values else None


@dataclass(frozen=True)
class Row:
    """One operation: a value for each contender, the smaller the better.

    Attributes
    ----------
    operation : str
    values : dict of str to float
        Seconds or bytes by contender.
    goals : sequence of Goal
    unit : {"s", "B"}
    nbytes : int
        Bytes of data that the operation moves; shown as a rate where it is given.
    """

    operation: str
    values: dict[str, float]
    goals: Sequence[Goal] = ()
    unit: str = "s"
    nbytes: int = 0

    @property
    def ratio(self) -> float | None:
        """How many times better than the best peer zdb is."""
        peers = [value for name, value in self.values.items() if name != ZDB]
        return min(peers) / self.values[ZDB] if peers and self.values[ZDB] else None


@dataclass(frozen=True)
class Topic:
    """One table.

    Attributes
    ----------
    title : str
    description : str
        What the data is and what each contender does.
    rows : list of Row
    left_out : list of str
        Peers that are not installed.
    """

    title: str
    description: str
    rows: list[Row]
    left_out: list[str] = field(default_factory=list)


def measure(
    work: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    memory: int = 0,
    before: Callable[[str], None] = lambda name: None,
    check: Callable[[str, Any], None] = lambda name, result: None,
) -> dict[str, float]:
    """Time the same operation of several contenders by turns.

    Parameters
    ----------
    work : mapping of str to callable
        The operation by contender.
    rounds : int
    memory : int
        Bytes of memory that are used and given back before each time: the first use of memory costs much in a virtual
        machine, and would be paid by who comes next after a pause.
    before : callable
        Called with the name of the contender before each time, not timed.
    check : callable
        Called with name and result in the first round, not timed; raises if the result is wrong.

    Returns
    -------
    dict of str to float
        Median of seconds by contender.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    shuffle = random.Random(0).sample
    for number in range(rounds):
        # Each round has another order, so that none always follows the same one.
        for name in shuffle(list(work), len(work)):
            before(name)
            gc.collect()
            np.ones(memory, np.uint8)
            started = time.perf_counter()
            result = work[name]()
            seconds[name].append(time.perf_counter() - started)
            if number == 0:
                check(name, result)
            del result
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def fresh_folder(path: Path) -> Path:
    """Make an empty folder, and let the disk finish what was written before."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    if hasattr(os, "sync"):
        os.sync()
    return path


def size_on_disk(path: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
