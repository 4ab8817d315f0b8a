"""Join the same key of several imports: lazily, so that no more than a block of it is in memory."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

import zdb
from zdb.neuro.batches import traces_dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Part", "Stored", "join_ragged", "join_spike_times", "join_traces"]

TRIALS = "sim_trial_index"
# Elements and bytes that are written at once.
RAGGED_BLOCK = 1 << 21
RAGGED_CHUNK = 1 << 17
TRACE_BYTES = 16 << 20
# Rows whose codes and sizes are looked at at once.
SCANNED_ROWS = 1 << 20

Array = np.ndarray[Any, Any]


class Part(NamedTuple):
    """Some trials of a stored value, which follow each other there and in what is made."""

    key: str
    trials: slice


class Span(NamedTuple):
    """Elements of a stored array, and what is to be made of them by looking them up."""

    key: str
    variable: str
    start: int
    stop: int
    lookup: Array | None = None


@dataclass
class Stored:
    """Values of a database that are read many times: each process opens them once, which takes longer than reading."""

    db: zdb.Database
    _datasets: dict[str, xr.Dataset] = field(default_factory=dict)
    _columns: dict[str, pd.DataFrame] = field(default_factory=dict)

    def dataset(self, key: str) -> xr.Dataset:
        """The stored Dataset of a value."""
        if key not in self._datasets:
            self._datasets[key] = self.db.dataset(key)
        return self._datasets[key]

    def columns(self, key: str) -> pd.DataFrame:
        """The columns of a ragged value, without rows."""
        if key not in self._columns:
            self._columns[key] = self.db.get(key, rows=slice(0, 0)).columns
        return self._columns[key]

    def __reduce__(self) -> tuple[Any, ...]:
        return Stored, (self.db,)


@dataclass
class JoinedArray:
    """Spans of stored arrays one after the other; sliced along the first dimension, and read when it is."""

    stored: Stored
    spans: list[Span]
    dtype: np.dtype[Any]
    inner: tuple[int, ...] = ()

    @cached_property
    def ends(self) -> list[int]:
        return list(accumulate(span.stop - span.start for span in self.spans))

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.ends[-1] if self.spans else 0, *self.inner)

    @property
    def ndim(self) -> int:
        return 1 + len(self.inner)

    def __getitem__(self, index: tuple[slice, ...]) -> Array:
        start, stop, _ = index[0].indices(self.shape[0])
        made = np.empty((stop - start, *self.inner), self.dtype)
        number = bisect_right(self.ends, start)
        done = start
        while done < stop:
            span = self.spans[number]
            first = span.stop - (self.ends[number] - done)
            last = min(span.stop, first + stop - done)
            made[done - start : done - start + last - first] = self._read(span, first, last)
            done += last - first
            number += 1
        return made

    def _read(self, span: Span, start: int, stop: int) -> Array:
        values: Array = self.stored.dataset(span.key).variables[span.variable][start:stop].values
        return values if span.lookup is None else span.lookup[values]

    def lazy(self, block: int) -> da.Array:
        """A dask array of blocks of so many elements along the first dimension."""
        chunks = (min(block, max(1, self.shape[0])), *self.inner)
        array: da.Array = da.from_array(  # type: ignore[no-untyped-call]
            self, chunks=chunks, name=False, asarray=False, lock=False, meta=np.empty((0,) * self.ndim, self.dtype)
        )
        return array


def join_traces(stored: Stored, parts: Sequence[Part], kind: str) -> xr.Dataset:
    """Voltage traces of all parts (trial × time), lazy."""
    time = stored.dataset(parts[0].key)["time"].to_numpy()
    labels = {key: stored.dataset(key)["trial"].to_numpy() for key in {part.key for part in parts}}
    trials = [str(label) for part in parts for label in labels[part.key][part.trials]]
    spans = _merged(Span(part.key, "voltage", part.trials.start, part.trials.stop) for part in parts)
    joined = JoinedArray(stored, spans, np.dtype(np.float64), (len(time),))
    return traces_dataset(joined.lazy(max(1, TRACE_BYTES // (8 * len(time)))), trials, time, kind)


def join_spike_times(db: zdb.Database, parts: Sequence[Part]) -> zdb.Ragged:
    """Spike times of all parts: one row per trial, in memory."""
    rows = [db.get(part.key, rows=part.trials) for part in parts]
    return zdb.Ragged(
        np.concatenate([one.values for one in rows]),
        np.concatenate([one.row_size for one in rows]),
        pd.concat([one.columns for one in rows], ignore_index=True),
    )


@dataclass
class Extents:
    """Where the rows and values of each trial of a stored ragged array begin; they lie trial after trial."""

    rows: NDArray[np.int64]
    values: NDArray[np.int64]
    columns: pd.DataFrame

    @classmethod
    def of(cls, stored: Stored, key: str) -> Extents:
        columns = stored.columns(key)
        trials = len(columns[TRIALS].cat.categories)
        variables = stored.dataset(key).variables
        rows, values = np.zeros((2, trials + 1), np.int64)
        for start in range(0, variables["row_size"].size, SCANNED_ROWS):
            window = slice(start, start + SCANNED_ROWS)
            codes = variables[TRIALS][window].values
            rows[1:] += np.bincount(codes, minlength=trials)
            sizes = variables["row_size"][window].values
            values[1:] += np.bincount(codes, weights=sizes, minlength=trials).astype(np.int64)
        return cls(np.cumsum(rows), np.cumsum(values), columns)


def join_ragged(stored: Stored, parts: Sequence[Part], trials: Sequence[str]) -> xr.Dataset:
    """Activity of all parts as a Dataset in ragged layout, lazy but for the sizes of rows.

    Parameters
    ----------
    stored : Stored
    parts : sequence of Part
    trials : sequence of str
        ``sim_trial_index`` of all trials that are imported, also of those without activity.
    """
    extents = {key: Extents.of(stored, key) for key in {part.key for part in parts}}
    columns = extents[parts[0].key].columns
    labels = {
        name: pd.Index(trials) if name == TRIALS else _all_labels([each.columns[name] for each in extents.values()])
        for name, dtype in columns.dtypes.items()
        if isinstance(dtype, pd.CategoricalDtype)
    }
    made: dict[str, xr.Variable] = {}
    for name, dtype in columns.dtypes.items():
        lookups: dict[str, Array] = {}
        attrs = {}
        if name in labels:
            attrs = {"labels": labels[name].tolist()}
            lookups = {key: _lookup(each.columns[name], labels[name]) for key, each in extents.items()}
        kept_as = next(iter(lookups.values())).dtype if lookups else np.dtype(dtype)
        spans = _merged(
            Span(key, str(name), *_bounds(extents[key].rows, wanted), lookups.get(key)) for key, wanted in parts
        )
        made[str(name)] = _ragged_variable("row", JoinedArray(stored, spans, kept_as), attrs)
    spans = _merged(Span(key, "row_size", *_bounds(extents[key].rows, wanted)) for key, wanted in parts)
    largest = np.result_type(*(stored.dataset(key)["row_size"].dtype for key in extents))
    row_size = JoinedArray(stored, spans, largest)
    made["row_size"] = xr.Variable(("row",), row_size[(slice(None),)])
    spans = _merged(Span(key, "values", *_bounds(extents[key].values, wanted)) for key, wanted in parts)
    made["values"] = _ragged_variable("value", JoinedArray(stored, spans, np.dtype(np.float64)), {})
    return xr.Dataset(made)


def _bounds(starts: NDArray[np.int64], trials: slice) -> tuple[int, int]:
    return int(starts[trials.start]), int(starts[trials.stop])


def _ragged_variable(dim: str, joined: JoinedArray, attrs: dict[str, Any]) -> xr.Variable:
    encoding = {}
    if joined.shape[0] > RAGGED_BLOCK:
        encoding = {"chunks": (RAGGED_CHUNK,), "shards": (RAGGED_BLOCK,)}
    return xr.Variable((dim,), joined.lazy(RAGGED_BLOCK), attrs, encoding)


def _all_labels(columns: Iterable[pd.Series[Any]]) -> pd.Index[Any]:
    labels: pd.Index[Any] = pd.Index(sorted({label for column in columns for label in column.cat.categories}))
    return labels


def _lookup(column: pd.Series[Any], labels: pd.Index[Any]) -> Array:
    """Codes among `labels`, by code among the categories of a column; -1 for those that no part has."""
    dtype = pd.Categorical.from_codes([], labels).codes.dtype
    return np.asarray(labels.get_indexer(column.cat.categories).astype(dtype))


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans that are not empty; those that follow each other in the same array become one."""
    merged: list[Span] = []
    for span in spans:
        if span.start == span.stop:
            continue
        if merged and merged[-1].key == span.key and merged[-1].stop == span.start:
            merged[-1] = merged[-1]._replace(stop=span.stop)
        else:
            merged.append(span)
    return merged
