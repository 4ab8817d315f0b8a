"""The format ``dataset``: everything that xarray shows comes back, and plain xarray reads what is stored."""

from __future__ import annotations

from typing import Any

import cftime
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from formats import strategies
from formats.comparing import assert_same_array
from formats.memory import elements_read, roundtrip, store
from hypothesis import HealthCheck, given, settings

import zdb
from zdb.errors import SelectionError, UnsupportedValueError
from zdb.formats.datasets import DatasetFormat
from zdb.formats.registry import Selection

FORMAT = DatasetFormat()


def assert_same(actual: Any, expected: Any) -> None:
    """Names, order, dims, dtypes, elements, indexes, attributes and encodings."""
    assert type(actual) is type(expected)
    if isinstance(expected, xr.DataTree):
        assert list(actual.children) == list(expected.children)
        assert_same(actual.to_dataset(inherit=False), expected.to_dataset(inherit=False))
        for name in expected.children:
            assert_same(actual[name], expected[name])
        return
    if isinstance(expected, xr.DataArray):
        assert actual.name == expected.name
        assert type(actual.name) is type(expected.name)
        assert_same_variable(actual.variable, expected.variable)
    else:
        assert list(actual.data_vars) == list(expected.data_vars)
        assert dict(actual.sizes) == dict(expected.sizes)
        assert_same_attributes(actual.attrs, expected.attrs)
        for name in expected.data_vars:
            assert_same_variable(actual.variables[name], expected.variables[name])
    assert list(actual.coords) == list(expected.coords)
    for name, coord in expected.coords.items():
        assert_same_variable(actual.coords[name].variable, coord.variable)
    assert list(actual.xindexes) == list(expected.xindexes)
    for name, index in expected.xindexes.items():
        assert type(actual.xindexes[name]) is type(index)
        pd.testing.assert_index_equal(actual.xindexes[name].to_pandas_index(), index.to_pandas_index(), exact=True)


def assert_same_variable(actual: xr.Variable, expected: xr.Variable) -> None:
    assert actual.dims == expected.dims
    assert actual.dtype == expected.dtype
    if expected.chunks is not None:
        assert actual.chunks == expected.chunks
    assert_same_attributes(actual.attrs, expected.attrs)
    if isinstance(expected.dtype, np.dtype):
        assert_same_array(np.asarray(actual.values), np.asarray(expected.values))
    else:
        assert actual.equals(expected)


def assert_same_attributes(actual: dict[Any, Any], expected: dict[Any, Any]) -> None:
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert type(actual[name]) is type(value)
        assert repr(actual[name]) == repr(value)


@pytest.fixture
def traces() -> xr.Dataset:
    return xr.Dataset(
        {
            "voltage": (("trial", "time"), np.arange(20.0).reshape(4, 5), {"units": "mV"}),
            "kind": ("trial", pd.Categorical(["a", "b", "a", "b"], categories=["b", "a"])),
            "count": ("trial", pd.array([1, None, 3, 4], dtype="Int64")),
        },
        coords={
            "trial": ["a", "b", "c", "d"],
            "time": np.arange(5) * 0.025,
            "when": ("time", pd.date_range("2000", periods=5)),
            "run": 3,
        },
        attrs={"title": "traces"},
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.datasets())
def test_any_dataset_comes_back(dataset: xr.Dataset) -> None:
    assert_same(roundtrip(FORMAT, dataset), dataset)


def test_dataset_comes_back(traces: xr.Dataset) -> None:
    assert_same(roundtrip(FORMAT, traces), traces)
    xr.testing.assert_identical(roundtrip(FORMAT, traces).compute(), traces)


@pytest.mark.parametrize("name", ["voltage", "kind", "time", "when", "run"])
def test_data_array_comes_back(traces: xr.Dataset, name: str) -> None:
    assert_same(roundtrip(FORMAT, traces[name]), traces[name])


