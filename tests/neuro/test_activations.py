"""Activations per trial, group and time, against a loop over all of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb
from zdb.neuro import (
    UnknownCellTypeError,
    activations,
    bin_activations,
    bin_distances,
    classify,
    count_activations,
    import_simrun,
)

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.neuro.generate import GeneratedSimrun


@pytest.fixture(scope="module")
def db(generated: GeneratedSimrun, tmp_path_factory: pytest.TempPathFactory) -> zdb.Database:
    db = zdb.open(tmp_path_factory.mktemp("activations") / "results.zdb")
    import_simrun(db, generated.folder)
    return db


def labels_of(row: dict[str, Any]) -> dict[str, str]:
    cell_type, column = row["synapse_type"].split("_")
    low = int(row["soma_distance"] // 50) * 50
    return {
        "celltype": cell_type,
        "presynaptic_column": column,
        "EI": "INH" if cell_type == "SymLocal4" else "EXC",
        "proximal": "prox" if row["soma_distance"] < 500 else "dist",
        "binned_somadist": f"{low}to{low + 50}",
        "dendrite_label": row["dendrite_label"],
    }


def one_by_one(ragged: zdb.Ragged, names: list[str]) -> Counter[tuple[str, str, int]]:
    found: Counter[tuple[str, str, int]] = Counter()
    for row, times in zip(ragged.columns.to_dict("records"), ragged, strict=True):
        group = "__".join(labels_of(row)[name] for name in names)
        found.update((row["sim_trial_index"], group, int(time)) for time in times if 100 <= time < 180)
    return found


@pytest.mark.parametrize(
    "groupby", ["EI", "celltype", "presynaptic_column", "binned_somadist", "dendrite_label", ["EI", "proximal"]]
)
def test_each_activation_is_counted_once(db: zdb.Database, groupby: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "ROWS_AT_ONCE", 100)
    monkeypatch.setattr(activations, "BLOCK_BYTES", 3000)  # a few trials in each block
    found = bin_activations(db, groupby, min_time=100, max_time=180)
    names = [groupby] if isinstance(groupby, str) else groupby
    expected = one_by_one(db["synapse_activation"], names)
    table = found["activations"].load()
    assert int(table.sum()) == sum(expected.values()) > 100
    for (trial, group, time), number in expected.items():
        assert table.sel(trial=trial, group=group, time=time) == number
    assert table["trial"].values.tolist() == db["sim_trial_index"]
    key = f"synapse_activation_binned/{'__'.join(names)}"
    plain = xr.open_zarr(f"{db.url}/{key}")
    np.testing.assert_array_equal(plain["activations"], table)


def test_data_in_memory_gives_the_same(db: zdb.Database) -> None:
    stored = bin_activations(db, "celltype", min_time=100, max_time=180).load()
    ragged = db["synapse_activation"]
    frame = ragged.to_frame().set_index("sim_trial_index")
    for given in (ragged, frame):
        made = count_activations(given, "celltype", trials=db["sim_trial_index"], min_time=100, max_time=180)
        xr.testing.assert_equal(made, stored)


def test_a_lazy_table_is_read_partition_by_partition(db: zdb.Database) -> None:
    ragged = db["synapse_activation"]
    frame = ragged.to_frame()
    parts = np.array_split(np.arange(len(frame)), 3)
    read: list[list[int]] = []

    def part(number: int) -> pd.DataFrame:
        read[-1].append(number)
        return frame.iloc[parts[number]]

    def get(graph: Any, keys: Any, **_: Any) -> Any:
        read.append([])
        return dask.get(graph, keys)

    lazy = dd.from_map(part, range(3), meta=frame.iloc[:0])
    with dask.config.set(scheduler=get):
        counted = count_activations(lazy, ["celltype", "binned_somadist"], min_time=100, max_time=180)
        binned = bin_distances(lazy, 100, 180)
    assert read == [[0], [1], [2]] * 3
    expected = count_activations(ragged, ["celltype", "binned_somadist"], min_time=100, max_time=180)
    xr.testing.assert_equal(counted, expected)
    np.testing.assert_array_equal(binned.counts, bin_distances(ragged, 100, 180).counts)
    np.testing.assert_array_equal(binned.edges, bin_distances(ragged, 100, 180).edges)


def test_all_combinations_of_labels_are_groups(db: zdb.Database) -> None:
    found = bin_activations(db, ["celltype", "presynaptic_column"], min_time=100, max_time=180).load()
    assert found.sizes["group"] == 6 * 2
    assert int(found["activations"].sel(group="VPM__D2").sum()) == 0
    by_column = found["activations"].groupby("presynaptic_column").sum()
    assert by_column["presynaptic_column"].values.tolist() == ["C2", "D2"]


def test_distances_ascend(db: zdb.Database) -> None:
    labels = bin_activations(db, "binned_somadist", min_time=100, max_time=180)["group"].values
    starts = [int(label.split("to")[0]) for label in labels]
    assert starts == sorted(starts)


def test_a_trial_without_synapses_counts_nothing(tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    columns = pd.DataFrame({"sim_trial_index": ["a", "c"], "synapse_type": ["VPM_C2", "VPM_C2"]})
    db["synapse_activation"] = zdb.Ragged.from_lists([[1.0], [2.0, 2.5]], columns)
    db["sim_trial_index"] = ["a", "b", "c"]
    found = bin_activations(db, "EI", max_time=4)
    assert found["activations"].sum(("group", "time")).values.tolist() == [1, 0, 2]


def test_counts_say_from_what_and_when_they_were_made(small: GeneratedSimrun, tmp_path: Path) -> None:
    run = small.folder / "20150815-1530_20241"
    run.rename(tmp_path / run.name)
    db = zdb.open(tmp_path / "x.zdb")
    import_simrun(db, small.folder)
    assert bin_activations(db).sizes["trial"] == 2
    (tmp_path / run.name).rename(run)
    import_simrun(db, small.folder)
    [counted] = db.find(inputs="synapse_activation").to_dict("records")
    key = "synapse_activation_binned/EI"
    assert counted["key"] == key
    assert db.provenance(key).created < db.provenance("synapse_activation").created
    assert db[key].sizes["trial"] == 2
    assert bin_activations(db).sizes["trial"] == db[key].sizes["trial"] == 4
    assert db.provenance(key).created > db.provenance("synapse_activation").created


def test_an_unknown_type_is_never_taken_for_inhibitory(tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    columns = pd.DataFrame({"sim_trial_index": ["a", "a"], "synapse_type": ["VPM_C2", "Martinotti_C2"]})
    db["synapse_activation"] = zdb.Ragged.from_lists([[1.0], [2.0]], columns)
    with pytest.raises(UnknownCellTypeError, match="Martinotti"):
        bin_activations(db, "EI")
    assert "synapse_activation_binned" not in db
    apart = bin_activations(db, "EI", unknown="unknown")
    assert apart["group"].values.tolist() == ["EXC", "unknown"]
    listed = bin_activations(db, "EI", inhibitory=["Martinotti"])
    assert listed["group"].values.tolist() == ["EXC", "INH"]
    with pytest.raises(ValueError, match="in the list of excitatory types and in that"):
        classify(["VPM"], inhibitory=["VPM"])


def test_a_column_that_is_not_there_is_named(db: zdb.Database) -> None:
    with pytest.raises(KeyError, match="'colour'"):
        bin_activations(db, "colour")


def test_a_synapse_without_a_label_is_in_no_group() -> None:
    columns = pd.DataFrame({"sim_trial_index": ["a", "a", "b"], "kind": ["x", None, "y"]})
    found = count_activations(zdb.Ragged.from_lists([[1.0], [2.0], [3.0]], columns), "kind", max_time=5)
    assert found["activations"].sum(("trial", "time")).values.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("groupby", "expected"),
    [
        ("EI", {"EXC": 1, "INH": 1}),
        ("celltype", {"INH": 1, "VPM": 1}),
        ("presynaptic_column", {"C2": 1, "D2": 1}),
        ("proximal", {"prox": 2}),
        ("binned_somadist", {"0to50": 1, "450to500": 1}),
        (["EI", "proximal"], {"EXC__prox": 1, "INH__prox": 0}),
    ],
)
@pytest.mark.parametrize("kept_as", ["object", "category"])
def test_nothing_is_derived_from_a_missing_value(groupby: Any, expected: dict[str, int], kept_as: str) -> None:
    columns = pd.DataFrame(
        {
            "sim_trial_index": ["a", "a", "b"],
            "synapse_type": pd.Series(["VPM_C2", None, "INH_D2"], dtype=kept_as),
            "soma_distance": [10.0, 499.0, np.nan],
        }
    )
    found = count_activations(zdb.Ragged.from_lists([[1.0], [2.0], [3.0]], columns), groupby, max_time=5)
    counts = found["activations"].sum(("trial", "time"))
    assert dict(zip(found["group"].values, counts.values.tolist(), strict=True)) == expected


def test_numbers_ascend_as_numbers() -> None:
    columns = pd.DataFrame({"sim_trial_index": ["a", "a"], "section_ID": [10, 2]})
    found = count_activations(zdb.Ragged.from_lists([[1.0], [2.0, 3.0]], columns), "section_ID", max_time=5)
    assert found["section_ID"].values.tolist() == [2, 10]
    assert found["group"].values.tolist() == ["2", "10"]
    assert found["activations"].sum(("trial", "time")).values.tolist() == [2, 1]
