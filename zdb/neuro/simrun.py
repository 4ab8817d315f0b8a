"""The layout of a folder of simulation results: where its runs are, and the files of each trial.

A run is a folder, at any depth, that holds one file ``*_vm_all_traces.csv`` (or ``.npz``) with the
voltage traces of its trials, and for each trial ``simulation_runNNNN_synapses.csv`` and
``simulation_runNNNN_presynaptic_cells.csv``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from zdb.neuro.readers import SimulationFileError, read_trace_numbers

__all__ = ["Run", "Simrun", "Trial", "find_simrun"]

VOLTAGE_SUFFIXES = ("vm_all_traces.csv", "vm_all_traces.npz")
ACTIVITY_FILE = re.compile(r"simulation_run(\d+)_(synapses|presynaptic_cells)\.csv")
UNFINISHED = "_running"
METADATA_COLUMNS = [
    "sim_trial_index",
    "path",
    "trialnr",
    "voltage_traces_file_name",
    "synapses_file_name",
    "cells_file_name",
]


@dataclass(frozen=True)
class Trial:
    """One simulated trial: its number in the run, and its files, None where there is none."""

    number: int
    synapses: str | None
    cells: str | None


@dataclass(frozen=True)
class Run:
    """One run: its folder relative to the root ("" for the root), its voltage file and trials."""

    path: str
    voltage: str
    trials: tuple[Trial, ...]

    def relative(self, name: str) -> str:
        """Path of a file or trial of this run, relative to the root of the results."""
        return f"{self.path}/{name}" if self.path else name

    @property
    def trial_index(self) -> list[str]:
        """``sim_trial_index`` of each trial: folder of the run and number, ``"run/000000"``."""
        return [self.relative(f"{trial.number:06d}") for trial in self.trials]


@dataclass(frozen=True)
class Simrun:
    """A folder of simulation results.

    Attributes
    ----------
    root : Path
        The folder, absolute.
    runs : tuple of Run
        Sorted by path.
    unfinished : tuple of str
        Folders of runs that have not ended (named ``*_running*``), relative to `root`; they are
        left out.
    """

    root: Path
    runs: tuple[Run, ...]
    unfinished: tuple[str, ...]

    @property
    def filelist(self) -> list[str]:
        """Voltage files, relative to `root`."""
        return [run.relative(run.voltage) for run in self.runs]

    @property
    def trial_index(self) -> list[str]:
        """``sim_trial_index`` of all trials."""
        return [index for run in self.runs for index in run.trial_index]

    def metadata(self) -> pd.DataFrame:
        """Table of the trials: where each is, and its files (missing where there is none)."""
        rows = [
            (index, run.path, f"{trial.number:06d}", run.voltage, trial.synapses, trial.cells)
            for run in self.runs
            for index, trial in zip(run.trial_index, run.trials, strict=True)
        ]
        text = pd.StringDtype(na_value=np.nan)
        return pd.DataFrame(rows, columns=METADATA_COLUMNS, dtype=text)


def find_simrun(folder: str | Path) -> Simrun:
    """Find the runs and trials in a folder of simulation results, at any depth.

    Only names, and the headers of the voltage files, are read.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    SimulationFileError
        It holds no voltage files, or the files of a run contradict each other.
    """
    root = Path(os.path.abspath(folder))  # noqa: PTH100  (resolve() would follow links)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    runs: list[Run] = []
    unfinished: list[str] = []
    for parent, folders, files in os.walk(root):
        path = Path(parent).relative_to(root)
        unfinished += [(path / name).as_posix() for name in folders if UNFINISHED in name]
        folders[:] = [name for name in folders if UNFINISHED not in name]
        voltage_files = sorted(name for name in files if name.endswith(VOLTAGE_SUFFIXES) and UNFINISHED not in name)
        if len(voltage_files) > 1:
            raise SimulationFileError(
                f"{parent}: several files of voltage traces ({', '.join(voltage_files)}); "
                "a run has one, so move the others away"
            )
        if voltage_files:
            [voltage] = voltage_files
            trials = _trials(Path(parent) / voltage, files)
            runs.append(Run("" if path == Path() else path.as_posix(), voltage, trials))
    if not runs:
        raise SimulationFileError(
            f"{root}: no voltage traces in it or below it, no *{' or *'.join(VOLTAGE_SUFFIXES)}"
            + (f", left out {len(unfinished)} folders *{UNFINISHED}*" if unfinished else "")
        )
    runs.sort(key=lambda run: run.relative(run.voltage))
    return Simrun(root, tuple(runs), tuple(sorted(unfinished)))


def _trials(voltage: Path, files: list[str]) -> tuple[Trial, ...]:
    names: dict[tuple[int, str], str] = {}
    for name in files:
        if match := ACTIVITY_FILE.fullmatch(name):
            trial = int(match[1]), match[2]
            if trial in names:
                raise SimulationFileError(f"{voltage.parent}: {names[trial]} and {name} are of the same trial")
            names[trial] = name
    numbers = _trial_numbers(voltage, sorted({number for number, _ in names}))
    return tuple(
        Trial(number, names.get((number, "synapses")), names.get((number, "presynaptic_cells"))) for number in numbers
    )


def _trial_numbers(voltage: Path, in_files: list[int]) -> list[int]:
    """Say which trial each trace belongs to.

    Simulations number the traces of a voltage file by position, also when the trials are not
    consecutive; then the other files have the true numbers.
    """
    traces = read_trace_numbers(voltage)
    counted = traces == list(range(len(traces)))
    if counted and len(in_files) == len(traces):
        return in_files
    if len(set(traces)) == len(traces) and set(in_files) <= set(traces):
        return traces
    raise SimulationFileError(
        f"{voltage}: has the traces {_short(traces)}, but the synapse and cell files beside it "
        f"are of the trials {_short(in_files)}; files are missing or the run is not complete"
    )


def _short(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} … ({len(numbers)} in all)" if len(numbers) > 10 else shown or "none"
