"""Results that stay in their raw files: a value holds where these are, and reads them when it is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
from dask.base import compute
from dask.delayed import delayed

import zdb
from zdb.neuro.batches import READERS, activity, traces_dataset
from zdb.neuro.readers import SimulationFileError, read_voltage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from zdb.neuro.simrun import Run

__all__ = ["FILE_COLUMNS", "TRIAL_COLUMNS", "SimrunLink", "join_links", "link_to"]

# Size in bytes and SHA-256 of each file.
FILE_COLUMNS = ("path", "size", "sha256")
# For each trial: its file (-1 for none), which of the traces in it, and how many rows of the value are of it.
TRIAL_COLUMNS = ("trial", "file", "trace", "rows")


@dataclass(frozen=True)
class SimrunLink:
    """Traces or activity of some trials, in raw files.

    Attributes
    ----------
    kind : {"voltage", "dendrite", "synapse_activation", "cell_activation"}
    root : str
        Folder of the results, to which paths are relative.
    files, trials : pandas.DataFrame
        With the columns `FILE_COLUMNS` and `TRIAL_COLUMNS`.
    time : ndarray of float64
        Of traces, in ms; empty for activity.
    labels : dict of str to list of str
        Of activity: labels of the columns that have some.
    """

    kind: str
    root: str
    files: pd.DataFrame
    trials: pd.DataFrame
    time: NDArray[np.float64]
    labels: dict[str, list[str]]

    @property
    def holds_traces(self) -> bool:
        return self.kind not in READERS

    def value(self) -> Any:
        """What it stands for: traces as a lazy Dataset, activity as a :class:`zdb.Ragged`, read now.

        Raises
        ------
        SimulationFileError
            A file is gone, or is not the one that was linked: now, or when the Dataset is computed.
        """
        return self._traces() if self.holds_traces else self._activity(np.arange(len(self.trials)))

    def rows(self, rows: slice | Sequence[int]) -> zdb.Ragged:
        """Some rows of activity, read now from no other files than those of their trials.

        Raises
        ------
        zdb.errors.SelectionError
            `rows` is out of bounds.
        SimulationFileError
            As in :meth:`value`.
        """
        ends = np.cumsum(self.trials["rows"].to_numpy())
        index = _chosen(rows, int(ends[-1]))
        positions = index.to_numpy()
        trial = np.searchsorted(ends, positions, side="right")
        read = np.unique(trial) if trial.size else np.flatnonzero(self.trials["file"] >= 0)[:1]
        sizes = self.trials["rows"].to_numpy()
        before = np.zeros(len(sizes), np.int64)  # how many rows of trials that are not read precede each trial
        before[read] = ends[read] - np.cumsum(sizes[read])
        part: zdb.Ragged = self._activity(read)[positions - before[trial]]
        return zdb.Ragged(part.values, part.row_size, part.columns.set_axis(index))

    def _traces(self) -> xr.Dataset:
        read = delayed(_read_linked_traces, traverse=False, pure=False)
        blocks: list[da.Array] = []
        for part in self._of_files():
            block = read(self._source(part["file"].iloc[0]), part["trace"].to_numpy(), self.time)
            shape = len(part), len(self.time)
            blocks.append(da.from_delayed(block, shape, dtype=np.float64))  # type: ignore[no-untyped-call]
        voltage = da.concatenate(blocks)  # type: ignore[no-untyped-call]
        return traces_dataset(voltage, self.trials["trial"].tolist(), self.time, self.kind)

    def _of_files(self) -> list[pd.DataFrame]:
        """The trials of one file after the other, in order."""
        changes = np.flatnonzero(np.diff(self.trials["file"], prepend=-1))
        return [self.trials.iloc[rows] for rows in np.split(np.arange(len(self.trials)), changes[1:])]

    def _activity(self, trials: NDArray[np.int64]) -> zdb.Ragged:
        """Activity of some trials by number."""
        read = delayed(_read_linked_table, traverse=False, pure=False)
        numbers = [number for number in trials.tolist() if self.trials["file"].iloc[number] >= 0]
        tasks = [read(self._source(self.trials["file"].iloc[number]), self.kind) for number in numbers]
        tables = compute(*tasks)  # type: ignore[no-untyped-call]
        made = activity(list(zip(numbers, tables, strict=True)), self.trials["trial"].tolist())
        columns = made.columns.assign(
            **{name: made.columns[name].cat.set_categories(labels) for name, labels in self.labels.items()}
        )
        return zdb.Ragged(made.values, made.row_size, columns)

    def _source(self, file: int) -> tuple[str, int, str]:
        path, size, digest = self.files.iloc[file][list(FILE_COLUMNS)]
        return str(Path(self.root, path)), int(size), str(digest)


def link_to(root: Path, runs: Sequence[Run], key: str, value: Any) -> SimrunLink:
    """The link that stands for the value of a key which was read of these runs."""
    if isinstance(value, zdb.Ragged):
        kind = key
        kept = value.columns["sim_trial_index"].cat.categories
        labels = {
            str(name): sorted(column.cat.categories)
            for name, column in value.columns.items()
            if isinstance(column.dtype, pd.CategoricalDtype) and name != "sim_trial_index"
        }
        time = np.empty(0)
        rows = np.bincount(value.columns["sim_trial_index"].cat.codes, minlength=len(kept))
    else:
        kind = "voltage" if key == "voltage_traces" else "dendrite"
        kept, labels, time = value["trial"].to_numpy(), {}, value["time"].to_numpy()
        rows = np.ones(len(kept), np.int64)
    sources = {label: source for run in runs for label, source in _sources(run, kind, key).items()}
    paths = list(dict.fromkeys(path for label in kept if (path := sources[label][0])))
    positions = {path: number for number, path in enumerate(paths)}
    trials = [
        (str(label), positions.get(sources[label][0], -1), sources[label][1], number)
        for label, number in zip(kept, rows.tolist(), strict=True)
    ]
    files = [(path, (root / path).stat().st_size, _sha256(root / path)) for path in paths]
    return SimrunLink(
        kind,
        str(root),
        pd.DataFrame(files, columns=list(FILE_COLUMNS)),
        pd.DataFrame(trials, columns=list(TRIAL_COLUMNS)),
        time,
        labels,
    )


def _sources(run: Run, kind: str, key: str) -> dict[str, tuple[str, int]]:
    """For each trial of a run the file of a kind, "" if there is none, and which of the traces in it."""
    found = {}
    site = run.sites.get(key.partition("/")[2], "")
    for number, (trial, label) in enumerate(zip(run.trials, run.trial_index, strict=True)):
        of_kind = {
            "voltage": run.voltage,
            "dendrite": site,
            "synapse_activation": trial.synapses,
            "cell_activation": trial.cells,
        }
        name = of_kind[kind]
        found[label] = (run.relative(name) if name else "", number)
    return found


def join_links(parts: Sequence[tuple[SimrunLink, slice]], trials: Sequence[str]) -> SimrunLink:
    """One link for some trials of several; of activity it names all trials that are imported."""
    first = parts[0][0]
    chosen = []
    files: dict[str, tuple[int, str]] = {}
    for link, rows in parts:
        table = link.trials.iloc[rows]
        names = [link.files["path"].iloc[file] if file >= 0 else "" for file in table["file"]]
        chosen += list(zip(table["trial"], names, table["trace"], table["rows"], strict=True))
        of_link = {path: (int(size), str(digest)) for path, size, digest in link.files.itertuples(index=False)}
        files |= {name: of_link[name] for name in names if name}
    positions = {name: number for number, name in enumerate(files)}
    if not first.holds_traces:
        by_trial = {one[0]: one for one in chosen}
        chosen = [by_trial.get(trial, (trial, "", 0, 0)) for trial in trials]
    rows_of = [(trial, positions.get(name, -1), trace, number) for trial, name, trace, number in chosen]
    names_of_labels = dict.fromkeys(name for link, _ in parts for name in link.labels)
    labels = {
        name: sorted({label for link, _ in parts for label in link.labels.get(name, [])}) for name in names_of_labels
    }
    return SimrunLink(
        first.kind,
        first.root,
        pd.DataFrame([(name, *own) for name, own in files.items()], columns=list(FILE_COLUMNS)),
        pd.DataFrame(rows_of, columns=list(TRIAL_COLUMNS)),
        first.time,
        labels,
    )


def _chosen(rows: slice | Sequence[int], total: int) -> pd.Index[int]:
    """Positions of rows, which are the index of their columns too, as in a value that is stored."""
    every = pd.RangeIndex(total)
    if isinstance(rows, slice):
        return every[rows]
    try:
        return every[np.asarray(rows, dtype=np.int64)]
    except IndexError as error:
        raise zdb.errors.SelectionError(f"rows= goes beyond the {total} rows") from error


def _checked(source: tuple[str, int, str]) -> str:
    """The path of a linked file, which is the one that was linked."""
    path, size, digest = source
    if not Path(path).is_file():
        raise SimulationFileError(f"{path}: is gone; the database holds no copy of it, it was imported by mode='link'")
    if Path(path).stat().st_size != size or _sha256(Path(path)) != digest:
        raise SimulationFileError(f"{path}: has changed since it was imported; import the folder again")
    return path


def _read_linked_traces(source: tuple[str, int, str], traces: NDArray[np.int64], time: NDArray[np.float64]) -> Any:
    own_time, voltage = read_voltage(_checked(source))
    assert np.array_equal(own_time, time)
    return voltage[traces]


def _read_linked_table(source: tuple[str, int, str], kind: str) -> Any:
    return READERS[kind](_checked(source))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
