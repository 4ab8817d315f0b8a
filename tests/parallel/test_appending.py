"""Adding to values along one dimension, in one process."""

from __future__ import annotations

import tracemalloc
import uuid
from itertools import pairwise

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import Place

import zdb
from zdb.engine.shards import extended_shard
from zdb.errors import KeyConflictError, KeyNotFoundError, PartMismatchError, UnsupportedValueError

FROM_PLACE = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def run(start: int, stop: int) -> xr.Dataset:
    number = np.arange(start, stop)
    return xr.Dataset(
        {
            "voltage": (("trial", "time"), number[:, None] * np.linspace(1, 2, 6)),
            "name": ("trial", np.array([f"trial {i}" for i in number])),
            "gain": ("time", np.arange(6.0)),
        },
        coords={"trial": number, "when": ("trial", np.datetime64("2020-01-01", "ns") + number), "time": np.arange(6)},
    )


@given(
    lengths=st.lists(st.integers(0, 30), min_size=2, max_size=6),
    chunk=st.integers(1, 9),
    per_shard=st.none() | st.integers(1, 4),
    lazy=st.booleans(),
    axis=st.integers(0, 1),
)
@FROM_PLACE
@pytest.mark.parametrize("store", ["local", "memory"])
def test_an_array_grows_whatever_its_chunks_are(tmp_path_factory, store, lengths, chunk, per_shard, lazy, axis):
    name = uuid.uuid4().hex
    place = Place(f"memory://{name}" if store == "memory" else str(tmp_path_factory.mktemp("x") / name))
    whole = np.random.default_rng(1).integers(0, 100, (sum(lengths), 5)).T.copy()
    whole = whole if axis else whole.T.copy()
    ends = np.cumsum(lengths).tolist()
    chunks = (5, chunk) if axis else (chunk, 5)
    shards = None if per_shard is None else tuple(n * per_shard if i == axis else n for i, n in enumerate(chunks))
    db = place.open()
    db.set("a", np.take(whole, range(ends[0]), axis), chunks=chunks, shards=shards)
    for start, stop in pairwise(ends):
        part = np.take(whole, range(start, stop), axis)
        db.append("a", da.from_array(part, chunks=4) if lazy and part.size else part, f"dim_{axis}")
        np.testing.assert_array_equal(db["a"], np.take(whole, range(stop), axis))
    assert db.verify().ok


@pytest.mark.parametrize("start", [0, 1, 3])
@pytest.mark.parametrize("lazy", [False, True])
def test_what_begins_small_gets_chunks_for_growing(place: Place, start: int, lazy: bool) -> None:
    def objects(key: str) -> list[str]:
        return [one for one in db._engine.nodes.list_objects(key) if not one.endswith("zarr.json")]

    db = place.open()
    whole = np.arange(4 * (10_000 + start)).reshape(-1, 4) / 3
    db["a"] = whole[:start]
    before = db["a"]
    db.append("a", da.from_array(whole[start:-5], chunks=1000) if lazy else whole[start:-5])
    db.append("a", whole[-5:])
    np.testing.assert_array_equal(db["a"], whole)
    np.testing.assert_array_equal(before, whole[:start])
    db.gc(dry_run=False, grace=0)
    assert len(objects("a")) == 1
    runs = run(0, 40)
    db["runs"] = runs.isel(trial=slice(0, start))
    for first, stop in ((start, start + 1), (start + 1, 40)):
        db.append("runs", runs.isel(trial=slice(first, stop)), "trial")
    xr.testing.assert_identical(db["runs"].compute(), runs)
    db.gc(dry_run=False, grace=0)
    assert len(objects("runs")) == len(db._engine.node("runs").arrays)
    assert db.verify().ok


def test_chunks_that_were_chosen_stay(db) -> None:
    db.set("a", np.zeros((0, 4)), chunks=(5, 2), codec=False)
    db.append("a", np.ones((20, 4)))
    array = db._engine.node("a").arrays["data"]
    assert array.object_shape == (5, 2)
    assert array.compressors == []


