"""Strings: every layout gives back every string, and every kind of missing value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from formats.comparing import assert_same_array
from hypothesis import given
from hypothesis import strategies as st

from zdb.errors import UnsupportedValueError
from zdb.formats import strings
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    import xarray as xr

MISSING = [None, float("nan"), pd.NA, pd.NaT]
VALUES = st.lists(st.text(max_size=5) | st.sampled_from(MISSING), max_size=12)


def as_objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def encoded(values: np.ndarray, layout: Any) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    text, mask = strings.from_objects(values, "column 'a'")
    if layout != "codes":
        return strings.encode_strings(text, mask, "a", "row", layout)
    repeated = pa.concat_arrays([text] * 2000)
    mask = None if mask is None else np.tile(mask, 2000)
    variables, recipe = strings.encode_strings(repeated, mask, "a", "row")
    return variables, recipe


@pytest.mark.parametrize("layout", ["auto", "bytes"])
@given(values=VALUES)
def test_objects_come_back(values: list[Any], layout: str) -> None:
    objects = as_objects(values)
    variables, recipe = encoded(objects, layout)
    assert recipe["layout"] == {"auto": "text", "bytes": "bytes"}[layout]
    back = strings.read_objects(variables, "a", recipe, Rows(0, len(values)))
    assert_same_array(back, objects)


@pytest.mark.parametrize("layout", ["auto", "bytes"])
@given(values=VALUES, data=st.data())
def test_picked_rows_are_those_of_numpy(values: list[Any], layout: str, data: st.DataObject) -> None:
    objects = as_objects(values)
    variables, recipe = encoded(objects, layout)
    size = len(values)
    positions = st.lists(st.integers(-size, size - 1), max_size=6) if size else st.just([])
    picked = np.array(data.draw(positions), dtype=np.int64)
    back = strings.read_objects(variables, "a", recipe, Rows.of(picked, size))
    assert_same_array(back, objects[picked])


def test_few_different_strings_become_codes_and_keep_what_is_missing() -> None:
    objects = as_objects(["soma", "apical", None, float("nan"), pd.NA, pd.NaT, "", "é"])
    variables, recipe = encoded(objects, "codes")
    assert recipe == {"layout": "codes"}
    assert variables["a"].dtype == np.int8
    assert sorted(variables["a.labels"].values.tolist()) == ["", "apical", "soma", "é"]
    back = strings.read_objects(variables, "a", recipe, Rows(0, 16_000))
    assert_same_array(back, np.tile(objects, 2000))
    text, mask = strings.read_strings(variables, "a", recipe, Rows(1, 7))
    assert text.to_pylist() == ["apical", None, None, None, None, ""]
    assert mask is not None
    assert mask.tolist() == [0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize(("labels", "dtype"), [(100, np.int8), (127, np.int8), (1000, np.int16)])
def test_codes_have_the_smallest_type(labels: int, dtype: Any) -> None:
    objects = as_objects([f"cell {i % labels}" for i in range(20_000)])
    variables, recipe = strings.encode_strings(*strings.from_objects(objects, "a"), "a", "row")
    assert recipe["layout"] == "codes"
    assert variables["a"].dtype == dtype
    assert_same_array(strings.read_objects(variables, "a", recipe, Rows(0, 20_000)), objects)


def test_many_different_strings_become_bytes_and_offsets() -> None:
    objects = as_objects([f"synapse {i}" for i in range(20_000)])
    variables, recipe = strings.encode_strings(*strings.from_objects(objects, "a"), "a", "row")
    assert recipe["layout"] == "bytes"
    assert set(variables) == {"a.bytes", "a.offsets"}
    offsets = variables["a.offsets"].values
    assert offsets.dtype == np.int32
    assert bytes(variables["a.bytes"].values[offsets[7] : offsets[8]]) == b"synapse 7"


def test_different_strings_that_the_sample_does_not_show_become_bytes() -> None:
    # Every sampled string is the same; the others all differ.
    objects = as_objects(["same" if i % 4 == 0 else f"{i}" for i in range(4 * 4096)])
    _, recipe = strings.encode_strings(*strings.from_objects(objects, "a"), "a", "row")
    assert recipe["layout"] == "bytes"


def test_long_texts_are_not_stored_as_text() -> None:
    objects = as_objects(["x" * 2**20, "y" * 2**20])
    variables, recipe = strings.encode_strings(*strings.from_objects(objects, "a"), "a", "row")
    assert recipe["layout"] == "bytes"
    assert_same_array(strings.read_objects(variables, "a", recipe, Rows(0, 2)), objects)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_slices_and_chunks_of_arrow_arrays(kind: pa.DataType) -> None:
    array = pa.chunked_array([pa.array(["a", "bb", None, "c"], kind)] * 2).slice(1, 5)
    mask = array.is_null().to_numpy().astype(np.uint8)
    variables, recipe = strings.encode_strings(array, mask, "a", "row", "bytes")
    assert variables["a.bytes"].values.tobytes().decode() == "bbcabb"
    text, _ = strings.read_strings(variables, "a", recipe, Rows(0, 5))
    assert text.to_pylist() == ["bb", None, "c", "a", "bb"]


def test_characters_of_one_arrow_chunk_are_not_copied() -> None:
    array = pa.array([f"synapse {i}" for i in range(100)], pa.large_string())
    variables, _ = strings.encode_strings(array, None, "a", "row", "bytes")
    original = np.frombuffer(array.buffers()[2], dtype=np.uint8)
    assert np.shares_memory(variables["a.bytes"].values, original)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 1], "int: 1"),
        (["a", b"b"], "bytes"),
        ([np.zeros(2), np.zeros(3)], r"numpy.ndarray.*zdb\.Ragged"),
        ([[1], [2]], "list of arrays"),
        ([None, True], "bool"),
        (["a", np.str_("b")], r"numpy.str_.*map\(str\)"),
        (["a", "\ud800"], "surrogate"),
        (["a", np.datetime64("NaT", "ns")], "datetime64"),
    ],
)
def test_other_objects_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(UnsupportedValueError, match=message) as caught:
        strings.from_objects(as_objects(values), "column 'a'")
    assert "column 'a'" in str(caught.value)
    assert 'format="pickle"' in str(caught.value)
