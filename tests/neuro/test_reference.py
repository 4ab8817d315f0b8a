"""Results of a real simulation, against what the In Silico Framework makes of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb
from zdb.neuro import (
    bin_activations,
    bin_times,
    detect_spikes,
    import_simrun,
    lda_prediction_rates,
    load_parameters,
    make_batches,
    read_input_mapper_summary,
    read_morphology,
    section_bins,
    spatial_bin_names,
    spike_in_interval,
)

SHARED = Path(__file__).parents[3] / "shared"
REFERENCE = SHARED / "reference"
[RESULTS] = (SHARED / "data" / "simrun").iterdir()
SUMMARY = json.loads((REFERENCE / "init_summary.json").read_text())
OLD = "/gpfs/soma_fs/scratch/meulemeester/project_src/in_silico_framework/getting_started/example_data"
KEYS = json.loads((REFERENCE / "init_keys.json").read_text())["lazy"]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> zdb.Database:
    db = zdb.open(str(tmp_path_factory.mktemp("reference") / "results.zdb"))
    import_simrun(db, RESULTS, relocate={OLD: SHARED / "data" / "anatomy"})
    return db


def cell_type(labels: pd.Series[Any]) -> pd.Series[Any]:
    return labels.astype(str).str.split("_").str[0]


def counts(ragged: Any, labels: pd.Series[Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Number of rows, and of times, by label."""
    sizes = pd.Series(np.asarray(ragged.row_size, dtype=np.int64))
    groups = sizes.groupby(labels.astype(str).to_numpy())
    return groups.size().to_dict(), groups.sum().to_dict()


def test_lists(db: zdb.Database) -> None:
    assert db["filelist"] == SUMMARY["filelist"]
    assert db["sim_trial_index"] == SUMMARY["sim_trial_index"]
    assert Path(db["simresult_path"]).name == Path(SUMMARY["simresult_path"]).name


def test_metadata(db: zdb.Database) -> None:
    expected = pd.read_csv(REFERENCE / "metadata.csv", index_col=0, dtype={"trialnr": str})
    pd.testing.assert_frame_equal(db["metadata"], expected, check_dtype=False)


def test_voltage(db: zdb.Database) -> None:
    expected = SUMMARY["voltage_traces"]
    traces = db["voltage_traces"].load()
    voltage = traces["voltage"].to_numpy()
    assert list(voltage.shape) == expected["shape"]
    assert voltage.sum() == pytest.approx(expected["sum"], rel=1e-14)
    assert voltage.min() == expected["min"]
    digest = hashlib.sha256(np.ascontiguousarray(voltage).tobytes()).hexdigest()
    assert digest == expected["sha256_float64_C"]
    assert traces["time"].to_numpy()[[0, -1]].tolist() == [expected["t_first"], expected["t_last"]]
    for trial, total in expected["sum_per_trial"].items():
        trace = traces["voltage"].sel(trial=trial)
        assert float(trace.sum()) == pytest.approx(total, rel=1e-14)
        assert float(trace.max()) == expected["max_per_trial"][trial]


def test_voltage_arrays_in_plain_xarray(db: zdb.Database) -> None:
    traces = xr.open_zarr(f"{db.url}/voltage_traces")
    with np.load(REFERENCE / "voltage_traces.npz") as expected:
        np.testing.assert_array_equal(traces["voltage"], expected["v"])
        np.testing.assert_array_equal(traces["time"], expected["t"])
        np.testing.assert_array_equal(traces["trial"], expected["sim_trial_index"])


def test_spike_times(db: zdb.Database) -> None:
    spikes = db["spike_times"]
    table = pd.read_csv(REFERENCE / "spike_times.csv", index_col="sim_trial_index")
    assert list(spikes.columns["sim_trial_index"]) == list(table.index)
    for times, trial in zip(spikes, table.index, strict=True):
        assert times.tolist() == table.loc[trial].dropna().tolist()
        assert times.tolist() == SUMMARY["spike_times"][trial]


