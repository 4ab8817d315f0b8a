"""Times that are at an edge of a step before rounding are at that edge, in all functions that have steps of time."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zdb
from zdb.neuro import activation_array, bin_distances_and_times, bin_times, count_activations, one_hot, time_since_spike
from zdb.neuro.steps import Steps

RANGES = [(0, 100), (100, 200), (245, 270)]
SIZES = ["1", "0.5", "0.2", "0.1", "0.05", "0.025"]


def grid(first: int, last: int, size: str) -> list[float]:
    """The floating-point numbers that are nearest to the beginnings of all steps."""
    return [float(first + i * Fraction(size)) for i in range(int((last - first) / Fraction(size)))]


def summed(first: int, last: int, size: str) -> list[float]:
    """The beginnings of all steps as a simulation sums them up."""
    times = [float(first)]
    while len(times) < (last - first) / Fraction(size):
        times.append(times[-1] + float(size))
    return times


@pytest.mark.parametrize(("first", "last"), RANGES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("made", [grid, summed])
def test_a_spike_at_the_beginning_of_a_step_is_in_it(first: int, last: int, size: str, made: Any) -> None:
    times = made(first, last, size)
    each = np.eye(len(times), dtype=int)
    rows = np.reshape(times, (-1, 1))
    assert np.array_equal(one_hot(rows, first, last, float(size)), each)
    assert np.array_equal(bin_times(rows, float(size), first, last, per_trial=True).counts, each)
    assert bin_times([times], float(size), first, last).counts.tolist() == [1] * len(times)
    assert np.diag(time_since_spike(rows, first, last, float(size))).tolist() == [0] * len(times)


@pytest.mark.parametrize("size", SIZES)
def test_activations_are_in_the_same_steps(size: str) -> None:
    times = grid(100, 110, size)
    synapse = {"sim_trial_index": "a", "synapse_type": "VPM_C2", "section_ID": 0, "soma_distance": 0.0}
    activations = zdb.Ragged.from_lists([times], pd.DataFrame([synapse]))
    span = {"min_time": 100, "max_time": 110, "bin_size": float(size)}
    found = count_activations(activations, **span)
    assert found["activations"].values.tolist() == [[[1] * len(times)]]
    np.testing.assert_allclose(found["time"], times, rtol=1e-15)
    assert bin_distances_and_times(activations, **span).tolist() == [[1] * len(times)]
    bins = pd.DataFrame({"n_bins": ["Soma"], "min_": [0.0], "max_": [0.0]})
    assert activation_array(activations, bins, ["a"], **span).values.sum(axis=(1, 2)).tolist() == [[1] * len(times)]


@given(st.integers(-1000, 1000), st.integers(1, 5000), st.integers(1, 5000))
def test_as_many_steps_as_reach_the_end(begin: int, length: int, size: int) -> None:
    steps = Steps.between(begin / 1000, (begin + length) / 1000, size / 1000)
    assert steps.number == -(-length // size)
    np.testing.assert_allclose(steps.edges * 1000, begin + np.arange(steps.number + 1) * size, atol=1e-9)


def test_the_end_belongs_to_the_last_step_if_asked_for() -> None:
    steps = Steps.between(0, 0.3, 0.1)
    times = np.array([-np.inf, -1, -1e-5, -1e-9, 0.3 - 1e-5, 0.3, 0.1 * 3, 0.3 + 1e-5, 0.4, 1e300, np.inf])
    assert steps.places(times).tolist() == [-1, -1, -1, 0, 2, -1, -1, -1, -1, -1, -1]
    assert steps.places(times, with_end=True).tolist() == [-1, -1, -1, 0, 2, 2, 2, -1, -1, -1, -1]
    assert Steps.between(5, 5, 1).places(np.array([5.0]), with_end=True).tolist() == [-1]
    assert Steps.between(6, 5, 1).edges.tolist() == [6]


@pytest.mark.parametrize("size", [0, -1, np.nan])
def test_steps_have_a_size(size: float) -> None:
    with pytest.raises(ValueError, match="is not positive"):
        bin_times([[1.0]], size, 0, 10)
