"""Threshold crossings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdb.neuro import detect_spikes

if TYPE_CHECKING:
    from zdb.neuro.generate import GeneratedSimrun


def one_by_one(voltage: list[float], threshold: float) -> list[int]:
    return [i for i in range(1, len(voltage)) if voltage[i - 1] < threshold and voltage[i] >= threshold]


@given(
    st.integers(1, 12).flatmap(
        lambda samples: st.lists(
            st.lists(
                st.sampled_from([-70.0, -30.0, 0.0, 20.0, np.nan]),
                min_size=samples,
                max_size=samples,
            ),
            min_size=1,
            max_size=4,
        )
    ),
    st.sampled_from([-30.0, 0.0]),
)
def test_all_trials_at_once_as_sample_by_sample(traces: list[list[float]], threshold: float) -> None:
    expected = [one_by_one(trace, threshold) for trace in traces]
    times, counts = detect_spikes(traces, np.arange(len(traces[0])), threshold)
    assert counts.tolist() == [len(spikes) for spikes in expected]
    assert times.tolist() == [spike for spikes in expected for spike in spikes]


def test_generated_spikes_are_found(generated: GeneratedSimrun) -> None:
    times, counts = detect_spikes(generated.voltage, generated.time)
    assert counts.tolist() == [len(spikes) for spikes in generated.spike_times]
    assert counts.sum() > 5
    np.testing.assert_array_equal(times, np.concatenate(generated.spike_times))


def test_one_trace(generated: GeneratedSimrun) -> None:
    times, counts = detect_spikes(generated.voltage[1], generated.time)
    assert counts.tolist() == [len(generated.spike_times[1])]
    np.testing.assert_array_equal(times, generated.spike_times[1])


@pytest.mark.parametrize(("voltage", "time"), [(np.zeros((2, 3)), np.zeros(2)), (np.zeros((1, 2, 3)), np.zeros(3))])
def test_shapes_that_do_not_fit(voltage: np.ndarray, time: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        detect_spikes(voltage, time)
