"""Synapse activations per trial, group of synapses and step of time."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

import zdb
from zdb.neuro.celltypes import DERIVED, EXCITATORY, INHIBITORY, add_groups, needed_columns
from zdb.neuro.events import TRIAL, Events, event_parts, events_of
from zdb.neuro.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["bin_activations", "count_activations"]

SOURCE = "synapse_activation"
TARGET = "synapse_activation_binned"
ROWS_AT_ONCE = 1_000_000
BLOCK_ROWS = 500_000
BLOCK_BYTES = 64 << 20
Unknown = Literal["error", "unknown"]


class _Grouping:
    """The groups, trials and bins of time into which activations are counted."""

    def __init__(
        self,
        names: Sequence[str],
        steps: Steps,
        lists: dict[str, Any],
    ) -> None:
        self.names = list(names)
        self.steps = steps
        self.lists = lists
        self.levels: list[list[Any]] = [[] for _ in self.names]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of groups, which are all combinations of the levels, and of bins."""
        return int(np.prod([len(level) for level in self.levels])), self.steps.number

    def learn(self, columns: pd.DataFrame) -> None:
        """Add the levels that occur in some rows."""
        groups = add_groups(columns, self.names, **self.lists)
        for number, name in enumerate(self.names):
            labels = {*self.levels[number], *groups[name].cat.categories.tolist()}
            self.levels[number] = sorted(labels, key=_beginning if name == "binned_somadist" else None)

    def count(self, events: Events, trial: NDArray[np.int64], trials: int) -> NDArray[np.int32]:
        """Count the activations of rows whose trials are numbered; -1, and rows without a label, are left out."""
        groups = add_groups(events.columns, self.names, **self.lists)
        number_of_groups, bins = self.shape
        group = np.zeros(len(events), dtype=np.int64)
        labelled = np.ones(len(events), dtype=bool)
        for name, level in zip(self.names, self.levels, strict=True):
            known = {label: i for i, label in enumerate(level)}
            codes = np.array([*(known[label] for label in groups[name].cat.categories.tolist()), -1], dtype=np.int64)
            found = codes[groups[name].cat.codes.to_numpy()]
            labelled &= found >= 0
            group = group * len(level) + found
        place = self.steps.places(events.times, with_end=True)
        cell = (trial[events.rows] * number_of_groups + group[events.rows]) * bins + place
        inside = (place >= 0) & (labelled & (trial >= 0))[events.rows]
        counts = np.bincount(cell[inside], minlength=trials * number_of_groups * bins)
        return counts.astype(np.int32).reshape(trials, number_of_groups, bins)

    def label(self, counts: Any, trials: Sequence[str]) -> xr.Dataset:
        combined = list(itertools.product(*self.levels))
        coords: dict[str, Any] = {
            "trial": ("trial", np.asarray(trials, dtype=object)),
            "group": ("group", np.array(["__".join(map(str, labels)) for labels in combined], dtype=object)),
            "time": ("time", self.steps.starts, {"units": "ms", "long_name": "beginning of the bin"}),
        }
        for number, name in enumerate(self.names):
            if len(self.names) > 1 or name != "group":
                column = [labels[number] for labels in combined]
                are_text = not column or isinstance(column[0], str)
                coords[name] = ("group", np.array(column, dtype=object if are_text else None))
        long_name = f"synapse activations by {' and '.join(self.names)}"
        variable = (("trial", "group", "time"), counts, {"long_name": long_name})
        return xr.Dataset({"activations": variable}, coords)


def count_activations(
    activations: Any,
    groupby: str | Sequence[str] = "EI",
    *,
    trials: Sequence[str] | None = None,
    min_time: float = 0,
    max_time: float = 400,
    bin_size: float = 1,
    excitatory: Sequence[str] = EXCITATORY,
    inhibitory: Sequence[str] = INHIBITORY,
    unknown: Unknown = "error",
) -> xr.Dataset:
    """Count synapse activations per trial, group and step of time, and keep the counts in memory.

    Replaces ``synapse_activation_postprocess_pandas`` and ``synapse_activation_postprocess_dask`` of ``data_base.
    db_initializers.synapse_activation_binning``. See :func:`bin_activations`, which does it for all of a database.

    Parameters
    ----------
    activations : zdb.Ragged, pandas.DataFrame or dask DataFrame
        A row for each synapse and trial. The trial is the column ``sim_trial_index``, or the index of the table. The
        partitions of a dask DataFrame are read one by one, and twice: once for the groups, once for the counts.
    trials : sequence of str, optional
        Trials and their order; those that occur by default.
    groupby, min_time, max_time, bin_size, excitatory, inhibitory, unknown
        As in :func:`bin_activations`.

    Returns
    -------
    xarray.Dataset
        As :func:`bin_activations` stores it.
    """
    names = [groupby] if isinstance(groupby, str) else list(groupby)
    grouping = _Grouping(
        names,
        Steps.between(min_time, max_time, bin_size),
        {"excitatory": excitatory, "inhibitory": inhibitory, "unknown": unknown},
    )
    source = activations if hasattr(activations, "partitions") else events_of(activations)
    occurring: dict[str, None] = {}
    for events in event_parts(source):
        grouping.learn(events.columns)
        occurring |= dict.fromkeys(events.labels.unique())
    wanted = list(occurring) if trials is None else list(trials)
    counts = np.zeros((len(wanted), *grouping.shape), np.int32)
    for events in event_parts(source):
        counts += grouping.count(events, _numbers(events, wanted), len(wanted))
    return grouping.label(counts, wanted)


