"""Reduced models: the probability of a spike from synaptic input, by a kernel for each group and a lookup table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

import zdb
from zdb.neuro.events import Events, events_of
from zdb.neuro.lda import lda_prediction_rates
from zdb.neuro.spikes import spike_in_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["ReducedModel", "ReducedModelFormat", "RollingResult", "StaticResult", "fit_reduced_model"]

# Length of the vector of all kernels, to which the original scales it.
KERNEL_NORM = 7.260991424242837
MARGIN = 0.3  # by which lookup tables go beyond the range of the data


@dataclass(frozen=True)
class StaticResult:
    """Spike probability of each trial.

    Attributes
    ----------
    by_group : dict of str to ndarray, shape (trials,)
        Weighted input of each group.
    net_input : ndarray of float64, shape (trials,)
        Their sum.
    probability : ndarray of float64, shape (trials,)
        Of a spike in the output window.
    outside : ndarray of bool, shape (trials,)
        The input is beyond the lookup table, whose nearest entry was taken.
    """

    by_group: dict[str, NDArray[np.float64]]
    net_input: NDArray[np.float64]
    probability: NDArray[np.float64]
    outside: NDArray[np.bool_]


@dataclass(frozen=True)
class RollingResult:
    """Spike probability over time.

    Attributes
    ----------
    by_group : dict of str to ndarray, shape (trials, bins)
    net_input, probability : ndarray of float64, shape (trials, bins)
        From the input in the window that ends before each bin; there is none before the first.
    raw_psth : ndarray of float64, shape (bins,)
        Mean of the probability over trials.
    able_to_spike : ndarray of float64, shape (bins + 1,)
        Share of the trials that are not refractory.
    psth : ndarray of float64, shape (bins,)
        `raw_psth` of those that are able to spike.
    """

    by_group: dict[str, NDArray[np.float64]]
    net_input: NDArray[np.float64]
    probability: NDArray[np.float64]
    raw_psth: NDArray[np.float64]
    able_to_spike: NDArray[np.float64]
    psth: NDArray[np.float64]


@dataclass(frozen=True)
class ReducedModel:
    """A model that :func:`fit_reduced_model` made; kept by zdb in the format ``reduced_model``.

    Attributes
    ----------
    groups : tuple of str
        Groups of synapses.
    input_window : tuple of int
        First bin of the input, and the one behind the last.
    output_window : tuple of float
        In ms; a spike counts at ``begin <= time < end``.
    refractory_period : float
        In ms; trials with a spike that long before the output window were left out.
    lookup_step : int
        Width of the bins of net input in which spikes were counted.
    kernels : ndarray of float64, shape (splits, groups, bins)
    lookup : list of pandas.Series of float64
        For each split, the probability of a spike by net input, rounded to an integer.
    net_input : ndarray of float64, shape (splits, trials)
        Of the trials from which the model was made.
    spike_times : zdb.Ragged
        Spikes (ms) of these trials.
    sources : tuple of str
        Ids of the databases from which they came.
    """

    groups: tuple[str, ...]
    input_window: tuple[int, int]
    output_window: tuple[float, float]
    refractory_period: float
    lookup_step: int
    kernels: NDArray[np.float64] = field(repr=False)
    lookup: list[pd.Series[float]] = field(repr=False)
    net_input: NDArray[np.float64] = field(repr=False)
    spike_times: zdb.Ragged = field(repr=False)
    sources: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, attributes: Mapping[str, Any]) -> ReducedModel:
        """Make a model of the attributes of a ``ReducedLdaModel``, as :func:`zdb.legacy.open` reads them.

        Raises
        ------
        KeyError
            An attribute is missing.
        """
        kernels = attributes["kernel_dict"]
        groups = tuple(map(str, kernels[0]))
        return cls(
            groups=groups,
            input_window=(
                int(attributes["synapse_activation_window_min"]),
                int(attributes["synapse_activation_window_max"]),
            ),
            output_window=(float(attributes["output_window_min"]), float(attributes["output_window_max"])),
            refractory_period=float(attributes["refractory_period"]),
            lookup_step=int(attributes["lookup_series_stepsize"]),
            kernels=np.array([list(one.values()) for one in kernels], dtype=np.float64),
            lookup=list(attributes["lookup_series"]),
            net_input=np.array(attributes["lda_values"], dtype=np.float64),
            spike_times=_as_ragged(events_of(attributes["st"])),
            sources=tuple(map(str, attributes["db_list"])),
        )

    def apply_static(self, activations: Mapping[str, Any], split: int = 0) -> StaticResult:
        """Return the probability of a spike in the output window.

        Replaces ``ReducedLdaModel.apply_static``.

        Parameters
        ----------
        activations : mapping of str to array_like, shape (trials, bins)
            Activations per trial and bin of time, for each group.
        split : int, default 0
            Which of the kernels and lookup tables is used.
        """
        window = slice(*self.input_window)
        by_group = {
            group: np.asarray(activations[group])[:, window] @ self.kernels[split, i]
            for i, group in enumerate(self.groups)
        }
        net_input = _total(by_group)
        return StaticResult(by_group, net_input, *_look_up(self.lookup[split], net_input))

    def apply_rolling(
        self, activations: Mapping[str, Any], refractory_period: int = 0, split: int = 0
    ) -> RollingResult:
        """Return the probability of a spike over time.

        Replaces ``ReducedLdaModel.get_minimodel_rolling`` and ``simrun.reduced_model.spiking_output``, which took net
        input beyond the lookup table for a probability.

        Parameters
        ----------
        activations : mapping of str to array_like, shape (trials, bins)
        refractory_period : int, default 0
            In bins; the lookup table is made for it too.
        split : int, default 0
        """
        by_group = {
            group: _rolled(np.asarray(activations[group], dtype=np.float64), self.kernels[split, i])
            for i, group in enumerate(self.groups)
        }
        net_input = _total(by_group)
        probability, _ = _look_up(self.lookup_for(refractory_period)[split], net_input)
        raw = probability.mean(axis=0)
        able = _able_to_spike(raw, refractory_period)
        return RollingResult(by_group, net_input, probability, raw, able, raw * able[: len(raw)])

    def lookup_for(self, refractory_period: float) -> list[pd.Series[float]]:
        """Return the lookup tables for another refractory period (ms)."""
        if refractory_period == self.refractory_period:
            return self.lookup
        begin, end = self.output_window
        spike = spike_in_interval(self.spike_times, begin, end).to_numpy()
        before = spike_in_interval(self.spike_times, begin - refractory_period, begin).to_numpy()
        return [_lookup_table(one, spike, before, self.lookup_step) for one in self.net_input]


def fit_reduced_model(
    activations: Mapping[str, Any],
    spike_times: Any,
    *,
    input_width: int = 80,
    input_end: int | None = None,
    output_window: tuple[float, float] = (255.0, 265.0),
    refractory_period: float = 0.0,
    lookup_step: int = 5,
    splits: int = 5,
    normalize_group_size: bool = True,
    test_size: float = 0.4,
    sources: Sequence[str] = (),
) -> ReducedModel:
    """Make a reduced model: which input in a window of time makes a spike in another one likely.

    Replaces ``simrun.reduced_model.get_kernel.ReducedLdaModel``. Needs scikit-learn.

    Parameters
    ----------
    activations : mapping of str to array_like, shape (trials, bins)
        Activations per trial and bin for each group, such as ``{"EXC": …, "INH": …}`` of
        :func:`zdb.neuro.bin_activations`.
    spike_times : zdb.Ragged, pandas.DataFrame or array_like
        In ms, a row for each trial, see :func:`zdb.neuro.spike_counts`.
    input_width : int, default 80
        Length of the input window in bins.
    input_end : int, optional
        The bin behind its last one; by default that of the end of the output window.
    output_window : tuple of float, default (255, 265)
        In ms.
    refractory_period : float, default 0
        In ms; trials with a spike that long before the output window are left out.
    lookup_step : int, default 5
        Width of the bins of net input in which spikes are counted for the lookup table.
    splits, normalize_group_size, test_size
        See :func:`zdb.neuro.lda_prediction_rates`.
    sources : sequence of str, optional
        Ids of the databases from which the trials come.

    Raises
    ------
    ValueError
        Trials or windows do not fit each other.
    UnpredictableError
        No classifier can be trained.
    """
    begin, end = output_window
    last = int(end) if input_end is None else input_end
    window = (last - input_width, last)
    events = events_of(spike_times)
    arrays = {group: np.asarray(values) for group, values in activations.items()}
    for group, values in arrays.items():
        if values.ndim != 2 or len(values) != len(events):
            raise ValueError(f"group {group!r} has shape {values.shape}, but there are spikes of {len(events)} trials")
        if window[0] < 0 or last > values.shape[1]:
            raise ValueError(f"the input window {window} is not within the {values.shape[1]} bins of group {group!r}")
    spike = spike_in_interval(spike_times, begin, end).to_numpy()
    before = spike_in_interval(spike_times, begin - refractory_period, begin).to_numpy()
    x = np.concatenate([values[:, slice(*window)] for values in arrays.values()], axis=1)
    rates = lda_prediction_rates(
        x[~before], spike[~before], splits, normalize_group_size=normalize_group_size, test_size=test_size
    )
    scale = KERNEL_NORM / np.sqrt((rates.coefficients**2).sum(axis=1, keepdims=True))
    kernels = (rates.coefficients * scale).reshape(splits, len(arrays), input_width)
    net_input = np.stack(
        [
            _total({g: v[:, slice(*window)] @ kernels[n, i] for i, (g, v) in enumerate(arrays.items())})
            for n in range(splits)
        ]
    )
    lookup = [_lookup_table(one, spike, before, lookup_step) for one in net_input]
    return ReducedModel(
        tuple(arrays), window, (float(begin), float(end)), float(refractory_period), lookup_step, kernels, lookup,
        net_input, _as_ragged(events), tuple(sources),
    )  # fmt: skip


def _total(by_group: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.sum(list(by_group.values()), axis=0)
    return total


def _as_ragged(events: Events) -> zdb.Ragged:
    return zdb.Ragged(events.times, np.bincount(events.rows, minlength=len(events)))


def _lookup_table(
    net_input: NDArray[np.float64], spike: NDArray[np.bool_], before: NDArray[np.bool_], step: int
) -> pd.Series[float]:
    level = np.round(net_input[~before] / step).astype(np.int64) * step
    share = pd.Series(spike[~before].astype(np.float64)).groupby(level).mean()
    first, last = int(share.index.min()), int(share.index.max())
    margin = MARGIN * (last - first)
    index = np.arange(min(int(first - margin), first), max(int(last + margin), last + 1))
    table = pd.Series(np.nan, index=index)
    table.iloc[0] = 0.0
    table[share.index] = share
    return table.interpolate(method="linear")


def _look_up(table: pd.Series[float], net_input: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    first, last = int(table.index[0]), int(table.index[-1])
    level = np.round(net_input).astype(np.int64)
    outside = (level < first) | (level > last)
    values: NDArray[np.float64] = np.asarray(table, dtype=np.float64)
    return values[np.clip(level, first, last) - first], outside


def _rolled(x: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.concatenate([np.zeros((len(x), len(kernel))), x], axis=1)[:, :-1]
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=1)
    rolled: NDArray[np.float64] = windows @ kernel
    return rolled


def _able_to_spike(psth: NDArray[np.float64], refractory_period: int) -> NDArray[np.float64]:
    """Share of the trials that can spike before each bin, if those that did cannot for some bins."""
    able, resting = [1.0], [0.0]
    if not refractory_period:
        return np.ones(len(psth) + 1)
    for probability in psth.tolist():
        spiking = able[-1] * probability
        recovered = resting[-refractory_period] if len(resting) >= refractory_period else 0.0
        resting.append(spiking)
        able.append(able[-1] - spiking + recovered)
    return np.array(able)


class ReducedModelFormat(zdb.Format):
    """Reduced models as arrays and a few numbers; nothing in them can run code."""

    name = "reduced_model"
    types = ("zdb.ReducedModel",)

    def encode(self, value: ReducedModel) -> xr.Dataset:
        """Turn the kernels, lookup tables, net input and spikes into variables."""
        lookup = pd.concat(value.lookup)
        sizes = np.array([len(table) for table in value.lookup], dtype=np.int64)
        recipe = {
            "groups": list(value.groups),
            "input_window": list(value.input_window),
            "output_window": list(value.output_window),
            "refractory_period": value.refractory_period,
            "lookup_step": value.lookup_step,
            "sources": list(value.sources),
        }
        variables = {
            "kernels": (("split", "group", "lag"), value.kernels),
            "lookup_input": ("entry", lookup.index.to_numpy(np.int64)),
            "lookup_probability": ("entry", lookup.to_numpy(np.float64)),
            "lookup_row_size": ("split", sizes),
            "net_input": (("split", "trial"), value.net_input),
            "spike_times": ("spike", value.spike_times.values.astype(np.float64)),
            "spike_row_size": ("trial", value.spike_times.row_size),
        }
        attrs = {
            "zdb_type": "zdb.ReducedModel",
            "zdb_shape": json.dumps(list(value.kernels.shape)),
            "zdb_recipe": json.dumps(recipe),
        }
        return xr.Dataset(variables, attrs=attrs)

    def decode(self, node: xr.Dataset | xr.DataTree) -> ReducedModel:
        """Restore the model."""
        recipe = json.loads(node.attrs["zdb_recipe"])
        arrays = {str(name): variable.to_numpy() for name, variable in node.variables.items()}
        ends = np.cumsum(arrays["lookup_row_size"])[:-1]
        tables = zip(np.split(arrays["lookup_input"], ends), np.split(arrays["lookup_probability"], ends), strict=True)
        begin, end = recipe["output_window"]
        return ReducedModel(
            groups=tuple(recipe["groups"]),
            input_window=(recipe["input_window"][0], recipe["input_window"][1]),
            output_window=(begin, end),
            refractory_period=recipe["refractory_period"],
            lookup_step=recipe["lookup_step"],
            kernels=arrays["kernels"],
            lookup=[pd.Series(probability, index=level) for level, probability in tables],
            net_input=arrays["net_input"],
            spike_times=zdb.Ragged(arrays["spike_times"], arrays["spike_row_size"]),
            sources=tuple(recipe["sources"]),
        )
