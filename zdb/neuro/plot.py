"""Pictures of simulation results. They need matplotlib: ``pip install 'zdb[plot]'``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["plot_raster", "plot_voltage", "plot_voltage_and_raster"]

SHOWN = 3
MUTED = "0.55"


def plot_voltage(traces: xr.Dataset, trials: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw voltage traces over time.

    Parameters
    ----------
    traces : Dataset
        As stored under ``voltage_traces``: ``voltage`` (trial × time, mV), ``time`` (ms).
    trials : sequence of str, optional
        ``sim_trial_index`` of the trials to draw, the first three by default. Only these are
        read.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = ax or _new_axes()
    for row in _positions(traces, trials):
        trace = traces["voltage"].isel(trial=row)
        ax.plot(traces["time"], trace, linewidth=0.8, label=str(trace["trial"].item()))
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("membrane potential (mV)")
    ax.margins(x=0)
    ax.legend(loc="upper left", fontsize="small", frameon=False, title="trial")
    return ax


def plot_raster(
    spike_times: Iterable[NDArray[np.float64]],
    highlight: Sequence[int] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw a spike raster: one row per trial, the first at the top, one tick per spike.

    Parameters
    ----------
    spike_times : iterable of array_like
        Spike times (ms) of each trial, as stored under ``spike_times``.
    highlight : sequence of int, optional
        Rows that get the colours of the matplotlib cycle, in this order.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = ax or _new_axes()
    rows = [np.asarray(times) for times in spike_times]
    colors = [MUTED] * len(rows)
    for i, row in enumerate(highlight):
        colors[row] = f"C{i % 10}"
    ax.eventplot(rows, colors=colors, linelengths=0.8, linewidths=1.5)
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("trial")
    ax.set_ylim(len(rows) - 0.4, -0.6)
    return ax


def plot_voltage_and_raster(
    traces: xr.Dataset,
    spike_times: Iterable[NDArray[np.float64]],
    trials: Sequence[str] | None = None,
    figure: Figure | None = None,
) -> tuple[Axes, Axes]:
    """Draw voltage traces of some trials above the spike raster of all.

    Parameters
    ----------
    traces, spike_times
        As stored under ``voltage_traces`` and ``spike_times``, of the same trials.
    trials : sequence of str, optional
        ``sim_trial_index`` of the trials whose voltage is drawn, the first three by default;
        they have the same colours in the raster.
    figure : matplotlib.figure.Figure, optional
        Where to draw; a new one by default.

    Returns
    -------
    voltage, raster : matplotlib.axes.Axes
        They share the time axis.
    """
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(9, 6.5), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    plot_voltage(traces, trials, above)
    plot_raster(spike_times, _positions(traces, trials), below)
    above.set_xlabel("")
    below.set_xlim(float(traces["time"][0]), float(traces["time"][-1]))
    for ax in (above, below):
        ax.spines[["top", "right"]].set_visible(False)
    return above, below


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(9, 4), layout="constrained")[1]


def _positions(traces: xr.Dataset, trials: Sequence[str] | None) -> list[int]:
    known = [str(trial) for trial in traces["trial"].to_numpy()]
    if trials is None:
        return list(range(min(SHOWN, len(known))))
    missing = [trial for trial in trials if trial not in known]
    if missing:
        raise KeyError(f"no such trials: {', '.join(missing)}")
    return [known.index(trial) for trial in trials]
