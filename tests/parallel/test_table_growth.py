"""Adding rows to tables."""

from __future__ import annotations

import uuid
from itertools import pairwise
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from growing import COLUMNS, INDEXES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import Place
from zarr.codecs import GzipCodec

import zdb
from zdb.engine.layout import CHUNK_BYTES
from zdb.errors import PartMismatchError

FROM_PLACE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
SMALL = {"row": 3}
NEW_COLUMNS = {**COLUMNS, "swapped": lambda n: n.astype(">f4"), "flag": lambda n: n % 2 == 0}
# Those of a list can be added to each other.
NEW_INDEXES: list[list[Any]] = [
    [
        INDEXES["default"],
        lambda n: pd.RangeIndex(n[0], n[0] + len(n)) if len(n) else pd.RangeIndex(0),
        lambda n: pd.Index(n),
        lambda n: pd.RangeIndex(0, -2 * len(n), -2),
    ],
    [INDEXES["numbers"], lambda n: pd.RangeIndex(len(n), name="trial")],
    [INDEXES["text"]],
    [lambda n: pd.Index([f"x{i}" if i % 3 else None for i in n], dtype=object)],
    [lambda n: pd.Index([(i, "a") if i % 3 else i for i in n], dtype=object, tupleize_cols=False)],
    [INDEXES["days"], lambda n: pd.to_datetime(n, unit="D").as_unit("us")],
    [lambda n: pd.CategoricalIndex(["ab"[i % 2] for i in n], ["a", "b"])],
    [lambda n: pd.IntervalIndex.from_arrays(n, n + 2)],
    [lambda n: pd.Index(n / 3)],
]


def table_of(columns: list[str], labels: pd.Index, numbers: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: pd.Series(NEW_COLUMNS[name](numbers), labels, dtype=object if name == "object" else None)
            for name in columns
        },
        index=labels,
    )


@st.composite
def parts(draw: st.DrawFn, names: Any = NEW_COLUMNS, indexes: list[list[Any]] = NEW_INDEXES) -> list[pd.DataFrame]:
    """Some frames with the same columns."""
    columns = draw(st.lists(st.sampled_from(sorted(names)), max_size=3, unique=True))
    if columns and "float" not in columns:
        columns.append("float")  # an array along the rows
    index = draw(st.sampled_from(indexes))
    attrs = draw(st.sampled_from([{}, {"rate": 0.5}]))
    # Pandas cannot name labels that are missing.
    unique = index is not NEW_INDEXES[3] and draw(st.sampled_from([False, False, True]))
    made, number = [], 0
    for _ in range(draw(st.integers(2, 5))):
        numbers = number + np.arange(draw(st.integers(0, 9)))
        number += len(numbers) + draw(st.sampled_from([0, 0, -3, 4]))
        number = max(number, 0)
        table = table_of(columns, draw(st.sampled_from(index))(numbers), numbers)
        table.attrs = draw(st.sampled_from([attrs, attrs, {}]))
        if unique and table.index.is_unique:
            table = table.set_flags(allows_duplicate_labels=draw(st.booleans()))
        made.append(table)
    return made


def assert_same(found: Any, expected: Any) -> None:
    one, other = [each.to_frame("x") if each.ndim == 1 else each for each in (found, expected)]
    assert type(found.index) is type(expected.index)
    pd.testing.assert_frame_equal(one, other, check_index_type="exact", check_column_type="exact", check_freq=True)
    if isinstance(expected.index, pd.RangeIndex) and len(expected):
        assert repr(found.index) == repr(expected.index)
    assert found.attrs == expected.attrs
    assert found.flags == expected.flags


def concatenated(table: Any, part: Any) -> Any:
    """What appending means; None if it is refused."""
    try:
        made = pd.concat([table, part])
    except (
        pd.errors.DuplicateLabelError,
        TypeError,
    ):  # where labels cannot be sorted to name them
        return None
    before, after, own = [list(one.dtypes) if one.ndim == 2 else [one.dtype] for one in (table, made, part)]
    index_fits = table.index.dtype == part.index.dtype and table.index.names == part.index.names
    return made if before == after and index_fits and all(map(_fit, before, own)) else None


