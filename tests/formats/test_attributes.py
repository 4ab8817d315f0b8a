from __future__ import annotations

import datetime
import json
import math
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from formats import strategies
from hypothesis import given

from zdb.errors import UnsupportedValueError
from zdb.formats.attributes import (
    DECODED_BY_XARRAY,
    decode_attributes,
    drop_node_attributes,
    encode_attributes,
)
from zdb.formats.exact import exact_from_json, exact_to_json, is_json


def same(a, b) -> bool:
    """Equal with all types, order and NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=True)
        return len(a) == len(b) and all(same(k, m) and same(v, w) for (k, v), (m, w) in pairs)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | np.generic):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype.kind == "O":
            return all(map(same, a.flat, b.flat))
        return str(a) == str(b) if a.dtype.kind == "T" else a.tobytes() == b.tobytes()
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, complex):
        return repr(a) == repr(b)
    return a is b or bool(a == b)


VALUES = [
    "text",
    "µ\ud800",
    True,
    None,
    0,
    2**80,
    -(2**63),
    1.5,
    -0.0,
    float("nan"),
    float("-inf"),
    1 + 2j,
    b"\0\xff",
    [1, [2.5, "a", None], {}],
    [float("nan"), (1, 2)],
    {"a": 1, "b": {"c": [True]}},
    {1: "a", (2, "x"): float("inf"), "dict": {"tuple": []}},
    {"float": "nan"},
    {"dict": [["a", 1]]},
    (),
    (1, ("a", [2])),
    {"x"},
    frozenset({1}),
    np.float64("nan"),
    np.float32(0.1),
    np.int8(-3),
    np.bool_(True),
    np.complex64(1j),
    np.str_("ü"),
    np.bytes_(b"a\xff"),
    np.datetime64("2000-01-01", "D"),
    np.timedelta64(3, "ms"),
    np.array([1, 2], dtype=">i2"),
    np.array([[np.nan, np.inf]]),
    np.array(["a", "bü"]),
    np.array([b"a"]),
    np.array(["a", "b"], dtype=np.dtypes.StringDType()),
    np.array(["a", None, 1.5], dtype=object),
    np.array(["2000"], dtype="M8[s]"),
    np.zeros((0, 2), dtype="f4"),
    np.arange(2000),
    np.array(5),
    np.dtype("<i2"),
    np.float32,
    np.str_,
    str,
    datetime.datetime(2000, 1, 2, 3, 4, 5, 6),
    datetime.datetime(2000, 1, 2, tzinfo=datetime.UTC),
    datetime.datetime(2000, 10, 29, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime.date(2000, 1, 2),
    datetime.time(1, 2, 3),
    datetime.timedelta(days=-1, microseconds=5),
    pd.Timestamp("2000-01-01 00:00:00.000000001"),
    pd.Timestamp("2000-01-01", tz="Europe/Berlin"),
    pd.Timedelta("3ns"),
    pd.NaT,
    pd.NA,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}-{value!r:.30}")
def test_every_type_of_value(value):
    shown, recipe = encode_attributes({"a": 1, "key": value, "b": 2})
    text = json.dumps([shown, recipe], allow_nan=False)
    text.encode("utf-8")
    restored = decode_attributes(*json.loads(text))
    assert list(restored) == ["a", "key", "b"]
    assert same(restored["key"], value)


@given(strategies.attributes())
def test_attributes(attrs):
    for show in (True, False):
        shown, recipe = encode_attributes(attrs, show=show)
        restored = decode_attributes(*json.loads(json.dumps([shown, recipe], allow_nan=False)))
        assert same(restored, attrs)
        assert is_json(shown)
        assert show or not shown


@given(strategies.attribute_values())
def test_exact_values(value):
    stored = json.loads(json.dumps(exact_to_json(value, "it"), allow_nan=False))
    assert same(exact_from_json(stored), value)


@pytest.mark.parametrize("value", [object(), np.zeros(2, "V3"), np.longdouble(1), [object()], {"a": 1j, "b": len}, int])
def test_what_cannot_be_kept_is_refused(value):
    if value is int:
        value = datetime.datetime
    with pytest.raises(UnsupportedValueError, match="attribute 'key'"):
        encode_attributes({"key": value})


def test_json_is_shown_as_it_is():
    attrs = {"units": "mV", "n": 3, "x": [1.5, None], "d": {"a": True}}
    shown, recipe = encode_attributes(attrs)
    assert shown == attrs
    assert recipe == {"names": list(attrs)}


def test_numpy_values_are_shown_as_numbers():
    attrs = {"a": np.float32(0.5), "b": np.arange(3), "c": (1, "x"), "d": np.nan}
    shown, _ = encode_attributes(attrs)
    assert shown == {"a": 0.5, "b": [0, 1, 2], "c": [1, "x"]}


def test_dangerous_attributes_are_hidden():
    attrs = dict.fromkeys(DECODED_BY_XARRAY, 1.0)
    attrs |= {"units": "days since 2000-01-01", "zdb_x": 1, "mine": 2, 3: 4}
    shown, recipe = encode_attributes(attrs, hidden={"mine"})
    assert shown == {}
    assert decode_attributes(shown, recipe) == attrs


def test_order_does_not_depend_on_the_store():
    attrs = {"z": 1, "a": np.int8(2), "m": 3}
    shown, recipe = encode_attributes(attrs)
    assert list(decode_attributes(dict(sorted(shown.items())), recipe)) == ["z", "a", "m"]


def test_attributes_removed_from_the_store_are_gone():
    shown, recipe = encode_attributes({"a": 1, "b": 2})
    del shown["a"]
    assert decode_attributes(shown, recipe) == {"b": 2}


def test_node_attributes():
    attrs = {"zdb_kind": "value", "zdb_recipe": "{}", "zdb_git_commit": "x", "a": 1}
    assert drop_node_attributes(attrs) == {"a": 1}
    with pytest.raises(UnsupportedValueError, match="'zdb_mine'"):
        drop_node_attributes({"zdb_mine": 1})
