"""Tables of pandas, Arrow and polars come back equal; parts of them read no more than they need."""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr
from formats.memory import elements_read, roundtrip, store
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal as assert_polars_equal

from zdb.errors import SelectionError, UnsupportedValueError
from zdb.formats import Selection, for_value
from zdb.formats.tables import TableFormat

TABLE = TableFormat()


def everything() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": [0.5, np.nan, 1.5, -0.0],
            "count": pd.array([1, None, 3, 4], dtype="Int32"),
            "cell": ["soma", None, "é", ""],
            "text": pd.Series(["a", None, float("nan"), pd.NA], dtype=object),
            "type": pd.Categorical(["b", None, "a", "b"], ordered=True),
            "start": pd.date_range("2020", periods=4, tz="Europe/Berlin"),
            "bin": pd.interval_range(0, 4),
            "month": pd.period_range("2020", periods=4, freq="M"),
            "rows": pd.Series([[1], None, [], [2]], dtype=pd.ArrowDtype(pa.list_(pa.int8()))),
            "flag": [True, False, True, True],
        }
    ).set_axis(pd.Index([3, 1, 2, 1], name="trial"))


def frames() -> dict[str, pd.DataFrame]:
    plain = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, 2.5, 3.5]})
    attributes = plain.copy()
    attributes.attrs = {"units": "mV", "nested": {"list": [1, None, True, "é"]}}
    unique = plain.set_flags(allows_duplicate_labels=False)
    wide = pd.DataFrame(np.arange(300.0).reshape(3, 100), columns=pd.RangeIndex(0, 200, 2, name="sample"))
    return {
        "everything": everything(),
        "attributes": attributes,
        "flags": unique,
        "range of columns": wide,
        "columns of int": pd.DataFrame([[1, 2.5]], columns=[7, -1]),
        "columns of float": pd.DataFrame([[1, 2]], columns=[0.5, np.nan]),
        "columns of tuples": pd.DataFrame({"x": [1], "y": [2]}).set_axis(
            pd.Index([("a", 1), ("b", 2)], tupleize_cols=False), axis=1
        ),
        "columns of levels": pd.DataFrame(
            [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None])
        ),
        "columns of times": pd.DataFrame([[1, 2]], columns=pd.date_range("2020", periods=2, freq="D")),
        "columns of categories": pd.DataFrame([[1, 2]], columns=pd.CategoricalIndex(["u", "v"], name="c")),
        "columns of anything": pd.DataFrame([[1, 2, 3]], columns=[None, "a", ("b", 1.5)]),
        "columns of objects": pd.DataFrame([[1, 2]], columns=pd.Index(["a", None], dtype=object)),
        "repeated columns": pd.DataFrame([[1, "x", 2.5]], columns=["a", "a", "A"]),
        "names of parts": pd.DataFrame({"a": ["x"], "a.mask": [1], "a.bytes": [2], "row": [3], "index": [4]}),
        "names that no store has": pd.DataFrame({"a/b": [1], "": [2], "__x": [3], "zarr.json": [4], "ä": [5]}),
        "level names": pd.DataFrame(
            {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=["a", ("t", 1)])
        ),
        "no rows": everything().iloc[:0],
        "no columns": pd.DataFrame(index=pd.Index(["x", "y"], name="k")),
        "nothing": pd.DataFrame(),
        "neither but an index": pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC", name="t")),
        "index of strings": pd.DataFrame({"a": [1, 2]}, index=["x", "y"]),
        "index of objects": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", None], dtype=object)),
        "big-endian": pd.DataFrame({"a": pd.Series(np.array([1, 2], dtype=">i4"))}),
    }


def assert_same_frame(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        actual,
        expected,
        check_exact=True,
        check_index_type=True,
        check_column_type=True,
        check_freq=True,
        check_flags=True,
    )
    assert type(actual) is type(expected)
    assert actual.attrs == expected.attrs
    for i in range(len(expected.columns)):
        mine, other = actual.iloc[:, i], expected.iloc[:, i]
        assert repr(mine.dtype) == repr(other.dtype)
        assert [type(x) for x in mine] == [type(x) for x in other]
    assert type(actual.index) is type(expected.index)
    assert type(actual.columns) is type(expected.columns)


