"""Indexes of every kind come back, from variables and from JSON."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pandas.tseries.offsets import CustomBusinessDay

from zdb.errors import UnsupportedValueError
from zdb.formats.columns import decode_index, encode_index, index_length, index_names
from zdb.formats.index_json import index_from_json, index_to_json
from zdb.formats.rows import Rows

INDEXES: list[Any] = [
    pd.RangeIndex(4),
    pd.RangeIndex(10, 2, -2, name="trial"),
    pd.Index([3, 1, 3, 2], dtype="int16", name=("a", 1)),
    pd.Index([1.5, np.nan, np.inf, -np.inf]),
    pd.Index([1j, complex("nan"), 2, 3]),
    pd.Index([True, False, True, True]),
    pd.Index([1, None, 3, 4], dtype="Int64"),
    pd.Index(["a", "b", None, "é"], dtype="str", name="cell"),
    pd.Index(["a", None, float("nan"), pd.NA], dtype=object),
    pd.Index(["a", 1, None, ("x", 2.5)], dtype=object),
    pd.Index([datetime.date(2020, 1, 1), np.int8(3), np.float64("nan"), b"x"], dtype=object),
    pd.Index([pd.Timestamp("2020", tz="Europe/Berlin"), pd.Timedelta("1h"), pd.NaT, 1j], dtype=object),
    pd.Index([pd.Period("2020-01"), pd.Interval(0, 1), 2**70, float("inf")], dtype=object),
    pd.CategoricalIndex(["a", "b", None, "a"], categories=["b", "a"], ordered=True, name="type"),
    pd.interval_range(0, 4, closed="both", name="bin"),
    pd.period_range("2020", periods=4, freq="Q"),
    pd.date_range("2020", periods=4, freq="2h", tz="Europe/Berlin", name="time"),
    pd.date_range("2020", periods=4, freq="BME"),
    pd.date_range("2020-03-28", periods=4, freq="D", unit="s"),
    pd.DatetimeIndex(["2021", None, "2020", "2020"]),
    pd.timedelta_range("1s", periods=4, freq="250ms"),
    pd.MultiIndex.from_product([["soma", "dend"], [1, 2]], names=["section", None]),
    pd.MultiIndex.from_arrays(
        [pd.date_range("2020", periods=4, tz="UTC"), pd.Categorical(["a", None, "a", "b"]), [None, 1, 2, 3]],
        names=["t", "t", ("x", 1)],
    ),
    pd.MultiIndex.from_product([["a", "b", "c"], range(3)])[[8, 0, 4, 4]],
]


def encoded(index: Any) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    names = [f"level_{i}" for i in range(index.nlevels)]
    variables, recipe = encode_index(index, names, "row")
    return variables, json.loads(json.dumps(recipe, allow_nan=False))


def assert_same_index(actual: Any, expected: Any) -> None:
    freq = hasattr(expected, "freq")
    pd.testing.assert_index_equal(actual, expected, exact=True, check_exact=True, check_freq=freq)
    assert type(actual) is type(expected)
    assert [type(x) for x in actual] == [type(x) for x in expected]
    assert list(actual.names) == list(expected.names)
    if isinstance(expected, pd.MultiIndex):
        for mine, other in zip(actual.levels, expected.levels, strict=True):
            assert_same_index(mine, other)


@pytest.mark.parametrize("index", INDEXES, ids=lambda i: f"{type(i).__name__}-{i.dtype}")
def test_an_index_comes_back(index: Any) -> None:
    variables, recipe = encoded(index)
    assert index_length(variables, recipe) == len(index) == 4
    assert_same_index(decode_index(variables, recipe, Rows(0, 4)), index)


@pytest.mark.parametrize("index", INDEXES, ids=lambda i: f"{type(i).__name__}-{i.dtype}")
@pytest.mark.parametrize("rows", [slice(1, 3), slice(None, None, -1), slice(3, None, -2), slice(2, 2), slice(0, 4, 3)])
def test_a_slice_is_that_of_pandas(index: Any, rows: slice) -> None:
    variables, recipe = encoded(index)
    assert_same_index(decode_index(variables, recipe, Rows.of(rows, 4)), index[rows])


@pytest.mark.parametrize("index", INDEXES, ids=lambda i: f"{type(i).__name__}-{i.dtype}")
def test_picked_rows(index: Any) -> None:
    variables, recipe = encoded(index)
    picked = decode_index(variables, recipe, Rows.of([2, -1, 0, 0], 4))
    pd.testing.assert_index_equal(picked, index.take([2, 3, 0, 0]), exact="equiv", check_freq=False)


@pytest.mark.parametrize("index", INDEXES, ids=lambda i: f"{type(i).__name__}-{i.dtype}")
@pytest.mark.parametrize("size", [0, 4])
def test_an_index_as_json(index: Any, size: int) -> None:
    index = index[:size]
    stored = json.loads(json.dumps(index_to_json(index, "the index"), allow_nan=False))
    assert_same_index(index_from_json(stored), index)


def test_a_range_needs_no_variables() -> None:
    assert encoded(pd.RangeIndex(10**9))[0] == {}


def test_levels_without_a_name_are_numbered() -> None:
    index = pd.MultiIndex.from_product([[1], [2]], names=["a", None])
    assert index_names(index) == ["a", "level_1"]
    assert index_names(pd.Index([1])) == ["index"]
    assert index_names(pd.Index([1], name=3)) == [3]


def test_a_frequency_that_its_name_does_not_describe_is_refused() -> None:
    days = pd.date_range("2020", periods=3, freq=CustomBusinessDay(holidays=["2020-01-02"]))
    with pytest.raises(UnsupportedValueError, match="frequency"):
        encoded(days)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (pd.Index([1, object()], dtype=object), "object"),
        (pd.Index([1], name=frozenset([1])), "frozenset"),
        (xr.date_range("2000", periods=2, calendar="noleap", use_cftime=True), "CFTimeIndex"),
        (pd.Index(pd.arrays.SparseArray([1, 0])), "Sparse"),
    ],
    ids=["objects", "name", "subclass", "sparse"],
)
def test_what_cannot_be_kept_is_refused(index: Any, message: str) -> None:
    with pytest.raises(UnsupportedValueError, match=message):
        encoded(index)
