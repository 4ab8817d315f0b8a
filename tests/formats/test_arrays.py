from __future__ import annotations

import cftime
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from formats import strategies
from formats.comparing import assert_same_array
from formats.memory import elements_read, roundtrip, store
from hypothesis import given
from hypothesis import strategies as st

from zdb.errors import SelectionError, UnsupportedValueError
from zdb.formats import Selection, for_value
from zdb.formats.arrays import ArrayFormat

FORMAT = ArrayFormat()
TEXT = np.dtypes.StringDType()


def one_of_each() -> list[np.ndarray]:
    """One array of every kind of dtype."""
    units = strategies.UNITS
    missing = np.array(["a", "", None, float("nan"), pd.NA, pd.NaT, np.str_("b")], dtype=object)
    return [
        np.array([True, False]),
        *(np.array([0, 1, 100], dtype=code) for code in "bBhHiIlLqQefdgFDG"),
        *(np.array([0, 1, 100], dtype=f">{code}") for code in "hHiIqQefdFD"),
        np.array([np.nan, np.inf, -np.inf, -0.0]),
        *(np.array([0, 5, -7], "i8").view(f"M8[{unit}]") for unit in units),
        *(np.array([0, 5, np.iinfo("i8").min], "i8").view(f"m8[{unit}]") for unit in units),
        np.array([np.iinfo("i8").min], "i8").view("M8"),
        np.array([3], "i8").view("m8"),
        np.array(["2000-01-01", "NaT"], dtype=">M8[s]"),
        np.array(["", "ü", "µm\0x", "\N{BRAIN}"]),
        np.array(["a", "bc"], dtype=">U2"),
        np.array([b"", b"\xff\0a", b"abc"]),
        np.array([b"abcd", b"\0\1\0\0"], dtype="V4"),
        np.array(["a", "ü", ""], dtype=TEXT),
        np.array(["a", "ü"], dtype=np.dtypes.StringDType(coerce=False)),
        *(np.array(["a", na, ""], dtype=np.dtypes.StringDType(na_object=na)) for na in strategies.NA_OBJECTS),
        np.array(["a"], dtype=np.dtypes.StringDType(na_object=None)),
        missing,
        missing[:, None],
        np.array(["a", "b"], dtype=object),
        np.array([], dtype=object),
        np.array(None, dtype=object),
        np.array([cftime.DatetimeNoLeap(2000, 2, 28, 1, 2, 3, 4)], dtype=object),
        np.array([[cftime.datetime(1, 2, 30, calendar="360_day")]], dtype=object),
        np.zeros(3, [("a", "i2"), ("A", "U3"), ("n", [("x", ">f8"), ("t", "M8[s]", (2,))])]),
        np.zeros((2, 0), [("a", "i2")]),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.zeros(2, np.dtype({"names": ["a"], "formats": ["i2"], "offsets": [6], "itemsize": 9})),
        np.zeros(2, [(("a title", "a"), "i2"), ("b", "V3")]),
        np.array([("x", 1), (None, 2)], [("o", "O"), ("i", "i8")]),
    ]


def label(value) -> str:
    return f"{value.dtype!s:.40}{value.shape}"


@pytest.mark.parametrize("array", one_of_each(), ids=label)
def test_every_dtype(array):
    assert_same_array(roundtrip(FORMAT, array), array)
    assert_same_array(roundtrip(FORMAT, array[:0]) if array.ndim else array, array[:0] if array.ndim else array)


@pytest.mark.parametrize("array", one_of_each(), ids=label)
def test_every_dtype_in_dask(array):
    lazy = da.from_array(array, chunks=2)
    restored = roundtrip(FORMAT, lazy)
    assert restored.chunks == lazy.chunks
    assert restored.dtype == array.dtype
    assert_same_array(np.asarray(restored.compute()), array)


@given(strategies.arrays())
def test_arrays(array):
    restored = roundtrip(FORMAT, array)
    assert_same_array(restored, array)
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        assert restored.flags.f_contiguous


@given(strategies.text_arrays())
def test_arrays_of_text(array):
    assert_same_array(roundtrip(FORMAT, array), array)


@given(st.data())
def test_dask_arrays(data):
    array = data.draw(st.one_of(strategies.arrays(), strategies.text_arrays()))
    lazy = da.from_array(array, chunks=data.draw(strategies.chunks(array.shape)))
    restored = roundtrip(FORMAT, lazy)
    assert type(restored) is da.Array
    assert restored.chunks == lazy.chunks
    assert_same_array(np.asarray(restored.compute()), array)


