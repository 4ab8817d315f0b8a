"""Inputs and outputs of many trials for training networks: activations by place and time, spikes, and voltage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

import zdb
from zdb.neuro.activations import SOURCE
from zdb.neuro.celltypes import EXCITATORY, INHIBITORY, add_groups
from zdb.neuro.events import TRIAL, events_of
from zdb.neuro.morphology import section_bins, spatial_bin_names
from zdb.neuro.parameters import load_parameters
from zdb.neuro.spikes import one_hot, time_since_spike
from zdb.neuro.steps import Steps
from zdb.neuro.voltage import max_voltage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zdb.neuro.morphology import Morphology

__all__ = ["SynapseOutsideError", "activation_array", "make_batches", "synapse_weights"]

TARGET = "ann_batches"
TOLERANCE = 0.1  # µm, by which a synapse may lie beyond its section
TYPES = ("EXC", "INH")


class SynapseOutsideError(zdb.ZdbError, ValueError):
    """A synapse lies on a section that is not there, or beyond its ends: the morphology is that of another cell."""


@dataclass(frozen=True)
class _Places:
    """Where synapses are, by number of the bin."""

    bins: pd.DataFrame

    def of(self, section: NDArray[np.int64], distance: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of the bin, in the order of :func:`spatial_bin_names`, of each synapse."""
        counts = np.array([1 if n == "Soma" else n for n in self.bins["n_bins"]], dtype=np.int64)
        if section.size and (section.min() < 0 or section.max() >= len(counts)):
            raise SynapseOutsideError(f"there is no section {section.max()}; the morphology has {len(counts)}")
        before = np.concatenate([[0], np.cumsum(counts)[:-1]])
        place = np.empty(section.shape, dtype=np.int64)
        for one in np.unique(section):
            here = section == one
            if self.bins["n_bins"].iloc[one] == "Soma":
                place[here] = before[one]
                continue
            first, last = self.bins["min_"].iloc[one], self.bins["max_"].iloc[one]
            size = (last - first) / counts[one]
            edges = first + np.arange(counts[one] + 1) * size
            edges[0] -= TOLERANCE
            edges[-1] += TOLERANCE
            found = np.digitize(distance[here], edges)
            if found.min() < 1 or found.max() > counts[one]:
                raise SynapseOutsideError(
                    f"synapses on section {one} are {distance[here].min():.1f} to {distance[here].max():.1f} µm from "
                    f"the soma, but the section reaches from {first:.1f} to {last:.1f} µm"
                )
            place[here] = before[one] + found - 1
        return place


def synapse_weights(network: Mapping[str, Any]) -> dict[str, float]:
    """Return the weight of the synapses of each presynaptic type.

    Replaces ``data_base.db_initializers.prepare_ANN_batches.load_syn_weights``, which failed where a type on its list
    of excitatory ones has the receptor of an inhibitory one.

    Parameters
    ----------
    network : mapping
        Network parameters, as :func:`zdb.neuro.load_parameters` returns them.

    Returns
    -------
    dict of str to float
        Of ``glutamate_syn`` the first weight (AMPA), of ``gaba_syn`` its only one.

    Raises
    ------
    KeyError
        A type has neither receptor.
    """
    weights = {}
    for name, population in network["network"].items():
        receptors = population["synapses"]["receptors"]
        found = next((receptors[kind] for kind in ("glutamate_syn", "gaba_syn") if kind in receptors), None)
        if found is None:
            raise KeyError(f"{name}: has neither glutamate_syn nor gaba_syn, but {', '.join(receptors) or 'nothing'}")
        weights[name] = float(np.atleast_1d(found["weight"])[0])
    return weights


