"""Chunks and shards that a user gives: taken as they are elsewhere, and never passed over."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb
from zdb.errors import UnsupportedValueError


@pytest.fixture
def db(tmp_path):
    return zdb.open(tmp_path / "results.zdb")


LAYOUTS = {
    "one size": (5, (5, 5)),
    "one size of numpy": (np.int64(5), (5, 5)),
    "whole": (-1, (40, 30)),
    "a list": ([4, 3], (4, 3)),
    "a whole dimension": ((4, -1), (4, 30)),
    "by name": ({"dim_1": 3}, (40, 3)),
    "whole by name": ({"dim_0": 4, "dim_1": -1}, (4, 30)),
    "larger than the array": (100, (100, 100)),
    "the policy": ("auto", (40, 30)),
}


@pytest.mark.parametrize("case", LAYOUTS.values(), ids=LAYOUTS)
def test_chunks_as_zarr_and_xarray_take_them(db, case):
    wanted, chunks = case
    value = np.arange(1200.0).reshape(40, 30)
    db.set("k", value, chunks=wanted)
    assert db.info("k").arrays["data"].chunks == chunks
    np.testing.assert_array_equal(db["k"], value)


SHARDS = {
    "one size": (20, (20, 20)),
    "whole": (-1, (44, 32)),
    "a whole dimension": ((8, -1), (8, 32)),
    "by name": ({"dim_0": 8}, (8, 32)),
    "the policy": ("auto", None),
}


@pytest.mark.parametrize("case", SHARDS.values(), ids=SHARDS)
def test_shards_as_zarr_takes_them(db, case):
    wanted, shards = case
    value = np.arange(1271.0).reshape(41, 31)
    db.set("k", value, chunks=4, shards=wanted)
    assert db.info("k").arrays["data"].shards == shards
    np.testing.assert_array_equal(db["k"], value)


@pytest.mark.parametrize("name", ["chunks", "shards"])
@pytest.mark.parametrize(
    "wanted", [0, -2, True, 2.5, "foo", (2.5, 3), (0, 5), {"dim_0": 0}, {"dim_0": "x"}, ((2, 2), (3,))]
)
@pytest.mark.parametrize("value", [np.zeros((4, 3)), 1], ids=["array", "json"])
def test_layouts_that_are_none(db, name, wanted, value):
    with pytest.raises(UnsupportedValueError, match=rf"^k: {name}=.* cannot be understood: .*-1"):
        db.set("k", value, **{name: wanted})
    with pytest.raises(UnsupportedValueError, match=rf"^t: {name}=.* cannot be understood"):
        db.create("t", np.zeros((4, 3)), **{name: wanted})
    assert list(db) == []


@pytest.mark.parametrize("name", ["chunks", "shards"])
def test_layouts_that_fit_no_array(db, name):
    values = {"k": np.zeros((4, 3)), "ds": xr.Dataset({"v": (("x", "y"), np.zeros((4, 3)))}), "json": {"a": 1}}
    for key, value in values.items():
        with pytest.raises(UnsupportedValueError, match=rf"^{key}: {name}=\(2,\) fits no array.* 1 dimensions"):
            db.set(key, value, **{name: (2,)})
        with pytest.raises(UnsupportedValueError, match=rf"^{key}: {name}=.* no array has the dimension 'nodim'"):
            db.set(key, value, **{name: {"nodim": 5}})
    with pytest.raises(UnsupportedValueError, match="no array has the dimension 'z'; there are 'x', 'y'"):
        db.set("ds", values["ds"], **{name: {"x": 4, "z": 1}})
    with pytest.raises(UnsupportedValueError, match="fits no array"):
        db.create("table", pd.DataFrame({"a": [1]}), npartitions=2, **{name: (2, 2)})
    assert list(db) == []


def test_layouts_are_for_the_arrays_that_they_fit(db):
    value = xr.Dataset({"v": (("x", "y"), np.zeros((40, 30))), "w": ("x", np.zeros(40)), "s": 1.0})
    for wanted, chunks in [
        ((4, 3), {"v": (4, 3), "w": (40,)}),
        ({"y": 3}, {"v": (40, 3), "w": (40,)}),
        (7, {"v": (7, 7), "w": (7,)}),
    ]:
        db.set("k", value, chunks=wanted)
        assert {name: db.info("k").arrays[name].chunks for name in chunks} == chunks
    db.set("json", {"a": 1}, chunks=5, shards="auto")
    assert db["json"] == {"a": 1}


@pytest.mark.parametrize("wanted", [(4, 3), {"dim_0": 4, "dim_1": 3}, (4, -1)])
def test_elements_of_several_numbers_stay_whole(db, wanted):
    value = np.zeros((8, 3), np.longdouble)
    db.set("k", value, chunks=wanted)
    assert db.info("k").arrays["data"].chunks == (4, 3, value.itemsize)
    db.set("k", value, chunks=2, shards=4)
    assert db.info("k").arrays["data"].shards == (4, 4, value.itemsize)
    records = np.zeros(8, [("x", "f8", (2, 3))])
    db.set("k", records, chunks=(4,))
    assert [one.chunks for one in db.info("k").arrays.values()] == [(4, 2, 3)]


CODECS = {
    "unknown": {"name": "nope"},
    "unknown with a configuration": {"name": "nope", "configuration": {"level": 1}},
    "empty": {},
    "one of a list": [{"name": "zstd", "configuration": {}}, {}],
    "a wrong setting": {"name": "blosc", "configuration": {"cname": "nope"}},
    "a wrong level": {"name": "gzip", "configuration": {"level": 99}},
    "no setting": {"name": "gzip"},
    "an unknown setting": {"name": "gzip", "configuration": {"levle": 1}},
    "no compressor": {"name": "bytes"},
    "a name": "nope",
    "a number": 3,
}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("side", [4, 1000], ids=["chunk", "shard"])
def test_codecs_that_are_none(db, codec, side):
    with pytest.raises(UnsupportedValueError, match=r"^k/data: codec=.* zarr\.codecs\.BloscCodec"):
        db.set("k", np.zeros((side, side)), codec=codec)
    with pytest.raises(UnsupportedValueError, match=r"k/data: codec=.* zarr\.codecs\.BloscCodec"):
        db.create("k", np.zeros((side, side)), codec=codec)
    with pytest.raises(UnsupportedValueError, match=r"t/a: codec=.* zarr\.codecs\.BloscCodec"):
        db.create("t", pd.DataFrame({"a": [1.0]}), npartitions=2, codec=codec)
    assert list(db) == []


def test_layouts_of_values_that_jobs_fill(db):
    regions = db.create("k", np.zeros((8, 6)), chunks=2, shards=(4, -1)).regions
    assert len(regions) == 2
    for region in regions:
        db.write_region("k", np.ones((4, 6)), region=region)
    db.finish("k")
    assert db.info("k").arrays["data"].chunks == (2, 2)
    assert db.info("k").arrays["data"].shards == (4, 6)
    assert db["k"].sum() == 48