@pytest.mark.filterwarnings("ignore:assert_.*will check the 'freq'")
@pytest.mark.parametrize("name", frames())
def test_frames_come_back(name: str) -> None:
    frame = frames()[name]
    before = frame.copy()
    assert_same_frame(roundtrip(TABLE, frame), frame)
    assert_same_frame(frame, before)


@pytest.mark.parametrize("name", everything().columns)
@pytest.mark.parametrize("label", [None, "rate", ("a", 1), 3, pd.Timestamp("2020", tz="UTC")])
def test_series_come_back(name: str, label: Any) -> None:
    series = everything()[name].rename(label)
    series.attrs["units"] = "ms"
    back = roundtrip(TABLE, series)
    pd.testing.assert_series_equal(back, series, check_exact=True, check_index_type=True)
    assert type(back.name) is type(series.name)
    assert back.attrs == series.attrs


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(3, name="trial"),
        pd.date_range("2020", periods=3, freq="h", tz="UTC"),
        pd.MultiIndex.from_product([["a"], [1, 2]], names=["row", "row"]),
        pd.Index([], dtype="str"),
        pd.CategoricalIndex(["a", None]),
    ],
    ids=lambda i: type(i).__name__,
)
def test_indexes_are_values_too(index: Any) -> None:
    back = roundtrip(TABLE, index)
    pd.testing.assert_index_equal(back, index, exact=True, check_freq=True)
    assert list(back.names) == list(index.names)
    rows = TABLE.select(store(TABLE.encode(index)), Selection(rows=slice(1, None)))
    pd.testing.assert_index_equal(rows, index[1:], exact=True, check_freq=True)


