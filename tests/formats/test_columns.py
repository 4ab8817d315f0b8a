"""Columns: every dtype that pandas has comes back as it was, or is refused."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr
from formats.comparing import assert_same_array
from hypothesis import given
from hypothesis import strategies as st

from zdb.errors import UnsupportedValueError
from zdb.formats.columns import column_names, decode_array, encode_array, stored_length
from zdb.formats.rows import Rows

ARROW = [
    pa.array([1, None, 3, 4], pa.int8()),
    pa.array([1.5, None, float("nan"), 4], pa.float32()),
    pa.array([True, None, False, True]),
    pa.array(["a", None, "", "é"], pa.string()),
    pa.array(["a", None, "", "é"], pa.large_string()),
    pa.array([0, None, 2, 3], pa.timestamp("ms", "Europe/Berlin")),
    pa.array([0, None, 2, 3], pa.duration("us")),
    pa.array([0, None, 2, 3], pa.date32()),
    pa.array([0, None, 2, 3], pa.time64("ns")),
    pa.array([b"a", None, b"", b"\xff"], pa.binary()),
    pa.array([[1], None, [], [2, None]], pa.list_(pa.int64())),
    pa.array([{"x": 1}, None, {"x": None}, {"x": 3}], pa.struct([("x", pa.int64())])),
    pa.array(["a", None, "b", "a"]).dictionary_encode(),
]
STRINGS = ["soma", None, "", "é"]
INTERVALS = pd.interval_range(0, 4, closed="left").array
COLUMNS: list[Any] = [
    *(np.array([0, 1, 2, 1]).astype(dtype) for dtype in "?bBhHiIlLqQefdFD"),
    np.array([1, 2, 3, 4], dtype=">i4"),
    np.array([1.5, np.nan, -0.0, np.inf], dtype=">f8"),
    *(
        np.array([0, 1, -1, np.iinfo(np.int64).min]).view(f"{kind}8[{unit}]")
        for kind in "mM"
        for unit in ("s", "ms", "us", "ns", "D", "Y", "as", "25s")
    ),
    np.array([2**62, 1, 0, -1]).view("M8[s]"),
    *(pd.array([1, None, 3, 4], dtype=f"{sign}Int{bits}") for sign in ("", "U") for bits in (8, 64)),
    pd.array([1.5, None, -0.0, np.inf], dtype="Float32"),
    pd.arrays.FloatingArray(np.array([np.nan, 1, 2, 3]), np.array([False, True, False, False])),
    pd.array([True, None, False, True], dtype="boolean"),
    pd.array([1, 2, 3, 4], dtype="Int16"),
    *(
        pd.array(STRINGS, dtype=pd.StringDtype(storage, na_value=missing))
        for storage in ("python", "pyarrow")
        for missing in (pd.NA, np.nan)
    ),
    *(pd.array(array.to_pylist(), dtype=pd.ArrowDtype(array.type)) for array in ARROW),
    pd.Categorical(["b", None, "a", "b"], categories=["c", "b", "a"], ordered=True),
    pd.Categorical([1.5, None, 2, 1.5]),
    pd.Categorical([1, None, 2, 1], categories=pd.RangeIndex(5, name="level")),
    pd.Categorical(["a", 1, ("x", 2), None]),
    pd.Categorical(pd.date_range("2020", periods=4, tz="UTC")),
    pd.Categorical([None] * 4, categories=pd.Index([], dtype=object)),
    pd.Categorical(INTERVALS),
    pd.DatetimeIndex(["2020-06-01", None, "2021", "1700"]).tz_localize("Europe/Berlin").array,
    pd.DatetimeIndex(["2020", None, "2021", "2022"], tz=datetime.UTC).array,
    pd.DatetimeIndex(["2020"] * 4, tz=datetime.timezone(datetime.timedelta(hours=-5, minutes=30))).array,
    pd.PeriodIndex(["2020-01", None, "2020-03", "1900-01"], freq="M").array,
    pd.period_range("2020", periods=4, freq="2h").array,
    INTERVALS,
    pd.arrays.IntervalArray.from_tuples([(0.5, 1.5), None, (1, 2), (2, 3)], closed="both"),
    pd.interval_range(pd.Timestamp("2020", tz="UTC"), periods=4).array,
    pd.arrays.IntervalArray.from_arrays(np.arange(4, dtype="i4"), np.arange(1, 5, dtype="i4")),
    np.array(["a", None, float("nan"), pd.NA], dtype=object),
    np.array([pd.NaT] * 4, dtype=object),
]


def assert_same_column(actual: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray):
        assert_same_array(actual, expected)
        return
    assert type(actual) is type(expected)
    assert actual.dtype == expected.dtype
    assert repr(actual.dtype) == repr(expected.dtype)
    pd.testing.assert_extension_array_equal(actual, expected, check_exact=True)
    if isinstance(expected, pd.Categorical):
        pd.testing.assert_index_equal(actual.categories, expected.categories, exact=True)
        assert_same_array(actual.codes, expected.codes)


def roundtrip(column: Any, rows: Any = None, **options: Any) -> Any:
    variables, recipe = encode_array(column, "a", "row", "column 'a'", **options)
    recipe = json.loads(json.dumps(recipe, allow_nan=False))
    assert stored_length(variables, recipe) == len(column)
    return decode_array(variables, recipe, Rows.of(rows, len(column)))


@pytest.mark.parametrize("layout", ["auto", "bytes"])
@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c.dtype}")
def test_a_column_comes_back(column: Any, layout: Any) -> None:
    assert_same_column(roundtrip(column, layout=layout), column)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c.dtype}")
@pytest.mark.parametrize("rows", [slice(1, 3), slice(None, None, -2), [3, 0, 0, -1], [False, True, True, False], []])
def test_rows_of_a_column(column: Any, rows: Any) -> None:
    picked = rows if isinstance(rows, slice) else np.arange(4)[np.array(rows, dtype=np.array(rows or [0]).dtype)]
    assert_same_column(roundtrip(column, rows), column[picked])


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c.dtype}")
def test_a_column_without_rows(column: Any) -> None:
    assert_same_column(roundtrip(column[:0]), column[:0])


@pytest.mark.parametrize(
    "column",
    [np.arange(5.0), np.arange(10)[::2], np.arange(5).astype("M8[ns]"), pd.array([1, 2], dtype="Int64")],
    ids=str,
)
def test_numbers_are_not_copied(column: Any) -> None:
    variables, _ = encode_array(column, "a", "row", "column 'a'")
    data = column if isinstance(column, np.ndarray) else column.to_numpy(dtype="int64")
    assert np.shares_memory(variables["a"].values, data)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "D"])
@pytest.mark.parametrize("kind", ["M", "m"])
def test_plain_xarray_reads_times(kind: str, unit: str) -> None:
    times = np.array(["2020-05-01", "NaT", "1969-12-31"], dtype="M8[D]").astype(f"M8[{unit}]")
    times = times if kind == "M" else times.view(f"m8[{unit}]")
    variables, _ = encode_array(times, "a", "row", "column 'a'")
    decoded = xr.decode_cf(xr.Dataset(variables), decode_timedelta=True)["a"]
    np.testing.assert_array_equal(decoded.values, times.astype(f"{kind}8[ns]"))


def test_times_out_of_the_range_of_xarray_are_shown_as_numbers() -> None:
    variables, _ = encode_array(np.array(["9999-01-01"], "M8[s]"), "a", "row", "column 'a'")
    assert variables["a"].attrs == {}


class Celsius(pd.api.extensions.ExtensionDtype):
    name = "celsius"
    type = float


class Temperatures(pd.api.extensions.ExtensionArray):
    dtype = Celsius()

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.arrays.SparseArray([0, 1]), "Sparse.*to_dense"),
        (np.array([1, 2], dtype=np.longdouble), "float128"),
        (np.array([b"a"]), r"\|S1"),
        (np.array([1, "a"], dtype=object), "int: 1"),
        (np.array([[1], None], dtype=object), "list"),
        (Temperatures(), "celsius"),
        (pd.array(["\ud800"], dtype=pd.StringDtype("python")), "not Unicode"),
        (pd.Categorical([datetime.timedelta(1), "a"]), "timedelta"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_cannot_be_kept_is_refused(column: Any, message: str) -> None:
    with pytest.raises(UnsupportedValueError, match=message) as caught:
        encode_array(column, "a", "row", "column 'a'")
    assert "pickle" in str(caught.value)


@given(
    st.lists(
        st.sampled_from(["a", "A", "a.mask", "a.mask.x", "A.MASK", "a_mask", "row", "b/c", "é", "", ".x"])
        | st.integers()
        | st.tuples(st.text(max_size=2), st.integers())
    )
)
def test_names_of_columns_cannot_meet_parts_of_other_columns(labels: list[Any]) -> None:
    folded = [name.casefold() for name in column_names(labels, ["row"])]
    assert len(set(folded)) == len(labels)
    assert "row" not in folded
    for name in folded:
        assert not any(other.startswith(f"{name}.") for other in folded)


def test_safe_names_of_columns_are_kept() -> None:
    assert column_names(["time", "rate.mean", "cell id"], ["row"]) == ["time", "rate.mean", "cell id"]