def _fit(one: Any, other: Any) -> bool:
    return one == other or (one.name == other.name == "category")


@given(
    tables=parts(), chunks=st.sampled_from([None, SMALL]), shards=st.booleans(), column=st.booleans(), data=st.data()
)
@FROM_PLACE
@pytest.mark.parametrize("store", ["local", "memory"])
def test_what_is_added_is_what_pandas_concatenates(
    tmp_path_factory, monkeypatch, store, tables, chunks, shards, column, data
) -> None:
    # Layouts of long values in short ones.
    monkeypatch.setattr("zdb.formats.strings.TEXT_ROWS", data.draw(st.sampled_from([2, 10_000])))
    monkeypatch.setattr("zdb.formats.strings.MOST_LABELS", 3)
    monkeypatch.setattr("zdb.parallel.table_growth.ROWS", data.draw(st.sampled_from([0, 1000])))
    name = uuid.uuid4().hex
    place = Place(f"memory://{name}" if store == "memory" else str(tmp_path_factory.mktemp("x") / name))
    db = place.open()
    if column and tables[0].shape[1]:
        tables = [table.iloc[:, 0] for table in tables]
    expected = tables[0]
    chunks = chunks if expected.ndim == 2 and expected.shape[1] else None
    db.set("t", expected, chunks=chunks, shards={"row": 6} if chunks and shards else None)
    for part in tables[1:]:
        made = concatenated(expected, part)
        if made is None:
            with pytest.raises(PartMismatchError):
                db.append("t", part)
        else:
            db.append("t", part)
            expected = made
        assert_same(db["t"], expected)
    start = data.draw(st.integers(0, len(expected)))
    assert_same(db.get("t", rows=slice(start, start + 3)), expected.iloc[start : start + 3])
    assert db.info("t").shape == expected.shape
    assert db.verify().ok


def rows(start: int, stop: int, cells: str = "ab") -> pd.DataFrame:
    n = np.arange(start, stop)
    columns = {"time": n / 8, "name": pd.array([f"cell {i % 3}" for i in n], dtype="str")}
    kinds = pd.Categorical([cells[i % len(cells)] for i in n], list("ab"))
    return pd.DataFrame({**columns, "kind": kinds}, index=pd.RangeIndex(start, stop))


def test_what_fits_grows_in_place_and_the_rest_is_written_anew(place: Place) -> None:
    db = place.open()
    db.set("t", rows(0, 10), attrs={"note": 1})
    expected = rows(0, 10)

    def append(part: pd.DataFrame) -> int:
        nonlocal expected
        db.append("t", part)
        expected = pd.concat([expected, part])
        assert_same(db["t"], expected)
        return db.info("t").generation

    first = append(rows(10, 12))  # its arrays had no chunks worth the name
    assert first == 1
    lazy = db.dataset("t")
    assert append(rows(12, 13, "a")) == first
    assert append(rows(13, 400)) == first
    np.testing.assert_array_equal(lazy["time"], np.arange(12) / 8)  # it was opened before
    other = append(rows(0, 2))  # the labels do not go on
    assert other > first
    assert append(rows(2, 5)) == other
    assert append(rows(0, 2).assign(name=pd.array([None, "cell 1"], dtype="str"))) > other  # the first one
    assert db.info("t").attrs == {"note": 1}
    db.gc(dry_run=False, grace=0)
    assert db.verify().ok
    assert_same(db["t"], expected)


@pytest.mark.parametrize("text_rows", [5, 100])
@pytest.mark.parametrize("name", list(NEW_COLUMNS))
def test_which_columns_grow_in_place(db, monkeypatch, name, text_rows) -> None:
    monkeypatch.setattr("zdb.formats.strings.TEXT_ROWS", text_rows)
    whole = table_of([name, "float"] if name != "float" else [name], pd.RangeIndex(60), np.arange(60))
    db.set("t", whole[:40], chunks=SMALL)
    if name == "swapped":  # pandas changes the order of bytes
        with pytest.raises(PartMismatchError):
            db.append("t", whole[40:])
        return
    db.append("t", whole[40:41])  # not all arrays had chunks that are more than cut to size
    first = db.info("t").generation
    db.append("t", whole[41:])
    assert_same(db["t"], whole)
    assert (db.info("t").generation == first) == (name != "lists")


