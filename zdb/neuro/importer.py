"""Bring a folder of simulation results into a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from dask.delayed import delayed

from zdb.neuro.batches import ReadOptions, find_time, fingerprint, split_into_batches
from zdb.neuro.imported import KEYS, RUNS, Imported
from zdb.neuro.readers import SimulationFileError
from zdb.neuro.report import ImportReport, Problem
from zdb.neuro.simrun import find_simrun
from zdb.neuro.staging import STAGING, find_batches, stage_batch
from zdb.neuro.tasks import run_tasks
from zdb.neuro.writing import Source, write_joined

if TYPE_CHECKING:
    from pathlib import Path

    import zdb
    from zdb.neuro.simrun import OnError, Run, Simrun
    from zdb.neuro.staging import Batch
    from zdb.neuro.tasks import Progress

__all__ = ["KEYS", "import_simrun"]

REPORT = "import_report"


def import_simrun(
    db: zdb.Database,
    folder: str | Path,
    *,
    overwrite: bool = False,
    activations: bool = True,
    dendrites: bool = True,
    dendritic_threshold: float = -30.0,
    on_error: OnError = "error",
    progress: Progress = None,
) -> ImportReport:
    """Import a folder of simulation results, or what is new in it.

    Replaces ``data_base.db_initializers.load_simrun_general.init`` of the In Silico Framework.
    Files are read in parallel by dask, with the scheduler that is set, in batches of about 32 MB,
    and no more than a batch for each worker is in memory. Batches are kept in the database until
    all are read, so that an import that was killed goes on where it stopped. Then the keys are
    written, one after the other; each has its old value or its new one at any time.

    A second import of the same folder reads only runs that are new or have changed, and leaves
    the database as an import of all of them would. Runs whose files are gone stay.

    Parameters
    ----------
    db : zdb.Database
        Gets the keys below.
    folder : path
        Searched for runs at any depth (see :mod:`zdb.neuro.simrun`). Folders named
        ``*_running*`` are left out.
    overwrite : bool, default False
        Replace what an earlier import of another folder brought, and read everything again.
    activations, dendrites : bool, default True
        Import the activity of synapses and presynaptic cells, the voltage at dendrites.
    dendritic_threshold : float, default -30
        What a spike in a dendrite has to reach (mV).
    on_error : {"error", "report"}
        What to do about a file that is truncated, malformed or does not fit the others: raise, or
        leave its trials out and go on. A bad synapse or cell file costs its trial; a bad voltage
        file costs all trials of its run. What was left out is in the result and in the key
        ``import_report``, and is tried again by the next import.
    progress : bool or callable, optional
        True shows bars on stderr if that is a terminal. A function is called with the step
        ("read", or the key that is written), the number of tasks done and of all tasks.

    Returns
    -------
    ImportReport
        What was read, and what was left out.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    SimulationFileError
        A file is missing, truncated or malformed, or runs have different times. The keys are as
        they were; batches that were read are kept for the next import.
    zdb.errors.KeyExistsError
        The keys come from elsewhere, and `overwrite` is False.

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
    ``dendritic_recordings/<site>``, ``dendritic_spike_times/<site>_<threshold>``
        As ``voltage_traces`` and ``spike_times``, for each recording site; of the trials that have
        it.
    ``metadata``
        Table of the trials and their files.
    ``sim_trial_index``
        List of str: folder of the run and number of the trial, ``"run/000000"``.
    ``filelist``
        List of str: voltage files, relative to ``simresult_path``.
    ``simresult_path``
        Str: the folder, absolute.
    ``imported_runs``
        Table of the runs: path, number of trials, and a fingerprint by which a change is found.
    """
    found = find_simrun(folder, on_error)
    options = ReadOptions(activations, dendrites, float(dendritic_threshold), on_error)
    fingerprints = {run.path: fingerprint(found.root, run, options) for run in found.runs}
    earlier = Imported() if overwrite else Imported.of(db, found.root)
    new = [run for run in found.runs if earlier.fingerprints.get(run.path) != fingerprints[run.path]]
    kept = earlier.without({run.path for run in new})
    if not new and not found.problems:
        return ImportReport(str(found.root), len(kept.fingerprints), len(kept.metadata), (), found.unfinished)
    batches = _read(db, found, new, fingerprints, options, kept, progress)
    problems = (*found.problems, *(problem for batch in batches for problem in batch.problems))
    trials = _trials(found, new, kept, problems)
    if trials.empty:
        raise SimulationFileError(f"{found.root}: no trial can be read; {problems[0].message}")

    db["simresult_path"] = str(found.root)
    sources = [Source("", frozenset(kept.fingerprints)), *(Source(b.key, frozenset(b.runs)) for b in batches)]
    written = write_joined(db, sources, trials, progress)
    _remove_others(db, written)
    db["metadata"] = trials
    db["sim_trial_index"] = trials["sim_trial_index"].tolist()
    voltage_files = (trials["path"] + "/" + trials["voltage_traces_file_name"]).str.removeprefix("/")
    db["filelist"] = list(dict.fromkeys(voltage_files))
    _write_report(db, problems)
    runs = _write_runs(db, trials, {**kept.fingerprints, **fingerprints}, problems)
    if STAGING in db:
        del db[STAGING]
    return ImportReport(str(found.root), runs, len(trials), tuple(run.path for run in new), found.unfinished, problems)


def _read(
    db: zdb.Database,
    found: Simrun,
    new: list[Run],
    fingerprints: dict[str, str],
    options: ReadOptions,
    kept: Imported,
    progress: Progress,
) -> list[Batch]:
    """Read all new runs that no batch of a killed import has."""
    if not new:
        return []
    if kept.fingerprints:
        time, time_from = db["voltage_traces"]["time"].to_numpy(), f"{db.url}/voltage_traces"
    else:
        time, time_from = find_time(found)
    wanted = {run.path: fingerprints[run.path] for run in new}
    batches = find_batches(db, wanted)
    done = {path for batch in batches for path in batch.runs}
    stage = delayed(stage_batch, traverse=False, pure=False)
    shared_time, shared_fingerprints = delayed(time, traverse=False), delayed(wanted, traverse=False)
    tasks = [
        stage(db, found.root, runs, shared_fingerprints, options, shared_time, time_from)
        for runs in split_into_batches(found.root, [run for run in new if run.path not in done])
    ]
    return batches + run_tasks(tasks, "read", progress)


def _trials(found: Simrun, new: list[Run], kept: Imported, problems: tuple[Problem, ...]) -> pd.DataFrame:
    """The table of all trials that are to be in the database, in the order of a single import."""
    left_out = {trial for problem in problems for trial in problem.trials}
    table = found.metadata()
    table = table[table["path"].isin([run.path for run in new]) & ~table["sim_trial_index"].isin(left_out)]
    table = pd.concat([kept.metadata, table]) if len(kept.metadata) else table
    order = table.assign(file=table["path"] + "/" + table["voltage_traces_file_name"])
    order = order.sort_values("file", kind="stable", key=lambda files: files.str.removeprefix("/"))
    return order.drop(columns="file").reset_index(drop=True)


def _remove_others(db: zdb.Database, written: list[str]) -> None:
    """Remove what is left of an import that was overwritten."""
    for folder in ("dendritic_recordings", "dendritic_spike_times"):
        names = list(db.database(folder)) if folder in db else []
        for name in names:
            if f"{folder}/{name}" not in written:
                del db[f"{folder}/{name}"]
        if names and not len(db.database(folder)):
            del db[folder]
    for key in ("synapse_activation", "cell_activation"):
        if key in db and key not in written:
            del db[key]


def _write_runs(
    db: zdb.Database, trials: pd.DataFrame, fingerprints: dict[str, str], problems: tuple[Problem, ...]
) -> int:
    """Write the table of runs; those with problems have no fingerprint, and are read again by the next import."""
    incomplete = {trial.rpartition("/")[0] for problem in problems for trial in problem.trials}
    counts = trials.groupby("path", sort=False).size()
    own = ["" if path in incomplete else fingerprints[path] for path in counts.index]
    text = pd.StringDtype(na_value=float("nan"))
    paths: Any = pd.array(counts.index.tolist(), dtype=text)
    db[RUNS] = pd.DataFrame({"path": paths, "trials": counts.to_numpy(), "fingerprint": pd.array(own, dtype=text)})
    return len(counts)


def _write_report(db: zdb.Database, problems: tuple[Problem, ...]) -> None:
    if problems:
        db[REPORT] = {
            "problems": [
                {"path": problem.path, "message": problem.message, "trials": list(problem.trials)}
                for problem in problems
            ]
        }
    elif REPORT in db:
        del db[REPORT]