def test_parameters(db: zdb.Database) -> None:
    expected = json.loads((REFERENCE / "load_param_files_from_db.json").read_text())
    names = ("morphology", "recsites_folder", "syn_folder", "con_folder")
    of_original = json.loads((REFERENCE / "init_keys.json").read_text())["full_opt"]
    for name in names:
        files = [file for file in of_original[name]["files"] if file not in ("Loader.json", "metadata.json")]
        assert len(db.database(name)) == len(files)
        if name != "con_folder":  # the reference has another second line there
            assert list(db.database(name)) == files
    assert list(db["parameterfiles"]) == [name.strip("'") for name in of_original["parameterfiles"]["columns"]]
    found = load_parameters(db, db["sim_trial_index"][0])
    assert sorted(found.network["network"]) == expected["network_celltypes"]
    assert Path(found.neuron["neuron"]["filename"]).name == Path(expected["neuron_filename"]).name
    assert all(Path(site).is_file() for site in found.neuron["sim"]["recordingSites"])
    synapses = found.network["network"][expected["network_celltypes"][0]]["synapses"]
    assert Path(synapses["distributionFile"]).name == Path(expected["example_synapse"]["distributionFile"]).name
    assert Path(synapses["connectionFile"]).is_file()


def test_dendrites(db: zdb.Database) -> None:
    site = "apical_proximal_distal_rec_sites_ID_000_sec_038_seg_032_x_0.929_somaDist_920.7"
    traces = db[f"dendritic_recordings/{site}"]["voltage"].load()
    assert list(traces.shape) == SUMMARY["dendritic"]["shape"]
    assert float(traces.sum()) == pytest.approx(SUMMARY["dendritic"]["sum"], rel=1e-14)
    spikes = db[f"dendritic_spike_times/{site}_-30.0"]
    table = pd.read_csv(REFERENCE / "dendritic_spike_times_-30.csv", index_col="sim_trial_index")
    for times, trial in zip(spikes, table.index, strict=True):
        assert times.tolist() == table.loc[trial].dropna().tolist()


@pytest.mark.parametrize("threshold", [0, -30, -50])
def test_spikes_at_other_thresholds(db: zdb.Database, threshold: int) -> None:
    expected = json.loads((REFERENCE / "spike_detection.json").read_text())
    traces = db["voltage_traces"]
    found = detect_spikes(traces, threshold=threshold)
    spikes = expected[f"threshold_{threshold}"]["spikes"]
    assert {trial: times.tolist() for trial, times in zip(db["sim_trial_index"], found, strict=True)} == spikes


def test_synapse_activation(db: zdb.Database) -> None:
    expected = SUMMARY["synapse_activation"]
    ragged = db["synapse_activation"]
    columns, times = ragged.columns, np.asarray(ragged.values)
    assert len(columns) == expected["n_rows"] == 26140
    assert len(times) == expected["n_activations"] == 31895
    assert times.sum() == pytest.approx(expected["sum_activation_times"], rel=1e-14)
    assert columns["soma_distance"].sum() == pytest.approx(expected["sum_soma_distance"], rel=1e-14)
    # the parser of the original rounds the last bit of some numbers the other way
    assert times.min() == pytest.approx(expected["min_time"], rel=1e-15)
    assert times.max() == pytest.approx(expected["max_time"], rel=1e-15)

    rows, activations = counts(ragged, columns["sim_trial_index"])
    assert rows == expected["rows_per_trial"]
    assert activations == expected["activations_per_trial"]
    rows, activations = counts(ragged, cell_type(columns["synapse_type"]))
    assert rows == expected["rows_per_celltype"]
    assert activations == expected["activations_per_celltype"]
    assert counts(ragged, columns["synapse_type"])[1] == expected["activations_per_synapse_type"]
    assert counts(ragged, columns["dendrite_label"])[0] == expected["rows_per_dendrite_label"]


