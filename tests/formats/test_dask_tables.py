"""Dask frames: partitions are computed once, joined, and read back lazily."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from itertools import pairwise
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr
from formats.memory import elements_read, roundtrip, store
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal

from zdb.errors import SelectionError, UnsupportedValueError
from zdb.formats import Selection, for_value
from zdb.formats.dask_tables import PartitionedTable
from zdb.formats.tables import TableFormat

TABLE = TableFormat()


@pytest.fixture(autouse=True)
def in_this_thread() -> Any:
    with dask.config.set({"scheduler": "synchronous", "dataframe.convert-string": False}):
        yield


def everything(rows: int = 10) -> pd.DataFrame:
    repeated = lambda *values: [values[i % len(values)] for i in range(rows)]  # noqa: E731
    return pd.DataFrame(
        {
            "time": np.arange(rows) / 2,
            "count": pd.array(repeated(1, 2, None), dtype="Int32"),
            "cell": pd.array(repeated("soma", None, "é", ""), dtype="str"),
            "text": np.array(repeated("a", None, "bb", float("nan"), pd.NA), dtype=object),
            "type": pd.Categorical(repeated("b", None, "a", "b")),
            "order": pd.Categorical(repeated("low", "high"), categories=["low", "high"], ordered=True),
            "start": pd.date_range("2020", periods=rows, tz="Europe/Berlin"),
            "month": pd.period_range("2020", periods=rows, freq="M"),
            "bin": pd.interval_range(0, rows),
            "rate": pd.array(repeated(1.5, None), dtype=pd.ArrowDtype(pa.float32())),
            "name": pd.array(repeated("x", "yy", None), dtype=pd.ArrowDtype(pa.string())),
            "nested": pd.array(repeated([1], None, [], [2, 3]), dtype=pd.ArrowDtype(pa.list_(pa.int8()))),
            "flag": repeated(True, False),
        },
        index=pd.Index(range(0, 10 * rows, 10), name="trial"),
    )


def split(frame: Any, sizes: list[int]) -> Any:
    """A dask frame of partitions of these sizes, as they are."""
    at = frame if isinstance(frame, pd.Index) else frame.iloc
    parts = [at[first:last] for first, last in pairwise(np.cumsum([0, *sizes]))]
    return dd.from_map(lambda part: part, parts, meta=frame[:0], enforce_metadata=False)


def assert_same_frame(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert_frame_equal(actual, expected, check_exact=True, check_index_type=True, check_column_type=True)
    for column in range(expected.shape[1]):
        mine, other = actual.iloc[:, column], expected.iloc[:, column]
        assert [type(x) for x in mine] == [type(x) for x in other]


@pytest.mark.parametrize("convert", [True, False])
@pytest.mark.parametrize("partitions", [1, 2, 3, 10])
def test_frames_come_back_with_their_divisions(partitions: int, convert: bool) -> None:
    with dask.config.set({"dataframe.convert-string": convert}):
        frame = dd.from_pandas(everything(), npartitions=partitions, sort=True)
        expected = frame.compute()
        back = roundtrip(TABLE, frame)
        assert type(back) is type(frame)
        assert back.divisions == frame.divisions
        assert back.npartitions == partitions
        assert list(back.columns) == list(frame.columns)
        assert_same_frame(back.compute(), expected)
        assert_frame_equal(back._meta, frame._meta, check_categorical=False)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_partitions_of_any_size(sizes: list[int], data: st.DataObject) -> None:
    frame = everything(sum(sizes))
    node = store(TABLE.encode(split(frame, sizes)))
    back = TABLE.decode(node)
    assert back.divisions == (None,) * (len(sizes) + 1)
    assert [len(part) for part in dask.compute(*back.to_delayed())] == sizes
    assert_same_frame(back.compute(), frame)
    size = len(frame)
    rows = st.slices(size) if not size else st.slices(size) | st.lists(st.integers(-size, size - 1), min_size=1)
    chosen = data.draw(rows)
    columns = data.draw(st.none() | st.lists(st.sampled_from(frame.columns.tolist()), unique=True))
    part = TABLE.select(node, Selection(columns, chosen))
    assert_same_frame(part, (frame if columns is None else frame[columns]).iloc[chosen])


@pytest.mark.parametrize("name", everything().columns)
def test_series_come_back(name: str) -> None:
    series = everything()[name]
    back = roundtrip(TABLE, split(series, [3, 0, 7]))
    assert isinstance(back, dd.Series)
    assert back.name == name
    assert_series_equal(back.compute(), series, check_exact=True)
    rows = TABLE.select(store(TABLE.encode(split(series, [3, 7]))), Selection(rows=[9, 0, 4]))
    assert_series_equal(rows, series.iloc[[9, 0, 4]], check_exact=True)


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([3, 1, 2, 4], name="trial"),
        pd.RangeIndex(2, 10, 2, name="k"),
        pd.date_range("2020", periods=4, freq="h", tz="UTC"),
        pd.Index(["a", "bb", "", "é"], dtype="str"),
        pd.Index(["a", None, "bb", "é"], dtype=object),
        pd.CategoricalIndex(["a", None, "b", "a"]),
    ],
    ids=lambda i: type(i).__name__,
)
def test_indexes_of_frames(index: Any) -> None:
    frame = pd.DataFrame({"a": np.arange(4.0)}, index=index)
    node = store(TABLE.encode(split(frame, [1, 3])))
    first, second = dask.compute(*TABLE.decode(node).to_delayed())
    assert_same_frame(first, frame.iloc[:1])
    assert_same_frame(second, frame.iloc[1:])
    assert_index_equal(TABLE.select(node, Selection(rows=[2, 0])).index, index[[2, 0]])
    assert_index_equal(
        TABLE.select(node, Selection(rows=slice(1, 3))).index, index[1:3], exact="equiv", check_freq=False
    )
    back = roundtrip(TABLE, split(frame, [1, 3]).index)
    assert isinstance(back, dd.Index)
    for actual, expected in zip(dask.compute(*back.to_delayed()), (index[:1], index[1:]), strict=True):
        assert_index_equal(actual, expected, exact=True)


def test_every_partition_counts_from_zero() -> None:
    parts = [pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [3]}), pd.DataFrame({"a": [4, 5, 6]})]
    frame = dd.from_map(lambda part: part, parts)
    node = store(TABLE.encode(frame))
    back = TABLE.decode(node)
    assert_same_frame(back.compute(), pd.concat(parts))
    assert type(back.get_partition(2).compute().index) is pd.RangeIndex
    assert_same_frame(TABLE.select(node, Selection(rows=[5, 2, 0])), pd.concat(parts).iloc[[5, 2, 0]])


def test_an_index_that_is_a_range_in_some_partitions_only() -> None:
    parts = [pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [3, 4]}, index=[7, 5]), pd.DataFrame({"a": [5]})]
    frame = dd.from_map(lambda part: part, parts)
    back = roundtrip(TABLE, frame)
    for number, part in enumerate(parts):
        assert_frame_equal(back.get_partition(number).compute(), part, check_index_type=True)


def test_a_frequency_that_some_partitions_have_only() -> None:
    times = pd.date_range("2020", periods=3, freq="h")
    parts = [pd.DataFrame({"a": range(3)}, index=each) for each in (times, times[[0, 2, 1]])]
    back = roundtrip(TABLE, dd.from_map(lambda part: part, parts))
    assert back.get_partition(0).compute().index.freq == times.freq
    assert_frame_equal(back.get_partition(1).compute(), parts[1], check_freq=True)


def test_names_of_columns_that_look_like_parts_of_strings() -> None:
    frame = pd.DataFrame(
        {
            "a.offsets": [1, 2, 3],
            "b.bytes": [4, 5, 6],
            "c.mask": [7, 8, 9],
            "c": ["x", "y", None],
            "x.offsets": list("abc"),
        }
    )
    assert_same_frame(roundtrip(TABLE, split(frame, [1, 2])).compute(), frame)


@pytest.mark.parametrize("columns", [[1, 0], [("a", 1), ("b", 2)], ["a", "a"], [None, 0.5]], ids=str)
def test_labels_of_columns(columns: list[Any]) -> None:
    frame = pd.DataFrame([[1, 2.5], [3, 4.5]], columns=pd.Index(columns, tupleize_cols=False, dtype=object))
    frame = dd.from_pandas(frame, npartitions=2)
    back = roundtrip(TABLE, frame)
    assert_same_frame(back.compute(), frame.compute())


def test_a_frame_without_columns() -> None:
    frame = pd.DataFrame(index=pd.Index([3, 4, 5]))
    assert_same_frame(roundtrip(TABLE, split(frame, [1, 2])).compute(), frame)


def test_categories_of_all_partitions_are_joined() -> None:
    parts = [pd.DataFrame({"a": pd.Categorical(values)}) for values in (["x", None], ["y", "x"], ["z"])]
    frame = dd.from_map(lambda part: part, parts)
    back = roundtrip(TABLE, frame)
    assert back._meta["a"].cat.categories.tolist() == ["x", "y", "z"]
    assert back.compute()["a"].tolist()[2:] == ["y", "x", "z"]
    assert back.compute()["a"].isna().tolist() == [False, True, False, False, False]


def test_many_categories_need_wider_codes() -> None:
    parts = [pd.DataFrame({"a": pd.Categorical([f"{k}-{i}" for i in range(100)])}) for k in range(3)]
    back = roundtrip(TABLE, dd.from_map(lambda part: part, parts)).compute()
    assert back["a"].tolist() == [label for part in parts for label in part["a"]]
    assert back["a"].cat.codes.dtype == np.int16


def test_each_partition_is_computed_once_and_each_byte_of_a_payload_read_once() -> None:
    computed: Counter[int] = Counter()
    loaded: Counter[tuple[int, int]] = Counter()
    kept: dict[int, bytes] = {}

    def make(number: int) -> pd.DataFrame:
        computed[number] += 1
        return pd.DataFrame({"a": [number, number], "name": [f"cell {number}", None], "c": pd.Categorical(["x", "y"])})

    def load(number: int, start: int, length: int) -> bytes:
        loaded.update((number, at) for at in range(start, start + length))
        return kept[number][start : start + length]

    meta = make(0)[:0]
    frame = dd.from_map(make, range(4), meta=meta)
    frame = frame.assign(b=frame["a"] * 2)
    computed.clear()
    table = TABLE.partitioned(frame)
    assert isinstance(table, PartitionedTable)
    assert not computed
    infos = dask.compute(*table.parts(kept.__setitem__))
    assert computed == dict.fromkeys(range(4), 1)
    dataset = table.finish(infos, load)
    assert not loaded
    assert dataset.sizes["row"] == 8
    assert dataset["a"].chunks == ((8,),)
    assert dataset["name.offsets"].chunks == ((9,),)
    node = dataset.compute()
    assert loaded == {(number, at): 1 for number, payload in kept.items() for at in range(len(payload))}
    assert computed == dict.fromkeys(range(4), 1)
    assert_frame_equal(TABLE.decode(node).compute(), frame.compute())


def test_tables_in_memory_are_not_partitioned() -> None:
    assert TABLE.partitioned(everything()) is None


def test_reading_is_lazy_and_reads_only_the_columns_that_dask_needs() -> None:
    frame = pd.DataFrame({"a": np.arange(1000), "b": np.arange(1000.0), "name": [f"cell {i}" for i in range(1000)]})
    node = store(TABLE.encode(dd.from_pandas(frame, npartitions=10)))
    back = TABLE.decode(node)
    assert elements_read(node) == 0
    assert back["a"].sum().compute() == frame["a"].sum()
    assert elements_read(node) == 1000
    chosen = TABLE.select(node, Selection(columns=["b", "a"]))
    assert isinstance(chosen, dd.DataFrame)
    assert elements_read(node) == 1000
    assert_same_frame(chosen.get_partition(3).compute(), frame[["b", "a"]].iloc[300:400])
    assert elements_read(node) == 1000 + 200
    assert_same_frame(TABLE.select(node, Selection(["a"], slice(95, 105))), frame[["a"]].iloc[95:105])
    assert elements_read(node) == 1000 + 200 + 10


def test_a_frame_that_was_read_can_be_pickled() -> None:
    back = roundtrip(TABLE, dd.from_pandas(everything(), npartitions=2))
    again = pickle.loads(pickle.dumps(back))
    assert_same_frame(again.compute(), everything())


def test_a_frame_that_was_read_can_be_written() -> None:
    frame = dd.from_pandas(everything(), npartitions=3)
    once = roundtrip(TABLE, frame)
    twice = roundtrip(TABLE, once.assign(time=once["time"] + 1))
    assert twice.divisions == frame.divisions
    assert_same_frame(twice.compute(), everything().assign(time=everything()["time"] + 1))


def test_what_is_stored_of_a_dask_frame() -> None:
    dataset = TABLE.encode(dd.from_pandas(everything(), npartitions=2))
    assert dataset.attrs["zdb_type"] == "dask.DataFrame"
    assert json.loads(dataset.attrs["zdb_shape"]) == [10, 13]
    recipe = json.loads(dataset.attrs["zdb_recipe"])
    assert recipe["partitions"] == [5, 5]
    assert recipe["divisions"] == [0, 50, 90]
    np.testing.assert_array_equal(xr.decode_cf(dataset)["time"], everything()["time"])


def lies(*parts: Any) -> Any:
    """A dask frame that promises that all partitions are like the first one."""
    return dd.from_map(lambda part: part, list(parts), meta=parts[0][:0], enforce_metadata=False)


A = pd.DataFrame({"a": [1]})
LOW = pd.Categorical(["low"], ordered=True)
HIGH = pd.Categorical(["high"], ordered=True)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([A, A.rename(columns={"a": "b"})], "partition 1: it has column 'b'.*promises column 'a'"),
        ([A, A.assign(b=1)], "partition 1: it has column 'a', column 'b'"),
        ([A, A, A.astype(float)], "partition 2: column 'a' has dtype float64.*promises int64.*meta="),
        ([A, A.rename_axis("k")], "partition 1: it has column 'a', index 'k'"),
        ([A, A["a"]], "partition 1: it is a .*Series"),
        ([A, A.set_axis([0.5])], "partition 1: index None has dtype float64"),
        ([A.assign(b=[[1]])], "partition 0: column 'b' holds Python objects.*list"),
        ([A, A.set_axis(pd.MultiIndex.from_tuples([(1, 2)]))], "partition 1"),
        ([A.assign(c=LOW), A.assign(c=HIGH)], "ordered categories of 'c' differ"),
        ([A.assign(c=LOW), A.assign(c=LOW.as_unordered())], "partition 1: column 'c'"),
        ([A.assign(c=pd.Categorical([1])), A.assign(c=pd.Categorical(["x"]))], "partition 1: the categories of 'c'"),
        ([A, A.set_flags(allows_duplicate_labels=False)], "partition 1: it has other attrs or flags"),
        ([A.set_axis(pd.Index(["x"], dtype=object)), A.set_axis(pd.Index([1], dtype=object))], "partition 1: 'index'"),
    ],
    ids=range(13),
)  # fmt: skip
def test_partitions_that_do_not_fit_are_refused(parts: list[Any], message: str) -> None:
    with pytest.raises(UnsupportedValueError, match=message):
        TABLE.encode(lies(*parts))


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(columns=["tim"]), "did you mean 'time'"),
        (Selection(columns="time"), r"columns=\['time'\]"),
        (Selection(rows=[10]), "out of bounds"),
        (Selection(sel={"trial": 1}), "sel="),
    ],
)
def test_parts_that_are_not_there(selection: Selection, message: str) -> None:
    node = store(TABLE.encode(dd.from_pandas(everything(), npartitions=2)))
    with pytest.raises(SelectionError, match=message):
        TABLE.select(node, selection)


def test_dask_frames_are_found_by_type() -> None:
    frame = dd.from_pandas(everything(), npartitions=2)
    for value in (frame, frame["time"], frame.index):
        assert for_value(value).name == "table"
