"""Labels and attributes as JSON: exactly, or not at all."""

from __future__ import annotations

import datetime
import enum
import json
from typing import Any
from zoneinfo import ZoneInfo

import dateutil.tz
import numpy as np
import pandas as pd
import pytest
from formats.strategies import json_values
from hypothesis import given
from hypothesis import strategies as st

from zdb.errors import UnsupportedValueError
from zdb.formats.labels import from_json, json_exactly, timezone_from_json, timezone_to_json, to_json

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.dates(),
    st.sampled_from(
        [
            pd.NA,
            pd.NaT,
            pd.Timestamp("1677-10-01 00:00:00.000000001"),
            pd.Timestamp("9999-10-01", tz="America/New_York").as_unit("s"),
            pd.Timedelta(-1, "ns"),
            pd.Period("2020-03", "Q"),
            pd.Interval(0.5, float("inf"), closed="neither"),
            np.uint8(255),
            np.float32("nan"),
            np.datetime64("2020-01", "M"),
            np.timedelta64("NaT", "ps"),
            np.bool_(True),
        ]
    ),
)


@given(st.recursive(SCALARS, lambda parts: st.lists(parts, max_size=3).map(tuple), max_leaves=5))
def test_labels_come_back(label: Any) -> None:
    stored = json.loads(json.dumps(to_json(label), allow_nan=False))
    back = from_json(stored)
    assert type(back) is type(label)
    assert repr(back) == repr(label)


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize("label", [Colour.RED, frozenset(), object(), datetime.datetime(2020, 1, 1), np.str_("a")])
def test_other_labels_are_refused(label: Any) -> None:
    with pytest.raises(UnsupportedValueError, match=type(label).__name__):
        to_json(label)


@pytest.mark.parametrize(
    "zone",
    [
        None,
        datetime.UTC,
        ZoneInfo("Europe/Berlin"),
        ZoneInfo("UTC"),
        datetime.timezone(datetime.timedelta(hours=-3, seconds=7)),
        datetime.timezone(datetime.timedelta(hours=1), "CET"),
        datetime.timezone(datetime.timedelta(0), "Zulu"),
    ],
    ids=str,
)
def test_time_zones_come_back(zone: Any) -> None:
    back = timezone_from_json(json.loads(json.dumps(timezone_to_json(zone))))
    assert back == zone
    assert repr(back) == repr(zone)


def test_time_zones_without_a_name_are_refused() -> None:
    with pytest.raises(UnsupportedValueError, match="time zone"):
        timezone_to_json(dateutil.tz.tzrange("CET", 3600))


@given(json_values())
def test_attributes_of_json_are_kept_unless_not_finite(value: Any) -> None:
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        with pytest.raises(UnsupportedValueError):
            json_exactly(value, "attrs")
    else:
        assert json.dumps(json_exactly(value, "attrs")) == text


@pytest.mark.parametrize("value", [(1,), {1: 2}, np.float64(1), float("nan"), b"", {"a": [{"b": {1}}]}])
def test_attributes_that_json_would_change_are_refused(value: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="attrs"):
        json_exactly(value, "attrs")