def test_a_table_keeps_its_chunks_and_codecs(db) -> None:
    db.set("t", rows(0, 10), chunks=SMALL, shards={"row": 6}, codec=GzipCodec(level=1))
    db.append("t", rows(10, 11))
    db.append("t", rows(0, 9))
    assert db.info("t").generation == 1  # the labels did not go on
    array = db._engine.node("t").arrays["time"]
    assert (array.inner_shape, array.object_shape) == ((3,), (6,))
    assert [codec["name"] for codec in array.compressors] == ["gzip"]
    db.set("small", rows(0, 2), codec=False)
    db.append("small", rows(2, 3))
    assert not any(array.compressors for array in db._engine.node("small").arrays.values())


def test_many_appends_make_few_objects(db) -> None:
    db["t"] = rows(0, 1)
    for start in range(1, 100):
        db.append("t", rows(start, start + 1))
    assert_same(db["t"], rows(0, 100))
    db.gc(dry_run=False, grace=0)
    objects = [one.path for one in db._engine.nodes.list_status("t") if not one.path.endswith(".json")]
    assert len(objects) == 4  # times, names, codes, categories
    assert db.info("t").generation == 1


def test_a_table_in_one_shard_gets_smaller_objects_once(db) -> None:
    whole = pd.DataFrame({"x": np.random.default_rng(1).random(300_000)})
    db["t"] = whole
    assert db._engine.node("t").arrays["x"].object_shape[0] >= len(whole)
    db.append("t", whole[:100].set_axis(pd.RangeIndex(300_000, 300_100)))
    assert db._engine.node("t").arrays["x"].object_shape[0] * 8 <= CHUNK_BYTES
    before = set(db._engine.nodes.list_status("t"))
    db.append("t", whole[:100].set_axis(pd.RangeIndex(300_100, 300_200)))
    changed = set(db._engine.nodes.list_status("t")) - before
    assert [one.path for one in changed if not one.path.endswith(".json")] == ["t/x/2"]
    assert db.info("t").generation == 1
    np.testing.assert_array_equal(db["t"]["x"], np.concatenate([whole["x"], whole["x"][:100], whole["x"][:100]]))


def test_what_a_writer_that_died_left_is_overwritten(place: Place) -> None:
    db = place.open()
    db.set("t", rows(0, 5), chunks={"row": 4})
    db.append("t", rows(5, 6))
    commit = db._engine.nodes.replace

    class Died(Exception):
        pass

    def replace(path, *arguments, **options):
        if path == "t/zarr.json":
            raise Died
        return commit(path, *arguments, **options)

    db._engine.nodes.replace = replace
    with pytest.raises(Died):
        db.append("t", rows(6, 30))
    db._engine.nodes.replace = commit
    other = place.open("r+")
    assert_same(other["t"], rows(0, 6))
    assert other.verify().ok
    other.append("t", rows(6, 8))
    assert_same(other["t"], rows(0, 8))
    other.gc(dry_run=False, grace=0)
    assert other.verify().ok


@pytest.mark.parametrize("chunks", [None, SMALL])
def test_a_part_that_does_not_fit_says_why(db, chunks) -> None:
    db.set("t", rows(0, 4), chunks=chunks)
    part = rows(4, 6)
    for wrong, message in (
        (part.astype({"time": "f4"}), "column 'time' has dtype float32"),
        (part.assign(kind=pd.Categorical(["c", "d"])), "other categories"),
        (part[["name", "time", "kind"]], "column 'name', column 'time'"),
        (part.set_axis(["x", "y"]), "index None has dtype"),
        (part["time"], "Series"),
        (dd.from_pandas(part, npartitions=1), "one of dask; give part.compute|has dtype string"),
    ):
        with pytest.raises(PartMismatchError, match=f"^t: .*({message})"):
            db.append("t", wrong)
    unique = part.set_axis(["x", "y"]).set_flags(allows_duplicate_labels=False)
    db.set("u", unique, chunks=chunks)
    with pytest.raises(PartMismatchError, match=r"u: .*Index has duplicates"):
        db.append("u", unique)
    db.set("o", pd.DataFrame({"name": ["x"]}, dtype=object), chunks=chunks)
    with pytest.raises(PartMismatchError, match=r"o: the part: column 'name' holds Python objects"):
        db.append("o", pd.DataFrame({"name": [1]}, dtype=object, index=[1]))
    assert_same(db["t"], rows(0, 4))
    assert db.verify().ok


