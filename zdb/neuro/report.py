"""What an import of simulation results did, and what it left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ImportReport", "MissingFile", "Problem", "notes_of_doubts"]

# What may be wrong with a file, and may be not.
DOUBTS = {
    "no_rows": "no rows; nothing was active, or it is truncated",
    "ends_early": "ends before activity of its trials; is it truncated?",
}


def notes_of_doubts(doubts: Iterable[Mapping[str, list[str]]]) -> list[str]:
    """A note for each kind of doubt that there is about any file."""
    files: dict[str, list[str]] = {kind: [] for kind in DOUBTS}
    for each in doubts:
        for kind, paths in each.items():
            files[kind] += paths
    more = {kind: f" and {len(paths) - 1} more" if len(paths) > 1 else "" for kind, paths in files.items()}
    return [f"{paths[0]}{more[kind]}: {DOUBTS[kind]}" for kind, paths in files.items() if paths]


@dataclass(frozen=True)
class Problem:
    """A bad file: where it is, what is wrong with it, and the trials that were left out for it."""

    path: str
    message: str
    trials: tuple[str, ...]


@dataclass(frozen=True)
class MissingFile:
    """A file that parameter files refer to and that was not found.

    Attributes
    ----------
    path : str
        As it is written in the parameter file.
    key : str
        The folder of the database in which it would lie, such as ``"syn_folder"``.
    referenced_by : tuple of str
        Files that refer to it.
    suggestions : tuple of str
        Files with a similar name that were found nearby.
    """

    path: str
    key: str
    referenced_by: tuple[str, ...]
    suggestions: tuple[str, ...] = ()

    def __str__(self) -> str:
        others = len(self.referenced_by) - 1
        by = self.referenced_by[0] + (f" and {others} more" if others else "")
        near = f"; similar: {', '.join(self.suggestions)}" if self.suggestions else ""
        return f"{self.path} (for {self.key}), referenced by {by}{near}"


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes
    ----------
    folder : str
        Root of the results, absolute.
    runs, trials : int
        How many the database holds now.
    new_runs : tuple of str
        Runs that were read by this import; the others were there already.
    unfinished : tuple of str
        Folders of runs that have not ended (named ``*_running*``); they were left out.
    problems : tuple of Problem
        Bad files, whose trials were left out.
    missing : tuple of MissingFile
        Files that were not found; references to them are as they were.
    notes : tuple of str
        References in files that were taken for something else than they say, and files that may be
        truncated.
    """

    folder: str
    runs: int
    trials: int
    new_runs: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    missing: tuple[MissingFile, ...] = ()
    notes: tuple[str, ...] = ()

    def problem_table(self) -> pd.DataFrame:
        """The bad files as a table: path, message, and number of trials left out."""
        rows = [(problem.path, problem.message, len(problem.trials)) for problem in self.problems]
        return pd.DataFrame(rows, columns=["path", "message", "trials"])

    def __str__(self) -> str:
        lines = [f"{self.trials} trials of {self.runs} runs, {len(self.new_runs)} of them new, from {self.folder}"]
        lines += [f"left out, has not ended: {folder}" for folder in self.unfinished]
        lines += [f"left out ({len(problem.trials)} trials): {problem.message}" for problem in self.problems]
        lines += [f"missing: {file}" for file in self.missing]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)
