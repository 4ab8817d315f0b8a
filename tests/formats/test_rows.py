"""Rows: what is read is what numpy would pick, and hardly more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from formats.comparing import assert_same_array
from formats.memory import StoredArray
from hypothesis import given
from hypothesis import strategies as st
from xarray.core.indexing import LazilyIndexedArray

from zdb.errors import SelectionError
from zdb.formats.rows import Rows


def lazily(values: np.ndarray) -> tuple[xr.Variable, StoredArray]:
    stored = StoredArray(values)
    return xr.Variable(("row",), LazilyIndexedArray(stored)), stored


@given(st.data())
def test_rows_are_those_of_numpy(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 12))
    values = np.arange(size)
    variants = [st.slices(size), st.lists(st.booleans(), min_size=size, max_size=size)]
    if size:
        variants.append(st.lists(st.integers(-size, size - 1), max_size=6))
    chosen: Any = data.draw(st.one_of(variants))
    rows = Rows.of(chosen, size)
    variable, _ = lazily(values)
    if isinstance(chosen, slice):
        expected = values[chosen]
    else:
        kind = bool if size and len(chosen) == size and all(type(c) is bool for c in chosen) else np.int64
        expected = values[np.array(chosen, dtype=kind)]
    assert_same_array(rows.read(variable), expected)
    assert len(rows) == len(expected)


def test_a_slice_reads_its_window_only() -> None:
    variable, stored = lazily(np.arange(10_000))
    Rows.of(slice(500, 600), 10_000).read(variable)
    assert stored.elements_read == 100


def test_rows_far_apart_are_read_one_by_one() -> None:
    variable, stored = lazily(np.arange(10_000))
    picked = Rows.of([9999, 0, -1, 5000], 10_000).read(variable)
    assert picked.tolist() == [9999, 0, 9999, 5000]
    assert stored.elements_read == 3


@pytest.mark.parametrize("rows", [[5], [-6], [True, False], [1.5], ["a"], [[1]], 3, np.array(3)])
def test_rows_that_are_not_there_are_refused(rows: Any) -> None:
    with pytest.raises(SelectionError, match="rows"):
        Rows.of(rows, 5)