@pytest.mark.parametrize("array", one_of_each(), ids=label)
def test_scalars(array):
    scalar = array.flat[0] if array.size else None
    if not isinstance(scalar, np.generic):
        scalar = np.float32(1.5)
    restored = roundtrip(FORMAT, scalar)
    assert type(restored) is type(scalar)
    assert_same_array(np.asarray(restored), np.asarray(scalar))


@pytest.mark.parametrize("scalar", [np.str_(""), np.bytes_(b""), np.bool_(True), np.float64("nan")])
def test_more_scalars(scalar):
    restored = roundtrip(FORMAT, scalar)
    assert type(restored) is type(scalar)
    assert repr(restored) == repr(scalar)


@pytest.mark.parametrize("mask", [np.ma.nomask, False, True, [[True, False], [False, False]]])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dtype", ["f8", ">i4", "M8[s]", "U2", "?", "O", [("a", "i4"), ("b", "f8")]])
def test_masked_arrays(mask, hard, dtype):
    data = np.full((2, 2), "a") if dtype in ("U2", "O") else np.arange(4).reshape(2, 2)
    array = np.ma.array(np.asfortranarray(data.astype(dtype)), mask=mask, hard_mask=hard)
    restored = roundtrip(FORMAT, array)
    assert type(restored) is np.ma.MaskedArray
    assert_same_array(restored.data, array.data)
    assert (restored.mask is np.ma.nomask) == (array.mask is np.ma.nomask)
    assert_same_array(np.asarray(restored.mask), np.asarray(array.mask))
    assert restored.hardmask == hard
    assert repr(restored.fill_value) == repr(array.fill_value)
    assert restored.dtype == array.dtype
    assert restored.flags.f_contiguous


def test_fill_value_of_masked_array():
    array = np.ma.array([1.0, 2.0], mask=[True, False], fill_value=-7)
    assert roundtrip(FORMAT, array).fill_value == -7
    assert roundtrip(FORMAT, array).filled().tolist() == [-7.0, 2.0]


def test_classes_of_arrays():
    records = np.rec.array([(1, "a"), (2, "b")], dtype=[("i", "i4"), ("s", "U1")])
    restored = roundtrip(FORMAT, records)
    assert_same_array(restored, records)
    assert restored.s.tolist() == ["a", "b"]
    assert isinstance(restored[0], np.record)
    matrix = np.eye(2).view(np.matrix)
    assert_same_array(roundtrip(FORMAT, matrix), matrix)


def test_memory_map_comes_back_as_array(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert_same_array(roundtrip(FORMAT, mapped), np.arange(5))


class Annotated(np.ndarray):
    """A subclass that adds something."""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array(["a", 1], dtype=object), "holds 1 "),
        (np.array([[1, 2], None], dtype=object), "only strings"),
        (np.array([cftime.DatetimeNoLeap(1, 1, 1), "a"], dtype=object), "one class and calendar"),
        (
            np.array([cftime.DatetimeNoLeap(1, 1, 1), cftime.Datetime360Day(1, 1, 1)]),
            "one class and calendar",
        ),
        (np.array(["\ud800"]), "surrogate"),
        (np.array(["\ud800"], dtype=object), "surrogate"),
        (np.zeros(2).view(Annotated), "Annotated"),
        (np.ma.masked, "MaskedConstant"),
        (np.zeros(2, dtype=[]), "without fields"),
        (np.str_("a\0"), "come back as"),
        (np.array(["a"], dtype=np.dtypes.StringDType(na_object=object())), "na_object"),
    ],
)
def test_what_cannot_be_kept_is_refused(value, message):
    with pytest.raises(UnsupportedValueError, match=message):
        FORMAT.encode(value)


def test_dask_arrays_that_cannot_be_kept():
    array = da.arange(10, chunks=3)
    with pytest.raises(UnsupportedValueError, match="compute_chunk_sizes"):
        FORMAT.encode(array[array > 3])
    with pytest.raises(UnsupportedValueError, match="MaskedArray"):
        FORMAT.encode(da.ma.masked_greater(array, 3))


def test_lazy_objects_are_checked_when_written():
    encoded = FORMAT.encode(da.from_array(np.array(["a", "b", 1], dtype=object), chunks=2))
    with pytest.raises(UnsupportedValueError, match="holds 1 "):
        dask.compute(*(v.data for v in encoded.variables.values()))