def activation_array(
    activations: Any,
    bins: pd.DataFrame,
    trials: Sequence[str],
    *,
    min_time: float = 0,
    max_time: float = 600,
    bin_size: float = 1,
    weights: Mapping[str, Mapping[str, float]] | None = None,
    excitatory: Sequence[str] = EXCITATORY,
    inhibitory: Sequence[str] = INHIBITORY,
) -> xr.DataArray:
    """Count the synapse activations of each trial by excitation or inhibition, place and time.

    Replaces ``augment_synapse_activation_df_with_branch_bin`` and ``get_synapse_activation_array_weighted`` of
    ``data_base.db_initializers.prepare_ANN_batches``.

    Parameters
    ----------
    activations : zdb.Ragged or pandas.DataFrame
        A row for each synapse and trial, as in ``synapse_activation``. Synapses without a type are not counted.
    bins : pandas.DataFrame
        As :func:`zdb.neuro.section_bins` returns it.
    trials : sequence of str
        Their ``sim_trial_index``.
    min_time, max_time, bin_size : float
        Bins of time in ms, as in :func:`zdb.neuro.bin_times`.
    weights : mapping of str to mapping, optional
        For each of the trials, the weight of each synapse type, see :func:`synapse_weights`; 1 if not given.
    excitatory, inhibitory : sequence of str
        Cell types.

    Returns
    -------
    xarray.DataArray of float32, dims (trial, EI, bin, time)
        ``bin`` as in :func:`zdb.neuro.spatial_bin_names`, ``time`` the beginning of each bin (ms).

    Raises
    ------
    SynapseOutsideError
        A synapse is not on the morphology.
    UnknownCellTypeError
        A cell type is in neither list.
    """
    events = events_of(activations)
    steps = Steps.between(min_time, max_time, bin_size)
    names = spatial_bin_names(bins)
    trial = pd.Index(list(trials)).get_indexer(events.labels)
    kind = add_groups(events.columns, ["EI"], excitatory, inhibitory)["EI"]
    section = events.columns["section_ID"].to_numpy(np.int64)
    place = _Places(bins).of(section, events.columns["soma_distance"].to_numpy(np.float64))
    shape = (len(trials), len(TYPES), len(names), steps.number)
    row = (trial * len(TYPES) + (kind == "INH").to_numpy()) * len(names) + place
    step = steps.places(events.times, with_end=True)
    counted = (trial >= 0) & kind.notna().to_numpy()
    inside = (step >= 0) & counted[events.rows]
    cell = row[events.rows] * shape[3] + step
    strength = None
    if weights is not None:
        each = np.zeros(len(events))
        pairs = zip(events.labels[counted], events.columns["synapse_type"][counted], strict=True)
        each[counted] = [weights[label][synapse_type] for label, synapse_type in pairs]
        strength = each[events.rows][inside]
    counts = np.bincount(cell[inside], strength, minlength=int(np.prod(shape))).astype(np.float32).reshape(shape)
    coords = {"trial": list(trials), "EI": list(TYPES), "bin": names, "time": steps.starts}
    return xr.DataArray(counts, coords, ("trial", "EI", "bin", "time"))


def make_batches(
    db: zdb.Database,
    morphology: Morphology,
    *,
    min_time: int,
    max_time: int,
    bin_size: int = 1,
    batch_size: int = 500,
    trials: Sequence[str] | None = None,
    name: str = "all",
    weighted: bool = False,
    dendrite: str | None = None,
    dendritic_spikes: str | None = None,
    excitatory: Sequence[str] = EXCITATORY,
    inhibitory: Sequence[str] = INHIBITORY,
) -> xr.Dataset:
    """Make the inputs and outputs for a network from the results of simulations, and keep them in the database.

    Replaces ``data_base.db_initializers.prepare_ANN_batches.init``. Batches are made and written in parallel by dask,
    with the scheduler that is set.

    Parameters
    ----------
    db : zdb.Database
        As :func:`zdb.neuro.import_simrun` makes it.
    morphology : Morphology
        Of all trials.
    min_time, max_time, bin_size : int
        Steps of time in ms, which fill the range. The original took them for numbers of samples from the beginning of
        the recording.
    batch_size : int, default 500
        Trials in each batch, which are the chunks along ``trial``.
    trials : sequence of str, optional
        All by default.
    name : str, default "all"
        Of this selection.
    weighted : bool, default False
        Weigh activations by the network parameters of their trial.
    dendrite : str, optional
        A key below ``dendritic_recordings``; by default the site that is farthest from the soma, if there is one.
    dendritic_spikes : str, optional
        A key below ``dendritic_spike_times``; by default the first one of that site.
    excitatory, inhibitory : sequence of str
        Cell types.

    Returns
    -------
    xarray.Dataset
        What lies at ``ann_batches/<min>_<max>_<bin>_<name>``, lazy: ``synapse_activation`` (trial × EI × bin × time,
        float32), and for the soma and the dendrite ``…_spike`` (bool) and ``…_since_spike`` (ms, 1000 before the first
        spike), ``…_voltage`` (at the beginning of each step) and ``…_max_voltage`` (trial × time, mV).

    Raises
    ------
    KeyError
        Something is not in the database.
    ValueError
        The range is not a whole number of steps.
    SynapseOutsideError, UnknownCellTypeError
        As in :func:`activation_array`.
    """
    import dask.array as da
    from dask.delayed import delayed

    if (max_time - min_time) % bin_size:
        fits = min_time + (max_time - min_time) // bin_size * bin_size
        raise ValueError(
            f"steps of {bin_size} ms do not fill {min_time} to {max_time} ms, so that the last one would hold what is "
            f"after it; give max_time={fits} or {fits + bin_size}"
        )
    bins = section_bins(morphology)
    wanted = list(db["sim_trial_index"]) if trials is None else list(trials)
    spans = _row_spans(db)
    steps = np.arange(min_time, max_time, bin_size)
    sites = {"soma": ("voltage_traces", "spike_times")} | _dendrite(db, dendrite, dendritic_spikes)
    shapes: dict[str, tuple[tuple[str, ...], Any]] = {
        "synapse_activation": (("trial", "EI", "bin", "time"), np.float32)
    }
    for site, (_, spikes) in sites.items():
        if spikes:
            shapes |= {
                f"{site}_spike": (("trial", "time"), bool),
                f"{site}_since_spike": (("trial", "time"), np.float64),
            }
        shapes |= {f"{site}_{kind}": (("trial", "time"), np.float64) for kind in ("voltage", "max_voltage")}
    sizes = {"EI": len(TYPES), "bin": len(spatial_bin_names(bins)), "time": len(steps)}

    def make(some: list[str]) -> dict[str, Any]:
        first, last = _span(spans, some)
        weights = {t: synapse_weights(load_parameters(db, t).network) for t in some} if weighted else None
        counts = activation_array(
            db.get(SOURCE, rows=slice(first, last)), bins, some, min_time=min_time, max_time=max_time,
            bin_size=bin_size, weights=weights, excitatory=excitatory, inhibitory=inhibitory,
        )  # fmt: skip
        made: dict[str, Any] = {"synapse_activation": counts.to_numpy()}
        for site, (voltage, spikes) in sites.items():
            traces = db[voltage].sel(trial=some).load()
            made |= _voltage_parts(site, traces, steps, bin_size)
            if spikes:
                times = _spikes_of(db, spikes, some)
                made[f"{site}_spike"] = one_hot(times, min_time, max_time, bin_size)
                made[f"{site}_since_spike"] = time_since_spike(times, min_time, max_time, bin_size)
        return made

    blocks: dict[str, list[Any]] = {key: [] for key in shapes}
    for start in range(0, len(wanted), batch_size):
        some = wanted[start : start + batch_size]
        made = delayed(make)(some)
        for key, (dims, dtype) in shapes.items():
            shape = (len(some), *(sizes[dim] for dim in dims[1:]))
            blocks[key].append(da.from_delayed(made[key], shape, dtype))  # type: ignore[no-untyped-call]
    variables = {
        key: (dims, da.concatenate(blocks[key]), _described(key))  # type: ignore[no-untyped-call]
        for key, (dims, _) in shapes.items()
    }
    coords = {
        "trial": wanted,
        "EI": list(TYPES),
        "bin": spatial_bin_names(bins),
        "time": ("time", steps.astype(np.float64), {"units": "ms"}),
    }
    key = f"{TARGET}/{min_time}_{max_time}_{bin_size}_{name}"
    db[key] = xr.Dataset(variables, coords)
    stored: xr.Dataset = db[key]
    return stored


