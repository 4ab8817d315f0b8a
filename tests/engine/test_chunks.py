"""Lazy reading: every way to index gives what numpy gives, and a lost or damaged chunk is an error that names it."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import zdb
from zdb.engine.chunks import StoredArray
from zdb.errors import CorruptChunkError, MissingChunkError, StaleValueError, StorageError

SHAPE = (13, 7, 5)
DATA = np.arange(np.prod(SHAPE), dtype="f8").reshape(SHAPE)


@pytest.fixture(scope="module", params=["local", "memory"])
def variable(request, tmp_path_factory):
    """The same array in chunks and shards that do not fit its shape."""
    url = tmp_path_factory.mktemp("db") if request.param == "local" else "memory://indexing"
    db = zdb.open(url)
    db.set("k", DATA, chunks=(2, 3, 2), shards=(4, 6, 4))
    return lazily(db)["data"]


def lazily(db, key="k"):
    return db._engine.open_value(db._engine.node(key))


def is_lazy(variable):
    return not variable.variable._in_memory


# Indexing as numpy does


@given(st.data())
def test_basic_indexing(variable, data):
    index = tuple(
        data.draw(st.one_of(st.integers(-size, size - 1), st.slices(size), st.just(slice(None)))) for size in SHAPE
    )
    part = variable[index]
    assert is_lazy(part)
    np.testing.assert_array_equal(part.values, DATA[index])


@given(st.data())
def test_outer_indexing(variable, data):
    def one(size):
        positions = st.lists(st.integers(-size, size - 1), max_size=6)
        masks = st.lists(st.booleans(), min_size=size, max_size=size).map(np.array)
        return st.one_of(
            positions.map(lambda p: np.array(p, int)), masks, st.slices(size), st.integers(-size, size - 1)
        )

    index = tuple(data.draw(one(size)) for size in SHAPE)
    part = variable[index]
    expected = DATA
    for axis, one in reversed(list(enumerate(index))):
        expected = expected[(slice(None),) * axis + (one,)]
    np.testing.assert_array_equal(part.values, expected)


@given(st.data())
def test_vectorised_indexing(variable, data):
    """Points along one new dimension, or two, with the other dimensions whole, sliced or at one place."""
    dims = ("points",) if data.draw(st.booleans()) else ("points", "more")
    shape = data.draw(hnp.array_shapes(min_dims=len(dims), max_dims=len(dims), min_side=0, max_side=4))
    chosen = data.draw(st.lists(st.sampled_from(range(3)), min_size=2, max_size=3, unique=True))
    index, numpy_index = {}, [slice(None)] * 3
    for axis in chosen:
        positions = data.draw(hnp.arrays(int, shape, elements=st.integers(-SHAPE[axis], SHAPE[axis] - 1)))
        index[f"dim_{axis}"] = xr.Variable(dims, positions)
        numpy_index[axis] = positions
    part = variable.isel(index)
    others = [f"dim_{axis}" for axis in range(3) if axis not in chosen]
    expected = DATA.transpose(*chosen, *(a for a in range(3) if a not in chosen))[tuple(numpy_index[a] for a in chosen)]
    np.testing.assert_array_equal(part.transpose(*dims, *others).values, expected)


@given(st.data())
def test_indexing_again(variable, data):
    first = tuple(data.draw(st.slices(size)) for size in SHAPE)
    part, expected = variable[first], DATA[first]
    second = tuple(data.draw(st.slices(size)) if size else slice(None) for size in expected.shape)
    np.testing.assert_array_equal(part[second].values, expected[second])


@given(st.data())
def test_reading_through_dask(variable, data):
    chunks = tuple(data.draw(st.integers(1, size)) for size in SHAPE)
    index = tuple(data.draw(st.slices(size)) for size in SHAPE)
    lazy = variable.chunk(dict(zip(variable.dims, chunks, strict=True)))
    np.testing.assert_array_equal(lazy[index].compute(scheduler="synchronous").values, DATA[index])


def test_positions_out_of_bounds(variable):
    for index in ({"dim_0": 13}, {"dim_1": [0, 7]}):
        with pytest.raises(IndexError):
            variable.isel(index).values  # noqa: B018


def test_only_what_is_indexed_is_read(place):
    db = place.open()
    db.set("k", np.arange(100), chunks=(10,))
    nodes = db._engine.nodes
    nodes.delete([path for path in nodes.list_objects("k") if path.startswith("k/data/c/") and path[-1] not in "37"])
    stored = lazily(db)["data"]
    np.testing.assert_array_equal(stored[30:40], np.arange(30, 40))
    np.testing.assert_array_equal(stored[[75, 31, 39]], [75, 31, 39])
    np.testing.assert_array_equal(stored[xr.Variable("x", [31, 72])], [31, 72])
    np.testing.assert_array_equal(stored[39:29:-3], [39, 36, 33, 30])
    assert stored[-27].values == 73
    for index in (slice(30, 41), slice(29, 31), [31, 0], 0, slice(None, None, 60)):
        with pytest.raises(MissingChunkError):
            stored[index].values  # noqa: B018


@given(st.data())
def test_missing_chunks_are_noticed_exactly_where_they_matter(tmp_path_factory, data):
    """Whatever the index: an error if it touches a lost chunk, the right numbers if not."""
    db = _damaged(tmp_path_factory)
    index = tuple(
        data.draw(
            st.one_of(
                st.integers(-size, size - 1),
                st.slices(size),
                st.lists(st.integers(-size, size - 1), max_size=4).map(lambda p: np.array(p, int)),
            )
        )
        for size in SHAPE
    )
    expected, lost = DATA, np.zeros(SHAPE, bool)
    lost[4:8, 0:3, 2:4] = True
    for axis, one in reversed(list(enumerate(index))):
        expected, lost = (array[(slice(None),) * axis + (one,)] for array in (expected, lost))
    part = lazily(db)["data"][index]
    if lost.any():
        with pytest.raises(MissingChunkError, match="k/data/c/1/0/1"):
            part.values  # noqa: B018
    else:
        np.testing.assert_array_equal(part.values, expected)


_databases = {}


def _damaged(tmp_path_factory):
    if not _databases:
        db = _databases["db"] = zdb.open(tmp_path_factory.mktemp("damaged"))
        db.set("k", DATA, chunks=(4, 3, 2))
        db._engine.nodes.delete(["k/data/c/1/0/1"])
    return _databases["db"]


# Damage


def put(place, **options):
    db = place.open()
    db.set("a/k", np.random.default_rng(0).normal(size=(40, 10)), chunks=(10, 10), **options)
    return db


def reads_of(db):
    """All ways in which a value is read."""
    return {
        "whole": lambda: db["a/k"],
        "part": lambda: db.get("a/k", rows=slice(5, 15)),
        "lazily": lambda: lazily(db, "a/k")["data"][15].values,
        "points": lambda: lazily(db, "a/k")["data"][xr.Variable("p", [11, 12]), xr.Variable("p", [0, 1])].values,
        "by dask": lambda: lazily(db, "a/k").chunk()["data"].sum().compute(),
    }


@pytest.mark.parametrize("shards", [None, (20, 10)])
def test_a_lost_chunk_is_an_error_that_names_it(place, shards):
    db = put(place, shards=shards)
    lost = "a/k/data/c/0/0" if shards else "a/k/data/c/1/0"
    db._engine.nodes.delete([lost])
    for read in reads_of(db).values():
        with pytest.raises(
            MissingChunkError, match=rf"a/k: array 'data': chunk {lost} is not in the store.*write the value again"
        ):
            read()
    assert issubclass(MissingChunkError, OSError)


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "one bit": lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:],
    "last byte": lambda data: data[:-1] + bytes([data[-1] ^ 255]),
    "zeros": lambda data: bytes(len(data)),
    "longer": lambda data: data + b"junk",
    "another file": lambda data: b"<html>404 Not Found</html>",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("shards", [None, (20, 10)])
def test_a_damaged_chunk_is_an_error_that_names_it(place, damage, shards):
    db = put(place, shards=shards)
    damaged = "a/k/data/c/0/0" if shards else "a/k/data/c/1/0"
    nodes = db._engine.nodes
    nodes.set(damaged, DAMAGE[damage](nodes.get(damaged)))
    expected = rf"a/k: array 'data': {damaged} cannot be decoded: .*write the value again"
    for name, read in reads_of(db).items():
        if shards and damage == "one bit" and name != "whole" and name != "by dask" and name != "part":
            continue  # the bit is in another chunk of the shard, which is not read
        with pytest.raises(CorruptChunkError, match=expected):
            read()
    db["a/k"] = "written again"
    assert db["a/k"] == "written again"


def test_a_damaged_string_chunk(tmp_path):
    db = zdb.open(tmp_path)
    db["k"] = np.array(["a", "bc", "µ"], dtype=np.dtypes.StringDType())
    nodes = db._engine.nodes
    (chunk,) = (path for path in nodes.list_objects("k") if not path.endswith("zarr.json"))
    nodes.set(chunk, nodes.get(chunk)[:-2])
    with pytest.raises(CorruptChunkError, match=chunk):
        db["k"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"zarr_format": 3}'])
def test_damaged_metadata_of_a_value(place, content):
    db = place.open()
    db["good"] = 1
    db["k"] = np.arange(3)
    db._engine.nodes.set("k/zarr.json", content)
    for read in (lambda: db["k"], lambda: db.info("k"), lambda: db.get("k"), lambda: db.provenance("k")):
        with pytest.raises(CorruptChunkError, match=r"k/zarr\.json is not valid Zarr metadata"):
            read()
    assert db["good"] == 1
    assert list(db) == ["good", "k"]


def test_a_damaged_json_value(db):
    db["k"] = {"x": 1}
    nodes = db._engine.nodes
    nodes.set("k/zarr.json", nodes.get("k/zarr.json").replace(rb"{\"x\": 1}", rb"{\"x\": "))
    with pytest.raises(CorruptChunkError, match="k"):
        db["k"]


def test_a_store_that_fails_is_no_damage(tmp_path, monkeypatch):
    """A lost connection says nothing about the data."""
    import zarr

    db = zdb.open(zarr.storage.MemoryStore())
    db["k"] = np.arange(30)
    value = lazily(db)["data"]

    async def fail(self, *args, **kwargs):
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(zarr.storage.MemoryStore, "get", fail)
    with pytest.raises(StorageError, match="Connection reset by peer") as caught:
        value.values  # noqa: B018
    assert not isinstance(caught.value, CorruptChunkError)


# Handles that outlive their value


def test_a_handle_opened_before_a_replace_keeps_reading_its_data(place):
    db = place.open()
    db["k"] = da.arange(100, chunks=30)
    handle = db["k"]
    db["k"] = da.zeros(10, chunks=5)
    np.testing.assert_array_equal(handle.compute(), np.arange(100))


@pytest.mark.parametrize("values", [(1, 2), (np.zeros(100), np.ones(100)), (da.zeros(10, chunks=3), "text")])
def test_after_two_replaces_a_handle_is_stale(place, values):
    db = place.open()
    db["k"] = da.arange(100, chunks=30)
    handle = db["k"]
    handle[:5].compute()
    for value in values:
        db["k"] = value
    with pytest.raises(
        StaleValueError, match="k: the value was replaced or deleted since it was opened; read the key again"
    ):
        handle.compute()


def test_a_handle_never_reads_a_later_generation(place):
    """Chunk keys come back with every third generation."""
    db = place.open()
    db["k"] = da.arange(100, chunks=30)
    handle = db["k"]
    for number in range(1, 8):
        db["k"] = da.full(100, number, chunks=30)
        try:
            read = handle.compute()
        except StaleValueError:
            assert number > 1
        else:
            assert number == 1
            np.testing.assert_array_equal(read, np.arange(100))


@pytest.mark.parametrize("change", ["delete", "delete and write", "rename", "delete the database"])
def test_a_handle_whose_value_is_gone(place, change):
    db = place.open()
    db["a/k"] = da.arange(100, chunks=30)
    handle = db["a/k"]
    if change == "rename":
        db.rename("a/k", "a/l")
    elif change == "delete the database":
        del db["a"]
    else:
        del db["a/k"]
        if change == "delete and write":
            db["a/k"] = da.zeros(100, chunks=30)
    with pytest.raises(StaleValueError, match="a/k: "):
        handle.compute()


def test_a_chunk_that_is_lost_after_a_replace_is_no_missing_chunk(place):
    """The chunks of a generation are collected before the one after the next is committed."""
    db = place.open()
    db["k"] = da.arange(100, chunks=30)
    handle = db["k"]
    old = [path for path in db._engine.nodes.list_objects("k") if not path.endswith("zarr.json")]
    db["k"] = "replaced"
    db._engine.nodes.delete(old)
    with pytest.raises(StaleValueError):
        handle.compute()


def test_a_read_that_meets_a_replace_is_repeated(db, monkeypatch):
    """The value is replaced twice between looking at the key and reading the chunks."""
    db["k"] = np.zeros(10)
    other = zdb.open(db.url)
    read = StoredArray.__getitem__
    pending = [np.ones(10), np.full(10, 2.0)]

    def replace_then_read(self, key):
        while pending:
            other["k"] = pending.pop(0)
        return read(self, key)

    monkeypatch.setattr(StoredArray, "__getitem__", replace_then_read)
    np.testing.assert_array_equal(db["k"], np.full(10, 2.0))


def test_stored_arrays_pickle(shared_place):
    db = shared_place.open()
    db["k"] = np.arange(10)
    variable = lazily(db)["data"]
    variable[:2].values  # noqa: B018
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(variable)).values, np.arange(10))