def test_lazy_arrays_are_not_computed():
    def fail(block):
        raise AssertionError("computed")

    lazy = da.zeros((4, 4), chunks=2).map_blocks(fail, dtype="M8[s]", meta=np.empty((0, 0), "M8[s]"))
    encoded = FORMAT.encode(lazy)
    assert encoded["data"].chunks == lazy.chunks
    assert encoded["data"].dtype == "i8"


def test_plain_arrays_are_not_copied():
    array = np.zeros((100, 100))
    encoded = FORMAT.encode(array)
    assert encoded["data"].values.base is array or encoded["data"].values is array
    decoded = FORMAT.decode(encoded)
    assert np.shares_memory(decoded, array)


def test_formats_are_found_by_type():
    for value in (np.zeros(2), np.int8(1), np.ma.zeros(2), da.zeros(2), np.eye(2).view(np.matrix)):
        assert for_value(value).name == "array"


def test_attributes_for_listings():
    attrs = FORMAT.encode(np.zeros((6, 2), "M8[25s]")).attrs
    assert attrs["zdb_type"] == "numpy.ndarray"
    assert attrs["zdb_dtype"] == "datetime64[25s]"
    assert attrs["zdb_shape"] == "[6, 2]"
    assert FORMAT.encode(np.float32(1)).attrs["zdb_type"] == "numpy.float32"
    assert FORMAT.encode(da.zeros(3)).attrs["zdb_type"] == "dask.array.Array"


class TestSelect:
    array = np.arange(60).reshape(10, 6)

    def select(self, value, **parts):
        return FORMAT.select(store(FORMAT.encode(value)), Selection(**parts))

    @pytest.mark.parametrize(
        "rows",
        [slice(2, 7, 2), slice(None, None, -1), [1, 1, -1, 0], np.arange(10) > 4, [], [True] * 10],
    )
    def test_rows(self, rows):
        assert_same_array(
            self.select(self.array, rows=rows),
            self.array[np.asarray(rows, dtype=None if len(rows) else int) if not isinstance(rows, slice) else rows],
        )

    def test_positions_by_dimension(self):
        selected = self.select(self.array, isel={"dim_1": [4, 0], "dim_0": slice(3)})
        assert_same_array(selected, self.array[:3][:, [4, 0]])
        assert_same_array(self.select(self.array, isel={"dim_1": 2}), self.array[:, 2])
        assert self.select(self.array, isel={"dim_1": 2, "dim_0": -1}) == self.array[-1, 2]
        both = self.select(self.array, isel={"dim_1": 2}, rows=[0])
        assert_same_array(both, self.array[[0], 2])

    @pytest.mark.parametrize("array", one_of_each(), ids=label)
    def test_every_dtype(self, array):
        if not array.ndim:
            return
        assert_same_array(self.select(array, rows=slice(0, 1)), array[:1])

    def test_dask(self):
        selected = self.select(da.from_array(self.array, chunks=(4, 3)), rows=[1, 5], isel={"dim_1": 2})
        assert isinstance(selected, da.Array)
        assert_same_array(selected.compute(), self.array[[1, 5], 2])

    def test_masked(self):
        masked = np.ma.array(self.array, mask=self.array % 2 == 0, fill_value=-1)
        selected = self.select(masked, rows=slice(2))
        assert selected.mask.tolist() == masked[:2].mask.tolist()
        assert selected.fill_value == -1

    def test_reads_no_more_than_needed(self):
        node = store(FORMAT.encode(self.array))
        FORMAT.select(node, Selection(rows=[3, 4]))
        assert elements_read(node) == 12

    @pytest.mark.parametrize(
        "parts",
        [
            {"columns": ["a"]},
            {"sel": {"dim_0": 1}},
            {"rows": [10]},
            {"rows": [-11]},
            {"rows": [1.5]},
            {"rows": np.ones(3, bool)},
            {"isel": {"x": 1}},
            {"isel": {"dim_0": 1}, "rows": [0]},
        ],
    )
    def test_bad_selections(self, parts):
        with pytest.raises(SelectionError):
            self.select(self.array, **parts)

    def test_no_rows_in_a_scalar(self):
        with pytest.raises(SelectionError, match="none"):
            self.select(np.float64(1), rows=[0])


def test_elements_that_need_a_dimension_more_than_numpy_has():
    with pytest.raises(UnsupportedValueError, match=r"64 of 64 already; reshape"):
        FORMAT.encode(np.zeros((1,) * 64, "V4"))