def _described(key: str) -> dict[str, str]:
    units = {"voltage": "mV", "since_spike": "ms"}
    return next(({"units": unit} for end, unit in units.items() if key.endswith(end)), {})


def _row_spans(db: zdb.Database) -> dict[str, tuple[int, int]]:
    """First row of each trial in the activations, and the row behind its last one."""
    trial = pd.Series(db.get(SOURCE, columns=[TRIAL]).columns[TRIAL].astype(str))
    groups = trial.groupby(trial, sort=False).indices
    return {str(name): (int(rows[0]), int(rows[-1]) + 1) for name, rows in groups.items()}


def _span(spans: Mapping[str, tuple[int, int]], trials: Sequence[str]) -> tuple[int, int]:
    found = [spans[trial] for trial in trials if trial in spans]
    return min((a for a, _ in found), default=0), max((b for _, b in found), default=0)


def _dendrite(db: zdb.Database, site: str | None, spikes: str | None) -> dict[str, tuple[str, str]]:
    folder = "dendritic_recordings"
    if site is None:
        sites = [str(name) for name in db.database(folder)] if folder in db else []
        if not sites:
            return {}
        site = max(sites, key=lambda name: float(name.rpartition("_")[2]))
    times = "dendritic_spike_times"
    known = [str(name) for name in db.database(times)] if times in db else []
    found = spikes or next((name for name in sorted(known) if name.startswith(f"{site}_")), "")
    return {"dendrite": (f"{folder}/{site}", f"{times}/{found}" if found else "")}


def _spikes_of(db: zdb.Database, key: str, trials: Sequence[str]) -> zdb.Ragged:
    ragged = db[key]
    rows = pd.Index(ragged.columns[TRIAL].astype(str)).get_indexer(pd.Index(list(trials)))
    picked: zdb.Ragged = ragged[rows]
    return picked


def _voltage_parts(site: str, traces: xr.Dataset, steps: NDArray[Any], bin_size: float) -> dict[str, Any]:
    voltage = traces["voltage"]
    time = voltage["time"].to_numpy()
    half = float(np.diff(time[:2]).max(initial=0.0)) / 2
    sampled = voltage.reindex(time=steps, method="nearest", tolerance=half)
    inside = voltage.sel(time=slice(steps[0] - half, None))
    largest = max_voltage(inside, step=bin_size).reindex(time=steps, method="nearest", tolerance=1e-6)
    return {f"{site}_voltage": sampled.to_numpy(), f"{site}_max_voltage": largest.to_numpy()}
