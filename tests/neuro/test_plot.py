"""Pictures: what is drawn, with units on the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

import zdb
from zdb.neuro import count_activations, voltage_density
from zdb.neuro.plot import (
    plot_activation,
    plot_psth,
    plot_raster,
    plot_voltage,
    plot_voltage_and_raster,
    plot_voltage_density,
)

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


def test_voltage_with_spikes(generated: GeneratedSimrun, traces: xr.Dataset) -> None:
    row = int(np.argmax([len(times) for times in generated.spike_times]))
    trace, spikes = plot_voltage(traces, [generated.trial_index[row]], spike_times=generated.spike_times).lines
    np.testing.assert_array_equal(spikes.get_xdata(), generated.spike_times[row])
    assert len(spikes.get_xdata()) > 0
    samples = np.searchsorted(generated.time, generated.spike_times[row])
    np.testing.assert_allclose(spikes.get_ydata(), generated.voltage[row, samples])
    assert spikes.get_color() == trace.get_color()


def test_the_legend_hides_no_trace(traces: xr.Dataset) -> None:
    ax = plot_voltage(traces)
    ax.figure.canvas.draw()
    legend = ax.get_legend()
    assert legend is not None
    place = legend.get_window_extent()
    assert place.y0 >= ax.bbox.y1
    assert place.x1 <= ax.figure.bbox.x1
    assert place.y1 <= ax.figure.bbox.y1


def test_voltage_of_the_first_trials_by_default(traces: xr.Dataset) -> None:
    assert len(plot_voltage(traces).lines) == 3


def test_voltage_of_an_unknown_trial(traces: xr.Dataset) -> None:
    with pytest.raises(KeyError, match="no such trials: elsewhere/000000"):
        plot_voltage(traces, ["elsewhere/000000"])


def test_psth_without_activations() -> None:
    activations = xr.Dataset(
        {"activations": (("trial", "group", "time"), np.zeros((2, 1, 5)))},
        {"group": ["EXC"], "time": 100.0 + np.arange(5)},
    )
    ax = plot_psth(activations)
    assert ax.get_legend() is None
    assert ax.get_xlim() == (100, 105)
    assert ax.get_ylim()[0] == 0


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


@pytest.fixture
def synapses() -> zdb.Ragged:
    columns = {
        "sim_trial_index": ["a", "a", "b", "b"],
        "synapse_type": ["VPM_C2", "L5tt_C2", "VPM_C2", "L5tt_C2"],
        "soma_distance": [20.0, 120.0, 30.0, 130.0],
    }
    return zdb.Ragged.from_lists([[1.5, 3.2], [2.1], [1.1], []], columns)


def test_psth_is_per_trial_and_ms(synapses: zdb.Ragged) -> None:
    counts = count_activations(synapses, "celltype", max_time=4)
    ax = plot_psth(counts, bin_size=2)
    assert ax.get_ylabel() == "activations per trial and ms"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["VPM", "L5tt"]  # most activations first
    steps = [patch.get_data() for patch in ax.patches]
    np.testing.assert_allclose(steps[0].values, [0.5, 0.25])
    np.testing.assert_allclose(steps[1].values, [0.0, 0.25])
    np.testing.assert_allclose(steps[0].edges, [0, 2, 4])
    with pytest.raises(KeyError, match="'L1'"):
        plot_psth(counts, ["L1"])
    with pytest.raises(ValueError, match="do not fit"):
        plot_psth(counts, bin_size=1.5)


def test_activation_by_distance(synapses: zdb.Ragged) -> None:
    ax = plot_activation(count_activations(synapses, "binned_somadist", max_time=4))
    assert ax.get_ylabel() == "distance from the soma (µm)"
    table = ax.collections[0].get_array()
    assert table.shape == (3, 4)  # the bin between the two distances is there too
    np.testing.assert_allclose(table[0], [0, 1, 0, 0.5])
    np.testing.assert_allclose(table[1], 0)


def test_density(generated: GeneratedSimrun) -> None:
    ax = plot_voltage_density(voltage_density(generated.voltage, generated.time, bin_size=2))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "membrane potential (mV)")
    assert np.nansum(ax.collections[0].get_array()) == generated.voltage.size
