from __future__ import annotations

import re

import pytest
from formats import strategies
from hypothesis import given
from hypothesis import strategies as st

from zdb.formats.names import is_safe_name, safe_names

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")


@given(st.lists(strategies.names()))
def test_names_are_safe_unique_and_deterministic(names):
    safe = safe_names(names)
    assert len(safe) == len(names)
    assert all(SAFE.fullmatch(name) and name.lower() != "zarr.json" for name in safe)
    assert len({name.casefold() for name in safe}) == len(safe)
    assert safe == safe_names(names)


@given(st.lists(strategies.names()), st.lists(st.sampled_from(["x", "time", "data"])))
def test_names_that_are_taken_are_not_given(names, taken):
    assert not {n.casefold() for n in safe_names(names, taken)} & {*taken}


def test_safe_names_stay():
    names = ["v", "soma voltage", "dt-0.1", "A_1", "2d"]
    assert all(map(is_safe_name, names))
    assert safe_names(names) == names


def test_safe_names_go_before_unsafe_ones():
    assert safe_names([0, "0", ("0",)]) == ["0_2", "0", "0_3"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b", "a_b"),
        ("", "unnamed"),
        ("..", "unnamed"),
        (".zarray", "zarray"),
        ("__x", "x"),
        ("zarr.json", "zarr.json_2"),
        ("µ", "unnamed"),
        ("trailing.", "trailing"),
        (("soma", 1), "soma_1"),
        (None, "None"),
        (1.5, "1.5"),
        ("x" * 300, "x" * 100),
    ],
)
def test_unsafe_names_stay_readable(name, safe):
    assert not is_safe_name(name)
    assert safe_names([name]) == [safe]


def test_names_that_differ_by_case_are_told_apart():
    assert safe_names(["v", "V", "V"]) == ["v", "V_2", "V_3"]
