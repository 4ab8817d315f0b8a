"""The layout of a folder of simulation results: where its runs are, and the files of each trial.

A run is a folder, at any depth, that holds one file ``*_vm_all_traces.csv`` (or ``.npz``) with the
voltage traces of its trials, and for each trial ``simulation_runNNNN_synapses.csv`` and
``simulation_runNNNN_presynaptic_cells.csv``. It may hold ``*_SITE_vm_dend_traces.csv`` for each recording
site on the dendrite, and the parameters ``*_neuron_model.param`` and ``*_network_model.param``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from zdb.neuro.readers import SimulationFileError, read_trace_numbers
from zdb.neuro.report import Problem
from zdb.neuro.walking import walk

__all__ = ["OnError", "Run", "Simrun", "Trial", "find_simrun"]

OnError = Literal["error", "report"]

VOLTAGE_SUFFIXES = ("vm_all_traces.csv", "vm_all_traces.npz")
SITE_SUFFIXES = ("_vm_dend_traces.csv", "_vm_dend_traces.npz")
PARAMETER_SUFFIXES = {"neuron": "_neuron_model.param", "network": "_network_model.param"}
# What stands before the site: what stands before the voltage, perhaps after a seed; or a number, "seed_" and a number,
# a seed and a process, "seed1_pid2".
SEED = r"(?:(?:seed_?)?\d+_)?"
PROCESS = re.compile(r"(?:seed_\d+|seed\d+_pid\d+|(?:pid)?\d+)_")
SITE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
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
    """One run.

    Attributes
    ----------
    path : str
        Its folder relative to the root, "" for the root.
    voltage : str
        Its file of voltage traces at the soma.
    trials : tuple of Trial
    sites : dict of str to str
        Recording sites on the dendrite, and their files of voltage traces.
    parameters : dict of str to str
        Files of the parameters: "neuron", "network".
    """

    path: str
    voltage: str
    trials: tuple[Trial, ...]
    sites: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)

    def relative(self, name: str) -> str:
        """Path of a file or trial of this run, relative to the root of the results."""
        return f"{self.path}/{name}" if self.path else name

    @property
    def trial_index(self) -> list[str]:
        """``sim_trial_index`` of each trial: folder of the run and number, ``"run/000000"``."""
        return [self.relative(f"{trial.number:06d}") for trial in self.trials]

    @property
    def files(self) -> list[str]:
        """All files of the run, relative to the root of the results."""
        of_trials = [name for trial in self.trials for name in (trial.synapses, trial.cells) if name]
        return [
            self.relative(name) for name in (self.voltage, *self.sites.values(), *self.parameters.values(), *of_trials)
        ]


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
    problems : tuple of Problem
        Runs whose files contradict each other, if they are to be reported; they are left out.
    """

    root: Path
    runs: tuple[Run, ...]
    unfinished: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

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


def find_simrun(folder: str | Path, on_error: OnError = "error") -> Simrun:
    """Find the runs and trials in a folder of simulation results, at any depth and in linked folders.

    Only names, and the headers of the voltage files, are read.

    Parameters
    ----------
    folder : path
    on_error : {"error", "report"}
        What to do about a run whose files contradict each other: raise, or leave it out and report it.

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
    problems: list[Problem] = []
    for parent, folders, files in walk(root):
        path = Path(parent).relative_to(root)
        unfinished += [(path / name).as_posix() for name in folders if UNFINISHED in name]
        folders[:] = [name for name in folders if UNFINISHED not in name]
        try:
            run = _run(Path(parent), "" if path == Path() else path.as_posix(), files)
        except SimulationFileError as error:
            if on_error == "error":
                raise
            problems.append(Problem(path.as_posix(), str(error), ()))
            continue
        if run is not None:
            runs.append(run)
    if not runs and not problems:
        raise SimulationFileError(
            f"{root}: no voltage traces in it or below it, no *{' or *'.join(VOLTAGE_SUFFIXES)}"
            + (f", left out {len(unfinished)} folders *{UNFINISHED}*" if unfinished else "")
        )
    runs.sort(key=lambda run: run.relative(run.voltage))
    return Simrun(root, tuple(runs), tuple(sorted(unfinished)), tuple(problems))


def _run(folder: Path, path: str, files: list[str]) -> Run | None:
    """The run in a folder, or None if there are no voltage traces in it."""
    files = [name for name in files if UNFINISHED not in name]
    voltage = _only(folder, [name for name in files if name.endswith(VOLTAGE_SUFFIXES)], "voltage traces")
    if voltage is None:
        return None
    parameters = {
        kind: name
        for kind, suffix in PARAMETER_SUFFIXES.items()
        if (name := _only(folder, [each for each in files if each.endswith(suffix)], f"{kind} parameters"))
    }
    return Run(path, voltage, _trials(folder / voltage, files), _sites(folder, voltage, files), parameters)


def _only(folder: Path, names: list[str], what: str) -> str | None:
    if len(names) > 1:
        raise SimulationFileError(
            f"{folder}: several files of {what} ({', '.join(names)}); a run has one, so move the others away"
        )
    return names[0] if names else None


def _sites(folder: Path, voltage: str, files: list[str]) -> dict[str, str]:
    """Recording sites by the names of their files: what stands between the process and the suffix."""
    own = next(voltage.removesuffix(suffix) for suffix in VOLTAGE_SUFFIXES if voltage.endswith(suffix))
    sites: dict[str, str] = {}
    for name in files:
        if not name.endswith(SITE_SUFFIXES):
            continue
        stem = name.rpartition("_vm_dend_traces")[0]
        process = (own and re.match(SEED + re.escape(own), stem)) or PROCESS.match(stem)
        site = stem[process.end() :] if process else stem
        if not SITE.fullmatch(site):
            raise SimulationFileError(
                f"{folder / name}: {site!r} cannot be the name of a recording site in a database; rename the file, "
                "with up to 100 of the signs A-Z a-z 0-9 . _ - for the site"
            )
        if site in sites:
            raise SimulationFileError(f"{folder}: {sites[site]} and {name} are of the same recording site")
        sites[site] = name
    return sites


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
