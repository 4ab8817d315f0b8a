"""Counts of spikes and synapse activations in time, by distance from the soma, and by both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zdb.neuro.events import event_parts
from zdb.neuro.steps import Steps

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Binned", "bin_distances", "bin_distances_and_times", "bin_times"]

ROW_DISTANCE = "soma_distance"


class Binned(NamedTuple):
    """What is in each bin.

    Attributes
    ----------
    edges : ndarray, shape (bins + 1,)
        Edges of the bins. Each bin holds its left edge, the last one its right edge too, as in
        :func:`numpy.histogram`.
    counts : ndarray, shape (…, bins)
        Counts (int64), or what they are divided by (float64).
    """

    edges: NDArray[Any]
    counts: NDArray[Any]


def bin_times(
    times: Any,
    bin_size: float | None = None,
    min_time: float | None = None,
    max_time: float | None = None,
    *,
    edges: ArrayLike | None = None,
    normalize: bool = True,
    rate: bool = False,
    per_trial: bool = False,
) -> Binned:
    """Count events in bins of time.

    Replaces ``data_base.analyze.temporal_binning.universal``.

    Parameters
    ----------
    times : zdb.Ragged, pandas.DataFrame, dask DataFrame, array_like or list of array_like
        In ms, see :func:`zdb.neuro.spike_counts`. The partitions of a dask DataFrame are read one by one.
    bin_size : float, default 1
        In ms.
    min_time, max_time : float, optional
        Range of the bins in ms; by default from the first to the last time. The last bin goes beyond it if the bins do
        not fit. A time that misses an edge by less than 1e-7 of a bin is at that edge, because most sizes, such as 0.1,
        have no exact floating-point number.
    edges : array_like, optional
        Edges of the bins in ms, instead of `bin_size`, `min_time` and `max_time`; times are compared with them exactly.
    normalize : bool, default True
        Divide by the number of rows; NaN if there are none.
    rate : bool, default False
        Divide by the width of the bins too: events per ms.
    per_trial : bool, default False
        Count each row on its own; `normalize` does not matter then.

    Returns
    -------
    Binned
        `counts` of shape (bins,), or (rows, bins) for `per_trial`.

    Raises
    ------
    ValueError
        Both `edges` and one of the others are given, or there is no time to take the range from.
    """
    if edges is not None:
        if not bin_size is min_time is max_time is None:
            raise ValueError("give either edges, or bin_size, min_time and max_time")
        steps, borders = None, np.asarray(edges)
    else:
        steps = _steps(times, 1 if bin_size is None else bin_size, min_time, max_time)
        borders = steps.edges
    bins = len(borders) - 1
    rows, counted = 0, []
    for events in event_parts(times):
        rows += len(events)
        if steps is None and not per_trial:
            counted.append(np.histogram(events.times, borders)[0])
            continue
        place = bin_numbers(events.times, borders) if steps is None else steps.places(events.times, with_end=True)
        place += 1  # the first column is of those outside
        if per_trial:
            place += events.rows * (bins + 1)
        table = np.bincount(place, minlength=(len(events) if per_trial else 1) * (bins + 1)).reshape(-1, bins + 1)[
            :, 1:
        ]
        counted.append(table if per_trial else table[0])
    counts: NDArray[Any] = np.concatenate(counted) if per_trial else np.sum(counted, axis=0)
    if normalize and not per_trial:
        counts = counts / rows if rows else np.full(bins, np.nan)
    if rate:
        counts = counts / np.diff(borders)
    return Binned(borders, counts)


def _steps(times: Any, bin_size: float, min_time: float | None, max_time: float | None) -> Steps:
    if min_time is None or max_time is None:
        ranges = [(part.times.min(), part.times.max()) for part in event_parts(times) if part.times.size]
        if not ranges:
            raise ValueError("there are no times, so nothing says the range of the bins: give min_time and max_time")
        min_time = min(first for first, _ in ranges) if min_time is None else min_time
        max_time = max(last for _, last in ranges) if max_time is None else max_time
    return Steps.between(min_time, max_time, bin_size)


def bin_numbers(times: NDArray[np.float64], edges: NDArray[Any]) -> NDArray[np.int64]:
    """Return the bin of each time as :func:`numpy.histogram` counts it, and -1 for those outside."""
    bins = len(edges) - 1
    place: NDArray[np.int64]
    spread = np.ptp(np.diff(edges)) if bins > 0 else np.inf
    if 4 * bins**2 * spread < edges[-1] - edges[0]:  # no edge is farther than a quarter of a bin from its place
        # A guess for equal bins, which may be one too far; much faster than a search for each time.
        guess = np.floor((times - edges[0]) * (bins / (edges[-1] - edges[0])))
        place = np.clip(guess, -1, bins).astype(np.int64)
        inner = np.clip(place, 0, bins - 1)
        place = inner + (times >= edges[inner + 1]) - (times < edges[inner])
    else:
        place = np.searchsorted(edges, times, side="right") - 1
    place[times == edges[-1]] = bins - 1
    place[(place < 0) | (place >= bins)] = -1
    return place


def bin_distances(
    activations: Any,
    min_time: float = 0.0,
    max_time: float = 295.0,
    bin_size: float | ArrayLike = 50.0,
    distance_column: str = ROW_DISTANCE,
) -> Binned:
    """Count activations by the distance of their synapse from the soma.

    Replaces ``data_base.analyze.spatial_binning.spatial_binning``.

    Parameters
    ----------
    activations : zdb.Ragged, pandas.DataFrame or dask DataFrame
        With a row for each synapse; those without a distance are not counted. See :func:`zdb.neuro.spike_counts`. The
        partitions of a dask DataFrame are read one by one.
    min_time, max_time : float
        Only activations at ``min_time <= time <= max_time``, in ms.
    bin_size : float or array_like, default 50
        Width of the bins from 0 on, or their edges; in µm. A bin holds its right edge, as in :func:`pandas.cut`, the
        first one its left edge too.
    distance_column : str

    Returns
    -------
    Binned
        `edges` in µm.

    Raises
    ------
    KeyError
        There is no such column.
    """
    width = None if np.ndim(bin_size) else float(bin_size)  # type: ignore[arg-type]
    farthest = 0.0
    total = np.zeros(0, dtype=np.int64)
    for events in event_parts(activations):
        distances = events.columns[distance_column].to_numpy(np.float64)
        farthest = np.fmax.reduce(distances, initial=farthest)
        # a part with nothing but 0 has a bin too: others may be farther
        edges = np.asarray(bin_size) if width is None else np.arange(0, max(farthest, width / 2) + width, width)
        bins = len(edges) - 1
        place = np.searchsorted(edges, distances, side="left") - 1
        place[distances == edges[0]] = 0
        place = place[events.rows]
        inside = (place >= 0) & (place < bins) & (events.times >= min_time) & (events.times <= max_time)
        counts = np.bincount(place[inside], minlength=bins).astype(np.int64)
        counts[: len(total)] += total
        total = counts
    edges = np.asarray(bin_size) if width is None else np.arange(0, farthest + width, width)
    return Binned(edges, total[: len(edges) - 1])


def bin_distances_and_times(
    activations: Any,
    min_time: float = 0.0,
    max_time: float = 300.0,
    bin_size: float = 1.0,
    distance_bin_size: float = 50.0,
    distance_column: str = ROW_DISTANCE,
) -> NDArray[np.int64]:
    """Count activations by the distance of their synapse from the soma and by time.

    Replaces ``data_base.analyze.spatiotemporal_binning.universal``.

    Parameters
    ----------
    activations : zdb.Ragged, pandas.DataFrame or dask DataFrame
        With a row for each synapse; those without a distance are not counted. See :func:`zdb.neuro.spike_counts`. The
        partitions of a dask DataFrame are read one by one.
    min_time, max_time, bin_size : float
        Bins of time in ms, as in :func:`bin_times`.
    distance_bin_size : float, default 50
        In µm; bin *i* is ``floor(distance / distance_bin_size) == i``.
    distance_column : str

    Returns
    -------
    ndarray of int64, shape (distance bins, time bins)
        Up to the distance of the farthest synapse.

    Raises
    ------
    KeyError
        There is no such column.
    """
    steps = Steps.between(min_time, max_time, bin_size)
    bins = steps.number
    total = np.zeros((0, bins), dtype=np.int64)
    for events in event_parts(activations):
        distances = events.columns[distance_column].to_numpy(np.float64)
        level = np.nan_to_num(np.floor(distances / distance_bin_size), nan=-1).astype(np.int64)
        levels = max(int(level.max(initial=-1)) + 1, len(total))
        place = steps.places(events.times, with_end=True)
        inside = (place >= 0) & (level >= 0)[events.rows]
        flat = np.bincount(level[events.rows[inside]] * bins + place[inside], minlength=levels * bins)
        counts = flat.astype(np.int64).reshape(levels, bins)
        counts[: len(total)] += total
        total = counts
    return total
