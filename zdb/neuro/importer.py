"""Bring a folder of simulation results into a database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xarray as xr
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed

import zdb
from zdb.neuro.readers import (
    SimulationFileError,
    read_cell_spikes,
    read_synapse_activations,
    read_voltage,
)
from zdb.neuro.simrun import Simrun, find_simrun
from zdb.neuro.spikes import detect_spikes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["KEYS", "import_simrun"]

KEYS = (
    "voltage_traces",
    "spike_times",
    "synapse_activation",
    "cell_activation",
    "metadata",
    "sim_trial_index",
    "filelist",
    "simresult_path",
)
SPIKE_THRESHOLD = 0.0  # mV

Progress = bool | Callable[[str, int, int], None] | None


def import_simrun(
    db: zdb.Database,
    folder: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress = None,
) -> Simrun:
    """Import a folder of simulation results.

    Replaces ``data_base.db_initializers.load_simrun_general.init`` of the In Silico Framework.
    Files are read in parallel by dask, with the scheduler that is set. Voltage traces go from
    the files into the database run by run; activations are held in memory (about 100 bytes per
    row while they are put together). They are read and checked before anything is written, and
    the voltage is written first and as a whole, so that bad files leave the database as it was.

    Parameters
    ----------
    db : zdb.Database
        Gets the keys below.
    folder : path
        Searched for runs at any depth (see :mod:`zdb.neuro.simrun`). Folders named
        ``*_running*`` are left out.
    overwrite : bool, default False
        Replace the keys of an earlier import.
    progress : bool or callable, optional
        True shows a bar on stderr if that is a terminal. A function is called with the key in
        work, the number of tasks done and of all tasks for this key. Neither hears from
        dask.distributed, which has a dashboard.

    Returns
    -------
    Simrun
        The layout that was found; its `unfinished` are the folders that were left out.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    SimulationFileError
        A file is missing, truncated or malformed, or the runs have different times.
    zdb.errors.KeyExistsError
        A key exists and `overwrite` is False.

    Notes
    -----
    The keys, where "ragged" is a :class:`zdb.Ragged` with a table of one line per row:

    ``voltage_traces``
        Dataset: ``voltage`` at the soma (trial × time, float64, mV) with the coordinates
        ``trial`` (the ``sim_trial_index``) and ``time`` (ms).
    ``spike_times``
        Ragged, one row per trial: when the voltage reaches 0 mV from below (ms). Column
        ``sim_trial_index``.
    ``synapse_activation``
        Ragged, one row per active synapse and trial: activation times (ms). Columns
        ``sim_trial_index``, ``synapse_type``, ``synapse_ID``, ``soma_distance`` (µm),
        ``section_ID``, ``section_pt_ID``, ``dendrite_label``; labels are categorical. Absent if
        there are no such files.
    ``cell_activation``
        Ragged, one row per active presynaptic cell and trial: spike times (ms). Columns
        ``sim_trial_index``, ``presynaptic_cell_type``, ``cell_ID``. Absent if there are no such
        files.
    ``metadata``
        Table of the trials and their files.
    ``sim_trial_index``
        List of str: folder of the run and number of the trial, ``"run/000000"``.
    ``filelist``
        List of str: voltage files, relative to ``simresult_path``.
    ``simresult_path``
        Str: the folder, absolute.
    """
    present = [key for key in KEYS if key in db]
    if present and not overwrite:
        raise zdb.errors.KeyExistsError(
            f"{', '.join(present)}: already there; import into a sub-database, or replace them with overwrite=True"
        )
    found = find_simrun(folder)
    values: dict[str, Any] = {}
    for key, kind, read in (
        ("synapse_activation", "synapses", read_synapse_activations),
        ("cell_activation", "cells", read_cell_spikes),
    ):
        with _reporting(key, progress):
            ragged = _activity(found, kind, read)
        if ragged is not None:
            values[key] = ragged

    with _reporting("voltage_traces", progress):
        _store_voltage(db, _voltage_traces(found))
    with _reporting("spike_times", progress):
        values["spike_times"] = _spike_times(db["voltage_traces"])
    values["metadata"] = found.metadata()
    values["sim_trial_index"] = found.trial_index
    values["filelist"] = found.filelist
    values["simresult_path"] = str(found.root)
    for key, value in values.items():
        db[key] = value
    for key in present:
        if key not in values and key != "voltage_traces":
            del db[key]
    return found


def _voltage_traces(found: Simrun) -> xr.Dataset:
    """Lazy voltage of all trials, one block per run; each block is checked when it is read."""
    paths = [found.root / name for name in found.filelist]
    time, _ = read_voltage(paths[0])
    shared_time = delayed(time, traverse=False)
    read = delayed(_read_block, traverse=False)
    blocks = [
        da.from_delayed(  # type: ignore[no-untyped-call]
            read(path, len(run.trials), paths[0], shared_time),
            shape=(len(run.trials), len(time)),
            dtype=np.float64,
        )
        for path, run in zip(paths, found.runs, strict=True)
    ]
    voltage = da.concatenate(blocks)  # type: ignore[no-untyped-call]
    described = {"long_name": "membrane potential at the soma", "units": "mV"}
    return xr.Dataset(
        {"voltage": (("trial", "time"), voltage, described)},
        coords={
            "trial": ("trial", found.trial_index, {"long_name": "run folder and trial number"}),
            "time": ("time", time, {"long_name": "simulation time", "units": "ms"}),
        },
    )


def _read_block(path: Path, trials: int, first_path: Path, first_time: NDArray[np.float64]) -> NDArray[np.float64]:
    time, voltage = read_voltage(path)
    if not np.array_equal(time, first_time):
        raise SimulationFileError(
            f"{path} has {len(time)} samples from {time[0]} to {time[-1]} ms, and {first_path} has "
            f"{len(first_time)} from {first_time[0]} to {first_time[-1]} ms, at other times; "
            "one is truncated, or they are of different simulations: import these separately"
        )
    if len(voltage) != trials:
        raise SimulationFileError(f"{path} has {len(voltage)} traces, its header {trials}")
    return voltage


def _store_voltage(db: zdb.Database, traces: xr.Dataset) -> None:
    try:
        db["voltage_traces"] = traces
    except zdb.errors.WriteError as error:
        if isinstance(error.__cause__, SimulationFileError):
            raise error.__cause__ from error
        raise


def _spike_times(traces: xr.Dataset) -> zdb.Ragged:
    voltage = traces["voltage"].chunk(trial="auto", time=-1).data
    time = delayed(traces["time"].to_numpy(), traverse=False)
    detect = delayed(detect_spikes, traverse=False)
    blocks = [detect(block, time, SPIKE_THRESHOLD) for block in voltage.to_delayed().ravel()]
    parts = compute(*blocks)  # type: ignore[no-untyped-call]
    return zdb.Ragged(
        np.concatenate([times for times, _ in parts]),
        np.concatenate([counts for _, counts in parts]),
        columns=pd.DataFrame({"sim_trial_index": traces["trial"].to_numpy()}),
    )


def _activity(found: Simrun, kind: str, read: Callable[[str | Path], Any]) -> zdb.Ragged | None:
    """Activity of all trials that have a file of this kind, or None if none has."""
    runs_and_trials = [(run, trial) for run in found.runs for trial in run.trials]
    names = [(run, getattr(trial, kind)) for run, trial in runs_and_trials]
    numbers = [number for number, (_, name) in enumerate(names) if name is not None]
    if not numbers:
        return None
    read_file = delayed(read, traverse=False)
    paths = [found.root / run.relative(name) for run, name in names if name is not None]
    tables = compute(*map(read_file, paths))  # type: ignore[no-untyped-call]
    trial_codes = np.repeat(numbers, [len(table) for table in tables])
    columns = {"sim_trial_index": pd.Categorical.from_codes(trial_codes, pd.Index(found.trial_index))}
    return _to_ragged(pa.concat_tables(tables), columns)


def _to_ragged(table: Any, columns: dict[str, Any]) -> zdb.Ragged:
    """Put the columns of the table but the last after `columns`; the last has the times."""
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
    return zdb.Ragged(
        times.flatten().to_numpy(),
        pc.list_value_length(times).to_numpy(),
        columns=pd.DataFrame(columns),
    )


def _reporting(key: str, progress: Progress) -> AbstractContextManager[Any]:
    if progress is True:
        from tqdm.dask import TqdmCallback

        bar: AbstractContextManager[Any] = TqdmCallback(desc=key, disable=None)
        return bar
    return _TaskCounter(key, progress) if callable(progress) else nullcontext()


class _TaskCounter(Callback):
    """Calls a function each time that dask has finished a task."""

    def __init__(self, key: str, report: Callable[[str, int, int], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._key = key
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
        self._report(self._key, done, total)
