"""Tables and ragged values in a real database: what they read and write, and how others see them."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import awkward as ak
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr
from formats.test_dask_tables import assert_same_frame, everything, split
from formats.test_tables import frames
from polars.testing import assert_frame_equal as assert_polars_equal

import zdb
from zdb.errors import MissingChunkError, UnsupportedValueError, WriteError

if TYPE_CHECKING:
    from pathlib import Path

ARRAYS = [np.array([1.5, 2.5]), np.array([]), np.array([0.5])]
RECORDS = ak.Array([{"times": [1.5, 2.5], "cell": "a"}, {"times": [], "cell": ""}])


@pytest.mark.filterwarnings("ignore:assert_.*will check the 'freq'")
@pytest.mark.parametrize("name", frames())
def test_frames_come_back(db: zdb.Database, name: str) -> None:
    frame = frames()[name]
    db["frame"] = frame
    assert_same_frame(db["frame"], frame)
    assert db["frame"].attrs == frame.attrs


def values() -> dict[str, Any]:
    return {
        **frames(),
        "series": everything()["cell"],
        "index": pd.date_range("2020", periods=4, freq="h", tz="UTC"),
        "levels": pd.MultiIndex.from_product([["a"], [1, 2]], names=["x", None]),
        "arrow": pa.table({"a": [[1], None], "b": ["x", None]}),
        "polars": pl.DataFrame({"a": [1, None], "b": ["x", "y"]}),
        "dask": dd.from_pandas(everything(), npartitions=2),
        "long": pd.DataFrame({"few": ["a", None] * 8000, "many": [f"cell {i}" for i in range(16_000)]}),
        "ragged": zdb.Ragged.from_lists(ARRAYS, {"cell": ["a", "b", "c"]}),
        "list": ARRAYS,
        "no arrays of length": ARRAYS[1:2],
        "times": [np.array(["2020", "NaT"], "M8[s]"), np.array([], "M8[s]")],
        "awkward": RECORDS,
    }


@pytest.mark.parametrize("name", values())
def test_plain_xarray_opens_every_table(db: zdb.Database, name: str) -> None:
    db["value"] = values()[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*decode_timedelta.*", category=FutureWarning)
        with xr.open_zarr(f"{db.url}/value") as dataset:
            dataset.load()
    assert set(dataset.variables) == set(db.dataset("value").variables)


def test_plain_xarray_reads_the_numbers(db: zdb.Database) -> None:
    db["table"] = pd.DataFrame({"rate": [1.5, np.nan], "cell": ["a", "b"]}, index=pd.Index([4, 2], name="trial"))
    db["spikes"] = zdb.Ragged.from_lists(ARRAYS, {"cell": ["a", "b", "c"]})
    with xr.open_zarr(f"{db.url}/table") as table:
        np.testing.assert_array_equal(table["rate"], [1.5, np.nan])
        assert table["cell"].values.tolist() == ["a", "b"]
        assert table["trial"].values.tolist() == [4, 2]
        assert list(table.coords) == ["trial"]
    with xr.open_zarr(f"{db.url}/spikes") as spikes:
        assert spikes["values"].values.tolist() == [1.5, 2.5, 0.5]
        assert spikes["row_size"].values.tolist() == [2, 0, 1]
        assert spikes["row_size"].attrs["sample_dimension"] == "value"


def test_other_tables_come_back(db: zdb.Database) -> None:
    for name in ("arrow", "polars", "ragged", "list", "awkward", "series", "index", "levels"):
        db[name] = values()[name]
    assert db["arrow"].equals(values()["arrow"])
    assert_polars_equal(db["polars"], values()["polars"])
    assert db["ragged"] == values()["ragged"]
    assert [row.tolist() for row in db["list"]] == [row.tolist() for row in ARRAYS]
    assert db["awkward"].to_list() == RECORDS.to_list()
    pd.testing.assert_series_equal(db["series"], values()["series"])
    pd.testing.assert_index_equal(db["index"], values()["index"])
    pd.testing.assert_index_equal(db["levels"], values()["levels"])
    pd.testing.assert_series_equal(db.get("series", rows=[2, 0]), values()["series"].iloc[[2, 0]])
    assert db.get("ragged", rows=slice(1, 3)) == values()["ragged"][1:]


def test_columns_are_read_alone(tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    frame = pd.DataFrame({"a": np.arange(20_000), "b": np.arange(20_000.0), "name": [f"{i}" for i in range(20_000)]})
    db["table"] = frame
    part = db.get("table", columns=["name"], rows=slice(10_000, 10_003))
    assert_same_frame(part, frame[["name"]].iloc[10_000:10_003])
    for name in ("b", "name.bytes", "name.offsets"):
        chunks = [path for path in (tmp_path / "x.zdb/table" / name).rglob("*") if path.is_file()]
        for path in chunks:
            if path.name != "zarr.json":
                path.unlink()
    assert_same_frame(db.get("table", columns=["a"]), frame[["a"]])
    with pytest.raises(MissingChunkError):
        db["table"]


def test_a_dask_frame_is_written_and_read_lazily(place: Any) -> None:
    db = place.open()
    frame = dd.from_pandas(everything(100), npartitions=4)
    expected = frame.compute()
    db["table"] = frame
    back = db["table"]
    assert isinstance(back, dd.DataFrame)
    assert back.divisions == frame.divisions
    assert_same_frame(back.compute(), expected)
    assert_same_frame(db.get("table", rows=[99, 0, 50]), expected.iloc[[99, 0, 50]])
    assert_same_frame(db.get("table", columns=["cell", "bin"]).compute(), expected[["cell", "bin"]])
    info = db.info("table")
    assert info.type == "dask.DataFrame"
    assert info.shape == (100, 13)


def test_a_dask_frame_may_replace_the_one_that_it_is_made_of(db: zdb.Database) -> None:
    db["table"] = dd.from_pandas(pd.DataFrame({"a": np.arange(10)}), npartitions=3)
    db["table"] = db["table"].assign(b=db["table"]["a"] * 2)
    assert db["table"].compute()["b"].tolist() == list(range(0, 20, 2))


def test_each_partition_is_computed_once(db: zdb.Database) -> None:
    computed: Counter[int] = Counter()

    def make(number: int) -> pd.DataFrame:
        computed[number] += 1
        return pd.DataFrame({"a": [number], "name": [f"cell {number}"], "kind": pd.Categorical([f"{number}"])})

    frame = dd.from_map(make, range(5), meta=make(0)[:0])
    computed.clear()
    db["table"] = frame
    assert computed == dict.fromkeys(range(5), 1)
    assert db["table"].compute()["kind"].tolist() == list("01234")


def broken(number: int) -> pd.DataFrame:
    if number == 3:
        raise ZeroDivisionError("half-way")
    return pd.DataFrame({"a": [number]})


def test_a_partition_that_fails_leaves_the_old_value(db: zdb.Database) -> None:
    db["table"] = pd.DataFrame({"a": [7]})
    with pytest.raises(WriteError, match=r"table: .*half-way"):
        db["table"] = dd.from_map(broken, range(4), meta=pd.DataFrame({"a": [0]}))
    misfits = split(pd.DataFrame({"a": [1, 2]}), [1, 1]).map_partitions(
        lambda part: part if part["a"].iloc[0] == 1 else part.astype(float), meta={"a": "int64"}, enforce_metadata=False
    )
    with pytest.raises(UnsupportedValueError, match="partition 1: column 'a' has dtype float64"):
        db["table"] = misfits
    assert db["table"]["a"].tolist() == [7]


def test_workers_in_other_processes(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    frame = pd.DataFrame({"a": np.arange(100), "cell": [f"cell {i % 7}" * (i % 3) for i in range(100)]})
    frame["kind"] = frame["cell"].astype("category")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        db = zdb.open(tmp_path / "x.zdb")
        db["table"] = dd.from_pandas(frame, npartitions=5)
        back = db["table"]
        assert back["a"].sum().compute() == 4950
        assert_same_frame(back.compute(), dd.from_pandas(frame, npartitions=5).compute())
        db["again"] = back.assign(b=back["a"] + 1)
        assert db["again"]["b"].sum().compute() == 5050
    assert not list((tmp_path / "x.zdb").glob("_zdb/spool/*/*"))
