"""Counts in time and by distance are those of numpy and pandas, whatever the times come in."""

from __future__ import annotations

from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zdb
from zdb.neuro import (
    bin_distances,
    bin_distances_and_times,
    bin_times,
    interspike_intervals,
    one_hot,
    spike_counts,
    time_since_spike,
)

# Quarters are exact, so that times and distances meet the edges of bins.
ROWS = st.lists(
    st.tuples(
        st.integers(0, 1200).map(lambda n: n / 4),
        st.lists(st.integers(-8, 88).map(lambda n: n / 4), max_size=5),
    ),
    min_size=1,
    max_size=8,
)
Rows = list[tuple[float, list[float]]]


def forms_of(rows: Rows) -> list[Any]:
    distances, times = [d for d, _ in rows], [t for _, t in rows]
    ragged = zdb.Ragged.from_lists(times, columns={"soma_distance": distances}, dtype=float)
    frame = ragged.to_frame()
    frame.columns = frame.columns.map(str)
    return [ragged, frame, dd.from_pandas(frame, npartitions=2)]


@given(ROWS, st.sampled_from([(1, 0, 20), (2.5, 2, 12), (7, 0, 20)]), st.booleans(), st.booleans())
def test_bins_of_time_are_those_of_numpy(rows: Rows, bins: tuple[float, ...], normalize: bool, rate: bool) -> None:
    size, first, last = bins
    flat = [t for _, times in rows for t in times]
    counts, edges = np.histogram(flat, np.arange(first, last + size, size))
    expected = counts / (len(rows) if normalize else 1) / (np.diff(edges) if rate else 1)
    for form in forms_of(rows):
        found = bin_times(form, size, first, last, normalize=normalize, rate=rate)
        np.testing.assert_array_equal(found.edges, edges)
        np.testing.assert_allclose(found.counts, expected, rtol=1e-12)
        each = bin_times(form, size, first, last, per_trial=True)
        assert each.counts.tolist() == [np.histogram(times, edges)[0].tolist() for _, times in rows]


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 3)), zdb.Ragged.from_lists([])], ids=["list", "array", "ragged"])
def test_without_rows_there_are_no_counts_per_row(nothing: Any) -> None:
    assert np.isnan(bin_times(nothing, 1, 0, 5).counts).tolist() == [True] * 5
    assert np.isnan(bin_times(nothing, edges=[0, 2, 3], rate=True).counts).tolist() == [True] * 2
    assert bin_times(nothing, 1, 0, 5, normalize=False).counts.tolist() == [0] * 5
    assert bin_times(nothing, 1, 0, 5, per_trial=True).counts.shape == (0, 5)
    assert spike_counts(nothing).shape == (0,)
    assert one_hot(nothing, 0, 5).shape == time_since_spike(nothing, 0, 5).shape == (0, 5)
    assert len(interspike_intervals(nothing)) == 0
    assert spike_counts(np.zeros(0)).tolist() == [0]


def test_the_range_is_taken_from_the_times() -> None:
    rows = [(0.0, [2.0, 5.5]), (0.0, []), (0.0, [3.0])]
    for form in forms_of(rows):
        assert bin_times(form).edges.tolist() == [2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="there are no times"):
        bin_times([np.zeros(0)])
    with pytest.raises(ValueError, match="either edges"):
        bin_times([[1.0]], bin_size=1, edges=[0, 1])


def test_partitions_of_which_one_is_at_the_soma() -> None:
    frame = zdb.Ragged.from_lists([[0.0], [0.0]], {"soma_distance": [0.0, 60.0]}).to_frame()
    assert bin_distances(dd.from_pandas(frame, npartitions=2)).counts.tolist() == [1, 1]


@given(ROWS)
def test_bins_of_distance_are_those_of_pandas(rows: Rows) -> None:
    edges = np.arange(0, max(d for d, _ in rows) + 50, 50)
    numbers = [sum(0 <= t <= 15 for t in times) for _, times in rows]
    place = pd.cut([d for d, _ in rows], edges, include_lowest=True)
    expected = pd.Series(numbers).groupby(place, observed=False).sum().tolist()
    for form in forms_of(rows):
        found = bin_distances(form, 0, 15)
        np.testing.assert_array_equal(found.edges, edges)
        assert found.counts.tolist() == expected
        assert bin_distances(form, 0, 15, bin_size=edges).counts.tolist() == expected


@given(ROWS)
def test_bins_of_distance_and_time(rows: Rows) -> None:
    levels = int(max(d for d, _ in rows) // 50) + 1
    expected = np.zeros((levels, 20), dtype=int)
    for distance, times in rows:
        expected[int(distance // 50)] += np.histogram(times, np.arange(21))[0]
    for form in forms_of(rows):
        assert bin_distances_and_times(form, 0, 20).tolist() == expected.tolist()


def test_a_synapse_without_a_distance_is_not_counted() -> None:
    ragged = zdb.Ragged.from_lists([[1.0], [2.0], [3.0]], {"soma_distance": [10.0, np.nan, 60.0]})
    assert bin_distances(ragged).counts.tolist() == [1, 1]
    assert bin_distances_and_times(ragged).sum(axis=1).tolist() == [1, 1]


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="distance"):
        bin_distances(zdb.Ragged.from_lists([[1.0]]))


def test_edges_that_drift_from_equal_bins() -> None:
    bins = 100_000
    widths = 1 + np.where(np.arange(bins) < bins // 2, 1, -1) * 4e-5
    edges = np.append(0, np.cumsum(widths))
    times = edges[:-1] + widths / 2
    assert bin_times([times], edges=edges, per_trial=True).counts.tolist() == [[1] * bins]
