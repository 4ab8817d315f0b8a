"""Spikes in voltage traces, one implementation for all that traces come in, against plain loops."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import zdb
from zdb.neuro import (
    bin_times,
    detect_spikes,
    interspike_intervals,
    one_hot,
    spike_counts,
    spike_in_interval,
    time_since_spike,
)

if TYPE_CHECKING:
    from zdb.neuro.generate import GeneratedSimrun

TRACES = st.integers(1, 12).flatmap(
    lambda samples: st.lists(
        st.lists(st.sampled_from([-70.0, -30.0, 0.0, 20.0, np.nan]), min_size=samples, max_size=samples),
        min_size=1,
        max_size=4,
    )
)
# Quarters are exact, so that times meet the edges of bins.
TIMES = st.lists(st.lists(st.integers(0, 80).map(lambda n: n / 4), max_size=6), min_size=1, max_size=4)


def crossings(signal: list[float], threshold: float) -> list[int]:
    return [i for i in range(1, len(signal)) if signal[i - 1] < threshold and signal[i] >= threshold]


@given(TRACES, st.sampled_from([-30.0, 0.0]))
def test_all_trials_at_once_as_sample_by_sample(traces: list[list[float]], threshold: float) -> None:
    found = detect_spikes(traces, np.arange(len(traces[0])), threshold)
    assert [row.tolist() for row in found] == [crossings(trace, threshold) for trace in traces]


@given(TRACES, st.sampled_from([10.0, 40.0]))
def test_the_slope_crosses_too(traces: list[list[float]], threshold: float) -> None:
    time = np.arange(len(traces[0])) * 0.5
    found = detect_spikes(traces, time, threshold, mode="slope")
    slopes = [[(b - a) / 0.5 for a, b in itertools.pairwise(trace)] for trace in traces]
    assert [row.tolist() for row in found] == [[time[i] for i in crossings(slope, threshold)] for slope in slopes]


def test_generated_spikes_are_found(generated: GeneratedSimrun) -> None:
    found = detect_spikes(generated.voltage, generated.time)
    assert found.row_size.tolist() == [len(spikes) for spikes in generated.spike_times]
    assert found.row_size.sum() > 5
    np.testing.assert_array_equal(found.values, np.concatenate(generated.spike_times))


def as_given(generated: GeneratedSimrun, form: str) -> tuple[Any, Any]:
    array = xr.DataArray(
        generated.voltage, {"trial": generated.trial_index, "time": generated.time}, ("trial", "time"), name="voltage"
    )
    frame = pd.DataFrame(generated.voltage, index=generated.trial_index, columns=generated.time)
    forms = {
        "numpy": (generated.voltage, generated.time),
        "dask": (da.from_array(generated.voltage, chunks=(2, 700)), generated.time),
        "pandas": (frame, None),
        "xarray": (array, None),
        "turned": (array.T, None),
        "lazy": (array.to_dataset().chunk(trial=2, time=500), None),
    }
    return forms[form]


@pytest.mark.parametrize("form", ["numpy", "dask", "pandas", "xarray", "turned", "lazy"])
def test_the_same_spikes_whatever_traces_come_in(generated: GeneratedSimrun, form: str) -> None:
    found = detect_spikes(*as_given(generated, form))
    np.testing.assert_array_equal(found.values, np.concatenate(generated.spike_times))
    if form not in ("numpy", "dask"):
        assert found.columns["sim_trial_index"].tolist() == generated.trial_index


def test_a_dask_frame(generated: GeneratedSimrun) -> None:
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(generated.voltage, columns=generated.time).rename_axis("trial")
    found = detect_spikes(dd.from_pandas(frame, npartitions=3))
    np.testing.assert_array_equal(found.values, np.concatenate(generated.spike_times))


def test_one_trace_gives_one_array(generated: GeneratedSimrun) -> None:
    found = detect_spikes(generated.voltage[1], generated.time)
    np.testing.assert_array_equal(found, generated.spike_times[1])
    np.testing.assert_array_equal(detect_spikes(pd.Series(generated.voltage[1], index=generated.time)), found)


def test_begin_is_included_and_end_is_not() -> None:
    trace, time = [-70, 0, -70, 0, -70, 0], [0, 1, 2, 3, 4, 5]
    assert detect_spikes(trace, time, begin=1, end=5).tolist() == [1, 3]
    assert detect_spikes(trace, time, begin=1.5).tolist() == [3, 5]
    assert detect_spikes(trace, time, begin=6).tolist() == []
    assert detect_spikes(trace, time, end=0).tolist() == []


@pytest.mark.parametrize(("voltage", "time"), [(np.zeros((2, 3)), np.zeros(2)), (np.zeros((1, 2, 3)), np.zeros(3))])
def test_shapes_that_do_not_fit(voltage: np.ndarray, time: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        detect_spikes(voltage, time)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="nothing says the times"):
        detect_spikes(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="'steep'"):
        detect_spikes(np.zeros((2, 3)), np.arange(3), mode="steep")


def forms_of(rows: list[list[float]]) -> list[Any]:
    """The same spike times in all that they come in."""
    width = max([len(row) for row in rows] + [1])
    padded = np.array([row + [np.nan] * (width - len(row)) for row in rows])
    labels = [f"run/{i}" for i in range(len(rows))]
    ragged = zdb.Ragged.from_lists(rows, columns={"sim_trial_index": labels}, dtype=float)
    return [ragged, padded, pd.DataFrame(padded, index=labels, columns=[str(i) for i in range(width)])]


@given(TIMES, st.integers(0, 60).map(lambda n: n / 4), st.integers(0, 40).map(lambda n: n / 4))
def test_counts_and_intervals(rows: list[list[float]], begin: float, length: float) -> None:
    end = begin + length
    inside = [[t for t in row if begin <= t < end] for row in rows]
    for form in forms_of(rows):
        assert spike_counts(form, begin, end).tolist() == [len(row) for row in inside]
        assert spike_in_interval(form, begin, end).tolist() == [bool(row) for row in inside]
        between = [np.diff(sorted(row)).tolist() for row in rows]
        assert [row.tolist() for row in interspike_intervals(form)] == between


def test_counts_are_by_trial() -> None:
    ragged, _, frame = forms_of([[1.0, 2.0], []])
    for form in (ragged, frame):
        assert spike_counts(form).to_dict() == {"run/0": 2, "run/1": 0}
        assert interspike_intervals(form).row_size.tolist() == [1, 0]


def test_a_time_that_is_no_number_is_no_spike() -> None:
    ragged = zdb.Ragged.from_lists([[np.nan, 2.0, np.nan, 3.5], [np.nan]])
    for form in (ragged, ragged.to_frame()):
        assert spike_counts(form).tolist() == [2, 0]
        assert [row.tolist() for row in interspike_intervals(form)] == [[1.5], []]
        assert one_hot(form, 0, 4).sum(axis=1).tolist() == [2, 0]
        assert time_since_spike(form, 2, 5).tolist() == [[0, 1, 0.5], [1000] * 3]
        assert bin_times(form, normalize=False).counts.tolist() == [1, 1]


@given(TIMES, st.sampled_from([0, 3, 5.5]), st.sampled_from([1, 0.5, 2.5]))
def test_one_hot_and_time_since_spike_as_in_a_loop(rows: list[list[float]], first: float, step: float) -> None:
    grid = np.arange(first, 18, step)
    hot = [[any(t <= s < t + step for s in row) for t in grid] for row in rows]
    since = [[min([t - s for s in row if s <= t], default=1000) for t in grid] for row in rows]
    for form in forms_of(rows):
        assert one_hot(form, first, 18, step).tolist() == hot
        assert time_since_spike(form, first, 18, step).tolist() == since
    unfilled = time_since_spike(rows, first, 18, step, fill=None) if any(rows) else None
    if unfilled is not None:
        assert unfilled.tolist() == [[min([t - s for s in row if s <= t], default=t) for t in grid] for row in rows]