def test_cell_activation(db: zdb.Database) -> None:
    expected = SUMMARY["cell_activation"]
    ragged = db["cell_activation"]
    columns, times = ragged.columns, np.asarray(ragged.values)
    assert len(columns) == expected["n_rows"] == 33052
    assert len(times) == expected["n_spikes"] == 58111
    assert times.sum() == pytest.approx(expected["sum_spike_times"], rel=1e-14)
    assert counts(ragged, columns["sim_trial_index"])[0] == expected["rows_per_trial"]
    rows, spikes = counts(ragged, cell_type(columns["presynaptic_cell_type"]))
    assert rows == expected["rows_per_celltype"]
    assert spikes == expected["spikes_per_celltype"]


@pytest.mark.parametrize("key", ["synapse_activation", "cell_activation"])
def test_first_rows_and_types(db: zdb.Database, key: str) -> None:
    expected = KEYS[key]
    ragged = db[key]
    for row, first in enumerate(expected["first_rows"]):
        times = [value for name, value in first.items() if name.isdigit() and value is not None]
        fields = {name: value for name, value in first.items() if not name.isdigit()}
        assert ragged.columns.iloc[row].to_dict() == fields
        assert ragged[row].tolist() == times
    for name, dtype in expected["dtypes"].items():
        if dtype in ("int64", "float64") and not name.isdigit():
            assert ragged.columns[name].dtype == dtype


def test_spikes_in_intervals(db: zdb.Database) -> None:
    expected = json.loads((REFERENCE / "spike_detection.json").read_text())
    cases = {name: trials for name, trials in expected.items() if name.startswith("spike_in_interval_2")}
    assert len(cases) == 4
    for name, trials in cases.items():
        begin, end = map(float, name.split("_")[-2:])
        assert spike_in_interval(db["spike_times"], begin, end).to_dict() == trials


KINDS = {"st": "spike_times", "sa": "synapse_activation", "ca": "cell_activation"}
BINNINGS = {
    "st_pd_bin1_0_300_norm": {"bin_size": 1, "min_time": 0, "max_time": 300},
    "st_pd_bin10_100_350_nonorm": {"bin_size": 10, "min_time": 100, "max_time": 350, "normalize": False},
    "st_pd_default": {},
    "st_pd_borders_rate": {"edges": [100, 150, 245, 270, 345], "rate": True},
    "sa_pd_bin1_0_400_nonorm": {"bin_size": 1, "min_time": 0, "max_time": 400, "normalize": False},
    "sa_pd_bin1_0_400_norm": {"bin_size": 1, "min_time": 0, "max_time": 400},
    "sa_pd_bin0p5_0_345_nonorm": {"bin_size": 0.5, "min_time": 0, "max_time": 345, "normalize": False},
    "ca_pd_bin1_0_400_nonorm": {"bin_size": 1, "min_time": 0, "max_time": 400, "normalize": False},
    "ca_dask_bin1_0_400_norm": {"bin_size": 1, "min_time": 0, "max_time": 400},
}


@pytest.mark.parametrize("name", BINNINGS)
def test_binning_in_time(db: zdb.Database, name: str) -> None:
    found = bin_times(db[KINDS[name[:2]]], **BINNINGS[name])
    with np.load(REFERENCE / "temporal_binning.npz") as expected:
        np.testing.assert_array_equal(found.edges, expected[f"{name}|bins"])
        np.testing.assert_allclose(found.counts, expected[f"{name}|data"], rtol=1e-12)
        assert found.counts.dtype == expected[f"{name}|data"].dtype


BINNED = json.loads((REFERENCE / "synapse_activation_binned.json").read_text())


