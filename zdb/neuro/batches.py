"""Read the files of some runs at once: a batch, which fits into memory and becomes a small import of its own."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xarray as xr

import zdb
from zdb.neuro.readers import (
    SimulationFileError,
    read_cell_spikes,
    read_synapse_activations,
    read_time_span,
    read_voltage,
)
from zdb.neuro.report import Problem
from zdb.neuro.spikes import detect_spikes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zdb.neuro.simrun import OnError, Run, Simrun, Trial

__all__ = [
    "READERS",
    "ReadOptions",
    "activity",
    "find_time",
    "fingerprint",
    "read_batch",
    "split_into_batches",
    "traces_dataset",
]

SPIKE_THRESHOLD = 0.0  # mV
MOST_AFTER_END = 1.0  # ms from the last sample to the last activity, in a whole file
# Raw files of about this many bytes are read at once; in memory they take about twice as much.
BATCH_BYTES = 32 << 20

READERS = {"synapse_activation": read_synapse_activations, "cell_activation": read_cell_spikes}
DESCRIBED = {
    "voltage": {"long_name": "membrane potential at the soma", "units": "mV"},
    "dendrite": {"long_name": "membrane potential at a recording site on the dendrite", "units": "mV"},
    "trial": {"long_name": "run folder and trial number"},
    "time": {"long_name": "simulation time", "units": "ms"},
}


@dataclass(frozen=True)
class ReadOptions:
    """What is read of a run; see :func:`zdb.neuro.import_simrun`."""

    activations: bool = True
    dendrites: bool = True
    dendritic_threshold: float = -30.0
    on_error: OnError = "error"
    mode: Literal["copy", "link"] = "copy"


@dataclass
class _Gathered:
    """What was read so far of a batch, key by key; each list has an entry for every trial or run."""

    problems: list[Problem] = field(default_factory=list)
    doubts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    trials: list[str] = field(default_factory=list)
    voltage: list[NDArray[np.float64]] = field(default_factory=list)
    tables: dict[str, list[tuple[int, Any]]] = field(default_factory=lambda: {key: [] for key in READERS})
    sites: dict[str, list[tuple[list[str], NDArray[np.float64]]]] = field(default_factory=dict)


def fingerprint(root: Path, run: Run, options: ReadOptions) -> str:
    """A digest of what is read of a run: names, sizes and times of change of its files, and the options."""
    wanted = options.activations, options.dendrites, options.dendritic_threshold, options.mode
    digest = hashlib.sha256(repr((run, *wanted)).encode())
    for name in run.files:
        status = (root / name).stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def split_into_batches(root: Path, runs: Sequence[Run]) -> list[list[Run]]:
    """Group runs that follow each other, up to BATCH_BYTES of files in each group."""
    batches: list[list[Run]] = []
    room = 0
    for run in runs:
        size = sum((root / name).stat().st_size for name in run.files)
        if not batches or size > room:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(run)
        room -= size
    return batches


def find_time(found: Simrun) -> tuple[NDArray[np.float64], str]:
    """Time (ms) of the samples in most runs, and in which files it was found.

    A file that ends early is told from the others by its last time, also if it is the first of all; of several times
    that as many runs have, the longest is taken.
    """
    spans: dict[str, tuple[float, float]] = {}
    error: Exception | None = None
    for name in found.filelist:
        try:
            spans[name] = read_time_span(found.root / name)
        except (SimulationFileError, OSError) as bad:
            error = error or bad
    counts = Counter(spans.values())
    ranks = {name: (counts[span], span[1] - span[0]) for name, span in spans.items()}
    for name in sorted(ranks, key=ranks.__getitem__, reverse=True):
        try:
            others = counts[spans[name]] - 1
            time_from = f"{found.root / name}" + (f" and {others} other run{'s' * (others > 1)}" if others else "")
            return read_voltage(found.root / name)[0], time_from
        except (SimulationFileError, OSError) as bad:
            error = error or bad
    raise error or SimulationFileError(f"{found.root}: no run can be read")


def read_batch(
    root: Path, runs: Sequence[Run], options: ReadOptions, time: NDArray[np.float64], time_from: str
) -> tuple[dict[str, Any], list[Problem], dict[str, list[str]]]:
    """Read some runs.

    Parameters
    ----------
    root : Path
        Of the results.
    runs : sequence of Run
    options : ReadOptions
    time : ndarray of float64, shape (samples,)
        In ms; all voltage files must have it.
    time_from : str
        Where it was read, for errors.

    Returns
    -------
    values : dict
        The keys of an import, and their values for these runs.
    problems : list of Problem
        With ``on_error="report"``; trials with bad files are in none of the values.
    doubts : dict of str to list of str
        Files that may be truncated, by what speaks for it.

    Raises
    ------
    SimulationFileError, OSError
        A file is bad, and ``on_error="error"``.
    """
    gathered = _Gathered()
    for run in runs:
        try:
            _read_run(gathered, root, run, options, time, time_from)
        except (SimulationFileError, OSError) as error:
            _report(gathered, options, run.relative(run.voltage), error, run.trial_index)
    return dict(_values(gathered, options, time)), gathered.problems, dict(gathered.doubts)


def _report(gathered: _Gathered, options: ReadOptions, path: str, error: Exception, trials: list[str]) -> None:
    if options.on_error == "error":
        raise error
    gathered.problems.append(Problem(path, str(error), tuple(trials)))


def _read_run(
    gathered: _Gathered, root: Path, run: Run, options: ReadOptions, time: NDArray[np.float64], time_from: str
) -> None:
    """Read one run; a bad file of a trial costs that trial, a bad file of the run raises before anything is added."""
    voltage = _read_traces(root / run.relative(run.voltage), run, time, time_from)
    sites = {}
    if options.dendrites:
        for site, name in run.sites.items():
            sites[site] = _read_traces(root / run.relative(name), run, time, time_from)
    good = []
    latest = -np.inf
    for row, (trial, label) in enumerate(zip(run.trials, run.trial_index, strict=True)):
        tables = _read_trial(gathered, root, run, trial, label, options)
        if tables is None:
            continue
        good.append(row)
        for key, table in tables.items():
            gathered.tables[key].append((len(gathered.trials), table))
            latest = max(latest, pc.max(pc.list_flatten(table["times"])).as_py() or latest)
        gathered.trials.append(label)
    if latest > time[-1] + MOST_AFTER_END:
        gathered.doubts["ends_early"].append(run.relative(run.voltage))
    if good:
        labels = [run.trial_index[row] for row in good]
        gathered.voltage.append(voltage[good])
        for site, traces in sites.items():
            gathered.sites.setdefault(site, []).append((labels, traces[good]))


def _read_traces(path: Path, run: Run, time: NDArray[np.float64], time_from: str) -> NDArray[np.float64]:
    own_time, voltage = read_voltage(path)
    if not np.array_equal(own_time, time):
        early = ", and these end earlier" if time[-1] < own_time[-1] else ""
        raise SimulationFileError(
            f"{path} has {len(own_time)} samples from {own_time[0]} to {own_time[-1]} ms, "
            f"and {len(time)} from {time[0]} to {time[-1]} ms are in {time_from}, at other times{early}; "
            "one is truncated, or they are of different simulations: import these separately"
        )
    if len(voltage) != len(run.trials):
        raise SimulationFileError(f"{path} has {len(voltage)} traces for {len(run.trials)} trials")
    return voltage


def _read_trial(
    gathered: _Gathered, root: Path, run: Run, trial: Trial, label: str, options: ReadOptions
) -> dict[str, Any] | None:
    """Tables of the activity of a trial, or None if a file of them is bad."""
    names = {"synapse_activation": trial.synapses, "cell_activation": trial.cells} if options.activations else {}
    tables = {}
    for key, name in names.items():
        if name is None:
            continue
        path = run.relative(name)
        try:
            tables[key] = READERS[key](root / path)
        except (SimulationFileError, OSError) as error:
            _report(gathered, options, path, error, [label])
            return None
        if not len(tables[key]):
            gathered.doubts["no_rows"].append(path)
    return tables


def _values(gathered: _Gathered, options: ReadOptions, time: NDArray[np.float64]) -> Iterator[tuple[str, Any]]:
    if not gathered.trials:
        return
    voltage = np.concatenate(gathered.voltage)
    yield "voltage_traces", traces_dataset(voltage, gathered.trials, time)
    yield "spike_times", _spike_times(voltage, gathered.trials, time, SPIKE_THRESHOLD)
    for key, tables in gathered.tables.items():
        if tables:
            yield key, activity(tables, gathered.trials)
    for site, parts in gathered.sites.items():
        trials = [label for labels, _ in parts for label in labels]
        traces = np.concatenate([traces for _, traces in parts])
        yield f"dendritic_recordings/{site}", traces_dataset(traces, trials, time, "dendrite")
        threshold = float(options.dendritic_threshold)
        yield f"dendritic_spike_times/{site}_{threshold}", _spike_times(traces, trials, time, threshold)


def traces_dataset(voltage: Any, trials: Sequence[str], time: NDArray[np.float64], kind: str = "voltage") -> xr.Dataset:
    """Voltage (trial × time, mV) with its coordinates."""
    return xr.Dataset(
        {"voltage": (("trial", "time"), voltage, DESCRIBED[kind])},
        coords={
            "trial": ("trial", list(trials), DESCRIBED["trial"]),
            "time": ("time", time, DESCRIBED["time"]),
        },
    )


def _spike_times(
    voltage: NDArray[np.float64], trials: list[str], time: NDArray[np.float64], threshold: float
) -> zdb.Ragged:
    found = detect_spikes(voltage, time, threshold)
    return zdb.Ragged(found.values, found.row_size, columns=pd.DataFrame({"sim_trial_index": trials}))


def activity(tables: list[tuple[int, Any]], trials: list[str]) -> zdb.Ragged:
    """Activity of all trials of a batch; the last column of the tables has the times."""
    codes = np.repeat([number for number, _ in tables], [len(table) for _, table in tables])
    columns: dict[str, Any] = {"sim_trial_index": pd.Categorical.from_codes(codes, pd.Index(trials))}
    table = pa.concat_tables([table for _, table in tables])
    for name in table.column_names[:-1]:
        column = table[name]
        if pa.types.is_dictionary(column.type):
            labels = column.unify_dictionaries().combine_chunks()
            columns[name] = pd.Categorical.from_codes(
                labels.indices.to_numpy(), pd.Index(labels.dictionary.to_pylist())
            )
        else:
            columns[name] = column.to_numpy()
    times = table["times"].combine_chunks()
    return zdb.Ragged(times.flatten().to_numpy(), pc.list_value_length(times).to_numpy(), pd.DataFrame(columns))
