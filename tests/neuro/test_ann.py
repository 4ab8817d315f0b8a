"""Batches for networks against loops over every activation and sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb
from zdb.neuro import (
    SynapseOutsideError,
    activation_array,
    make_batches,
    read_morphology,
    section_bins,
    synapse_weights,
)

if TYPE_CHECKING:
    from pathlib import Path

HOC = b"""
{create soma}{pt3dadd(0,0,0,10)}{pt3dadd(0,0,20,10)}
{create dend_1}{connect dend_1(0), soma(0.5)}{pt3dadd(0,0,0,2)}{pt3dadd(100,0,0,2)}
{create dend_1_0}{connect dend_1_0(0), dend_1(1.0)}{pt3dadd(0,0,0,2)}{pt3dadd(40,0,0,2)}
"""
CELL = read_morphology(HOC, axon=False)
BINS = section_bins(CELL)
TRIALS = ["a", "b", "c"]


def synapses() -> zdb.Ragged:
    columns = pd.DataFrame(
        {
            "sim_trial_index": ["a", "a", "a", "c", "c"],
            "synapse_type": ["VPM_C2", "L5tt_C2", "SymLocal1_C2", "VPM_C2", "VPM_C2"],
            "section_ID": [0, 1, 1, 1, 2],
            "soma_distance": [0.0, 49.0, 51.0, 100.05, 120.0],
        }
    )
    return zdb.Ragged.from_lists([[10.5, 11.0], [12.2], [12.9, 30.0], [15.0], [10.0, 19.9]], columns)


def test_each_activation_has_its_place() -> None:
    found = activation_array(synapses(), BINS, TRIALS, min_time=10, max_time=20)
    assert found.dims == ("trial", "EI", "bin", "time")
    assert found["bin"].values.tolist() == ["0/0", "1/1", "1/2", "2/1"]
    places = {
        ("a", "EXC", "0/0", 10.0): 1,
        ("a", "EXC", "0/0", 11.0): 1,
        ("a", "EXC", "1/1", 12.0): 1,
        ("a", "INH", "1/2", 12.0): 1,
        ("c", "EXC", "1/2", 15.0): 1,
        ("c", "EXC", "2/1", 10.0): 1,
        ("c", "EXC", "2/1", 19.0): 1,
    }
    assert float(found.sum()) == len(places)
    for (trial, kind, name, time), number in places.items():
        assert found.sel(trial=trial, EI=kind, bin=name, time=time) == number


def test_weights_are_those_of_the_trial() -> None:
    weights = {
        "a": {"VPM_C2": 2.0, "L5tt_C2": 3.0, "SymLocal1_C2": 5.0},
        "c": {"VPM_C2": 0.5},
    }
    found = activation_array(synapses(), BINS, TRIALS, min_time=10, max_time=20, weights=weights)
    assert found.sum(("EI", "bin", "time")).values.tolist() == [2 + 2 + 3 + 5, 0, 1.5]


def test_only_weights_of_wanted_trials_are_needed() -> None:
    weights = {"c": {"VPM_C2": 0.5}}
    found = activation_array(synapses(), BINS, ["c", "b"], min_time=10, max_time=20, weights=weights)
    assert found.sum(("EI", "bin", "time")).values.tolist() == [1.5, 0]


def test_a_synapse_of_another_morphology_is_refused() -> None:
    far = synapses()
    far.columns.loc[1, "soma_distance"] = 100.2
    with pytest.raises(SynapseOutsideError, match="section 1"):
        activation_array(far, BINS, TRIALS)
    far.columns.loc[1, ["soma_distance", "section_ID"]] = [10.0, 7]
    with pytest.raises(SynapseOutsideError, match="no section 7"):
        activation_array(far, BINS, TRIALS)


def test_a_synapse_without_a_type_is_not_counted() -> None:
    some = synapses()
    some.columns.loc[[1, 3], "synapse_type"] = None
    found = activation_array(some, BINS, TRIALS, min_time=10, max_time=20)
    assert found.sum(("bin", "time")).values.tolist() == [[2, 1], [0, 0], [2, 0]]


def test_weights_of_the_network_parameters() -> None:
    def population(**receptors: Any) -> dict[str, Any]:
        return {"synapses": {"receptors": receptors}}

    network = {
        "VPM_C2": population(glutamate_syn={"weight": [1.5, 2.0]}),
        "L1_C2": population(gaba_syn={"weight": 1.0}),
    }
    assert synapse_weights({"network": network}) == {"VPM_C2": 1.5, "L1_C2": 1.0}
    with pytest.raises(KeyError, match="L1_C2"):
        synapse_weights({"network": {"L1_C2": population()}})


@pytest.fixture
def db(tmp_path: Path) -> zdb.Database:
    db = zdb.open(tmp_path / "x.zdb")
    time = np.arange(5, 25.001, 0.25)
    voltage = np.random.default_rng(0).normal(-60, 5, (3, len(time)))
    coords = {"trial": TRIALS, "time": time}
    db["voltage_traces"] = xr.Dataset({"voltage": (("trial", "time"), voltage)}, coords)
    db["dendritic_recordings/site_dist_920.7"] = xr.Dataset({"voltage": (("trial", "time"), voltage + 1)}, coords)
    db["dendritic_recordings/site_prox_198.1"] = xr.Dataset({"voltage": (("trial", "time"), voltage + 2)}, coords)
    spikes = zdb.Ragged.from_lists([[12.5], [], [9.0, 18.0]], {"sim_trial_index": TRIALS}, dtype=float)
    db["spike_times"] = spikes
    db["dendritic_spike_times/site_dist_920.7_-30.0"] = spikes
    db["synapse_activation"] = synapses()
    db["sim_trial_index"] = TRIALS
    return db


@pytest.mark.parametrize("batch_size", [1, 2, 500])
def test_batches_hold_what_the_database_has(db: zdb.Database, batch_size: int) -> None:
    found = make_batches(db, CELL, min_time=10, max_time=20, batch_size=batch_size).load()
    counts = activation_array(synapses(), BINS, TRIALS, min_time=10, max_time=20)
    np.testing.assert_array_equal(found["synapse_activation"], counts)
    trace = db["voltage_traces"]["voltage"].load()
    for site, offset in (("soma", 0), ("dendrite", 1)):
        for step in range(10):
            here = trace.sel(time=slice(10 + step, 10 + step + 0.999))
            np.testing.assert_allclose(found[f"{site}_voltage"][:, step], here[:, 0] + offset)
            np.testing.assert_allclose(found[f"{site}_max_voltage"][:, step], here.max("time") + offset)
        assert np.argwhere(found[f"{site}_spike"].values).tolist() == [[0, 2], [2, 8]]
        assert found[f"{site}_since_spike"][2].values.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 0, 1]
    assert "ann_batches/10_20_1_all" in db


def test_a_selection_in_its_order(db: zdb.Database) -> None:
    found = make_batches(db, CELL, min_time=10, max_time=20, trials=["c", "a"], name="two").load()
    assert found["trial"].values.tolist() == ["c", "a"]
    counts = activation_array(synapses(), BINS, ["c", "a"], min_time=10, max_time=20)
    np.testing.assert_array_equal(found["synapse_activation"], counts)
    assert found["soma_spike"].values.sum(axis=1).tolist() == [1, 1]
    assert "ann_batches/10_20_1_two" in db


def test_without_dendritic_recordings(db: zdb.Database) -> None:
    del db["dendritic_recordings"]
    assert "dendrite_voltage" not in make_batches(db, CELL, min_time=10, max_time=20)


def test_steps_fill_the_range(db: zdb.Database) -> None:
    with pytest.raises(ValueError, match="max_time=18 or 22"):
        make_batches(db, CELL, min_time=10, max_time=20, bin_size=4)
    assert "ann_batches" not in db
    found = make_batches(db, CELL, min_time=10, max_time=20, bin_size=5).load()
    counts = activation_array(synapses(), BINS, TRIALS, min_time=10, max_time=20, bin_size=5)
    np.testing.assert_array_equal(found["synapse_activation"], counts)
    assert np.argwhere(found["soma_spike"].values).tolist() == [[0, 0], [2, 1]]