def bin_activations(
    db: zdb.Database,
    groupby: str | Sequence[str] = "EI",
    *,
    min_time: float = 0,
    max_time: float = 400,
    bin_size: float = 1,
    excitatory: Sequence[str] = EXCITATORY,
    inhibitory: Sequence[str] = INHIBITORY,
    unknown: Unknown = "error",
) -> xr.Dataset:
    """Count the synapse activations of a database per trial, group and step of time, and keep the counts.

    Replaces ``data_base.db_initializers.synapse_activation_binning.init``. Blocks of trials are read, counted and
    written in parallel by dask, with the scheduler that is set; no more than a few blocks of 64 MiB are in memory.
    Counts that are there are replaced. Another import does not do that: call the function again when trials were added.

    Parameters
    ----------
    db : zdb.Database
        With ``synapse_activation``, as :func:`zdb.neuro.import_simrun` makes it.
    groupby : str or sequence of str, default "EI"
        A column, or several whose combinations are the groups: "EI", "celltype", "presynaptic_column", "proximal",
        "binned_somadist" (see :func:`zdb.neuro.add_groups`), or any column of ``synapse_activation``. Synapses without
        a value in it are not counted.
    min_time, max_time, bin_size : float
        Bins of time in ms, as in :func:`zdb.neuro.bin_times`.
    excitatory, inhibitory : sequence of str
        Cell types, for "EI".
    unknown : {"error", "unknown"}
        What is done with a cell type that is in neither list: raise an error, or count it as a group of its own.

    Returns
    -------
    xarray.Dataset
        What lies at ``synapse_activation_binned/<names joined by __>``, lazy: ``activations`` (trial × group × time,
        int32) with the coordinates ``trial``, ``group`` (labels joined by ``__``), ``time`` (beginning of the bin, ms),
        and one along ``group`` for each column. All combinations of the labels that occur are there.

    Raises
    ------
    KeyError
        There is no ``synapse_activation``, or no such column.
    UnknownCellTypeError
        A cell type is in neither list.
    """
    names = [groupby] if isinstance(groupby, str) else list(groupby)
    lists = {"excitatory": excitatory, "inhibitory": inhibitory, "unknown": unknown}
    grouping = _Grouping(names, Steps.between(min_time, max_time, bin_size), lists)
    # so that the keys that are read are kept as its inputs
    made: xr.Dataset = db.compute(f"{TARGET}/{'__'.join(names)}", _count_all, db, grouping, force=True)
    return made


def _count_all(db: zdb.Database, grouping: _Grouping) -> xr.Dataset:
    """Counts of all trials, lazy but for the groups."""
    import dask.array as da
    from dask.delayed import delayed

    spans: dict[str, tuple[int, int]] = {}  # first row of each trial, and the row after its last one
    for start, columns in _columns_in_parts(db, needed_columns(grouping.names)):
        grouping.learn(columns)
        for trial, first, last in _stretches(columns[TRIAL]):
            spans[trial] = (spans.get(trial, (start + first, 0))[0], start + last)
    trials = list(db["sim_trial_index"]) if "sim_trial_index" in db else list(spans)
    groups, bins = grouping.shape
    rows_per_trial = max((last for _, last in spans.values()), default=0) / max(1, len(trials))
    cells = groups * bins * np.dtype(np.int32).itemsize
    step = max(1, min(BLOCK_BYTES // max(1, cells), int(BLOCK_ROWS / max(1.0, rows_per_trial))))
    blocks = []
    for i in range(0, len(trials), step):
        some = trials[i : i + step]
        found = [spans[trial] for trial in some if trial in spans]
        rows = slice(min((a for a, _ in found), default=0), max((b for _, b in found), default=0))
        block = delayed(_count_rows)(db, rows, grouping, some)
        blocks.append(da.from_delayed(block, (len(some), groups, bins), np.int32))  # type: ignore[no-untyped-call]
    counts = da.concatenate(blocks) if blocks else np.zeros((0, groups, bins), np.int32)  # type: ignore[no-untyped-call]
    return grouping.label(counts, trials)


def _beginning(distance_bin: str) -> int:
    return int(distance_bin.split("to")[0])


def _columns_in_parts(db: zdb.Database, names: list[str]) -> Iterator[tuple[int, pd.DataFrame]]:
    """Some columns of ``synapse_activation`` in parts, with the number of the first line."""
    shape = db.info(SOURCE).shape
    assert shape is not None
    for start in range(0, shape[0], ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        try:
            found = db.get(SOURCE, rows=rows, columns=[TRIAL, *names]).columns
        except zdb.errors.SelectionError as error:
            raise KeyError(f"{SOURCE}: {error}; or group by {', '.join(DERIVED)}") from error
        yield start, found


def _stretches(trials: pd.Series[Any]) -> Iterator[tuple[str, int, int]]:
    """Trials that follow each other, with their first row and the one behind their last."""
    codes, labels = pd.factorize(trials)
    ends = [*(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)] if len(codes) else []
    for first, last in itertools.pairwise([0, *ends]):
        yield str(labels[codes[first]]), first, last


def _count_rows(db: zdb.Database, rows: slice, grouping: _Grouping, trials: list[str]) -> NDArray[np.int32]:
    columns = [TRIAL, *needed_columns(grouping.names)]
    events = events_of(db.get(SOURCE, rows=rows, columns=columns))
    return grouping.count(events, _numbers(events, trials), len(trials))


def _numbers(events: Events, trials: Sequence[str]) -> NDArray[np.int64]:
    """The number of the trial of each row, -1 for those that are not wanted."""
    codes, labels = pd.factorize(events.labels)
    found: NDArray[np.int64] = pd.Index(list(trials)).get_indexer(pd.Index(labels))[codes]
    return found
