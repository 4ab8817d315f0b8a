"""The small keys of an import: tables and lists of trials and runs, and what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from zdb.neuro.imported import ACTIVITY, FOLDERS, REPORT, RUNS, keys_in_folder
from zdb.neuro.parameter_files import TABLE, ParameterFiles

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import zdb
    from zdb.neuro.imported import Imported
    from zdb.neuro.relocating import Locator
    from zdb.neuro.report import MissingFile, Problem
    from zdb.neuro.simrun import OnError, Run, Simrun

__all__ = [
    "find_parameter_files",
    "remove_others",
    "trial_table",
    "write_parameter_files",
    "write_report",
    "write_runs",
    "write_trials",
]

TEXT = pd.StringDtype(na_value=float("nan"))


def trial_table(found: Simrun, new: Sequence[Run], kept: Imported, problems: Sequence[Problem]) -> pd.DataFrame:
    """The table of all trials that are to be in the database, in the order of a single import."""
    left_out = {trial for problem in problems for trial in problem.trials}
    table = found.metadata()
    table = table[table["path"].isin([run.path for run in new]) & ~table["sim_trial_index"].isin(left_out)]
    table = pd.concat([kept.metadata, table]) if len(kept.metadata) else table
    order = _voltage_files(table).sort_values(kind="stable").index
    return table.reset_index(drop=True).loc[order].reset_index(drop=True)


def _voltage_files(trials: pd.DataFrame) -> pd.Series[str]:
    files = (trials["path"] + "/" + trials["voltage_traces_file_name"]).str.removeprefix("/")
    return files.reset_index(drop=True)


def write_trials(db: zdb.Database, trials: pd.DataFrame) -> None:
    """Write the table of trials, and the lists that follow from it."""
    db["metadata"] = trials
    db["sim_trial_index"] = trials["sim_trial_index"].tolist()
    db["filelist"] = list(dict.fromkeys(_voltage_files(trials)))


def write_runs(
    db: zdb.Database, trials: pd.DataFrame, fingerprints: dict[str, str], problems: Sequence[Problem]
) -> int:
    """Write the table of runs, and return their number; a run with problems gets no fingerprint, and is read again."""
    incomplete = {trial.rpartition("/")[0] for problem in problems for trial in problem.trials}
    counts = trials.groupby("path", sort=False).size()
    own = ["" if path in incomplete else fingerprints[path] for path in counts.index]
    paths: Any = pd.array(counts.index.tolist(), dtype=TEXT)
    db[RUNS] = pd.DataFrame({"path": paths, "trials": counts.to_numpy(), "fingerprint": pd.array(own, dtype=TEXT)})
    return len(counts)


def write_report(db: zdb.Database, problems: Sequence[Problem], missing: Sequence[MissingFile]) -> None:
    """Write what was left out, or nothing if nothing was."""
    if problems or missing:
        db[REPORT] = {
            "problems": [{"path": bad.path, "message": bad.message, "trials": list(bad.trials)} for bad in problems],
            "missing": [
                {"path": file.path, "key": file.key, "referenced_by": list(file.referenced_by)} for file in missing
            ],
        }
    elif REPORT in db:
        del db[REPORT]


def find_parameter_files(
    db: zdb.Database, found: Simrun, new: Sequence[Run], kept: Imported, locator: Locator, on_error: OnError
) -> ParameterFiles:
    """Read the parameter files of runs that have none in the database, or had some that were bad or incomplete."""
    files = ParameterFiles(found.root, locator, on_error=on_error)
    earlier = db[TABLE] if TABLE in db and kept.fingerprints else pd.DataFrame()
    for trial, row in earlier.iterrows():
        path = str(trial).rpartition("/")[0]
        if path in kept.fingerprints:
            files.rows.setdefault(path, {str(name): text for name, text in row.items() if isinstance(text, str)})
    report = db.get(REPORT, {"missing": [], "problems": []})
    incomplete = {problem["path"].rpartition("/")[0] for problem in report["problems"]}
    incomplete |= {path for path in kept.fingerprints if report["missing"] or not files.rows.get(path)}
    wanted = {run.path for run in new} | incomplete
    runs = [run for run in found.runs if run.path in wanted and run.parameters]
    if files.rows.keys() - {run.path for run in runs}:
        files.kept = db
    files.add(runs)
    return files


def write_parameter_files(db: zdb.Database, files: ParameterFiles, trials: pd.DataFrame) -> None:
    """Write the files and the table of the trials that they belong to; nothing if there are none."""
    files.write(db)
    table = files.table(trials)
    if table.notna().any(axis=None):
        db[TABLE] = table


def remove_others(db: zdb.Database, wanted: Collection[str]) -> None:
    """Remove what is left of an import that was overwritten, and nothing that others have set."""
    for folder in FOLDERS:
        keys = keys_in_folder(db, folder)
        for key in keys:
            if key not in wanted:
                del db[key]
        if keys and not len(db.database(folder)):
            del db[folder]
    for key in (*ACTIVITY, TABLE):
        if key in db and key not in wanted:
            del db[key]
