"""What the installed Python, numpy and pandas pickle comes back, in each protocol."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import pickle
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zdb.legacy.rebuild import load

TIMES = pd.date_range("2020-01-01", periods=3, freq="h", unit="ns")
FRAME = pd.DataFrame(
    {
        "i": [1, 2, 3],
        "f": [1.5, np.nan, 3.0],
        "o": pd.Series(["x", None, (1, 2)], dtype=object),
        "c": pd.Categorical(["u", "v", "u"], categories=pd.Index(["v", "u"], dtype=object), ordered=True),
        "t": TIMES,
        "z": TIMES.tz_localize("UTC").tz_convert("Europe/Berlin"),
        "d": TIMES - TIMES[0],
        "n": pd.array([1, None, 3], dtype="Int64"),
        "b": pd.array([True, None, False], dtype="boolean"),
        "i2": np.array([7, 8, 9], dtype="i2"),
    }
).rename(columns=str)
FRAME.columns = FRAME.columns.astype(object)
MULTI = pd.MultiIndex.from_arrays([pd.Index(["a", "a", "b"], dtype=object), [1, 2, 1]], names=["k", None])
STRUCTURE = np.array([(1, 2.5, "ab"), (3, 4.5, "c")], dtype=[("a", "i2"), ("b", "f8"), ("c", "U2")])

TABLES = {
    "frame": FRAME,
    "index of floats": pd.DataFrame(np.ones((2, 3)), columns=[0.1, 0.2, 0.3]),
    "index of ranges": pd.DataFrame(np.ones((2, 3))),
    "index of times": pd.Series([1, 2, 3], index=TIMES),
    "multi index": pd.DataFrame([[1.0], [2.0], [3.0]], index=MULTI),
    "columns of tuples": pd.DataFrame(np.ones((2, 3)), columns=MULTI),
    "categories as index": pd.Series([1, 2], index=pd.CategoricalIndex(pd.Index(["a", "b"], dtype=object), name="c")),
    "empty": pd.DataFrame(np.empty((0, 2))),
    "no columns": pd.DataFrame(index=[1, 2]),
    "series": pd.Series([1.5, 2.5], name="s", index=pd.Index(["a", "b"], dtype=object)),
    "series of categories": pd.Series(pd.Categorical(pd.Index(["a", "b"], dtype=object))),
    "series of zoned times": pd.Series(TIMES.tz_localize("UTC")),
}
VALUES = {
    "numbers": [1, 2.5, 3j, True, None, 10**30],
    "text": {"a": "ä", b"b": b"\xff", ("c", 1): "x" * 300},
    "containers": [(1, [2]), {3, 4}, frozenset("ab"), bytearray(b"xy"), range(2, 9, 3), slice(1, None, 2)],
    "ordered": collections.OrderedDict([("b", 1), ("a", [2])]),
    "times": [
        dt.date(2020, 2, 29),
        dt.datetime(2020, 2, 29, 12, 30, 1, 5),
        dt.datetime(2020, 2, 29, tzinfo=dt.UTC),
        dt.datetime(2020, 2, 29, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        dt.time(1, 2, 3),
        dt.timedelta(days=-1, microseconds=3),
    ],
    "others": [decimal.Decimal("1.50"), uuid.UUID(int=5), float, np.float64, np.dtype(">i4"), np.dtype("M8[ms]")],
    "scalars": [np.float32(1.5), np.int64(3), np.bool_(True), np.str_("a"), np.datetime64("2020-01-01", "D")],
    "pandas scalars": [
        pd.Timestamp("2020-01-01 12:00:00.123456789"),
        pd.Timestamp("2020-01-01", tz="Europe/Berlin"),
        pd.Timedelta("1h"),
    ],
}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", TABLES)
def test_tables(name: str, protocol: int) -> None:
    table = TABLES[name]
    found = load(pickle.dumps(table, protocol), "it")
    check = pd.testing.assert_frame_equal if isinstance(table, pd.DataFrame) else pd.testing.assert_series_equal
    check(found, table, check_freq=False)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", VALUES)
def test_values(name: str, protocol: int) -> None:
    value: Any = VALUES[name]
    found = load(pickle.dumps(value, protocol), "it")
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, list):
        assert [type(part) for part in found] == [type(part) for part in value]


def test_missing_times() -> None:
    found = load(pickle.dumps([pd.NaT, np.datetime64("NaT", "ns")]), "it")
    assert found[0] is pd.NaT
    assert np.isnat(found[1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        STRUCTURE,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.array(5.5),
        np.zeros((0, 3), dtype="f4"),
        np.array(["2020-01-01", "NaT"], dtype="M8[s]"),
        np.array([b"ab", b"c"]),
        np.array([["a", None], [1, (2, 3)]], dtype=object),
        np.zeros(2, dtype=[("a", "f4", (2, 3))]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays(array: np.ndarray, protocol: int) -> None:
    found = load(pickle.dumps(array, protocol), "it")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tolist() == array.tolist() if array.dtype.hasobject else found.tobytes() == array.tobytes()
    assert found.flags.writeable


@given(
    hnp.arrays(
        hnp.scalar_dtypes() | hnp.array_dtypes(max_size=3),
        hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
    ),
    st.sampled_from(PROTOCOLS),
)
def test_any_array(array: np.ndarray, protocol: int) -> None:
    found = load(pickle.dumps(array, protocol), "it")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