ROWS = st.one_of(
    st.slices(4),
    st.lists(st.integers(-4, 3), max_size=5),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
LABELS = st.lists(st.sampled_from(list(everything().columns)), max_size=4)


@given(rows=st.none() | ROWS, columns=st.none() | LABELS)
def test_parts_are_those_of_pandas(rows: Any, columns: Any) -> None:
    frame = everything()
    part = TABLE.select(store(TABLE.encode(frame)), Selection(columns, rows))
    expected = frame if columns is None else frame.loc[:, columns]
    expected = expected if rows is None else expected.iloc[rows or slice(0, 0)]
    assert_same_frame(part, expected)


def test_a_part_reads_only_what_it_needs() -> None:
    frame = pd.DataFrame({"a": np.arange(10_000), "name": [f"cell {i}" for i in range(10_000)], "b": 1.5})
    frame["long"] = frame["name"] + "x" * 200
    node = store(TABLE.encode(frame))
    assert TABLE.encode(frame)["long.offsets"].size == 10_001
    before = elements_read(node)
    part = TABLE.select(node, Selection(columns=["long", "a"], rows=slice(5000, 5010)))
    assert_same_frame(part, frame.loc[:, ["long", "a"]].iloc[5000:5010])
    assert elements_read(node) - before == 10 + 11 + 10 * 209


def test_the_columns_of_repeated_and_nested_labels() -> None:
    frame = frames()["repeated columns"]
    assert_same_frame(TABLE.select(store(TABLE.encode(frame)), Selection(columns=["a"])), frame[["a"]])
    frame = frames()["columns of levels"]
    picked = TABLE.select(store(TABLE.encode(frame)), Selection(columns=[("b", 2)]))
    assert_same_frame(picked, frame[[("b", 2)]])


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(columns=["tim"]), "did you mean 'time'"),
        (Selection(columns=["qqqqqqqq"]), "there are 'time', 'count'"),
        (Selection(columns="time"), r"columns=\['time'\]"),
        (Selection(columns=[["time"]]), "no column"),
        (Selection(rows=[4]), "out of bounds"),
        (Selection(rows=[True]), "mask"),
        (Selection(isel={"row": 1}), "isel="),
    ],
)
def test_parts_that_are_not_there(selection: Selection, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        TABLE.select(store(TABLE.encode(everything())), selection)


def test_series_have_no_columns() -> None:
    with pytest.raises(SelectionError, match="columns="):
        TABLE.select(store(TABLE.encode(pd.Series([1]))), Selection(columns=["a"]))


def test_plain_xarray_reads_a_table() -> None:
    frame = everything()
    dataset = xr.decode_cf(TABLE.encode(frame))
    np.testing.assert_array_equal(dataset["time"], frame["time"])
    np.testing.assert_array_equal(dataset["trial"], frame.index)
    np.testing.assert_array_equal(dataset["start"], frame["start"].dt.tz_convert(None))
    assert dataset["cell"].values.tolist() == ["soma", "", "é", ""]
    assert set(dataset.coords) == {"trial"}
    assert dataset.sizes["row"] == 4
    assert json.loads(dataset.attrs["zdb_shape"]) == [4, 10]
    assert dataset.attrs["zdb_type"] == "pandas.DataFrame"


def test_numbers_of_a_frame_are_not_copied() -> None:
    frame = pd.DataFrame({"a": np.arange(5.0), "b": np.arange(5), "c": np.arange(5.0)})
    dataset = TABLE.encode(frame)
    for name in frame:
        assert np.shares_memory(dataset[name].values, frame[name].to_numpy())
    back = TABLE.decode(dataset)
    assert np.shares_memory(back["a"].to_numpy(), dataset["a"].values)


class GeoDataFrame(pd.DataFrame):
    pass


class GeoSeries(pd.Series):
    pass


def with_attrs(value: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["unit"] = value
    return frame


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (pd.DataFrame({"mixed": [1, "a"]}, dtype=object), "column 'mixed' holds Python objects.*int"),
        (pd.DataFrame({"ints": [1, 2]}, dtype=object), "column 'ints'.*Int64"),
        (pd.DataFrame({"trains": [np.zeros(1), np.zeros(2)]}), r"column 'trains'.*zdb\.Ragged"),
        (pd.DataFrame({"bytes": [b"a"]}), "column 'bytes'.*bytes"),
        (pd.DataFrame({"money": [decimal.Decimal(1)]}), "column 'money'.*Decimal"),
        (pd.DataFrame({("x", 1): pd.arrays.SparseArray([1])}), r"column \('x', 1\).*Sparse"),
        (pd.DataFrame({"a": [1]}, index=[object()]), "label.*object"),
        (pd.DataFrame([[1]], columns=[frozenset()]), "label.*frozenset"),
        (GeoDataFrame({"a": [1]}), r"GeoDataFrame is a subclass of pandas\.DataFrame"),
        (GeoSeries([1]), r"GeoSeries is a subclass of pandas\.Series"),
        (with_attrs(np.float64(1)), r"attrs\['unit'\].*float64"),
        (with_attrs((1, 2)), r"attrs\['unit'\].*tuple"),
        (pl.LazyFrame({"a": [1]}), "collect"),
        (pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}), "'o'.*Object"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_what_cannot_be_kept_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UnsupportedValueError, match=message):
        TABLE.encode(value)


def test_tables_are_found_by_type() -> None:
    for value in (everything(), pd.Series([1]), pd.RangeIndex(3), pa.table({"a": [1]}), pl.Series([1])):
        assert for_value(value).name == "table"


