"""Adding rows to ragged values."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from growing import COLUMNS, INDEXES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import Place
from zarr.codecs import GzipCodec

import zdb
from zdb import Ragged
from zdb.errors import PartMismatchError

FROM_PLACE = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
SMALL = {"row": 3, "value": 5}


@st.composite
def parts(draw: st.DrawFn) -> list[Ragged]:
    """Some raggeds with the same columns."""
    dtype = draw(st.sampled_from(["f8", ">f4", "u1", "M8[ms]", "?"]))
    columns = draw(st.lists(st.sampled_from(list(COLUMNS)), max_size=4, unique=True))
    index = draw(st.sampled_from(list(INDEXES)))
    made = []
    for _ in range(draw(st.integers(2, 5))):
        sizes = np.array(draw(st.lists(st.sampled_from([0, 1, 2, 7, 300]), max_size=9)), dtype=int)
        numbers = np.arange(len(sizes)) + draw(st.integers(0, 100))
        labels = INDEXES[index](numbers)
        table = pd.DataFrame(
            {
                name: pd.Series(COLUMNS[name](numbers), labels, dtype=object if name == "object" else None)
                for name in columns
            },
            index=labels,
        )
        made.append(Ragged((np.arange(sizes.sum()) % 200).astype(dtype), sizes, table))
    return made


def concatenated(before: Ragged, more: Ragged) -> Ragged:
    """What appending means, said by numpy and pandas."""
    one, other = before.columns, more.columns
    made = pd.concat([one, other])
    for name in [name for name in one if one[name].dtype == "category"]:
        made[name] = pd.api.types.union_categoricals([one[name], other[name]])
    if all(
        isinstance(each.index, pd.RangeIndex) and each.index.equals(pd.RangeIndex(len(each))) for each in (one, other)
    ):
        made.index = pd.RangeIndex(len(made))
    made.columns = one.columns
    values = np.concatenate([before.values, more.values], dtype=before.dtype)
    return Ragged(values, [*before.row_size, *more.row_size], made)


def assert_same(found: Ragged, expected: Ragged) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    pd.testing.assert_frame_equal(found.columns, expected.columns, check_freq=False)


@given(raggeds=parts(), chunks=st.sampled_from([None, SMALL]), shards=st.booleans(), data=st.data())
@FROM_PLACE
@pytest.mark.parametrize("store", ["local", "memory"])
def test_what_is_added_comes_after_what_is_there(tmp_path_factory, monkeypatch, store, raggeds, chunks, shards, data):
    # Layouts of long values in short ones.
    monkeypatch.setattr("zdb.formats.strings.TEXT_ROWS", data.draw(st.sampled_from([2, 10_000])))
    monkeypatch.setattr("zdb.formats.strings.MOST_LABELS", 3)
    monkeypatch.setattr("zdb.formats.jagged.BLOCK", 8)
    name = uuid.uuid4().hex
    place = Place(f"memory://{name}" if store == "memory" else str(tmp_path_factory.mktemp("x") / name))
    db = place.open()
    expected = raggeds[0]
    options = {"chunks": chunks, "shards": {"row": 6, "value": 20} if chunks and shards else None}
    db.set("r", expected, **options)
    for part in raggeds[1:]:
        db.append("r", part)
        expected = concatenated(expected, part)
        assert_same(db["r"], expected)
    start = data.draw(st.integers(0, len(expected)))
    assert_same(db.get("r", rows=slice(start, start + 3)), expected[start : start + 3])
    plain = db.dataset("r")
    np.testing.assert_array_equal(plain["row_size"], expected.row_size)
    assert db.info("r").shape == (len(expected),)
    assert db.verify().ok


@given(raggeds=parts(), chunks=st.sampled_from([None, SMALL]))
@settings(FROM_PLACE, max_examples=15)
def test_lists_and_awkward_arrays(tmp_path_factory, raggeds, chunks):
    db = zdb.open(tmp_path_factory.mktemp("x") / "x.zdb")
    lists = [ragged.to_list() for ragged in raggeds]
    lists[0].append(np.array([], raggeds[0].dtype))
    db.set("list", lists[0], chunks=chunks)
    arrays = [ragged[:].to_awkward() for ragged in raggeds] if raggeds[0].dtype.isnative else []
    records = [ak.zip({"time": array, "twice": array}) for array in arrays]
    for key, values in (("awkward", arrays), ("records", records)):
        if values:
            db.set(key, values[0], chunks=chunks)
    for number in range(1, len(lists)):
        db.append("list", lists[number], "row")
        found, expected = db["list"], [row for one in lists[: number + 1] for row in one]
        assert [row.dtype for row in found] == [row.dtype for row in expected]
        assert all(map(np.array_equal, found, expected))
        assert len(found) == len(expected)
        for key, values in (("awkward", arrays), ("records", records)):
            if values:
                db.append(key, values[number])
                assert ak.array_equal(db[key], ak.concatenate(values[: number + 1]))
    assert db.verify().ok


def spikes(trials: range, size: int = 3, cells: str = "ab") -> Ragged:
    numbers = np.arange(trials.start, trials.stop)
    columns = {"trial": numbers, "cell": pd.Categorical([cells[n % len(cells)] for n in numbers])}
    return Ragged(np.repeat(numbers / 8, size), np.full(len(numbers), size), columns)


def test_what_fits_grows_in_place_and_the_rest_is_written_anew(place: Place) -> None:
    db = place.open()
    db.set("s", spikes(range(10)), attrs={"note": 1})
    expected = spikes(range(10))

    def append(part: Ragged) -> int:
        nonlocal expected
        db.append("s", part)
        expected = concatenated(expected, part)
        assert_same(db["s"], expected)
        return db.info("s").generation

    first = append(spikes(range(10, 12)))  # its arrays had no chunks worth the name
    assert first == 1
    lazy, before = db.dataset("s"), expected
    assert append(spikes(range(12, 13), cells="a")) == first
    assert append(spikes(range(13, 14), size=255)) == first
    assert append(spikes(range(14, 400), size=0)) == first
    np.testing.assert_array_equal(lazy["values"], before.values)  # it was opened before
    np.testing.assert_array_equal(lazy["trial"], before.columns["trial"])
    longer = append(spikes(range(400, 401), size=256))
    assert longer > first
    assert append(spikes(range(401, 402), size=65_535)) == longer
    other = append(spikes(range(402, 405), cells="abc"))
    assert other > longer
    assert append(spikes(range(405, 406), cells="c")) == other
    assert db.info("s").attrs == {"note": 1}
    db.gc(dry_run=False, grace=0)
    assert db.verify().ok
    assert_same(db["s"], expected)


def one_column(name: str, numbers: np.ndarray) -> Ragged:
    dtype = object if name == "object" else None
    return Ragged(
        np.zeros(len(numbers)), np.ones(len(numbers), int), {name: pd.Series(COLUMNS[name](numbers), dtype=dtype)}
    )


@pytest.mark.parametrize("text_rows", [5, 100])
@pytest.mark.parametrize("name", list(COLUMNS))
def test_which_columns_grow_in_place(db, monkeypatch, name, text_rows) -> None:
    monkeypatch.setattr("zdb.formats.strings.TEXT_ROWS", text_rows)
    whole = one_column(name, np.arange(60))
    db.set("r", whole[:40], chunks=SMALL)
    db.append("r", whole[40:41])  # not all arrays had chunks that are more than cut to size
    first = db.info("r").generation
    db.append("r", whole[41:])
    assert_same(db["r"], whole)
    assert (db.info("r").generation == first) == (name != "lists")


@pytest.mark.parametrize(
    ("name", "first", "more", "text_rows"),
    [
        ("nullable", [1, 2], [0], 9),  # the first one that is missing
        ("object", [1, 2], [0], 9),
        ("object", [1, 2], [0], 1),
        ("arrow", [1, 2], [0], 9),
        ("when", [1, 2], [10**10], 9),  # plain xarray cannot read this time
        ("many", [1, 2], [3, 4], 3),  # long enough for another layout
    ],
)
def test_which_columns_are_encoded_anew(db, monkeypatch, name, first, more, text_rows) -> None:
    monkeypatch.setattr("zdb.formats.strings.TEXT_ROWS", text_rows)
    db.set("r", one_column(name, np.array(first)), chunks=SMALL)
    db.append("r", one_column(name, np.array(more)))
    assert_same(db["r"], one_column(name, np.array(first + more)))
    assert db.info("r").generation == 1
    db.append("r", one_column(name, np.array(more)))
    assert_same(db["r"], one_column(name, np.array(first + more + more)))
    assert db.info("r").generation == 1


def test_new_strings_among_few(db, monkeypatch) -> None:
    monkeypatch.setattr("zdb.formats.strings.TEXT_ROWS", 2)
    monkeypatch.setattr("zdb.formats.strings.MOST_LABELS", 3)
    expected = names = ["a", "b"] * 20
    db.set("r", Ragged(np.zeros(40), np.ones(40, int), {"name": names}), chunks=SMALL)
    for name, generation in (("c", 0), ("b", 0), ("d", 1)):  # there is a limit to how many labels there are
        db.append("r", Ragged([0.0], [1], {"name": [name]}))
        expected = [*expected, name]
        assert db["r"]["name"].tolist() == expected
        assert db.info("r").generation == generation


def test_a_value_written_anew_keeps_its_chunks_and_codecs(db) -> None:
    db.set("s", spikes(range(10)), chunks=SMALL, shards={"row": 6, "value": 10}, codec=GzipCodec(level=1))
    db.append("s", spikes(range(10, 11), size=256))
    arrays = db._engine.node("s").arrays
    assert arrays["values"].inner_shape == (5,)
    assert arrays["values"].object_shape == (10,)
    assert arrays["trial"].inner_shape == (3,)
    assert [codec["name"] for codec in arrays["values"].compressors] == ["gzip"]
    db.set("small", spikes(range(2)), codec=False)
    db.append("small", spikes(range(1)))
    assert not any(array.compressors for array in db._engine.node("small").arrays.values())


@pytest.mark.parametrize("first", [1, 65_530, 65_536, 70_000])
def test_rows_of_a_long_value_are_found_without_adding_up_all_sizes(db, first) -> None:
    sizes = np.arange(200_000) % 3
    whole = Ragged(np.arange(sizes.sum()), sizes)
    db.set("r", whole[:first], chunks={"row": 50_000, "value": 50_000})
    for start, stop in ((first, first + 1), (first + 1, 131_073), (131_073, 200_000)):
        db.append("r", Ragged(whole[start:stop].values, sizes[start:stop]))
    found = db._engine.node("r").arrays["row_size"].metadata["attributes"]
    db["expected"] = whole
    assert found == db._engine.node("expected").arrays["row_size"].metadata["attributes"]
    assert db.info("r").generation == 0
    assert db["r"] == whole


def test_labels_that_must_not_repeat(db) -> None:
    unique = pd.DataFrame({"a": [1, 2]}, index=["x", "y"]).set_flags(allows_duplicate_labels=False)
    db.set("u", Ragged([1.0, 2.0], [1, 1], unique), chunks=SMALL)
    db.append("u", Ragged([3.0], [1], pd.DataFrame({"a": [3]}, index=["z"])))
    assert not db["u"].columns.flags.allows_duplicate_labels
    with pytest.raises(PartMismatchError, match="u: Index has duplicates"):
        db.append("u", Ragged([3.0], [1], pd.DataFrame({"a": [3]}, index=["z"])))
    assert len(db["u"]) == 3


ONE = spikes(range(1))
TABLE = ONE.columns


def with_columns(columns: Any) -> Ragged:
    return Ragged(ONE.values, ONE.row_size, columns)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Ragged(ONE.values, ONE.row_size), "the part has the columns none; the value has 'trial', 'cell'"),
        (with_columns(TABLE[["cell", "trial"]]), "columns 'cell', 'trial'"),
        (with_columns(TABLE.astype({"trial": "i2"})), "'trial' of the part has dtype int16, not int64.*astype"),
        (with_columns(TABLE.assign(cell="a")), "'cell' of the part has dtype .*, not category"),
        (with_columns(TABLE.assign(cell=pd.Categorical(["a"], ordered=True))), "'cell' .* other categories .*ordered"),
        (with_columns(TABLE.assign(cell=pd.Categorical([1]))), "'cell' .* other categories .*another dtype"),
        (with_columns(TABLE.set_axis(["x"])), "the index of the part has dtype .*, not int64"),
        (with_columns(TABLE.rename_axis("n")), r"named \['n'\], that of the value \[None\]"),
        (Ragged(ONE.values.astype("f4"), ONE.row_size, TABLE), "dtype float32, not float64; .*astype"),
        (np.zeros(3), "holds ragged data, and the part is a ndarray; give a zdb.Ragged"),
        (TABLE, "the part is a DataFrame"),
        ([1.5], "row 0 is a float"),
        ([np.zeros(1), np.zeros((2, 2))], "row 1 is a ndarray with 2 dimensions"),
        ([np.zeros(1), np.zeros(1, "f4")], "row 1 of the part has values of dtype float32, not float64"),
        ([np.ma.masked_array([1.5])], "row 0 is a MaskedArray"),
    ],
    ids=str,
)
@pytest.mark.parametrize("chunks", [None, SMALL])
def test_a_part_that_does_not_fit_says_why(db, chunks, part, message) -> None:
    db.set("s", spikes(range(4)), chunks=chunks)
    with pytest.raises(PartMismatchError, match=f"^s: .*{message}"):
        db.append("s", part)
    assert db["s"] == spikes(range(4))
    assert db.verify().ok


def test_other_parts_that_do_not_fit(db) -> None:
    db["s"] = spikes(range(4))
    with pytest.raises(PartMismatchError, match="along 'row', not along 'trial'"):
        db.append("s", spikes(range(4)), "trial")
    db["a"] = ak.Array([[1.5], []])
    with pytest.raises(PartMismatchError, match=r"a: the part is of awkward type var \* int64, not var \* float64"):
        db.append("a", ak.Array([[1]]))
    with pytest.raises(PartMismatchError, match="the part is a Ragged; give an awkward"):
        db.append("a", spikes(range(4)))
    objects = pd.DataFrame({"name": ["x"]}, dtype=object)
    db["o"] = Ragged([1.5], [1], objects)
    with pytest.raises(PartMismatchError, match=r"o: the part: column 'name' holds Python objects"):
        db.append("o", Ragged([1.5], [1], pd.DataFrame({"name": [1]}, dtype=object)))


def test_parts_without_values_or_rows(db) -> None:
    db.set("s", Ragged(np.zeros(0, "f4"), [0, 0]), chunks=SMALL)
    db.append("s", Ragged([], [0]))  # numpy makes float64 of nothing
    db.append("s", [])
    db.append("s", [np.array([]), np.array([2.5], "f4")])
    assert db["s"] == Ragged(np.array([2.5], "f4"), [0, 0, 0, 0, 1])
    assert db.info("s").generation == 0


def test_a_lazy_value_grows(db) -> None:
    dataset = xr.Dataset(
        {"values": ("value", np.arange(6.0)), "row_size": ("row", [1, 2, 3]), "trial": ("row", [1, 2, 3])}
    )
    db.set("s", dataset.chunk({"value": 4}), format="ragged")
    db.append("s", Ragged([9.0], [1], {"trial": [4]}))
    assert db["s"] == Ragged([*range(6), 9.0], [1, 2, 3, 1], {"trial": [1, 2, 3, 4]})


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts the bytes that a process reads")
def test_a_few_rows_cost_the_same_however_long_the_value_is(tmp_path) -> None:
    def transferred() -> int:
        lines = Path("/proc/self/io").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("rchar", "wchar")))

    def cost(rows: int) -> int:
        db = zdb.open(tmp_path / f"{rows}.zdb")
        names = pd.array([f"cell {i}" for i in range(rows)], dtype="str")
        whole = Ragged(
            np.random.default_rng(1).random(rows * 4), np.full(rows, 4), spikes(range(rows)).columns.assign(name=names)
        )
        chunks = {"row": 4096, "value": 16384}
        if rows > 100:  # so many different names are kept by their bytes
            chunks |= {"name.byte": 16384, "name.offset": 4096}
        db.set("s", whole, chunks=chunks, shards=chunks)
        few = Ragged(whole.values[:8], [8], whole.columns.iloc[:1].reset_index(drop=True))
        db.append("s", few)  # loads packages
        before = transferred()
        db.append("s", few)
        after = transferred()
        assert db.info("s").generation == 0
        assert len(db["s"]) == rows + 2
        return after - before

    cost(100)
    short, long = cost(40_000), cost(640_000)
    assert long < short + 20_000