def test_along_other_dimensions(db) -> None:
    whole = np.arange(30.0).reshape(3, 10)
    db.set("a", whole[:, :1], codec=False)
    for i in range(1, 10):
        db.append("a", whole[:, i : i + 1], "dim_1")
    np.testing.assert_array_equal(db["a"], whole)
    array = db._engine.node("a").arrays["data"]
    assert array.object_shape[0] == 3
    assert array.object_shape[1] > 10_000
    assert array.compressors == []


def test_a_dataset_grows_with_its_coordinates(place: Place) -> None:
    db = place.open()
    db.set("runs", run(0, 7), chunks={"trial": 4}, attrs={"note": 1})
    lazy = db["runs"]
    db.append("runs", run(7, 8), "trial")
    db.append("runs", run(8, 30).drop_vars("gain").chunk({"trial": 5}), "trial")
    xr.testing.assert_identical(db["runs"].compute(), run(0, 30))
    xr.testing.assert_identical(lazy.compute(), run(0, 7))  # it was opened before
    assert db["runs"].indexes["trial"].equals(pd.Index(np.arange(30)))
    assert db.info("runs").attrs == {"note": 1}
    assert db.info("runs").generation == 0
    assert db.verify().ok
    db["runs"] = run(0, 3)
    xr.testing.assert_identical(db["runs"].compute(), run(0, 3))
    db.append("runs", run(3, 5), "trial")
    xr.testing.assert_identical(db["runs"].compute(), run(0, 5))
    db.gc(dry_run=False, grace=0)
    assert db.verify().ok
    xr.testing.assert_identical(db["runs"].compute(), run(0, 5))


def test_a_filled_value_grows(place: Place) -> None:
    db = place.open()
    db.create("runs", run(0, 30).chunk({"trial": 8}))
    for region in db.resume("runs"):
        db.write_region("runs", run(0, 30).isel(region))
    db.finish("runs")
    db.append("runs", run(30, 41), "trial")
    xr.testing.assert_identical(db["runs"].compute(), run(0, 41))
    assert db.verify().ok


def test_labels_grow(db) -> None:
    def labelled(labels):
        return xr.DataArray(np.zeros(len(labels)), dims="x", coords={"x": labels}, name="v")

    days = pd.date_range("2020-01-01", periods=10)
    db["days"] = labelled(days[:4])
    db.append("days", labelled(days[4:6]), "x")
    assert db["days"].indexes["x"].freq == days.freq
    db.append("days", labelled(days[8:]), "x")
    assert db["days"].indexes["x"].freq is None
    assert db["days"].indexes["x"].equals(days[[0, 1, 2, 3, 4, 5, 8, 9]])
    db["numbers"] = labelled(pd.RangeIndex(0, 3))
    db.append("numbers", labelled(pd.RangeIndex(3, 5)), "x")
    assert isinstance(db["numbers"].indexes["x"], pd.RangeIndex)
    db.append("numbers", labelled(pd.RangeIndex(9, 11)), "x")
    assert db["numbers"].indexes["x"].tolist() == [0, 1, 2, 3, 4, 9, 10]
    db["text"] = labelled(["a", "b"])
    db.append("text", labelled(["longer"]), "x")
    assert db["text"]["x"].values.tolist() == ["a", "b", "longer"]
    db["multi"] = labelled(pd.MultiIndex.from_product([["a"], [1, 2]])).rename(None)
    with pytest.raises(UnsupportedValueError, match="several levels"):
        db.append("multi", labelled(pd.MultiIndex.from_product([["a"], [3]])), "x")
    assert db.verify().ok


