"""Batches of an import that are read and not yet joined; they lie in the database, so that a killed import goes on.

Each batch is a sub-database of ``_simrun_import`` with the keys of an import for some runs, and a record, which is
written last: a batch without one is not complete and is read again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zdb.neuro.batches import read_batch
from zdb.neuro.link_format import LinkFormat
from zdb.neuro.links import link_to
from zdb.neuro.report import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    import zdb
    from zdb.neuro.batches import ReadOptions
    from zdb.neuro.simrun import Run

__all__ = ["RECORD", "STAGING", "Batch", "find_batches", "holds_spike_times", "stage_batch"]

STAGING = "_simrun_import"
RECORD = "record"


def holds_spike_times(key: str) -> bool:
    """Whether a key has spike times, which are computed and small; all others have what is in the files."""
    return key == "spike_times" or key.startswith("dendritic_spike_times/")


@dataclass(frozen=True)
class Batch:
    """A batch that is complete.

    Attributes
    ----------
    key : str
        Of its sub-database.
    runs : dict of str to str
        Folders of its runs, and their fingerprints.
    problems : list of Problem
        Bad files in it.
    doubts : dict of str to list of str
        Files in it that may be truncated, by what speaks for it.
    """

    key: str
    runs: dict[str, str]
    problems: list[Problem]
    doubts: dict[str, list[str]]


def stage_batch(
    db: zdb.Database,
    root: Path,
    runs: Sequence[Run],
    fingerprints: Mapping[str, str],
    options: ReadOptions,
    time: NDArray[Any],
    time_from: str,
) -> Batch:
    """Read some runs and keep what was read; runs on a worker.

    Raises
    ------
    SimulationFileError, OSError
        A file is bad, and ``options.on_error`` is "error".
    """
    of_batch = {run.path: fingerprints[run.path] for run in runs}
    name = hashlib.sha256("".join(of_batch.values()).encode()).hexdigest()[:16]
    values, problems, doubts = read_batch(root, runs, options, time, time_from)
    batch = Batch(f"{STAGING}/{name}", of_batch, problems, doubts)
    for key, value in values.items():
        if options.mode == "link" and not holds_spike_times(key):
            db.set(f"{batch.key}/{key}", link_to(root, runs, key, value), format=LinkFormat.name)
        else:
            db.set(f"{batch.key}/{key}", value, codec=False)
    reported = [[problem.path, problem.message, list(problem.trials)] for problem in problems]
    db[f"{batch.key}/{RECORD}"] = {"runs": of_batch, "problems": reported, "doubts": doubts}
    return batch


def find_batches(db: zdb.Database, fingerprints: Mapping[str, str]) -> list[Batch]:
    """Batches of an earlier import that can be used, because their runs are wanted and have not changed; others go."""
    if STAGING not in db:
        return []
    found = []
    for name in list(db.database(STAGING)):
        key = f"{STAGING}/{name}"
        record = db.get(f"{key}/{RECORD}")
        if record is None or any(fingerprints.get(path) != own for path, own in record["runs"].items()):
            del db[key]
            continue
        problems = [Problem(path, message, tuple(trials)) for path, message, trials in record["problems"]]
        found.append(Batch(key, record["runs"], problems, record["doubts"]))
    return found
