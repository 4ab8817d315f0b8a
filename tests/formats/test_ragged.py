"""Ragged values: lists of arrays, Ragged and awkward arrays come back; slices read their window only."""

from __future__ import annotations

import pickle
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from formats.comparing import assert_same_array
from formats.memory import elements_read, roundtrip, store
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zdb.errors import SelectionError, UnsupportedValueError
from zdb.formats import Selection, for_value
from zdb.formats.ragged import Ragged, RaggedFormat

RAGGED = RaggedFormat()
DTYPES = [
    *"?bBhHiIqQefdFD",
    *(f"{kind}8[{unit}]" for kind in "mM" for unit in ("D", "s", "ns", "ps", "25s")),
    ">f8",
    ">i2",
    ">M8[us]",
]


@st.composite
def lists(draw: st.DrawFn) -> list[np.ndarray]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    elements = st.integers(-(2**63), 2**63 - 1).map(lambda n: np.int64(n)) if dtype.kind in "mM" else None
    sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    if elements is not None:
        return [draw(hnp.arrays("i8", n)).view(dtype.newbyteorder("=")).astype(dtype) for n in sizes]
    return [draw(hnp.arrays(dtype, n)) for n in sizes]


def assert_same_rows(actual: Any, expected: list[np.ndarray]) -> None:
    assert type(actual) is list
    assert len(actual) == len(expected)
    for mine, other in zip(actual, expected, strict=True):
        assert_same_array(mine, other)


@given(lists())
def test_lists_of_arrays_come_back(rows: list[np.ndarray]) -> None:
    assert_same_rows(roundtrip(RAGGED, rows), rows)


@given(rows=lists(), data=st.data())
def test_rows_are_those_of_the_list(rows: list[np.ndarray], data: st.DataObject) -> None:
    node = store(RAGGED.encode(rows))
    chosen: Any = data.draw(st.slices(len(rows)) | st.lists(st.integers(-len(rows), len(rows) - 1)))
    expected = rows[chosen] if isinstance(chosen, slice) else [rows[i] for i in chosen]
    assert_same_rows(RAGGED.select(node, Selection(rows=chosen)), expected)


def spikes() -> Ragged:
    columns = pd.DataFrame(
        {"trial": [4, 5, 6], "cell": ["a", None, "c"], "values": [1.5, 2.5, 3.5]},
        index=pd.Index([10, 20, 30], name="row_size"),
    )
    return Ragged.from_lists([[1.5, 2.5], [], [np.nan]], columns=columns)


def test_a_ragged_comes_back_with_its_columns() -> None:
    back = roundtrip(RAGGED, spikes())
    assert back == spikes()
    pd.testing.assert_frame_equal(back.columns, spikes().columns)


@pytest.mark.parametrize(
    "value",
    [
        Ragged([], []),
        Ragged(np.zeros(0, dtype="i2"), np.zeros(3, dtype=int)),
        Ragged(np.arange(300), [300]),
        Ragged.from_lists([[True], [False, True]]),
        Ragged([1.5], [1], columns={"key": ["x"]}),
    ],
    ids=repr,
)
def test_other_raggeds_come_back(value: Ragged) -> None:
    assert roundtrip(RAGGED, value) == value


def test_parts_of_a_ragged() -> None:
    node = store(RAGGED.encode(spikes()))
    part = RAGGED.select(node, Selection(columns=["cell"], rows=[2, 0]))
    assert part == Ragged([np.nan, 1.5, 2.5], [1, 2], columns=spikes().columns[["cell"]].iloc[[2, 0]])
    with pytest.raises(SelectionError, match="did you mean 'trial'"):
        RAGGED.select(node, Selection(columns=["trials"]))
    with pytest.raises(SelectionError, match="out of bounds"):
        RAGGED.select(node, Selection(rows=[3]))
    with pytest.raises(SelectionError, match="columns="):
        RAGGED.select(store(RAGGED.encode([np.zeros(1)])), Selection(columns=["a"]))


def test_a_slice_reads_its_window_only() -> None:
    node = store(RAGGED.encode(Ragged(np.arange(100_000), np.full(10_000, 10))))
    part = RAGGED.select(node, Selection(rows=slice(100, 110)))
    assert_same_array(part.values, np.arange(1000, 1100))
    assert elements_read(node) == 110 + 100


