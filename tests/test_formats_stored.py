"""Values of every format in real stores: what the strategies draw comes back from a disk and from a bucket."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from formats import strategies
from formats.comparing import assert_same_array
from formats.test_datasets import assert_same as assert_same_dataset
from formats.test_objects import VALUES
from formats.test_objects import same as same_json
from formats.test_ragged import assert_same_rows, lists
from hypothesis import given, settings
from hypothesis import strategies as st
from places import new_place

import zdb  # noqa: TC001 - read by pytest


@st.composite
def lazy_arrays(draw: st.DrawFn) -> da.Array:
    array = draw(strategies.arrays())
    return da.from_array(array, chunks=draw(strategies.chunks(array.shape)))


@st.composite
def shaped_arrays(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, Any]]:
    """Numbers, and chunks and shards that they are to be stored in."""
    array = draw(strategies.arrays().filter(lambda a: a.ndim and a.size and a.dtype.kind in "?iufcM"))
    chunks = tuple(draw(st.integers(1, size + 1)) for size in array.shape)
    shards = tuple(draw(st.integers(1, 3)) * chunk for chunk in chunks)
    codec = draw(st.sampled_from([None, False, {"name": "gzip", "configuration": {"level": 1}}]))
    return array, {"chunks": chunks, "shards": draw(st.sampled_from([None, shards])), "codec": codec}


def assert_same_lazy(actual: da.Array, expected: da.Array) -> None:
    assert actual.chunks == expected.chunks
    assert_same_array(actual.compute(scheduler="synchronous"), expected.compute(scheduler="synchronous"))


def assert_same_json(actual: Any, expected: Any) -> None:
    assert same_json(actual, expected)


def assert_equal(actual: Any, expected: Any) -> None:
    assert type(actual) is type(expected)
    assert actual == expected


FAMILIES: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "arrays": (strategies.arrays(), assert_same_array),
    "arrays of text": (strategies.text_arrays(), assert_same_array),
    "dask arrays": (lazy_arrays(), assert_same_lazy),
    "datasets": (strategies.datasets(), assert_same_dataset),
    "lists of arrays": (lists(), assert_same_rows),
    "JSON": (VALUES, assert_same_json),
    "bytes": (st.binary(max_size=40), assert_equal),
    "objects": (st.sets(st.integers()) | st.fractions(), assert_equal),
}


@pytest.fixture(scope="module")
def on_disk(request, tmp_path_factory) -> zdb.Database:
    return new_place("local", tmp_path_factory.mktemp("formats"), request).open(allow_pickle=True)


@pytest.fixture(scope="module")
def in_bucket(request, tmp_path_factory) -> zdb.Database:
    return new_place("s3", tmp_path_factory.mktemp("formats"), request).open(allow_pickle=True)


def check(db: zdb.Database, family: str, data: st.DataObject) -> None:
    """Write a value over the last one of any other format, and read it through a new handle."""
    strategy, assert_same = FAMILIES[family]
    value = data.draw(strategy)
    db.set("k", value, format="pickle" if family == "objects" else None)
    assert_same(db["k"], value)


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40)
@given(data=st.data())
def test_on_disk(on_disk, family, data):
    check(on_disk, family, data)


@pytest.mark.s3
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=6)
@given(data=st.data())
def test_in_a_bucket(in_bucket, family, data):
    check(in_bucket, family, data)


@settings(max_examples=60)
@given(data=st.data(), made=shaped_arrays())
def test_parts_of_arrays_in_any_chunks(on_disk, data, made):
    """Also those that end in the middle of a chunk, and codecs that only zarr reads."""
    array, options = made
    on_disk.set("k", array, **options)
    assert_same_array(on_disk["k"], array)
    rows = data.draw(st.slices(len(array)) | st.lists(st.integers(0, len(array) - 1)))
    assert_same_array(on_disk.get("k", rows=rows), array[rows])


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_files(on_disk, tmp_path, size):
    path = tmp_path / "file.bin"
    path.write_bytes(np.random.default_rng(0).bytes(size))
    on_disk["k"] = path
    back = on_disk["k"]
    assert back.name == "file.bin"
    assert back.read() == path.read_bytes()
