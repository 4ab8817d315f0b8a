"""Density and maximum of the voltage, against numpy's histogram and plain slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

from zdb.neuro import max_voltage, traces, voltage_density

if TYPE_CHECKING:
    from zdb.neuro.generate import GeneratedSimrun


def lazy(generated: GeneratedSimrun) -> xr.DataArray:
    coords = {"trial": generated.trial_index, "time": generated.time}
    return xr.DataArray(generated.voltage, coords, ("trial", "time")).chunk(trial=2, time=500)


def test_density_counts_each_sample_as_a_histogram(generated: GeneratedSimrun) -> None:
    found = voltage_density(generated.voltage, generated.time, bin_size=0.5)
    edges = np.arange(-100, 50.5, 0.5)
    expected = np.stack([np.histogram(column, edges)[0] for column in generated.voltage.T], axis=1)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found["voltage"], edges[:-1])
    xr.testing.assert_identical(found, voltage_density(lazy(generated), bin_size=0.5))


@pytest.mark.parametrize("kind", ["dask", "numpy"])
def test_few_blocks_of_a_density_are_in_memory(
    generated: GeneratedSimrun, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "BLOCK_BYTES", 1)
    monkeypatch.setattr("dask.system.CPU_COUNT", 2)
    at_once: list[int] = []
    whole = traces.Traces.map_blocks

    def counted(self: traces.Traces, function: Any) -> list[Any]:
        found = whole(self, function)
        at_once.append(len(found))
        return found

    expected = voltage_density(generated.voltage, generated.time, bin_size=5)
    monkeypatch.setattr(traces.Traces, "map_blocks", counted)
    given = lazy(generated).chunk(trial=1) if kind == "dask" else generated.voltage
    found = voltage_density(given, generated.time, bin_size=5)
    np.testing.assert_array_equal(found, expected)
    assert at_once == ([2] * 3 if kind == "dask" else [1] * 6)


def test_what_is_outside_or_missing_is_not_counted() -> None:
    found = voltage_density([[-101.0, 50.0, 51.0, np.nan]], np.arange(4.0), bin_size=10)
    assert found.sum("voltage").values.tolist() == [0, 1, 0, 0]


def test_maximum_of_each_millisecond(generated: GeneratedSimrun) -> None:
    found = max_voltage(generated.voltage, generated.time)
    samples = generated.voltage.shape[1]
    expected = [generated.voltage[:, i : i + 40].max(axis=1) for i in range(0, samples, 40)]
    np.testing.assert_array_equal(found, np.stack(expected, axis=1))
    np.testing.assert_array_equal(found["time"], generated.time[::40])
    np.testing.assert_array_equal(max_voltage(lazy(generated)), found)
    np.testing.assert_array_equal(max_voltage(generated.voltage[0], generated.time), found[0])


def test_a_step_between_samples_is_refused(generated: GeneratedSimrun) -> None:
    with pytest.raises(ValueError, match="whole number of samples"):
        max_voltage(generated.voltage, generated.time, step=0.03)
