"""Pictures of simulation results. They need matplotlib: ``pip install 'zdb[plot]'``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = [
    "plot_activation",
    "plot_psth",
    "plot_raster",
    "plot_voltage",
    "plot_voltage_and_raster",
    "plot_voltage_density",
]

SHOWN = 3
MUTED = "0.55"


def plot_voltage(
    traces: xr.Dataset,
    trials: Sequence[str] | None = None,
    ax: Axes | None = None,
    spike_times: Sequence[NDArray[np.float64]] | None = None,
) -> Axes:
    """Draw voltage traces over time, and where their spikes are.

    Parameters
    ----------
    traces : Dataset
        As stored under ``voltage_traces``: ``voltage`` (trial × time, mV), ``time`` (ms).
    trials : sequence of str, optional
        ``sim_trial_index`` of the trials to draw, the first three by default. Only these are
        read.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    spike_times : sequence of array_like, optional
        Spike times (ms) of each trial of `traces`, as stored under ``spike_times``; a dot on the trace for each spike.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = ax or _new_axes()
    for row in _positions(traces, trials):
        trace = traces["voltage"].isel(trial=row).load()
        [line] = ax.plot(traces["time"], trace, linewidth=0.8, label=str(trace["trial"].item()))
        if spike_times is not None:
            spikes = np.asarray(spike_times[row])
            ax.plot(spikes, np.interp(spikes, traces["time"], trace), "o", markersize=4, color=line.get_color())
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("membrane potential (mV)")
    ax.margins(x=0)
    # above the traces, where it hides none of them
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=SHOWN, fontsize="small", frameon=False, title="trial")
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


def plot_psth(
    activations: xr.Dataset,
    groups: Sequence[str] | None = None,
    bin_size: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw peristimulus time histograms: activations per trial and ms, a step line for each group.

    Parameters
    ----------
    activations : Dataset
        As :func:`zdb.neuro.bin_activations` stores it: ``activations`` (trial × group × time).
    groups : sequence of str, optional
        Groups to draw, in this order; by default all that have activations, those with most of them first.
    bin_size : float, optional
        Width of the bins in ms, a multiple of that of the data, which it is by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    KeyError
        There is no such group.
    ValueError
        `bin_size` is no multiple of the bins.
    """
    ax = ax or _new_axes()
    per_trial = activations["activations"].mean("trial").transpose("group", "time").load()
    totals = per_trial.sum("time").to_series()
    if groups is None:
        groups = [str(group) for group in totals.sort_values(ascending=False, kind="stable").index if totals[group] > 0]
    time = per_trial["time"].to_numpy()
    step = float(time[1] - time[0]) if len(time) > 1 else 1.0
    joined = 1 if bin_size is None else int(np.rint(bin_size / step))
    if joined < 1 or (bin_size is not None and not np.isclose(joined * step, bin_size)):
        raise ValueError(f"bins of {bin_size} ms do not fit those of the data, which are {step:g} ms wide")
    whole = len(time) // joined * joined
    edges = np.append(time[:whole:joined], time[whole - 1] + step)
    for group, color in zip(groups, _colors(len(groups)), strict=True):
        if group not in totals.index:
            raise KeyError(f"no group {group!r}; there are {', '.join(totals.index)}")
        counts = per_trial.sel(group=group).to_numpy()[:whole].reshape(-1, joined).sum(axis=1)
        ax.stairs(counts / (joined * step), edges, label=group, color=color, linewidth=1.2)
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("activations per trial and ms")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0)
    if groups:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    return ax


def plot_voltage_density(density: xr.DataArray, ax: Axes | None = None) -> Axes:
    """Draw how the voltage of many trials is distributed at each time.

    Parameters
    ----------
    density : DataArray
        As :func:`zdb.neuro.voltage_density` returns it: trials (voltage × time).
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import ScalarFormatter

    ax = ax or _new_axes()
    counts = density.transpose("voltage", "time").to_numpy().astype(np.float64)
    counts[counts == 0] = np.nan
    peak = np.nanmax(counts, initial=1)
    edges = [_edges(density[name].to_numpy(), centred=name == "time") for name in ("time", "voltage")]
    mesh = ax.pcolormesh(*edges, counts, norm=LogNorm(1, max(2.0, peak)), cmap="viridis", rasterized=True)
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("membrane potential (mV)")
    plain = ScalarFormatter()
    _figure(ax).colorbar(mesh, ax=ax, label="trials", format=plain).ax.yaxis.set_minor_formatter(plain)
    return ax


def plot_activation(activations: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw synapse activations by distance from the soma and time; the colours follow the square root.

    Parameters
    ----------
    activations : Dataset
        As :func:`zdb.neuro.bin_activations` stores it for ``groupby="binned_somadist"``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    from matplotlib.colors import PowerNorm

    ax = ax or _new_axes()
    per_trial = activations["activations"].mean("trial").transpose("group", "time").load()
    starts = np.array([float(str(label).split("to")[0]) for label in per_trial["group"].to_numpy()])
    width = float(str(per_trial["group"].to_numpy()[0]).split("to")[1]) - starts[0]
    table = np.zeros((int(starts.max() / width) + 1, per_trial.sizes["time"]))
    table[(starts / width).astype(int)] = per_trial.to_numpy()
    distances = np.arange(len(table) + 1) * width
    edges = _edges(per_trial["time"].to_numpy())
    norm = PowerNorm(0.5, 0, max(table.max(), np.finfo(float).tiny))
    mesh = ax.pcolormesh(edges, distances, table, norm=norm, cmap="magma", rasterized=True)
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("distance from the soma (µm)")
    _figure(ax).colorbar(mesh, ax=ax, label="activations per trial and bin")
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


def _colors(number: int) -> list[Any]:
    """Colours that differ: those of the matplotlib cycle for up to ten lines."""
    from matplotlib import colormaps

    if number <= 10:
        return [f"C{i}" for i in range(number)]
    return list(colormaps["turbo"](np.linspace(0.02, 0.98, number)))


def _figure(ax: Axes) -> Any:
    return ax.get_figure(root=True)


def _edges(starts: NDArray[Any], *, centred: bool = False) -> NDArray[np.float64]:
    """Edges of equal bins from where they start, or from their middles."""
    step = float(starts[1] - starts[0]) if len(starts) > 1 else 1.0
    return np.append(starts, starts[-1] + step) - (step / 2 if centred else 0.0)


def _positions(traces: xr.Dataset, trials: Sequence[str] | None) -> list[int]:
    known = [str(trial) for trial in traces["trial"].to_numpy()]
    if trials is None:
        return list(range(min(SHOWN, len(known))))
    missing = [trial for trial in trials if trial not in known]
    if missing:
        raise KeyError(f"no such trials: {', '.join(missing)}")
    return [known.index(trial) for trial in trials]
