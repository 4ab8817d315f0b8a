"""The format ``nested``: containers of arrays, tables and plain values."""

from __future__ import annotations

import collections
import datetime as dt
from typing import TYPE_CHECKING, Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zdb.errors import UnsupportedValueError
from zdb.formats import registry
from zdb.formats.nested import NestedFormat

if TYPE_CHECKING:
    import zdb

FORMAT = NestedFormat()


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types, and NaN equal to NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and all(map(same, a.ravel().tolist(), b.ravel().tolist()))
    if isinstance(a, float | complex):
        return repr(a) == repr(b)
    if isinstance(a, pd.DataFrame | pd.Series):
        return a.equals(b) and a.index.equals(b.index)
    return a == b


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates()
arrays = hnp.arrays(st.sampled_from(["f8", "i2", "?", "c8", "U3"]), hnp.array_shapes(min_dims=0, min_side=0))
keys = st.text() | st.integers() | st.tuples(st.integers(), st.text())
containers = st.recursive(
    plain | arrays,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner) | st.sets(st.integers() | st.text())
    ),
    max_leaves=8,
).filter(lambda value: isinstance(value, list | tuple | dict | set))


@given(containers)
def test_containers_come_back(value: Any) -> None:
    assert same(FORMAT.decode(FORMAT.encode(value)), value)


def test_the_parts_are_stored_as_their_formats_say(db: zdb.Database) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index(["u", "v"], name="cell"))
    value = {
        "trace": (np.arange(100.0), np.arange(100)),
        "table": frame,
        "labelled": xr.Dataset({"v": ("time", np.arange(50.0))}, coords={"time": np.arange(50)}),
        1: collections.OrderedDict(when=dt.date(2020, 1, 1), what=np.float32(2.5)),
        "mixed": np.array([[1, "a"], [None, (2, 3)]], dtype=object),
    }
    db.set("run", value, format="nested")
    found = db["run"]
    assert same(found["trace"], value["trace"])
    pd.testing.assert_frame_equal(found["table"], frame)
    xr.testing.assert_identical(found["labelled"], value["labelled"])
    assert found[1] == value[1]
    assert found["mixed"].tolist() == value["mixed"].tolist()
    assert db.info("run").format == "nested"
    plain_view = xr.open_datatree(f"{db.url}/run", engine="zarr")
    np.testing.assert_array_equal(plain_view["part_0/data"], value["trace"][0])


@pytest.mark.parametrize("value", [(np.arange(3), 1), {1, 2}, frozenset("ab"), ()])
def test_it_is_chosen_for_what_no_other_format_keeps(db: zdb.Database, value: Any) -> None:
    db["value"] = value
    assert db.info("value").format == "nested"
    assert same(db["value"], value)


def test_other_formats_keep_what_they_kept(db: zdb.Database) -> None:
    for value, name in [([1, 2], "json"), ({"a": 1}, "json"), ([np.arange(3), np.arange(2)], "ragged")]:
        assert registry.for_value(value).name == name


def test_lazy_arrays_stay_lazy(db: zdb.Database) -> None:
    lazy = da.ones((1000, 10), chunks=(100, 10))
    db["value"] = (lazy, 1)
    found, _ = db["value"]
    assert isinstance(found, da.Array)
    assert found.sum().compute() == 10_000


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ((1, [print]), r"the value\[1\]\[0\]"),
        ({"a": {"b": object()}}, r"the value\['a'\]\['b'\]"),
        ((xr.DataTree(),), r"the value\[0\]"),
        ((dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1),), r"the value\[0\].*key of its own"),
        ((Point(1, 2),), r"the value\[0\]"),
    ],
)
def test_what_would_not_come_back_is_refused(db: zdb.Database, value: Any, where: str) -> None:
    with pytest.raises(UnsupportedValueError, match=where):
        db.set("value", value, format="nested")
    assert list(db) == []


def test_subclasses_are_refused(db: zdb.Database) -> None:
    with pytest.raises(UnsupportedValueError, match="no format keeps"):
        db["value"] = Point(1, 2)
