"""Times of events by row, whatever they come in: the common form of spike times and synapse activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import zdb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Events", "event_parts", "events_of"]

TRIAL = "sim_trial_index"


@dataclass(frozen=True)
class Events:
    """Times and the rows to which they belong.

    Attributes
    ----------
    times : ndarray of float64
        In ms, without NaN; the times of one row ascend where they did in the input.
    rows : ndarray of int64
        For each time, the number of its row.
    columns : pandas.DataFrame
        One line for each row, also for those without a time; its index are the labels of the rows.
    """

    times: NDArray[np.float64]
    rows: NDArray[np.int64]
    columns: pd.DataFrame

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def labels(self) -> Any:
        """Labels of the rows: the trials, where they are known."""
        if TRIAL in self.columns:
            return pd.Index(self.columns[TRIAL], name=TRIAL)
        return self.columns.index


def events_of(times: Any) -> Events:
    """Bring times into their common form.

    Parameters
    ----------
    times : zdb.Ragged, pandas.DataFrame, pandas.Series, dask DataFrame, array_like or list of array_like
        A table has the times in the columns whose names are integers ("0", "1", …), filled with NaN, as the In Silico
        Framework has; a two-dimensional array likewise. A series or a one-dimensional array is one row; a list without
        anything has no rows.

    Raises
    ------
    TypeError
        It is something else.
    """
    if isinstance(times, zdb.Ragged):
        values = np.asarray(times.values, dtype=np.float64)
        rows = np.repeat(np.arange(len(times)), times.row_size)
        known = ~np.isnan(values)
        return Events(values, rows, times.columns) if known.all() else Events(values[known], rows[known], times.columns)
    if isinstance(times, pd.DataFrame):
        wanted = [name for name in times.columns if _is_integer(name)]
        return _from_padded(times[wanted].to_numpy(np.float64, na_value=np.nan), times.drop(columns=wanted))
    if isinstance(times, pd.Series):
        return _from_padded(times.to_numpy(np.float64, na_value=np.nan)[np.newaxis], pd.DataFrame(index=[0]))
    if hasattr(times, "to_delayed") and hasattr(times, "columns"):
        return events_of(times.compute())
    if isinstance(times, list) and (not times or any(np.ndim(row) for row in times)):
        return events_of(zdb.Ragged.from_lists(times, dtype=np.float64))
    array = np.asarray(times, dtype=np.float64)
    if array.ndim > 2:
        raise TypeError(f"times have one or two dimensions, rows and times, not {array.ndim}")
    return _from_padded(np.atleast_2d(array), None)


def event_parts(times: Any) -> Iterator[Events]:
    """Bring times into their common form in parts that fit into memory: the partitions of a dask DataFrame.

    Times that are in that form already are one part.
    """
    if isinstance(times, Events):
        yield times
    elif hasattr(times, "partitions"):
        for number in range(times.npartitions):
            yield events_of(times.get_partition(number).compute())
    else:
        yield events_of(times)


def _from_padded(table: NDArray[np.float64], columns: pd.DataFrame | None) -> Events:
    rows, places = np.nonzero(~np.isnan(table))
    if columns is None:
        columns = pd.DataFrame(index=pd.RangeIndex(len(table)))
    return Events(table[rows, places], rows.astype(np.int64), columns)


def _is_integer(name: Any) -> bool:
    try:
        int(name)
    except (TypeError, ValueError):
        return False
    return True