@pytest.mark.parametrize(
    ("part", "dim", "message"),
    [
        (run(7, 8).drop_vars("name"), "trial", "no variable 'name'"),
        (run(7, 8).assign(more=1), "trial", "no variable 'more'"),
        (run(7, 8).assign(gain=("time", np.zeros(6))), "trial", "'gain'.*differs"),
        (run(7, 8).assign(voltage=run(7, 8)["voltage"].astype("f4")), "trial", "dtype float32, not float64.*astype"),
        (run(7, 8).isel(time=[0]), "trial", "size 1 along time, not 6|differs"),
        (run(7, 8).transpose("time", "trial"), "trial", "dimensions time, trial, not trial, time"),
        (run(7, 8), "run", "along which dimension to add: trial, time, not 'run'"),
        (run(7, 8), None, "along which dimension"),
        (np.zeros(3), "trial", "the part is a ndarray"),
    ],
)
def test_a_part_that_does_not_fit_says_why(db, part, dim, message) -> None:
    db["runs"] = run(0, 7)
    with pytest.raises(PartMismatchError, match=message):
        db.append("runs", part, dim)
    xr.testing.assert_identical(db["runs"].compute(), run(0, 7))
    assert db.verify().ok


def test_a_list_that_makes_no_array(db) -> None:
    db["a"] = np.zeros((2, 2))
    with pytest.raises(PartMismatchError, match=r"^a: the part is no array: .*inhomogeneous"):
        db.append("a", [[1.0], [1.0, 2.0]])
    db.append("a", [[1.0, 2.0]])
    assert db["a"].shape == (3, 2)


def test_the_name_of_a_part(db) -> None:
    named = xr.DataArray(np.zeros(3), dims="x", name="v")
    db["v"], db["unnamed"] = named, named.rename(None)
    with pytest.raises(PartMismatchError, match=r"v: the part is named 'w', and the value 'v'.*rename\('v'\)"):
        db.append("v", named.rename("w"), "x")
    for key, name in (("v", "v"), ("v", None), ("unnamed", "w")):
        db.append(key, named.rename(name), "x")
    db["lazy"] = xr.DataArray(da.zeros(3), dims="x")  # takes the name of its dask array
    for part in (xr.DataArray(da.ones(3), dims="x"), named):
        db.append("lazy", part, "x")
    assert db["lazy"].size == 9
    assert (db["v"].name, db["v"].size) == ("v", 9)
    assert (db["unnamed"].name, db["unnamed"].size) == (None, 6)


@pytest.mark.parametrize(
    ("value", "part", "message"),
    [
        ({"a": 1}, {"b": 2}, "format 'json' cannot be added to"),
        (np.float64(1), 2.0, "is a scalar, which has no dimension to grow along"),
        (xr.DataTree(run(0, 3)), run(3, 4), "DataTree"),
        (np.asfortranarray(np.ones((2, 2))), np.ones((1, 2)), "class 'ndarray'"),
        (
            xr.Dataset({"c": ("trial", pd.Categorical(["a"]))}),
            xr.Dataset({"c": ("trial", pd.Categorical(["a"]))}),
            "pandas",
        ),
        (pd.Index([1, 2]), pd.Index([3]), "DataFrame and Series can grow"),
    ],
)
def test_what_cannot_grow_says_why(db, value, part, message) -> None:
    db["v"] = value
    with pytest.raises(UnsupportedValueError, match=message):
        db.append("v", part, "trial")
    assert db.verify().ok


def test_a_database_is_nothing_to_add_to(db) -> None:
    db["a/b"] = np.zeros(3)
    with pytest.raises(KeyConflictError, match=r"^a: is a database; add to a value in it"):
        db.append("a", np.zeros(3))
    with pytest.raises(PartMismatchError, match=r"dtype int64, and the value float64; convert it by .astype\('<f8'\)"):
        db.append("a/b", np.zeros(3, int))