def without_categories(table: Any) -> Any:
    """The same values; which categories there are, other partitions decide, too."""
    if table.ndim == 1:
        return table.astype(object) if table.dtype == "category" else table
    return table.astype({name: object for name in table if table[name].dtype == "category"})


def lazy(table: Any, npartitions: int) -> Any:
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_pandas(table, npartitions=npartitions, sort=False)


@given(
    tables=parts(NEW_COLUMNS.keys() - {"interval", "swapped"}, [NEW_INDEXES[i] for i in (0, 1, 2, 5, 8)]),
    chunks=st.sampled_from([None, SMALL]),
    column=st.booleans(),
    data=st.data(),
)
@settings(FROM_PLACE, max_examples=40)
def test_a_dask_table_gets_another_partition(tmp_path_factory, monkeypatch, tables, chunks, column, data) -> None:
    monkeypatch.setattr("zdb.parallel.table_growth.ROWS", data.draw(st.sampled_from([0, 1000])))
    tables = [table.set_flags(allows_duplicate_labels=True) for table in tables]
    for table in tables:
        table.attrs = {}
    if column and tables[0].shape[1]:
        tables = [table.iloc[:, 0] for table in tables]
    if tables[0].shape[1:] == (0,):
        return
    chunks = chunks if tables[0].ndim == 2 else None
    db = zdb.open(tmp_path_factory.mktemp("x") / "x.zdb")
    db.set("t", lazy(tables[0], 2), chunks=chunks)
    for part in tables[1:]:
        before = db["t"]
        with dask.config.set({"dataframe.convert-string": False}):
            expected = dd.concat([before, lazy(part, 1)])
        wanted = dask.compute(*expected.to_delayed())
        try:
            db.append("t", part)
        except zdb.ZdbError:
            assert any(name in tables[0] for name in ("category", "object")) or column
            return
        found = db["t"]
        if len(part):
            assert found.divisions == expected.divisions
            for one, other in zip(dask.compute(*found.to_delayed()), wanted, strict=True):
                assert_same(without_categories(one), without_categories(other))
    assert db.verify().ok


def test_a_dask_table_grows_in_place(place: Place) -> None:
    db = place.open()
    db.set("t", lazy(rows(0, 10), 2), chunks=SMALL)
    db.append("t", rows(10, 12))  # not all arrays had chunks that are more than cut to size
    first = db.info("t").generation
    before = db["t"]
    for start, stop in pairwise([12, 13, 40]):
        db.append("t", rows(start, stop, "a"))
    assert db.info("t").generation == first
    assert db["t"].divisions == (0, 5, 10, 12, 13, 39)
    assert_same(
        db["t"].compute(),
        rows(0, 10).pipe(lambda one: pd.concat([one, rows(10, 12), rows(12, 13, "a"), rows(13, 40, "a")])),
    )
    assert_same(before.compute(), rows(0, 12))
    db.append("t", rows(3, 5))
    assert not db["t"].known_divisions
    assert db.info("t").generation == first
    array = db._engine.node("t").arrays["time"]
    db.append("t", rows(5, 7).assign(kind=pd.Categorical(["a", "c"])))  # a category that is new
    assert db.info("t").generation > first
    assert db["t"].compute()["kind"].tolist()[-2:] == ["a", "c"]
    assert db._engine.node("t").arrays["time"].object_shape == array.object_shape == (3,)
    assert db.verify().ok


def test_a_table_grows_along_its_rows(db) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    db["t"] = frame
    with pytest.raises(PartMismatchError, match="t: rows are added to a table, along 'row', not along 'trial'"):
        db.append("t", frame, "trial")
    db.append("t", frame, "row")
    assert len(db["t"]) == 4