@pytest.mark.parametrize("name", [None, "µ/V", 3, ("a", 1), "trial", "data"])
def test_name_of_a_data_array_comes_back(traces: xr.Dataset, name: Any) -> None:
    array = traces["voltage"].rename(name) if name != "trial" else xr.DataArray(np.arange(3), dims="trial", name="x")
    assert_same(roundtrip(FORMAT, array), array)


def test_attributes_of_a_data_array_do_not_become_those_of_the_dataset(traces: xr.Dataset) -> None:
    assert "units" not in FORMAT.encode(traces["voltage"]).attrs


def test_tree_comes_back(traces: xr.Dataset) -> None:
    deep = xr.Dataset({"s": ("y", ["a", "b", "c"])}, attrs={"level": 2})
    tree = xr.DataTree.from_dict({"/": traces, "/Runs 1": traces[["voltage"]], "/µ/deep": deep}, name="tree")
    actual = roundtrip(FORMAT, tree)
    assert actual.name == "tree"
    assert_same(actual, tree)


def test_tree_of_one_node_comes_back() -> None:
    assert_same(roundtrip(FORMAT, xr.DataTree(name="alone")), xr.DataTree(name="alone"))


def test_multi_index_comes_back() -> None:
    levels = pd.MultiIndex.from_product([["x", "y"], [1, 2, 3]], names=["letter", "number"])
    coords = xr.Coordinates.from_pandas_multiindex(levels, "row")
    dataset = xr.Dataset({"v": ("row", np.arange(6))}, coords)
    actual = roundtrip(FORMAT, dataset)
    assert_same(actual, dataset)
    assert actual.sel(letter="y", number=2)["v"].values == 4


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard", "julian"])
def test_cftime_index_comes_back(calendar: str) -> None:
    times = xr.date_range("2000-01-01", periods=3, calendar=calendar, use_cftime=True)
    dataset = xr.Dataset({"v": ("time", np.arange(3))}, {"time": times})
    actual = roundtrip(FORMAT, dataset)
    assert isinstance(actual.indexes["time"], xr.CFTimeIndex)
    assert_same(actual, dataset)


def test_cftime_objects_outside_of_an_index_come_back() -> None:
    values = np.array([cftime.DatetimeNoLeap(1, 2, 3, 4, 5, 6, 7), cftime.DatetimeNoLeap(2, 1, 1)])
    dataset = xr.Dataset({"when": ("event", values)})
    assert_same(roundtrip(FORMAT, dataset), dataset)


def test_range_index_stays_one_and_is_stored_for_plain_xarray() -> None:
    dataset = xr.Dataset(coords={"x": pd.RangeIndex(3, 9, 2)})
    assert_same(roundtrip(FORMAT, dataset), dataset)
    assert FORMAT.encode(dataset)["x"].values.tolist() == [3, 5, 7]


def test_dropped_index_stays_dropped(traces: xr.Dataset) -> None:
    assert_same(roundtrip(FORMAT, traces.drop_indexes("time")), traces.drop_indexes("time"))


def test_chunks_are_kept(traces: xr.Dataset) -> None:
    chunked = traces[["voltage"]].chunk(trial=(1, 3), time=2)
    assert roundtrip(FORMAT, chunked)["voltage"].chunks == ((1, 3), (2, 2, 1))


def test_values_are_lazy_in_the_stored_chunks(traces: xr.Dataset) -> None:
    stored = store(FORMAT.encode(traces[["voltage"]].drop_vars(["time", "when", "trial"])), chunk_size=3)
    before = elements_read(stored)
    decoded = FORMAT.decode(stored)
    assert decoded["voltage"].chunks == ((3, 1), (3, 2))
    assert elements_read(stored) == before


def test_encoding_comes_back_and_is_not_applied(traces: xr.Dataset) -> None:
    encoding = {"dtype": np.dtype("int16"), "scale_factor": 0.5, "_FillValue": np.int16(-1), "units": "days since 2000"}
    traces["voltage"].encoding = {**encoding, "source": "file.nc"}
    traces.encoding = {"unlimited_dims": {"time"}, "source": "file.nc"}
    actual = roundtrip(FORMAT, traces)
    assert actual["voltage"].encoding == encoding
    assert actual.encoding == {"unlimited_dims": {"time"}}
    assert_same(actual, traces)


