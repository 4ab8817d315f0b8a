"""The mapping: what comes back, what is refused, and that a refusal leaves everything as it was."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import MutableMapping
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from places import new_place

import zdb
from zdb.errors import (
    FormatNotInstalledError,
    InvalidKeyError,
    KeyConflictError,
    KeyExistsError,
    KeyNotFoundError,
    PickleRefusedError,
    ReadOnlyError,
    SelectionError,
    UnsupportedValueError,
    UnsupportedVersionError,
    WriteError,
)


class Thing:
    """An object that only a pickle keeps."""

    def __init__(self, name):
        self.name = name

    def __eq__(self, other):
        return isinstance(other, Thing) and other.name == self.name

    __hash__ = None


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("this holds a socket")


def objects(db):
    """Every object in the store by its path, to see that nothing at all was changed."""
    nodes = db._engine.nodes
    return {path: nodes.get(path) for path in nodes.list_objects("")}


def edit_node(db, key, **attributes):
    """Change attributes of a node as another program could."""
    nodes = db._engine.nodes
    path = f"{key}/zarr.json" if key else "zarr.json"
    document = json.loads(nodes.get(path))
    document["attributes"].update(attributes)
    nodes.set(path, json.dumps(document).encode())


# The mapping


def test_it_is_a_mutable_mapping_of_names(place):
    db = place.open()
    assert isinstance(db, MutableMapping)
    assert len(db) == 0
    assert list(db) == []
    db["b"] = 1
    db["a/x"] = np.arange(3)
    db["a", "y"] = "text"
    assert list(db) == list(db.keys()) == ["a", "b"]
    assert len(db) == 2
    assert db.keys(recursive=True) == ["a/x", "a/y", "b"]
    assert "a" in db
    assert "a/x" in db
    assert ("a", "x") in db
    assert "a/z" not in db
    assert 3 not in db
    assert "*" not in db
    assert db["a", "y"] == db["a/y"] == "text"
    np.testing.assert_array_equal(db["a/x"], [0, 1, 2])
    del db["a/x"]
    assert db.keys(recursive=True) == ["a/y", "b"]
    del db["a"]
    assert list(db) == ["b"]
    with pytest.raises(KeyNotFoundError):
        db["a/y"]


def test_what_a_mapping_brings_along(db):
    assert db.setdefault("a", 1) == 1
    assert db.setdefault("a", 2) == 1
    db.update({"b": 2, "c/d": 3})
    assert db.pop("b") == 2
    assert db.pop("b", None) is None
    with pytest.raises(KeyNotFoundError):
        db.pop("b")
    assert min(db.items(), key=str) == ("a", 1)
    assert db.get("nothing") is None
    assert db.get("nothing", 5) == 5
    assert db.get("c/nothing", 5) == 5
    db.clear()
    assert len(db) == 0
    db["again"] = 1
    assert list(db) == ["again"]


def test_assigning_replaces_and_counts(place):
    db = place.open()
    for number, value in enumerate([1, np.arange(4), "text", pd.DataFrame({"x": [1]}), np.arange(2.0), b"bytes"]):
        db["k"] = value
        assert db.info("k").generation == number
        back = db["k"]
        assert type(back) is type(value)
        assert back.equals(value) if isinstance(value, pd.DataFrame) else np.array_equal(back, value)
    first = db.info("k").id
    del db["k"]
    db["k"] = 1
    assert db.info("k").generation == 0
    assert db.info("k").id != first


def test_overwrite_false_keeps_what_is_there(db):
    db.set("k", 1, overwrite=False)
    db["other"] = np.arange(3)
    before = objects(db)
    with pytest.raises(KeyExistsError, match="k: exists, and overwrite=False"):
        db.set("k", np.arange(3), overwrite=False)
    assert objects(db) == before


def test_sub_databases(place):
    db = place.open()
    with pytest.raises(KeyNotFoundError, match="'a' is not in"):
        db.database("a")
    sub = db.database("a/b", create=True)
    assert sub.url == f"{db.url}/a/b"
    assert sub.mode == "a"
    sub["c"] = 1
    assert db["a/b/c"] == 1
    assert db["a"]["b"]["c"] == 1
    assert db["a/b"] == sub
    assert hash(db["a/b"]) == hash(sub)
    assert db["a"] != sub
    assert db != 5
    assert sub.database("d", create=True).keys(recursive=True) == []
    assert list(sub) == ["c", "d"]
    assert db.keys(recursive=True) == ["a/b/c"]
    assert db.database("a/b", create=True).keys(recursive=True) == ["c"]
    with pytest.raises(KeyConflictError, match="a/b/c: holds a value"):
        db.database("a/b/c")
    with pytest.raises(KeyConflictError, match="a/b/c is a value"):
        db.database("a/b/c/d", create=True)


def test_databases_are_equal_if_they_lie_at_one_place(place):
    assert place.open() == place.open()
    assert len({place.open(), place.open()}) == 1


def test_two_handles_see_what_the_other_does(place):
    one, two = place.open(), place.open()
    one["q/a"] = 1
    del two["q"]
    one["q/b"] = 2
    assert list(two) == ["q"]
    assert two.keys(recursive=True) == ["q/b"]
    del one["q"]
    two["q"] = "now a value"
    with pytest.raises(KeyConflictError, match="q/b: q is a value"):
        one["q/b"] = 3
    assert one["q"] == "now a value"


# Renaming


def test_rename_values_and_sub_databases(place):
    db = place.open()
    db["a/x"] = np.arange(5)
    db["a/y"] = {"z": 1}
    created = db.info("a/x").created
    db.rename("a/x", "b/c/x")
    assert db.keys(recursive=True) == ["a/y", "b/c/x"]
    np.testing.assert_array_equal(db["b/c/x"], np.arange(5))
    assert db.info("b/c/x").created == created
    db.rename("b", "a/b")
    assert db.keys(recursive=True) == ["a/b/c/x", "a/y"]
    np.testing.assert_array_equal(db["a/b/c/x"], np.arange(5))
    db["b"] = "free again"
    db["a/b/c/x"] = "replaced"
    assert db["a/b/c/x"] == "replaced"
    sub = db["a"]
    sub.rename("y", "renamed")
    assert db["a/renamed"] == {"z": 1}


@pytest.mark.parametrize("store", ["memory", pytest.param("s3", marks=pytest.mark.s3)])
def test_rename_moves_what_the_value_has_and_nothing_that_was_left(store, tmp_path, request):
    """A listing of some time ago still shows chunks of the array that was replaced."""
    db = new_place(store, tmp_path, request).open()
    db["x"] = np.arange(5)
    db["x"] = {"small": 1}
    nodes = db._engine.nodes
    listed = nodes.list_objects("x")
    assert len(listed) > 1
    nodes.delete(set(listed) - {"x/zarr.json"})
    nodes.list_objects = lambda path: listed if path == "x" else type(nodes).list_objects(nodes, path)
    db.rename("x", "y")
    assert db["y"] == {"small": 1}
    assert nodes.list_objects("y") == ["y/zarr.json"]


def test_rename_refuses_what_would_lose_something(place):
    db = place.open()
    db["a/x"] = 1
    db["b"] = 2
    before = objects(db)
    with pytest.raises(KeyNotFoundError, match="'c' is not in"):
        db.rename("c", "d")
    with pytest.raises(KeyExistsError, match="b: exists"):
        db.rename("a", "b")
    with pytest.raises(KeyConflictError, match="a cannot be renamed to a/y"):
        db.rename("a", "a/y")
    with pytest.raises(KeyConflictError, match="a cannot be renamed to a"):
        db.rename("a", "a")
    with pytest.raises(KeyConflictError, match="b is a value"):
        db.rename("a", "b/a")
    with pytest.raises(InvalidKeyError):
        db.rename("a", "*")
    with pytest.raises(InvalidKeyError, match="differs only by case"):
        db.rename("a", "B")
    assert objects(db) == before


# Parts


def test_parts_are_read_where_the_format_has_them(db):
    db["array"] = np.arange(20).reshape(5, 4)
    np.testing.assert_array_equal(db.get("array", rows=slice(1, 3)), np.arange(4, 12).reshape(2, 4))
    np.testing.assert_array_equal(db.get("array", isel={"dim_1": 2}), [2, 6, 10, 14, 18])
    db["table"] = pd.DataFrame({"x": [1, 2, 3], "y": ["a", "b", "c"]})
    assert db.get("table", columns=["y"], rows=slice(0, 2)).to_dict("list") == {"y": ["a", "b"]}
    assert db.get("nothing", columns=["y"]) is None


def test_a_part_that_the_format_does_not_have(db):
    db["json"] = {"x": 1}
    db["array"] = np.arange(3)
    with pytest.raises(SelectionError, match=r"columns= .*'json'"):
        db.get("json", columns=["x"])
    with pytest.raises(SelectionError, match=r"columns= .*'array'"):
        db.get("array", columns=["x"])


# Layout and remarks


def test_layout_options_are_recorded(db):
    db.set("k", np.zeros((100, 100)), chunks=(10, 20), shards=(50, 100), codec=False)
    array = db.info("k").arrays["data"]
    assert array.chunks == (10, 20)
    assert array.shards == (50, 100)
    assert array.codecs == ("bytes", "crc32c")
    np.testing.assert_array_equal(db["k"], np.zeros((100, 100)))


def test_layout_options_that_do_not_fit(db):
    db["k"] = np.arange(3)
    before = objects(db)
    with pytest.raises(UnsupportedValueError, match=r"k.*not a multiple"):
        db.set("k", np.zeros(100), chunks=(10,), shards=(25,))
    assert objects(db) == before


def test_remarks_are_kept_with_the_value(db):
    db.set("k", [1, 2], attrs={"unit": "mV", "seed": 3})
    assert db.info("k").attrs == {"unit": "mV", "seed": 3}
    before = objects(db)
    with pytest.raises(UnsupportedValueError, match="k: attrs are kept as JSON"):
        db.set("k", [3], attrs={"when": object()})
    assert objects(db) == before


# Lazy values


def test_lazy_values_come_back_lazy(db):
    db["k"] = da.arange(100, chunks=30)
    assert isinstance(db["k"], da.Array)
    assert db["k"].chunks == ((30, 30, 30, 10),)


def test_a_value_computed_from_itself(place):
    db = place.open()
    db["k"] = da.arange(100, chunks=30)
    for _ in range(5):
        db["k"] = db["k"] + 1
    np.testing.assert_array_equal(db["k"].compute(), np.arange(100) + 5)
    db["k"] = db["k"][::-1].rechunk(7)
    np.testing.assert_array_equal(db["k"].compute(), np.arange(100)[::-1] + 5)


def test_a_dataset_computed_from_itself(place):
    db = place.open()
    db["k"] = xr.Dataset({"v": ("t", np.arange(50.0))}, {"t": np.arange(50)}).chunk(t=20)
    for _ in range(4):
        db["k"] = db["k"] * 2
    xr.testing.assert_identical(db["k"].compute(), xr.Dataset({"v": ("t", np.arange(50.0) * 16)}, {"t": np.arange(50)}))


# Pickling


def test_a_database_pickles(shared_place):
    db = shared_place.open()
    db["a/b"] = np.arange(3)
    copy = pickle.loads(pickle.dumps(db["a"]))
    assert copy == db["a"]
    copy["c"] = 1
    assert db["a/c"] == 1
    reader = pickle.loads(pickle.dumps(shared_place.open("r", allow_pickle=True)))
    assert reader.read_only
    assert reader._allow_pickle
    with pytest.raises(ReadOnlyError):
        reader["d"] = 1


# What is refused. Each time the old value stays, and nothing is left behind.


def unchanged_after(db, error, match, action):
    before = objects(db)
    with pytest.raises(error, match=match) as caught:
        action()
    assert objects(db) == before
    return caught.value


@pytest.mark.parametrize("key", ["a b", "../k", "", "k/", "_zdb", "zarr.json", ("k", "x/y"), 5, None, "µ", "K"])
def test_bad_names(place, key):
    db = place.open()
    db["k"] = 1
    for action in (lambda: db.set(key, 2), lambda: db.database(key, create=True), lambda: db.rename("k", key)):
        unchanged_after(db, InvalidKeyError, None, action)
    if key != "K":
        for action in (lambda: db[key], lambda: db.__delitem__(key), lambda: db.provenance(key)):
            unchanged_after(db, InvalidKeyError, None, action)


def test_names_that_differ_only_by_case(place):
    db = place.open()
    db["Soma/v"] = 1
    unchanged_after(db, InvalidKeyError, "Soma exists and differs only by case", lambda: db.set("soma", 2))
    unchanged_after(db, InvalidKeyError, "Soma exists and differs only by case", lambda: db.set("soma/w", 2))
    unchanged_after(db, InvalidKeyError, "Soma/v exists and differs only by case", lambda: db.set("Soma/V", 2))
    del db["Soma/v"]
    db["Soma/V"] = 2
    del db["Soma"]
    db["soma/v"] = 3
    assert db.keys(recursive=True) == ["soma/v"]


def test_a_value_below_a_value(place):
    db = place.open()
    db["a/k"] = np.arange(3)
    for key in ("a/k/x", "a/k/x/y", "a/k/data", "a/k/data/c"):
        unchanged_after(db, KeyConflictError, f"{key}: a/k is a value", lambda key=key: db.set(key, 1))
    np.testing.assert_array_equal(db["a/k"], [0, 1, 2])


def test_the_inside_of_a_value_is_no_key(place):
    db = place.open()
    db["k"] = np.arange(3)
    assert "k/data" not in db
    with pytest.raises(KeyNotFoundError, match="'k/data' is not in"):
        db["k/data"]
    unchanged_after(db, KeyNotFoundError, "k/data", lambda: db.__delitem__("k/data"))


def test_a_value_over_a_sub_database(place):
    db = place.open()
    db["a/b/k"] = 1
    for key in ("a", "a/b"):
        unchanged_after(db, KeyConflictError, f"{key}: is a sub-database", lambda key=key: db.set(key, 2))
    assert db["a/b/k"] == 1


@pytest.mark.parametrize(
    ("missing", "near"),
    [
        ("voltgae", "voltage"),
        ("soma/curent", "soma/current"),
        ("Voltage", "voltage"),
        ("VOLTAGE", "voltage"),
        ("somma/current", "soma/current"),
        ("some/current", "soma/current"),
        ("Soma/Curent", "soma/current"),
        ("soma/x", None),
        ("other/current", None),
        ("voltag/data", None),
        ("soma/current/x", None),
    ],
)
def test_a_missing_key_names_the_nearest(db, missing, near):
    db["voltage"] = db["soma/current"] = 1
    with pytest.raises(KeyNotFoundError) as caught:
        db[missing]
    assert f"{missing!r} is not in {db.url}" in str(caught.value)
    assert ("did you mean" in str(caught.value)) == (near is not None)
    if near:
        assert repr(near) in str(caught.value)
    for action in (lambda: db.__delitem__(missing), lambda: db.info(missing), lambda: db.provenance(missing)):
        with pytest.raises(KeyError):
            action()


def test_the_nearest_may_lie_below_what_is_less_like_it(db):
    db["sona/other"] = db["soma/voltage"] = 1
    with pytest.raises(KeyNotFoundError, match="did you mean 'soma/voltage'"):
        db["som/voltage"]
    with pytest.raises(KeyNotFoundError, match=r"'votage' is not in .*/soma; did you mean 'voltage'"):
        db["soma"]["votage"]


def test_a_variable_is_no_key(db):
    data = xr.Dataset({"v": ("t", [1.0, 2.0])}, coords={"t": [3, 4]})
    db["in/set"], db["in/array"], db["in/table"] = data, np.arange(3), pd.DataFrame({"x": [1, 2]})
    for name, part, read in (
        ("set", "v", "db.get('in/set', columns=['v'])"),
        ("array", "data", "db.dataset('in/array')['data']"),
        ("table", "x", "db.get('in/table', columns=['x'])"),
    ):
        with pytest.raises(KeyNotFoundError) as caught:
            db[f"in/{name}/{part}"]
        message = str(caught.value)
        assert message.endswith(f"it is a variable of the value 'in/{name}', read it by {read}")
        assert eval(read) is not None
        with pytest.raises(KeyNotFoundError, match=f"'{name}/other' is not in .*: '{name}' is a value, and there are"):
            db["in"][f"{name}/other"]


@pytest.mark.parametrize("missing", ["zdb", "_zd", "unfinishd"])
def test_only_keys_are_suggested(db, missing):
    db["k"] = 1
    (Path(db.url) / "unfinished").mkdir()
    with pytest.raises(KeyNotFoundError) as caught:
        db[missing]
    assert "did you mean" not in str(caught.value)


def test_an_object_that_no_format_keeps(db):
    db["k"] = 1
    unchanged_after(
        db, UnsupportedValueError, r'k: no format keeps .*Thing.*format="pickle"', lambda: db.set("k", Thing("x"))
    )


def test_an_object_that_cannot_be_pickled(db):
    db["k"] = 1
    unchanged_after(
        db, UnsupportedValueError, "k: .*this holds a socket", lambda: db.set("k", Unpicklable(), format="pickle")
    )


def test_an_object_array_of_mixed_types(place):
    db = place.open()
    db["k"] = np.arange(3)
    mixed = np.array([1, "a", None, Thing("x")], dtype=object)
    unchanged_after(db, UnsupportedValueError, "^k: ", lambda: db.set("k", mixed))
    unchanged_after(db, UnsupportedValueError, "^k: ", lambda: db.set("k", pd.DataFrame({"mixed": mixed})))
    unchanged_after(db, UnsupportedValueError, "^k: ", lambda: db.set("k", xr.Dataset({"mixed": ("x", mixed)})))
    unchanged_after(db, UnsupportedValueError, "^k: ", lambda: db.set("k", {"a": (1, 2)}))


def test_a_value_that_another_format_is_asked_to_keep(db):
    db["k"] = 1
    unchanged_after(db, UnsupportedValueError, "k: ", lambda: db.set("k", "text", format="array"))
    unchanged_after(db, UnsupportedValueError, "k: ", lambda: db.set("k", np.arange(3), format="json"))
    unknown = "^k: format 'parquet' is not installed; known formats are .*json"
    unchanged_after(db, FormatNotInstalledError, unknown, lambda: db.set("k", 1, format="parquet"))
    for wrong in (3, ["array"], np.ndarray):
        known = "^k: format=.* is no name; known formats are .*json"
        unchanged_after(db, FormatNotInstalledError, known, lambda wrong=wrong: db.set("k", 1, format=wrong))


class Bytes(bytes):
    """Bytes that are more than that."""


OF_OTHER_FORMATS = {
    "dict": {},
    "list": [1, 2],
    "tuple": (1, 2),
    "str": "x",
    "int": 3,
    "None": None,
    "bytes": b"ab",
    "more than bytes": Bytes(b"ab"),
    "memoryview": memoryview(b"ab"),
    "array": np.arange(3),
    "scalar": np.float64(1),
    "lazy array": da.zeros(3),
    "DataFrame": pd.DataFrame({"a": [1]}),
    "Dataset": xr.Dataset({"a": ("x", [1, 2])}),
    "DataArray": xr.DataArray([1, 2]),
    "DataTree": xr.DataTree(),
    "object": Thing("x"),
}


@pytest.mark.parametrize("value", OF_OTHER_FORMATS.values(), ids=OF_OTHER_FORMATS)
@pytest.mark.parametrize("name", ["array", "dataset", "table", "ragged", "file", "nested", "cell"])
def test_a_value_of_another_format_is_kept_as_it_is_or_refused(db, name, value):
    said = ""
    try:
        db.set("k", value, format=name)
    except UnsupportedValueError as error:
        said = str(error)
    if said:
        assert said.startswith("k: ")
        assert "Error: " not in said, "what Python says of it helps nobody"
    else:
        assert type(db["k"]) is type(value)


def test_pickles_are_read_only_on_request(place):
    db = place.open()
    db.set("k", Thing("x"), format="pickle")
    with pytest.raises(PickleRefusedError, match=r"k: .*allow_pickle=True"):
        db["k"]
    with pytest.raises(PickleRefusedError):
        db.get("k")
    assert list(db) == ["k"]
    assert db.info("k").format == "pickle"
    assert "content" in db.dataset("k")
    assert place.open("r", allow_pickle=True)["k"] == Thing("x")
    sub = place.open(allow_pickle=True).database("sub", create=True)
    sub.set("k", Thing("y"), format="pickle")
    assert sub["k"] == Thing("y")


def test_a_format_that_is_not_installed(db):
    db["k"] = np.arange(3)
    edit_node(db, "k", zdb_format="hologram")
    with pytest.raises(FormatNotInstalledError, match=r"'hologram' is not installed.*db\.dataset"):
        db["k"]
    assert list(db) == ["k"]
    assert db.info("k").format == "hologram"
    assert "hologram" in str(db)
    np.testing.assert_array_equal(db.dataset("k")["data"], [0, 1, 2])


def test_a_newer_version_of_a_format(db):
    db["k"] = np.arange(3)
    edit_node(db, "k", zdb_format_version=99)
    with pytest.raises(UnsupportedVersionError, match=r"k: written by version 99 of format 'array'; version 1"):
        db["k"]
    np.testing.assert_array_equal(db.dataset("k")["data"], [0, 1, 2])


def test_a_value_of_a_newer_zdb(db):
    db["k"] = np.arange(3)
    edit_node(db, "k", zdb_version=2)
    before = objects(db)
    for action in (lambda: db["k"], lambda: db.set("k", 1), lambda: db.__delitem__("k"), lambda: db.info("k")):
        with pytest.raises(UnsupportedVersionError, match="k has format version 2; this zdb reads up to 1"):
            action()
    assert objects(db) == before
    assert list(db) == ["k"]
    assert "k" in str(db)


def fail(block):
    if block[0] >= 60:
        raise FloatingPointError("diverged at step 60")
    return block


def test_a_dask_graph_that_fails_half_way(place):
    db = place.open()
    db["k"] = np.arange(3)
    diverging = da.arange(100, chunks=20).map_blocks(fail, dtype=int, meta=np.array((), dtype=int))
    for lazy in (diverging, xr.Dataset({"v": ("t", diverging)})):
        error = unchanged_after(
            db,
            WriteError,
            "^k: writing failed, .*FloatingPointError: diverged at step 60",
            lambda lazy=lazy: db.set("k", lazy),
        )
        assert isinstance(error.__cause__, FloatingPointError)
        unchanged_after(db, WriteError, "^new: ", lambda lazy=lazy: db.set("new", lazy))
    np.testing.assert_array_equal(db["k"], [0, 1, 2])
    assert list(db) == ["k"]
    db["k"] = da.arange(100, chunks=20)
    np.testing.assert_array_equal(db["k"], np.arange(100))


def test_a_dask_frame_that_fails_half_way(place):
    import dask.dataframe as dd

    def fail_late(part):
        if part["x"].iloc[0] >= 5:
            raise FloatingPointError("diverged")
        return part

    db = place.open()
    db["k"] = np.arange(3)
    frame = dd.from_pandas(pd.DataFrame({"x": range(10)}), npartitions=3).map_partitions(fail_late, meta={"x": "i8"})
    unchanged_after(db, WriteError, "^k: .*FloatingPointError: diverged", lambda: db.set("k", frame))
    db["k"] = 1
    assert db["k"] == 1


def test_an_interrupt_leaves_the_old_value(db):
    def interrupt(block):
        raise KeyboardInterrupt

    db["k"] = np.arange(3)
    lazy = da.ones(10, chunks=5).map_blocks(interrupt, dtype=float, meta=np.array(()))
    with dask.config.set(scheduler="synchronous"):
        unchanged_after(db, KeyboardInterrupt, None, lambda: db.set("k", lazy))


def test_a_commit_whose_answer_was_lost(db, monkeypatch):
    """The store has the new value, although it reported an error: nothing of it may be removed."""
    db["k"] = np.arange(3)
    nodes = db._engine.nodes
    replace = nodes.replace

    def lose_the_answer(path, data, tag, **options):
        written = replace(path, data, tag, **options)
        if path == "k/zarr.json":
            raise zdb.errors.StorageError("connection reset")
        return written

    monkeypatch.setattr(nodes, "replace", lose_the_answer)
    with pytest.raises(zdb.errors.StorageError):
        db["k"] = np.arange(10)
    monkeypatch.undo()
    np.testing.assert_array_equal(db["k"], np.arange(10))


# Consolidated metadata


def test_a_consolidated_archive_is_taken_apart_by_the_next_write(place):
    import zarr

    db = place.open()
    db["a/k"] = np.arange(3)
    db["b"] = 1
    db.consolidate()
    options = place.options or None
    root = db._engine.nodes.zarr_store(reading=False) if "memory" in place.url else place.url
    archive = zarr.open_consolidated(root, mode="r", storage_options=options)
    assert {"a", "a/k", "a/k/data", "b"} <= set(archive.metadata.consolidated_metadata.flattened_metadata)
    np.testing.assert_array_equal(archive["a/k/data"], [0, 1, 2])
    place.open()["c"] = 2
    later = zarr.open_group(root, mode="r", storage_options=options)
    assert later.metadata.consolidated_metadata is None
    assert "c" in later
    assert place.open("r").keys(recursive=True) == ["a/k", "b", "c"]


# Plain readers


def test_plain_xarray_opens_every_value(place):
    db = place.open()
    db["sub/array"] = np.arange(6.0).reshape(2, 3)
    db["table"] = pd.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    db["json"] = {"a": 1}
    if "memory" not in place.url:
        for key in db.keys(recursive=True):
            with xr.open_zarr(f"{place.url}/{key}", storage_options=place.options or None) as plain:
                plain.load()
        with xr.open_zarr(f"{place.url}/sub/array", storage_options=place.options or None) as plain:
            np.testing.assert_array_equal(plain["data"], np.arange(6.0).reshape(2, 3))
    for key in db.keys(recursive=True):
        db.dataset(key).load()
    np.testing.assert_array_equal(db.dataset("sub/array")["data"], np.arange(6.0).reshape(2, 3))
    with pytest.raises(KeyNotFoundError):
        db.dataset("nothing")


# Provenance


def test_provenance_is_there_or_says_that_it_is_post_hoc(place):
    db = place.open()
    db["k"] = np.arange(3)
    written = db.provenance("k")
    assert written.writer_version == zdb.__version__
    assert "post hoc" not in repr(written)
    nodes = db._engine.nodes
    document = json.loads(nodes.get("k/zarr.json"))
    del document["attributes"]["zdb_created"]
    nodes.set("k/zarr.json", json.dumps(document).encode())
    assert "post hoc" in repr(db.provenance("k"))


# Files


def test_a_folder_becomes_a_sub_database(place, tmp_path):
    folder = tmp_path / "morphology"
    (folder / "inner").mkdir(parents=True)
    (folder / "cell.hoc").write_bytes(b"create soma")
    (folder / "inner" / "empty.txt").write_bytes(b"")
    (folder / "nothing").mkdir()
    db = place.open()
    db["cell"] = folder
    assert db.keys(recursive=True) == ["cell/cell.hoc", "cell/inner/empty.txt"]
    assert db["cell/cell.hoc"].read() == b"create soma"
    assert list(db["cell/nothing"]) == []
    unchanged_after(db, KeyExistsError, "cell: exists", lambda: db.set("cell", folder))
    db["value"] = 1
    unchanged_after(db, KeyExistsError, "value: exists", lambda: db.set("value", folder))


def test_a_folder_that_cannot_be_kept_leaves_nothing(place, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "good.txt").write_text("x")
    os.mkfifo(folder / "pipe")
    db = place.open()
    db["k"] = 1
    unchanged_after(db, UnsupportedValueError, "folder: .*pipe", lambda: db.set("folder", folder))
    assert list(db) == ["k"]


@pytest.mark.parametrize("read_only", [True, False])
def test_read_only_is_enforced(place, read_only):
    writer = place.open()
    writer["a/k"] = 1
    db = place.open("r" if read_only else "r+")
    assert db.read_only == read_only
    actions = [
        lambda: db.set("new", 1),
        lambda: db.set("a/k", np.arange(3)),
        lambda: db.rename("a/k", "j"),
        lambda: db.database("sub", create=True),
        lambda: db["a"].set("new", 1),
        lambda: db.consolidate(),
        lambda: db.__delitem__("a"),
    ]
    for action in actions:
        if read_only:
            unchanged_after(writer, ReadOnlyError, "is open read-only; open it with mode='a'", action)
    if not read_only:
        db["a/k"] = 2
    assert writer["a/k"] == (1 if read_only else 2)
    assert db.mode == ("r" if read_only else "r+")