@pytest.mark.parametrize("groupby", [name for name in BINNED if not name.startswith("_")])
def test_activations_by_group(db: zdb.Database, groupby: str) -> None:
    found = bin_activations(db, groupby.split("__"))["activations"].load()
    expected = BINNED[groupby]["keys"]
    assert set(found["group"].values) == set(expected)
    for group, summary in expected.items():
        counts = found.sel(group=group).to_numpy()
        assert list(counts.shape) == summary["shape"]
        assert counts.sum(axis=1).tolist() == summary["sum_per_trial"]
        assert counts.max() == summary["max"]
        assert counts.sum(axis=0).argmax() == summary["argmax_time"]


def test_morphology() -> None:
    cell = read_morphology(SHARED / "data" / "anatomy" / "86_C2_center.hoc")
    bins = section_bins(cell)
    expected = pd.read_csv(REFERENCE / "ann_section_distances_df.csv", index_col=0)
    assert bins["n_bins"].astype(str).tolist() == expected["n_bins"].tolist()
    for name in ("min_", "max_"):
        np.testing.assert_allclose(bins[name], expected[name], rtol=1e-12)
    assert bins["binsize"].iloc[0] == "Soma"
    sizes = expected["binsize"].iloc[1:].astype(float)
    np.testing.assert_allclose(bins["binsize"].iloc[1:].astype(float), sizes, rtol=1e-12)
    assert spatial_bin_names(bins) == json.loads((REFERENCE / "ann_spatial_bin_names.json").read_text())
    structure = json.loads((REFERENCE / "cell_serialisation.json").read_text())
    assert cell.sections["label"].value_counts().to_dict() == structure["labels"]
    assert cell.sections["parent"].iloc[5] == structure["section5"]["parent_id"]


RATES = json.loads((REFERENCE / "lda_prediction_rates.json").read_text())


@pytest.mark.parametrize("solver", ["eigen", "svd", "lsqr"])
@pytest.mark.parametrize("normalize", [True, False])
def test_prediction_rates(solver: Any, normalize: bool) -> None:
    expected = RATES[f"solver_{solver}_normalize_{normalize}"]
    with np.load(REFERENCE / "lda_input.npz") as data:
        np.random.seed(0)  # noqa: NPY002 - as the reference was made
        found = lda_prediction_rates(data["X"], data["y"], solver=solver, normalize_group_size=normalize)
    assert found.score == pytest.approx(expected["score"], rel=1e-12)
    names = {"roc_auc": "score_rocauc", "roc_auc_full": "score_rocauc_full_data"}
    for name in ("score_all", "score_0", "score_1", *names):
        np.testing.assert_allclose(getattr(found, name), expected[names.get(name, name)], rtol=1e-12)
    # the solver "svd" of some versions of scikit-learn scales the vector otherwise
    unit = [np.array(c) / np.linalg.norm(c) for c in (found.coefficients[0], expected["classifier_"][0])]
    np.testing.assert_allclose(*unit, rtol=1e-9)


SUMMARIES = json.loads((REFERENCE / "read_InputMapper_summary.json").read_text())


@pytest.mark.parametrize("name", [name for name in SUMMARIES if name.endswith(".csv")])
def test_input_mapper_summaries(name: str) -> None:
    tables = read_input_mapper_summary(REFERENCE / name)
    assert list(tables) == list(SUMMARIES[name])
    for title, expected in SUMMARIES[name].items():
        assert list(tables[title].shape) == expected["shape"]
        assert list(tables[title].columns) == expected["columns"]
        assert tables[title]["Number of synapses"].sum() == pytest.approx(expected["sum_Number_of_synapses"], rel=1e-12)


def test_batches_hold_all_activations(db: zdb.Database) -> None:
    cell = read_morphology(SHARED / "data" / "anatomy" / "86_C2_center.hoc")
    found = make_batches(db, cell, min_time=100, max_time=345, batch_size=4)
    by_kind = bin_activations(db, "EI")["activations"].sel(time=slice(100, 344))
    sums = found["synapse_activation"].sum(("bin", "time"))
    np.testing.assert_array_equal(sums, by_kind.sum("time"))