ARROW = pa.table(
    {
        "chunks": pa.chunked_array([[1, None], [3]]),
        "none": pa.nulls(3),
        "half": pa.array(np.array([1, 2, 3], dtype=np.float16)),
        "flag": pa.array([True, None, False]),
        "view": pa.array(["a", None, "c"], pa.string_view()),
        "text": pa.array(["a", None, "c"]),
        "words": pa.array(["x", "y", "x"]).dictionary_encode(),
        "time": pa.array([1, None, 3], pa.timestamp("s", "UTC")),
        "date": pa.array([0, None, 86_400_000], pa.date64()),
        "day": pa.array([0, None, 3], pa.date32()),
        "clock": pa.array([0, None, 3], pa.time32("s")),
        "money": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal(0)]),
        "bytes": pa.array([b"\xff", None, b""]),
        "nested": pa.array([[{"x": [1]}], None, []]),
    },
    metadata={"key": b"\xff"},
).append_column(pa.field("chunks", pa.int8(), nullable=False, metadata={"units": "mV"}), pa.array([1, 2, 3], pa.int8()))


@pytest.mark.parametrize("size", [0, 1, 3])
def test_arrow_tables_come_back(size: int) -> None:
    table = ARROW.slice(0, size)
    assert roundtrip(TABLE, table).equals(table, check_metadata=True)
    batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], schema=table.schema)
    back = roundtrip(TABLE, batch)
    assert type(back) is pa.RecordBatch
    assert back.equals(batch, check_metadata=True)


def test_parts_of_arrow_tables() -> None:
    node = store(TABLE.encode(ARROW))
    part = TABLE.select(node, Selection(columns=["nested", "text", "words"], rows=[2, 0, 0]))
    assert part.equals(ARROW.select(["nested", "text", "words"]).take([2, 0, 0]))
    assert TABLE.select(node, Selection(columns=["chunks"])).num_columns == 2
    with pytest.raises(SelectionError, match="'nested'"):
        TABLE.select(node, Selection(columns=["nest"]))


def test_nested_columns_of_many_rows_are_read_in_pieces() -> None:
    table = pa.table({"list": pa.array([[i] for i in range(200_000)])})
    node = store(TABLE.encode(table))
    size = node["list"].size
    part = TABLE.select(node, Selection(rows=slice(65_535, 65_538)))
    assert part["list"].to_pylist() == [[65_535], [65_536], [65_537]]
    assert elements_read(node) < 0.7 * size
    assert roundtrip(TABLE, table).equals(table)


POLARS = pl.DataFrame(
    {
        "a": [1, None, 3],
        "float": [1.5, float("nan"), None],
        "text": ["x", None, "é"],
        "flag": [True, None, False],
        "day": [datetime.date(2020, 1, 1), None, None],
        "time": pl.Series([datetime.datetime(2020, 1, 1), None, None]).dt.replace_time_zone("Europe/Berlin"),
        "clock": [datetime.time(1), None, None],
        "list": [[1], None, []],
        "struct": [{"x": 1}, {"x": None}, None],
        "array": pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int8, 2)),
        "words": pl.Series(["a", "b", None], dtype=pl.Categorical),
        "enum": pl.Series(["a", "b", None], dtype=pl.Enum(["b", "a"])),
        "money": [decimal.Decimal("1.50"), None, None],
        "none": [None, None, None],
        "": [b"x", None, b""],
    }
)


@pytest.mark.parametrize("frame", [POLARS, POLARS.clear(), POLARS.head(1), pl.DataFrame()], ids=str)
def test_polars_frames_come_back(frame: pl.DataFrame) -> None:
    back = roundtrip(TABLE, frame)
    assert_polars_equal(back, frame, categorical_as_str=True)
    assert back.schema == frame.schema


@pytest.mark.parametrize("name", POLARS.columns)
def test_polars_series_come_back(name: str) -> None:
    back = roundtrip(TABLE, POLARS[name])
    assert back.name == name
    assert back.dtype == POLARS[name].dtype
    assert back.to_list() == POLARS[name].to_list() or name == "float"


def test_parts_of_polars_frames() -> None:
    part = TABLE.select(store(TABLE.encode(POLARS)), Selection(columns=["text", "a"], rows=[2, 0]))
    assert_polars_equal(part, POLARS[["text", "a"]][[2, 0]])
