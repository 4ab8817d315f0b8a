"""Spikes: find them in voltage traces, count them, and the intervals between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

import zdb
from zdb.neuro.events import TRIAL, Events, events_of
from zdb.neuro.steps import Steps
from zdb.neuro.traces import traces_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "detect_spikes",
    "interspike_intervals",
    "one_hot",
    "spike_counts",
    "spike_in_interval",
    "time_since_spike",
]

Mode = Literal["regular", "slope"]


def detect_spikes(
    v: Any,
    t: ArrayLike | None = None,
    threshold: float = 0.0,
    mode: Mode = "regular",
    begin: float | None = None,
    end: float | None = None,
) -> Any:
    """Detect spikes: where the voltage, or its slope, crosses a threshold from below.

    Replaces ``data_base.analyze.spike_detection.spike_detection`` and ``single_cell_parser.analyze.
    membrane_potential_analysis.simple_spike_detection`` of the In Silico Framework.

    Parameters
    ----------
    v : array_like, pandas.DataFrame, xarray.DataArray, xarray.Dataset, dask array or dask DataFrame
        Trials × samples, or one trace; in mV. Lazy data is read block by block.
    t : array_like, shape (samples,), optional
        In ms. Not needed where the columns of a table, or the coordinate ``time``, say it.
    threshold : float, default 0
        In mV; in mV/ms for the slope.
    mode : {"regular", "slope"}
        Whether the voltage crosses the threshold, or its slope ``diff(v) / diff(t)``.
    begin, end : float, optional
        Only spikes at ``begin <= time < end``, in ms.

    Returns
    -------
    zdb.Ragged of float64, or ndarray for one trace
        Time (ms) of the first sample at or above the threshold, a row for each trial. The slope at a sample is that
        towards the next one. Where the trials are known, they are the column ``sim_trial_index``. A trace that starts
        above the threshold has no spike there.

    Raises
    ------
    ValueError
        The shapes do not fit each other, nothing says the times, or there is no such mode.
    """
    if mode not in ("regular", "slope"):
        raise ValueError(f"mode is 'regular' or 'slope', not {mode!r}")
    traces = traces_of(v, t)
    time = traces.time

    def find(block: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        signal = np.diff(block, axis=1) / np.diff(time) if mode == "slope" else block
        above = signal >= threshold
        crosses = (signal[:, :-1] < threshold) & above[:, 1:]
        trial, sample = np.nonzero(crosses)
        spikes = time[sample + 1]
        kept = _within(spikes, begin, end)
        return spikes[kept], np.bincount(trial[kept], minlength=len(block)).astype(np.int64)

    found = traces.map_blocks(find)
    times = np.concatenate([spikes for spikes, _ in found])
    if traces.is_single:
        return times
    columns = None if traces.trials is None else pd.DataFrame({TRIAL: np.asarray(traces.trials)})
    return zdb.Ragged(times, np.concatenate([counts for _, counts in found]), columns)


def _within(times: NDArray[np.float64], begin: float | None, end: float | None) -> NDArray[np.bool_]:
    kept = np.ones(times.shape, dtype=bool)
    if begin is not None:
        kept &= times >= begin
    if end is not None:
        kept &= times < end
    return kept


def spike_in_interval(spike_times: Any, begin: float, end: float) -> pd.Series[bool]:
    """Tell whether each trial has a spike in an interval.

    Replaces ``data_base.analyze.spike_detection.spike_in_interval``.

    Parameters
    ----------
    spike_times : zdb.Ragged, pandas.DataFrame, array_like or list of array_like
        A row for each trial, in ms, see :func:`spike_counts`.
    begin, end : float
        ``begin <= time < end``, in ms.

    Returns
    -------
    pandas.Series of bool
        By trial.
    """
    return spike_counts(spike_times, begin, end) > 0


def spike_counts(spike_times: Any, begin: float | None = None, end: float | None = None) -> pd.Series[int]:
    """Count the spikes of each trial.

    Parameters
    ----------
    spike_times : zdb.Ragged, pandas.DataFrame, array_like or list of array_like
        A row for each trial, in ms. Of a table, the columns whose names are integers; two-dimensional arrays are
        filled with NaN. One-dimensional arrays are one row; a list without anything has no rows.
    begin, end : float, optional
        Only those at ``begin <= time < end``, in ms.

    Returns
    -------
    pandas.Series of int64
        By trial.
    """
    events = events_of(spike_times)
    kept = _within(events.times, begin, end)
    counts = np.bincount(events.rows[kept], minlength=len(events)).astype(np.int64)
    return pd.Series(counts, index=events.labels)


def interspike_intervals(spike_times: Any) -> zdb.Ragged:
    """Return the intervals between the spikes of each trial.

    Parameters
    ----------
    spike_times : zdb.Ragged, pandas.DataFrame, array_like or list of array_like
        A row for each trial, in ms, see :func:`spike_counts`; in any order.

    Returns
    -------
    zdb.Ragged of float64
        In ms; one less than spikes in each row, none for rows without spikes. Columns as in the input.
    """
    events = _ordered(events_of(spike_times))
    same_trial = np.diff(events.rows) == 0
    counts = np.bincount(events.rows[1:][same_trial], minlength=len(events))
    return zdb.Ragged(np.diff(events.times)[same_trial], counts, events.columns)


def _ordered(events: Events) -> Events:
    order = np.lexsort((events.times, events.rows))
    return Events(events.times[order], events.rows[order], events.columns)


def time_since_spike(
    spike_times: Any,
    min_time: float,
    max_time: float,
    step: float = 1.0,
    fill: float | None = 1000.0,
) -> NDArray[np.float64]:
    """Return, for each trial and time step, how long ago its last spike was.

    Replaces ``compute_ISI_array`` and ``compute_ISI_from_st`` of ``data_base.db_initializers.prepare_ANN_batches``.

    Parameters
    ----------
    spike_times : zdb.Ragged, pandas.DataFrame, array_like or list of array_like
        A row for each trial, in ms, see :func:`spike_counts`.
    min_time, max_time, step : float
        The times are `min_time`, ``min_time + step``, … before `max_time`, in ms. A spike that is less than 1e-7 of a
        step away from one of them is at that time.
    fill : float or None, default 1000
        What stands before the first spike; None for the time itself.

    Returns
    -------
    ndarray of float64, shape (trials, steps)
        In ms; 0 at a step that is the time of a spike.
    """
    events = events_of(spike_times)
    steps = Steps.between(min_time, max_time, step)
    grid = steps.starts
    times = steps.snapped(events.times)
    first = np.searchsorted(grid, times)  # the first step that is not before the spike
    latest = np.full((len(events), grid.size), -np.inf)
    seen = first < grid.size
    np.maximum.at(latest, (events.rows[seen], first[seen]), times[seen])
    elapsed = grid - np.maximum.accumulate(latest, axis=1)
    return np.where(np.isinf(elapsed), grid if fill is None else fill, elapsed)


def one_hot(spike_times: Any, min_time: float, max_time: float, step: float = 1.0) -> NDArray[np.bool_]:
    """Return, for each trial and time step, whether there is a spike in it.

    Replaces ``compute_AP_array`` and ``spike_times_to_onehot`` of ``data_base.db_initializers.prepare_ANN_batches``,
    which were wrong for steps that are no integer and for a `min_time` that is not 0.

    Parameters
    ----------
    spike_times : zdb.Ragged, pandas.DataFrame, array_like or list of array_like
        A row for each trial, in ms, see :func:`spike_counts`.
    min_time, max_time, step : float
        Step *i* begins at ``min_time + i * step`` and is `step` ms long, its end not included; as many as reach
        `max_time`. A spike that is less than 1e-7 of a step before the beginning of a step is in it, because most
        steps, such as 0.025, have no exact floating-point number.

    Returns
    -------
    ndarray of bool, shape (trials, steps)
    """
    events = events_of(spike_times)
    steps = Steps.between(min_time, max_time, step)
    place = steps.places(events.times)
    inside = place >= 0
    hot = np.zeros((len(events), steps.number), dtype=bool)
    hot[events.rows[inside], place[inside]] = True
    return hot