def test_an_array_that_does_not_fit(db) -> None:
    db["a"] = np.zeros((3, 4))
    for part, message in (
        (np.zeros((3, 5)), "size 5 along dim_1"),
        (np.zeros(3), "1 dimensions"),
        (np.zeros((1, 4), "f4"), "float32"),
    ):
        with pytest.raises(PartMismatchError, match=message):
            db.append("a", part)
    with pytest.raises(PartMismatchError, match="no dimension 'x'"):
        db.append("a", np.zeros((1, 4)), "x")
    with pytest.raises(KeyNotFoundError):
        db.append("b", np.zeros(3))
    db["names"] = np.array(["a"], dtype=object)
    with pytest.raises(PartMismatchError, match="missing strings"):
        db.append("names", np.array([None], dtype=object))


MASKED = np.ma.masked_array([[1.5, 2.0], [3.0, 4.0]], [[True, False], [False, False]], fill_value=-1, hard_mask=True)


@pytest.mark.parametrize("part", [MASKED, np.ma.masked_array(MASKED.data), np.ones((3, 2)), da.ones((3, 2))], ids=repr)
def test_a_masked_array_grows_with_its_mask(place: Place, part) -> None:
    db = place.open()
    db.set("m", MASKED, chunks=(1, 2))
    db.append("m", part)
    found, expected = db["m"], np.ma.concatenate([MASKED, np.ma.masked_array(part)])
    assert found.hardmask
    assert found.fill_value == -1
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.mask, expected.mask)
    assert db.verify().ok


def test_masked_elements_for_an_array_without_a_mask(db) -> None:
    fields = np.ma.masked_array([(1, 2.0)], [(False, True)], dtype=[("a", "i4"), ("b", "f4")])
    for key, value, part in (
        ("array", np.zeros((1, 2)), MASKED),
        ("unmasked", np.ma.masked_array(np.zeros((1, 2))), MASKED),
        ("fields", fields.data, fields),
    ):
        db[key] = value
        with pytest.raises(PartMismatchError, match=f"^{key}: elements of the part are masked.*without a mask"):
            db.append(key, part)
    db.append("unmasked", MASKED[1:])
    np.testing.assert_array_equal(db["unmasked"], [[0, 0], [3, 4]])
    assert db["unmasked"].mask is np.ma.nomask
    with pytest.raises(UnsupportedValueError, match=r"chunks of array: the part are .*MaskedArray"):
        db.append("array", da.from_array(MASKED))


def test_tables_grow_by_rows(place: Place) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "s": ["x", "é"], "c": pd.Categorical(["p", "q"])})
    db = place.open()
    db.set("f", frame, attrs={"note": 1})
    db.append("f", frame)
    pd.testing.assert_frame_equal(db["f"], pd.concat([frame, frame]))
    assert db.info("f").attrs == {"note": 1}
    with pytest.raises(PartMismatchError, match="column 'a' has dtype float32"):
        db.append("f", frame.astype({"a": "f4"}))
    with pytest.raises(PartMismatchError, match="other categories"):
        db.append("f", frame.assign(c=pd.Categorical(["r", "s"])))
    db["s"] = frame["a"]
    db.append("s", frame["a"])
    pd.testing.assert_series_equal(db["s"], pd.concat([frame["a"], frame["a"]]))
    with dask.config.set({"dataframe.convert-string": False}):
        db["d"] = dd.from_pandas(frame, npartitions=2, sort=False)
    db.append("d", frame)
    assert db["d"].npartitions == 3
    pd.testing.assert_frame_equal(db["d"].compute(), pd.concat([frame, frame]))
    assert db.verify().ok


def test_what_is_written_is_proportional_to_the_part(place: Place) -> None:
    db = place.open()
    rows = np.random.default_rng(0).normal(size=(64, 1000))
    db.set("a", np.concatenate([rows] * 8), chunks=(8, 1000), shards=(64, 1000))
    nodes = db._engine.nodes
    before = {one.path: one for one in nodes.list_status("a")}
    written = []
    replace = nodes.replace
    nodes.replace = lambda path, data, *rest, **more: (
        written.append((path, len(data))) or replace(path, data, *rest, **more)
    )
    db.append("a", rows)
    chunks = [(path, size) for path, size in written if path.startswith("a/") and not path.endswith("zarr.json")]
    assert [path for path, _ in chunks] == ["a/data/c/8/0"]
    after = {one.path: one for one in nodes.list_status("a")}
    assert all(after[path] == one for path, one in before.items() if "/c/" in path)


