"""Bring a folder of simulation results into a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dask.delayed import delayed

import zdb
from zdb.neuro.batches import ReadOptions, find_time, fingerprint, split_into_batches
from zdb.neuro.imported import RUNS, Imported, check_nothing_goes
from zdb.neuro.link_format import LinkFormat
from zdb.neuro.parameter_files import MissingFilesError
from zdb.neuro.readers import SimulationFileError
from zdb.neuro.relocating import Locator
from zdb.neuro.report import ImportReport, notes_of_doubts
from zdb.neuro.simrun import find_simrun
from zdb.neuro.small_keys import (
    find_parameter_files,
    remove_others,
    trial_table,
    write_parameter_files,
    write_report,
    write_runs,
    write_trials,
)
from zdb.neuro.staging import STAGING, find_batches, stage_batch
from zdb.neuro.tasks import run_tasks
from zdb.neuro.writing import Source, write_joined

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from zdb.neuro.simrun import OnError, Run, Simrun
    from zdb.neuro.staging import Batch
    from zdb.neuro.tasks import Progress

__all__ = ["import_simrun"]


def import_simrun(
    db: zdb.Database,
    folder: str | Path,
    *,
    overwrite: bool = False,
    activations: bool = True,
    dendrites: bool = True,
    dendritic_threshold: float = -30.0,
    parameters: bool = True,
    relocate: Mapping[str, str | os.PathLike[str]] | None = None,
    missing: Literal["error", "report"] = "error",
    mode: Literal["copy", "link"] = "copy",
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
        Replace what an earlier import of another folder brought, and read everything again. Keys
        that were set by others stay.
    activations, dendrites : bool, default True
        Import the activity of synapses and presynaptic cells, the voltage at dendrites.
    dendritic_threshold : float, default -30
        What a spike in a dendrite has to reach (mV).
    parameters : bool, default True
        Import the parameter files, and the files that they refer to.
    relocate : mapping of str to path, optional
        New places by old ones, of files that moved since the parameter files were written: of a
        file, or of a folder and all below it. Below new folders, and in the results, files are
        found by their names too.
    missing : {"error", "report"}
        What to do about files that are referred to and not found: raise before anything is read,
        or leave the references as they are and name them in the result.
    mode : {"copy", "link"}
        Copy voltage traces and activity into the database, or keep them in the raw files: then the
        database holds where these are, with size and SHA-256, and reads them when the key is read.
        All files are read and checked at the import all the same. ``db.materialize(key)`` turns a
        link into data.
    on_error : {"error", "report"}
        What to do about a file that is truncated, malformed or does not fit the others: raise, or
        leave its trials out and go on. A bad synapse or cell file costs its trial; a bad voltage
        file costs all trials of its run; with a bad parameter file, trials come in without it.
        What was left out is in the result and in the key
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
    MissingFilesError
        Parameter files refer to files that were not found; the message names them all.
    zdb.errors.KeyExistsError
        The keys come from elsewhere, or some of them would be removed because they are not to be
        imported any more; and `overwrite` is False.

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
    ``parameterfiles``
        Table by ``sim_trial_index``: ``path_neuron``, ``path_network``, and the MD5 of these files,
        ``hash_neuron``, ``hash_network``. Absent if there are no such files.
    ``parameterfiles_cell_folder/<hash_neuron>``, ``parameterfiles_network_folder/<hash_network>``
        The parameter files, each distinct one once; paths in them are ``reldb://<folder>/<name>``,
        relative to this database. :func:`load_parameters` resolves them.
    ``morphology/<name>``, ``recsites_folder/<name>``, ``syn_folder/<MD5>``, ``con_folder/<MD5>``
        The files that they refer to. A file that would be stored by the name of another, with other
        content or other references, gets eight more digits: ``<name>-<digits>``.
    ``imported_runs``
        Table of the runs: path, number of trials, and a fingerprint by which a change is found.
    """
    if mode == "link":
        zdb.register(LinkFormat)
    found = find_simrun(folder, on_error)
    options = ReadOptions(activations, dendrites, float(dendritic_threshold), on_error, mode)
    fingerprints = {run.path: fingerprint(found.root, run, options) for run in found.runs}
    earlier = Imported() if overwrite else Imported.of(db, found.root)
    if not overwrite:
        check_nothing_goes(db, activations=activations, dendrites=dendrites)
    new = [run for run in found.runs if earlier.fingerprints.get(run.path) != fingerprints[run.path]]
    kept = earlier.without({run.path for run in new})
    locator = Locator(relocate or {}, found.root)
    files = find_parameter_files(db, found, new, kept, locator, on_error) if parameters else None
    left_out = tuple(files.missing) if files else ()
    if left_out and missing == "error":
        raise MissingFilesError(left_out)
    if not new and not found.problems and not (files and files.added):
        return ImportReport(str(found.root), len(kept.fingerprints), len(kept.metadata), (), found.unfinished)
    batches = _read(db, found, new, fingerprints, options, kept, progress)
    of_batches = [problem for batch in batches for problem in batch.problems]
    problems = (*found.problems, *(files.problems if files else ()), *of_batches)
    trials = trial_table(found, new, kept, problems)
    if trials.empty:
        raise SimulationFileError(f"{found.root}: no trial can be read; {problems[0].message}")

    if overwrite and RUNS in db:  # first, so that these runs are never taken for some of the new folder
        del db[RUNS]
    db["simresult_path"] = str(found.root)
    if len(kept.fingerprints) < len(earlier.fingerprints):  # if this dies, the next import reads the others again
        write_runs(db, kept.metadata, kept.fingerprints, ())
    sources = [Source("", frozenset(kept.fingerprints)), *(Source(b.key, frozenset(b.runs)) for b in batches)]
    wanted = set(write_joined(db, sources, trials, progress))
    if files is not None:
        write_parameter_files(db, files, trials)
    if not kept.fingerprints:
        remove_others(db, wanted | (files.keys() if files else set()))
    write_trials(db, trials)
    write_report(db, problems, left_out)
    runs = write_runs(db, trials, {**kept.fingerprints, **fingerprints}, problems)
    if STAGING in db:
        del db[STAGING]
    return ImportReport(
        str(found.root),
        runs,
        len(trials),
        tuple(run.path for run in new),
        found.unfinished,
        problems,
        left_out,
        (*(files.notes if files else ()), *notes_of_doubts(batch.doubts for batch in batches)),
    )


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
