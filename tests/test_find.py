"""Keys are found by what their metadata says, without reading data."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import zdb

if TYPE_CHECKING:
    from places import Place


def fill(db: zdb.Database) -> zdb.Database:
    db["parameters"] = {"dt": 0.025}
    db["soma/voltage"] = xr.DataArray(np.zeros((4, 100)), dims=("trial", "time"), attrs={"units": "mV"})
    db["soma/spikes"] = zdb.Ragged.from_lists([[1.0], [2.0, 3.0]])
    db.set("deep/er/rates", pd.DataFrame({"rate": [1.5, 2.0]}), attrs={"unit": "Hz", "trusted": True})
    db["counts"] = np.arange(10, dtype="int16")
    return db


@pytest.fixture
def filled(db: zdb.Database) -> zdb.Database:
    return fill(db)


def keys(found: pd.DataFrame) -> list[str]:
    return found["key"].tolist()


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"pattern": "v*"}, ["soma/voltage"]),
        ({"pattern": "soma/*"}, ["soma/spikes", "soma/voltage"]),
        ({"pattern": "*/rates"}, ["deep/er/rates"]),
        ({"kind": "database"}, ["deep", "deep/er", "soma"]),
        ({"format": "table"}, ["deep/er/rates"]),
        ({"type": "*DataArray"}, ["soma/voltage"]),
        ({"dtype": "int16"}, ["counts"]),
        ({"dtype": "float64", "kind": "value"}, ["deep/er/rates", "soma/spikes", "soma/voltage"]),
        ({"dims": "time"}, ["soma/voltage"]),
        ({"dims": ("time", "trial")}, ["soma/voltage"]),
        ({"dims": ("time", "cell")}, []),
        ({"min_size": 3200}, ["soma/voltage"]),
        ({"min_size": "3.2 kB"}, ["soma/voltage"]),
        ({"max_size": 20, "dtype": "int*"}, ["counts"]),
        ({"attrs": {"unit": "Hz"}}, ["deep/er/rates"]),
        ({"attrs": {"unit": "Hz", "trusted": False}}, []),
        ({"attrs": {"missing": None}}, []),
        ({"user": "nobody else"}, []),
        ({"until": "2001-01-01"}, []),
        ({"format": "array", "dims": "dim_0"}, ["counts"]),
    ],
)
def test_a_condition_selects(filled: zdb.Database, conditions: dict[str, Any], expected: list[str]) -> None:
    assert keys(filled.find(**conditions)) == expected


def test_attributes_of_variables_are_found(db: zdb.Database) -> None:
    voltage = xr.DataArray(
        [1.0, 2.0], {"time": ("time", [0.0, 0.1], {"units": "ms"})}, ["time"], attrs={"units": "mV", "site": [1, 2]}
    )
    db.set("array", voltage, attrs={"units": "of a remark"})
    db["set"] = xr.Dataset({"v": voltage, "i": ("time", [1, 2], {"units": "nA"})}, attrs={"title": "both"})
    db["tree"] = xr.DataTree(children={"below": xr.DataTree(xr.Dataset({"v": voltage}, attrs={"title": "deep"}))})
    db["none"] = 1
    root = zarr.open_group(db.url, mode="a")
    root.create_array("plain", data=np.arange(3), attributes={"units": "mV"})
    found = {
        "mV": {"units": "mV"},
        "remark": {"units": "of a remark", "site": [1, 2]},
        "current": {"units": "nA"},
        "of one variable": {"units": "nA", "site": [1, 2]},
        "of variable and value": {"units": "nA", "title": "both"},
        "of a group": {"title": "deep"},
    }
    assert {name: keys(db.find(attrs=wanted)) for name, wanted in found.items()} == {
        "mV": ["array", "plain", "set", "tree"],
        "remark": ["array"],
        "current": ["set"],
        "of one variable": [],
        "of variable and value": ["set"],
        "of a group": ["tree"],
    }


def test_attributes_of_tables_are_found(db: zdb.Database) -> None:
    frame = pd.DataFrame({"rate": [1.5, 2.0]})
    frame.attrs = {"unit": "Hz", "sites": [1, 2]}
    series = frame["rate"].copy()
    series.attrs = {"unit": "Hz"}
    db.set("frame", frame, attrs={"trusted": True})
    db["series"], db["ragged"] = series, zdb.Ragged([0.5], [1, 0], frame)
    db.set("nested", (frame, 1), attrs={"trusted": True})
    db["other"] = pd.DataFrame({"rate": [1.5]})
    db["none"] = 1
    assert keys(db.find(attrs={"unit": "Hz"})) == ["frame", "nested", "ragged", "series"]
    assert keys(db.find(attrs={"unit": "Hz", "sites": [1, 2], "trusted": True})) == ["frame", "nested"]
    assert keys(db.find(attrs={"unit": "mV"})) == []


def test_all_is_found_without_conditions_in_any_store(place: Place) -> None:
    db = fill(place.open())
    values = ["counts", "deep/er/rates", "parameters", "soma/spikes", "soma/voltage"]
    assert keys(place.open("r").find(kind="value")) == values
    assert keys(db.database("soma").find()) == ["spikes", "voltage"]


def test_columns_and_dtypes_do_not_depend_on_what_is_found(filled: zdb.Database) -> None:
    everything, nothing = filled.find(), filled.find("no such key")
    assert list(everything.columns) == list(nothing.columns)
    assert everything.dtypes[["size", "created"]].equals(nothing.dtypes[["size", "created"]])
    row = everything.set_index("key").loc["soma/voltage"]
    assert row.dims == ("trial", "time")
    assert row["size"] == 3200
    assert row["shape"] == (4, 100)


def test_time_commit_and_state(filled: zdb.Database) -> None:
    record = filled.provenance("counts")
    between = record.created + timedelta(seconds=3600)
    assert "counts" in keys(filled.find(since=record.created, until=between))
    assert keys(filled.find(since=between)) == []
    local = record.created.astimezone(tz=None)
    assert "counts" in keys(filled.find(since=local))
    assert keys(filled.find(since=datetime(9000, 1, 1, tzinfo=UTC))) == []
    assert keys(filled.find(user=record.user, kind="value")) == keys(filled.find(kind="value"))
    if record.git_commit:
        dirty = record.git_state == "dirty"
        assert "counts" in keys(filled.find(commit=record.git_commit[:8], dirty=dirty))
        assert keys(filled.find(dirty=not dirty)) == []
    assert keys(filled.find(commit="not a commit")) == []


@pytest.mark.parametrize("wrong", [{"min_size": "10 parsecs"}, {"since": "yesterday"}, {"until": 3}])
def test_what_cannot_be_understood_is_named(filled: zdb.Database, wrong: dict[str, Any]) -> None:
    with pytest.raises(zdb.errors.InvalidQueryError, match=next(iter(wrong))):
        filled.find(**wrong)


def test_no_data_is_read(filled: zdb.Database) -> None:
    for chunk in (p for p in Path(filled.url).rglob("c/**/*") if p.is_file()):
        chunk.write_bytes(b"damaged")
    assert len(filled.find()) == 8


def test_over_all_databases_of_the_catalog(tmp_path: Path) -> None:
    with zdb.config.set({"catalog": str(tmp_path / "catalog")}):
        one, two = fill(zdb.open(tmp_path / "one.zdb")), fill(zdb.open(tmp_path / "two.zdb"))
        lost = zdb.open(tmp_path / "three.zdb")
        shutil.rmtree(lost.url)
        with pytest.warns(zdb.catalogs.CatalogWarning, match=r"three\.zdb: left out"):
            found = zdb.catalog.find("rates")
        assert found[["url", "key"]].values.tolist() == [[one.url, "deep/er/rates"], [two.url, "deep/er/rates"]]
        with pytest.raises(zdb.errors.InvalidQueryError, match="'colour'"):
            zdb.catalog.find(colour="blue")