@pytest.mark.parametrize("rows", [100, 150])
def test_a_file_that_is_added_is_not_read_as_a_whole(db, tmp_path, rows: int) -> None:
    db.set("v", np.zeros((rows, 1000)), chunks=(10, 1000), shards=(100, 1000))
    np.save(tmp_path / "part.npy", np.ones((4003, 1000)))
    db.append("v", np.ones((1, 1000)))  # loads packages
    part = np.load(tmp_path / "part.npy", mmap_mode="r")
    tracemalloc.start()
    db.append("v", part)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < part.nbytes / 2
    found = db["v"]
    assert found.shape == (rows + 4004, 1000)
    assert (found[:rows] == 0).all()
    assert (found[rows:] == 1).all()


def test_a_shard_that_grows_keeps_what_readers_look_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("zdb.engine.shards.SPARE_BYTES", 30_000)
    db = zdb.open(tmp_path / "x.zdb")
    rows = np.random.default_rng(0).normal(size=(4, 100))
    db.set("a", rows, chunks=(8, 100), shards=(64, 100))
    object_path = tmp_path / "x.zdb/a/data/c/0/0"
    sizes = []
    index = 16 * 8 + 4
    for _ in range(40):
        old = object_path.read_bytes()
        db.append("a", rows[:1])
        new = object_path.read_bytes()
        sizes.append(len(new))
        grown_in_place = new[: len(old) - index] == old[:-index]
        assert grown_in_place or len(new) < len(old)
    assert any(after < before for before, after in pairwise(sizes))  # all was put together anew
    assert max(sizes) < 30_000 + 2 * 8 * rows[0].size * 64
    np.testing.assert_array_equal(db["a"][4:], np.repeat(rows[:1], 40, axis=0))
    assert db.verify().ok
    with pytest.raises(ValueError, match="checksum"):
        extended_shard(b"x" * 200, new, (8, 1))


@pytest.mark.parametrize(
    ("value", "chunks"),
    [(np.zeros(4), {"dim_0": 2}), (zdb.Ragged(np.zeros(4), [1, 3]), {"row": 3, "value": 3})],
    ids=["array", "ragged"],
)
def test_chunks_that_may_yet_arrive_are_remembered(place: Place, value, chunks) -> None:
    db = place.open()
    db.set("a", value, chunks=chunks)
    with db._engine.claim("a") as claim:
        lost = claim.generation
        claim.give_up(settled=False)  # a writer got no answer
    db.append("a", value)
    assert db.info("a").generation == 0
    with db._engine.claim("a") as claim:
        assert claim.generation > lost
        assert not claim.is_clean


def test_what_a_writer_that_died_left_is_overwritten(place: Place) -> None:
    db = place.open()
    db.set("a", np.zeros((5, 10)), chunks=(4, 10), shards=(8, 10))
    commit = db._engine.nodes.replace

    class Died(Exception):
        pass

    def replace(path, *arguments, **options):
        if path == "a/zarr.json":
            raise Died
        return commit(path, *arguments, **options)

    db._engine.nodes.replace = replace
    with pytest.raises(Died):
        db.append("a", np.ones((30, 10)))
    db._engine.nodes.replace = commit
    other = place.open("r+")
    np.testing.assert_array_equal(other["a"], np.zeros((5, 10)))
    assert other.verify().ok
    other.append("a", np.full((2, 10), 2.0))
    np.testing.assert_array_equal(other["a"], np.concatenate([np.zeros((5, 10)), np.full((2, 10), 2.0)]))
    other.append("a", np.full((20, 10), 3.0))
    assert other["a"].shape == (27, 10)
    assert (other["a"][7:] == 3).all()
    other.gc(dry_run=False, grace=0)
    assert other.verify().ok