@pytest.mark.parametrize("rows", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_rows_in_the_middle_are_found_without_reading_all_sizes_before(rows: int) -> None:
    sizes = np.arange(rows) % 3
    ragged = Ragged(np.arange(sizes.sum()), sizes)
    node = store(RAGGED.encode(ragged))
    for start in {0, rows // 2, max(0, rows - 5), rows}:
        before = elements_read(node)
        part = RAGGED.select(node, Selection(rows=slice(start, start + 5)))
        assert part == ragged[start : start + 5]
        assert elements_read(node) - before <= 65_536 + 5 + 15
    picked = np.array([rows - 1, 0, rows // 2] if rows else [], dtype=int)
    assert RAGGED.select(node, Selection(rows=picked)) == ragged[picked]


def test_it_is_a_contiguous_ragged_array_of_cf() -> None:
    dataset = xr.decode_cf(RAGGED.encode([np.array(["2020", "NaT"], dtype="M8[s]"), np.array([], "M8[s]")]))
    assert dataset["row_size"].attrs["sample_dimension"] == "value"
    assert dataset["row_size"].dtype == np.uint8
    assert dataset["row_size"].values.tolist() == [2, 0]
    assert dataset["values"].dims == ("value",)
    assert dataset["values"].values.tolist()[0] == np.datetime64("2020", "ns").item()


@pytest.mark.parametrize(("longest", "dtype"), [(255, np.uint8), (256, np.uint16), (65_536, np.uint32)])
def test_sizes_have_the_smallest_type(longest: int, dtype: Any) -> None:
    dataset = RAGGED.encode([np.zeros(longest), np.zeros(0)])
    assert dataset["row_size"].dtype == dtype


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([np.zeros(2), np.zeros(2, "f4")], "row 1 is float32 and row 0 is float64"),
        ([np.zeros(2), np.zeros((2, 1))], "row 1 is a ndarray with 2 dimensions"),
        ([np.zeros(2), [1.5]], "row 1 is a list"),
        ([np.ma.masked_array([1.5])], "row 0 is a MaskedArray"),
        ([np.array(["a"])], "not <U1"),
        ([np.array([None])], "not object"),
        ([np.zeros(1, np.longdouble)], "float128"),
    ],
)
def test_other_lists_are_refused(rows: list[Any], message: str) -> None:
    with pytest.raises(UnsupportedValueError, match=message):
        RAGGED.encode(rows)


def test_lists_without_arrays_are_not_ragged() -> None:
    assert not RAGGED.accepts([[1], [2, 3]])
    assert for_value([np.zeros(2), np.zeros(3)]).name == "ragged"
    assert for_value(ak.Array([[1], []])).name == "ragged"
    assert for_value(spikes()).name == "ragged"
    assert roundtrip(RAGGED, []) == []


AWKWARD = {
    "lists": ak.Array([[1, 2], [], [3]]),
    "floats": ak.values_astype(ak.Array([[1, 2], [], [3]]), "float32"),
    "picked": ak.Array([[1, 2], [], [3]])[[2, 0, 0]],
    "sliced": ak.Array([[1, 2], [], [3], [4, 5]])[1:],
    "times": ak.Array(
        ak.contents.ListOffsetArray(
            ak.index.Index64([0, 1, 1, 2]), ak.contents.NumpyArray(np.array(["2020", "NaT"], "M8[s]"))
        )
    ),
    "strings": ak.Array([["a", "é"], [], [""]]),
    "no values": ak.Array([[], [], []]),
    "no rows": ak.Array([[1.5]])[:0],
    "records": ak.Array(
        [
            {"times": [1.5, 2.5], "cell": "a", "trial": 3, "words": ["x"], "ids": []},
            {"times": [], "cell": "é", "trial": 4, "words": [], "ids": [1]},
            {"times": [0.5], "cell": "", "trial": 5, "words": ["y", "z"], "ids": [2, 3]},
        ]
    ),
    "records picked": ak.Array([{"row": 1, "times": [1]}, {"row": 2, "times": []}])[[1, 0, 1]],
    "lists of records": ak.Array([[{"time": 1.5, "cell": "a"}], [], [{"time": 2.5, "cell": "b"}] * 2]),
    "attributes": ak.Array([[1], [2], [3, 4]], attrs={"units": "ms"}),
    "booleans": ak.Array([[True], [], [False, True]]),
}


def assert_same_awkward(actual: Any, expected: ak.Array) -> None:
    assert type(actual) is ak.Array
    assert actual.type == expected.type
    assert actual.to_list() == expected.to_list()
    assert actual.attrs == expected.attrs


@pytest.mark.parametrize("array", AWKWARD.values(), ids=AWKWARD)
def test_awkward_arrays_come_back(array: ak.Array) -> None:
    assert_same_awkward(roundtrip(RAGGED, array), array)


@pytest.mark.parametrize("rows", [slice(1, 3), [2, 0, 0], slice(None, None, -1), slice(0, 0)])
@pytest.mark.parametrize("array", [a for a in AWKWARD.values() if len(a) == 3], ids=lambda a: str(a.type))
def test_rows_of_awkward_arrays(array: ak.Array, rows: Any) -> None:
    assert_same_awkward(RAGGED.select(store(RAGGED.encode(array)), Selection(rows=rows)), array[rows])


@pytest.mark.parametrize("name", ["records", "lists of records"])
def test_fields_of_awkward_arrays(name: str) -> None:
    array = AWKWARD[name]
    node = store(RAGGED.encode(array))
    part = RAGGED.select(node, Selection(columns=["cell"], rows=slice(0, 2)))
    assert_same_awkward(part, array[["cell"]][:2])
    with pytest.raises(SelectionError, match="did you mean 'cell'"):
        RAGGED.select(node, Selection(columns=["cel"]))


@pytest.mark.parametrize(
    "array",
    [
        ak.Array([[1, None]]),
        ak.Array([[1], None]),
        ak.Array([1, 2]),
        ak.Array(np.zeros((2, 3))),
        ak.Array([[[1]]]),
        ak.Array([[1], ["a"]]),
        ak.Array([[b"a"]]),
        ak.Array([(1, [2])]),
        ak.Array([{"x": {"y": 1}}]),
        ak.Array([{"x": [{"y": 1}]}]),
        ak.Array([[{"x": {"y": 1}}]]),
        ak.with_name(ak.Array([{"x": [1]}]), "Point"),
        ak.with_parameter(ak.Array([[1]]), "note", "a"),
        ak.Array([]),
    ],
    ids=lambda a: str(a.type),
)
def test_other_awkward_arrays_are_refused(array: ak.Array) -> None:
    with pytest.raises(UnsupportedValueError, match="awkward type"):
        RAGGED.encode(array)


def test_behavior_and_odd_attributes_are_refused() -> None:
    with pytest.raises(UnsupportedValueError, match="behavior"):
        RAGGED.encode(ak.Array([[1]], behavior={"x": 1}))
    with pytest.raises(UnsupportedValueError, match="attrs"):
        RAGGED.encode(ak.Array([[1]], attrs={"x": (1,)}))


class TestRagged:
    def test_picking(self) -> None:
        ragged = spikes()
        assert len(ragged) == 3
        assert ragged[0].tolist() == [1.5, 2.5]
        assert ragged[-3].tolist() == [1.5, 2.5]
        assert ragged[np.int64(1)].size == 0
        assert ragged["cell"].tolist() == spikes().columns["cell"].tolist()
        assert ragged.row_size.tolist() == [2, 0, 1]
        assert ragged.offsets.tolist() == [0, 2, 2, 3]
        assert [row.tolist() for row in ragged[:2]] == [[1.5, 2.5], []]
        with pytest.raises(IndexError):
            ragged[3]
        with pytest.raises(TypeError, match="position"):
            ragged[1.5]

    @given(rows=lists(), data=st.data())
    def test_rows_are_those_of_the_list(self, rows: list[np.ndarray], data: st.DataObject) -> None:
        ragged = Ragged.from_lists(rows, columns={"n": range(len(rows))})
        size = len(rows)
        masks = st.lists(st.booleans(), min_size=size, max_size=size)
        chosen: Any = data.draw(st.slices(size) | st.lists(st.integers(-size, size - 1)) | masks)
        positions = np.arange(size)[chosen if isinstance(chosen, slice) or chosen else slice(0, 0)]
        picked = ragged[chosen]
        assert picked["n"].tolist() == positions.tolist()
        native = [rows[i].astype(rows[i].dtype.newbyteorder("=")) for i in positions]
        assert_same_rows([r.astype(r.dtype.newbyteorder("=")) for r in picked], native)

    def test_a_slice_shares_memory(self) -> None:
        ragged = spikes()
        assert np.shares_memory(ragged[1:].values, ragged.values)
        assert np.shares_memory(ragged.to_list()[0], ragged.values)

    def test_equality(self) -> None:
        assert spikes() == spikes()
        assert spikes() == pickle.loads(pickle.dumps(spikes()))
        assert spikes() != spikes()[:2]
        assert spikes() != Ragged(spikes().values, spikes().row_size)
        assert Ragged([1], [1]) != Ragged([1.0], [1])
        assert Ragged([1, 2], [1, 1]) != Ragged([1, 2], [2, 0])
        assert spikes() != [1]

    def test_to_awkward(self) -> None:
        assert Ragged.from_lists([[1, 2], [], [3]]).to_awkward().to_list() == [[1, 2], [], [3]]

    def test_to_frame_is_wide_and_filled(self) -> None:
        wide = spikes().to_frame()
        assert list(wide.columns) == ["trial", "cell", "values", 0, 1]
        expected = [[1.5, 2.5], [np.nan, np.nan], [np.nan, np.nan]]
        np.testing.assert_array_equal(wide[[0, 1]].to_numpy(), expected)
        pd.testing.assert_index_equal(wide.index, spikes().columns.index)
        counts = Ragged.from_lists([[1], []]).to_frame()
        assert counts[0].dtype == np.float64
        assert Ragged([], [0, 0]).to_frame().shape == (2, 0)
        times = Ragged.from_lists([np.array(["2020"], "M8[s]"), np.array([], "M8[s]")]).to_frame()
        assert times[0].isna().tolist() == [False, True]

    def test_repr_names_what_is_inside(self) -> None:
        text = repr(spikes())
        assert "3 rows, 3 values of float64" in text
        assert "trial (int64)" in text
        assert "0: [1.5 2.5]" in text
        assert len(repr(Ragged(np.arange(10**5), np.full(1000, 100))).splitlines()) == 8

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([1, 2], [1]), "adds up to 1, but there are 2"),
            (([[1]], [1]), "one dimension"),
            (([1], [2, -1]), "from 0 on"),
            (([1], [1.0]), "integers"),
            (([1], [1], {"a": [1, 2]}), "2 lines for 1 rows"),
        ],
    )
    def test_sizes_that_do_not_fit(self, arguments: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Ragged(*arguments)

    def test_from_lists_takes_rows_of_one_dimension(self) -> None:
        assert Ragged.from_lists([[1], [2.5]]).dtype == np.float64
        assert Ragged.from_lists([], dtype="i4").dtype == np.int32
        assert Ragged.from_lists([[], [1]]).dtype == np.int64
        with pytest.raises(ValueError, match="row 1 has 2 dimensions"):
            Ragged.from_lists([[1], [[2]]])


@pytest.mark.parametrize("npartitions", [1, 2, 3, 9])
def test_a_wide_table_in_parts_is_the_wide_table(npartitions: int) -> None:
    lazy = spikes().to_frame(npartitions=npartitions)
    assert lazy.npartitions == min(npartitions, 3)
    pd.testing.assert_frame_equal(lazy.compute(scheduler="synchronous"), spikes().to_frame())


def test_a_part_of_a_wide_table_has_its_rows_and_all_columns() -> None:
    part = spikes().to_frame(npartitions=3).get_partition(1).compute(scheduler="synchronous")
    pd.testing.assert_frame_equal(part, spikes().to_frame().iloc[1:2])


def test_a_wide_table_of_no_rows_in_parts() -> None:
    assert len(Ragged([], []).to_frame(npartitions=4).compute(scheduler="synchronous")) == 0
    with pytest.raises(ValueError, match="from 1 on"):
        spikes().to_frame(npartitions=0)