def test_attributes_of_zdb_are_dropped_and_others_refused(traces: xr.Dataset) -> None:
    assert "zdb_id" not in roundtrip(FORMAT, traces.assign_attrs(zdb_id="1")).attrs
    with pytest.raises(UnsupportedValueError, match="zdb_mine"):
        FORMAT.encode(traces.assign_attrs(zdb_mine="1"))


def test_what_cannot_be_kept_is_refused_with_its_name(traces: xr.Dataset) -> None:
    with pytest.raises(UnsupportedValueError, match="mixed"):
        FORMAT.encode(traces.assign(mixed=("trial", np.array([1, "a", None, 2.0], dtype=object))))
    with pytest.raises(UnsupportedValueError, match="thing"):
        FORMAT.encode(traces.assign_attrs(thing=object()))
    with pytest.raises(UnsupportedValueError, match="index of 'point'"):
        FORMAT.encode(xr.Dataset(coords=xr.Coordinates.from_xindex(xr.indexes.RangeIndex.arange(3, dim="point"))))
    unknown = da.from_array(np.arange(4))
    with pytest.raises(UnsupportedValueError, match="unknown"):
        FORMAT.encode(xr.Dataset({"unknown": ("x", unknown[unknown > 1])}))


def test_a_subclass_is_not_accepted() -> None:
    class Special(xr.Dataset):
        __slots__ = ()

    assert not FORMAT.accepts(Special())


def test_parts(traces: xr.Dataset) -> None:
    stored = store(FORMAT.encode(traces))
    assert list(FORMAT.select(stored, Selection(columns=["kind"])).data_vars) == ["kind"]
    assert FORMAT.select(stored, Selection(isel={"trial": 1})).voltage.values.tolist() == [5, 6, 7, 8, 9]
    assert FORMAT.select(stored, Selection(sel={"trial": "b"})).voltage.values.tolist() == [5, 6, 7, 8, 9]
    array = store(FORMAT.encode(traces["voltage"]))
    assert FORMAT.select(array, Selection(isel={"time": [0]})).shape == (4, 1)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(columns=["nothing"]),
        Selection(rows=[1]),
        Selection(isel={"nothing": 1}),
        Selection(isel={"trial": 9}),
        Selection(sel={"trial": "z"}),
        Selection(sel={"nothing": 1}),
    ],
    ids=repr,
)
def test_wrong_parts_are_refused(traces: xr.Dataset, selection: Selection) -> None:
    with pytest.raises(SelectionError):
        FORMAT.select(store(FORMAT.encode(traces)), selection)


def test_plain_xarray_reads_it_and_is_not_led_astray(traces: xr.Dataset, tmp_path: Any) -> None:
    dangerous = {"_FillValue": 3.0, "scale_factor": 2.0, "add_offset": 1.0, "dtype": "timedelta64[ns]", "units": "mV"}
    traces["voltage"].attrs = {**dangerous, "coordinates": "nothing", "grid_mapping": "nothing"}
    traces["time"].attrs = {"units": "days since 2000-01-01"}
    db = zdb.open(tmp_path / "x.zdb")
    db["traces"] = traces
    plain = xr.open_zarr(tmp_path / "x.zdb" / "traces")
    np.testing.assert_array_equal(plain["voltage"], traces["voltage"])
    np.testing.assert_array_equal(plain["time"], traces["time"])
    np.testing.assert_array_equal(plain["when"], traces["when"])
    assert plain["voltage"].attrs["units"] == "mV"
    assert plain["trial"].values.tolist() == ["a", "b", "c", "d"]
    assert set(plain.coords) >= {"trial", "time", "when", "run"}
    assert_same(db["traces"], traces)
