"""Voltage of many trials: its density, and its maximum per step of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.neuro.traces import Traces, traces_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["max_voltage", "voltage_density"]


def voltage_density(
    v: Any,
    t: ArrayLike | None = None,
    bin_size: float = 0.05,
    vmin: float = -100.0,
    vmax: float = 50.0,
) -> xr.DataArray:
    """Count, for each sample, the trials in bins of voltage.

    Replaces ``data_base.analyze.voltage_binning.calculate_vdensity_array``.

    Parameters
    ----------
    v, t
        Voltage traces (mV) and times (ms), see :func:`zdb.neuro.detect_spikes`.
    bin_size, vmin, vmax : float
        The edges of the bins are ``numpy.arange(vmin, vmax + bin_size, bin_size)``, in mV.

    Returns
    -------
    xarray.DataArray of int64, dims (voltage, time)
        ``voltage`` is the lower edge of each bin (mV), ``time`` in ms.
    """
    traces = traces_of(v, t)
    edges = np.arange(vmin, vmax + bin_size, bin_size)
    samples, bins = len(traces.time), len(edges) - 1

    def count(block: NDArray[Any]) -> NDArray[np.int64]:
        place = np.searchsorted(edges, block, side="right") - 1
        place[block == edges[-1]] = bins - 1
        inside = (place >= 0) & (place < bins) & ~np.isnan(block)
        cell = place * samples + np.arange(samples)
        return np.bincount(cell[inside], minlength=bins * samples).astype(np.int64)

    total = traces.sum_blocks(count).reshape(bins, samples)
    coords = {
        "voltage": ("voltage", edges[:-1], {"units": "mV"}),
        "time": ("time", traces.time, {"units": "ms"}),
    }
    return xr.DataArray(total, coords, ("voltage", "time"), name="trials")


def max_voltage(v: Any, t: ArrayLike | None = None, step: float = 1.0) -> xr.DataArray:
    """Return the maximum of each trace in each step of time.

    Replaces ``get_max_depolarization_per_ms`` of ``data_base.db_initializers.prepare_ANN_batches``, for every sampling
    interval.

    Parameters
    ----------
    v, t
        Voltage traces (mV) and equally spaced times (ms), see :func:`zdb.neuro.detect_spikes`.
    step : float, default 1
        In ms; a whole number of samples. The last step may be shorter.

    Returns
    -------
    xarray.DataArray of float64, dims (trial, time)
        ``time`` is the beginning of each step (ms).

    Raises
    ------
    ValueError
        The step is not a whole number of samples.
    """
    traces = traces_of(v, t)
    size = _samples_per_step(traces, step)
    starts = np.arange(0, len(traces.time), size)
    found = np.concatenate(traces.map_blocks(lambda block: np.maximum.reduceat(block, starts, axis=1)))
    coords: dict[str, Any] = {"time": ("time", traces.time[starts], {"units": "ms"})}
    if traces.trials is not None:
        coords["trial"] = np.asarray(traces.trials)
    made = xr.DataArray(found, coords, ("trial", "time"), name="voltage", attrs={"units": "mV"})
    return made.isel(trial=0) if traces.is_single else made


def _samples_per_step(traces: Traces, step: float) -> int:
    if len(traces.time) < 2:
        return 1
    interval = (traces.time[-1] - traces.time[0]) / (len(traces.time) - 1)
    size = int(np.rint(step / interval))
    if size < 1 or abs(size * interval - step) > 1e-6 * step:
        raise ValueError(f"a step of {step} ms is not a whole number of samples, which are {interval:g} ms apart")
    return size
