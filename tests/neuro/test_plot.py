"""Pictures: what is drawn, with units on the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from zdb.neuro.plot import plot_raster, plot_voltage, plot_voltage_and_raster

if TYPE_CHECKING:
    from zdb.neuro.generate import GeneratedSimrun

mpl.use("Agg")


@pytest.fixture
def traces(generated: GeneratedSimrun) -> xr.Dataset:
    return xr.Dataset(
        {"voltage": (("trial", "time"), generated.voltage)},
        coords={"trial": generated.trial_index, "time": generated.time},
    )


@pytest.fixture(autouse=True)
def close_figures():
    yield
    mpl.pyplot.close("all")


def test_voltage(generated: GeneratedSimrun, traces: xr.Dataset) -> None:
    ax = plot_voltage(traces, generated.trial_index[4:])
    assert ax.get_xlabel() == "time (ms)"
    assert ax.get_ylabel() == "membrane potential (mV)"
    assert [line.get_label() for line in ax.lines] == generated.trial_index[4:]
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), generated.time)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), generated.voltage[5])


def test_voltage_of_the_first_trials_by_default(traces: xr.Dataset) -> None:
    assert len(plot_voltage(traces).lines) == 3


def test_voltage_of_an_unknown_trial(traces: xr.Dataset) -> None:
    with pytest.raises(KeyError, match="no such trials: elsewhere/000000"):
        plot_voltage(traces, ["elsewhere/000000"])


def test_raster(generated: GeneratedSimrun) -> None:
    ax = plot_raster(generated.spike_times, highlight=[2])
    assert ax.get_xlabel() == "time (ms)"
    assert ax.get_ylabel() == "trial"
    rows = ax.collections
    assert [row.get_positions() for row in rows] == [s.tolist() for s in generated.spike_times]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first trial is at the top"
    colors = [row.get_colors() for row in rows]
    np.testing.assert_array_equal(colors[2][0][:3], mpl.colors.to_rgb("C0"))
    np.testing.assert_array_equal(colors[0][0][:3], mpl.colors.to_rgb("0.55"))


def test_voltage_above_raster(generated: GeneratedSimrun, traces: xr.Dataset) -> None:
    shown = [generated.trial_index[row] for row in (1, 5)]
    figure = mpl.figure.Figure()
    voltage, raster = plot_voltage_and_raster(traces, generated.spike_times, shown, figure)
    assert voltage.figure is figure
    assert voltage.get_shared_x_axes().joined(voltage, raster)
    for line, row in zip(voltage.lines, (1, 5), strict=True):
        drawn = mpl.colors.to_rgb(line.get_color())
        np.testing.assert_array_equal(raster.collections[row].get_colors()[0][:3], drawn)
    figure.canvas.draw()
