from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
import zarr

import zdb
from zdb.info import ArrayInfo


def test_info_of_an_array(place):
    db = place.open()
    before = datetime.now(UTC)
    db.set("soma/voltage", np.zeros((600, 700)), attrs={"unit": "mV"})
    info = db.info("soma/voltage")
    assert isinstance(info, zdb.Info)
    assert info.key == "soma/voltage"
    assert info.kind == "value"
    assert info.format == "array"
    assert info.type == "numpy.ndarray"
    assert info.dtype == "float64"
    assert info.shape == (600, 700)
    assert info.nbytes == 600 * 700 * 8
    assert before <= info.created <= datetime.now(UTC)
    assert info.generation == 0
    assert info.attrs == {"unit": "mV"}
    array = info.arrays["data"]
    assert array.dims == ("dim_0", "dim_1")
    assert array.shape == (600, 700)
    assert array.dtype == "float64"
    assert array.chunks == (187, 700)
    assert array.shards == (748, 700)
    assert array.codecs == ("bytes", "blosc", "crc32c")
    assert db["soma"].info("voltage").key == "voltage"


def test_info_agrees_with_zarr(db):
    db["small"] = np.zeros(10, "int16")
    db["large"] = np.zeros(10**6, "int16")
    db["strings"] = np.array(["a", "bc"])
    for key in db:
        for name, array in db.info(key).arrays.items():
            stored = zarr.open_array(f"{db.url}/{key}/{name}", mode="r")
            assert array.shape == stored.shape
            assert array.chunks == stored.chunks
            assert array.shards == stored.shards


def test_info_of_small_values_and_databases(db):
    db["a/parameters"] = {"dt": 0.025}
    info = db.info("a/parameters")
    assert (info.format, info.type, info.dtype, info.shape) == ("json", "dict", "", (1,))
    assert info.nbytes == len('{"dt": 0.025}')
    assert info.arrays == {}
    assert db.info("a").kind == "database"
    assert db.info("a").format == ""
    assert db.info("a").created is None
    assert db.info().kind == "database"
    assert db.info().id != db.info("a").id != ""


def test_info_of_a_table_lists_its_arrays(db):
    db["t"] = pd.DataFrame({"x": [1, 2], "name": ["a", "b"]})
    info = db.info("t")
    assert info.format == "table"
    assert info.type == "pandas.DataFrame"
    assert info.shape == (2, 2)
    assert {array.shape for array in info.arrays.values()} >= {(2,)}


def test_info_of_foreign_zarr(tmp_path):
    zarr.open_group(tmp_path).create_array("loose", data=np.arange(3, dtype="i4"))
    info = zdb.open(tmp_path, "r").info("loose")
    assert (info.kind, info.format, info.created) == ("foreign", "zarr", None)


def test_info_as_text_and_as_plain_data(db):
    db.set("k", np.zeros((600, 700)), attrs={"unit": "mV"})
    info = db.info("k")
    text = str(info)
    assert repr(info) == text
    for part in ("k", "value", "array", "numpy.ndarray", "float64", "{'unit': 'mV'}", "chunks (187, 700)", "blosc"):
        assert part in text
    assert "None" not in text
    plain = json.loads(json.dumps(info.to_dict()))
    assert plain["shape"] == [600, 700]
    assert plain["created"] == info.created.isoformat()
    assert plain["arrays"]["data"]["chunks"] == [187, 700]
    assert str(db.info())


@pytest.mark.parametrize("shards", [None, (4,)])
def test_array_info_of_a_string_array(db, shards):
    db.set("k", np.array(["a"] * 10, dtype=np.dtypes.StringDType()), chunks=(2,), shards=shards)
    info = next(iter(db.info("k").arrays.values()))
    assert isinstance(info, ArrayInfo)
    assert info.dtype == "string"
    assert info.chunks == (2,)
    assert info.shards == shards
