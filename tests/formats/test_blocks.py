"""Blocks of dask arrays that are not what the array promises: nothing is changed silently."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import zdb
from zdb.errors import PartMismatchError, UnsupportedValueError, WriteError


@pytest.fixture
def db(tmp_path):
    return zdb.open(tmp_path / "a.zdb")


def promised(blocks, dtype, sizes=None):
    """A dask array along one dimension that promises a dtype, and the sizes of its blocks."""
    sizes = sizes or [len(block) for block in blocks]
    lazy = [dask.delayed(lambda block: block, pure=False)(block) for block in blocks]
    return da.concatenate([da.from_delayed(one, (size,), dtype=dtype) for one, size in zip(lazy, sizes, strict=True)])


DATES = np.array(["2024-05-01T12:30"], "M8[m]")
STRINGS = np.dtypes.StringDType()
CHANGED = {
    "floats as integers": ([1.9, 2.9], int),
    "too large": (np.array([300, -1]), "u1"),
    "NaN as an integer": ([1.0, np.nan], "i8"),
    "unsigned as signed": (np.array([2**63], "u8"), "i8"),
    "complex as real": ([1 + 2j], float),
    "large integers as floats": (np.array([2**53 + 1]), float),
    "single as half precision": (np.array([1.001], "f4"), "f2"),
    "long text": (["longer"], "U3"),
    "long bytes": ([b"longer"], "S3"),
    "None as text": (np.array([None], object), "U1"),
    "numbers as text": ([12], "U30"),
    "numbers as strings": ([12], STRINGS),
    "missing strings": (np.array([None], np.dtypes.StringDType(na_object=None)), STRINGS),
    "times of another unit": (DATES, "M8[D]"),
    "times that may overflow": (DATES, "M8[ns]"),
    "numbers as times": ([12], "M8[s]"),
    "another record": (np.array([(1.5, 2)], [("a", "f8"), ("b", "i8")]), [("a", "i8"), ("b", "i8")]),
    "masked": (np.ma.array([1.0, 2.0], mask=[True, False]), float),
}


@pytest.mark.parametrize("case", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("before", [0, 1])
def test_blocks_that_would_be_changed_are_refused(db, case, before):
    block, dtype = case
    block = np.asanyarray(block)
    first = np.zeros(2, dtype)
    array = promised([first] * before + [block], np.dtype(dtype))
    with pytest.raises(UnsupportedValueError, match=rf"^v: the block \[{2 * before}:.*'data'.*promises"):
        db["v"] = array
    with pytest.raises(UnsupportedValueError, match=r"^v: the block .*'x'.*promises"):
        db["v"] = xr.Dataset({"x": ("time", array)})
    assert "v" not in db


SIZES = {"shorter": [1.9], "longer": [1.0, 2.0, 3.0], "a scalar": 4.0, "more dimensions": [[1.0, 2.0]]}


@pytest.mark.parametrize("block", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("count", [1, 3])
def test_blocks_of_another_shape_are_refused(db, block, count):
    blocks = [np.ones(2)] * (count - 1) + [np.asarray(block)]
    with pytest.raises(UnsupportedValueError, match=r"v: the block .* has the shape .* promises .*2"):
        db["v"] = promised(blocks, float, [2] * count)


HELD = {
    "fewer bits": (np.array([1.5], "f4"), "f8"),
    "integers as floats": (np.array([5], "i4"), "f8"),
    "reals as complex": (np.array([1.5]), "c16"),
    "booleans as integers": (np.array([True]), "u1"),
    "another byte order": (np.array([1.5], ">f8"), "f8"),
    "times in another byte order": (DATES.astype(">M8[m]"), "M8[m]"),
    "short text": (np.array(["ab"]), "U9"),
    "text as objects": (np.array(["ab"]), object),
    "strings as objects": (np.array(["ab"], STRINGS), object),
}


@pytest.mark.parametrize("case", HELD.values(), ids=HELD)
def test_blocks_whose_values_fit_are_kept(db, case):
    block, dtype = case
    db["v"] = promised([block, block], np.dtype(dtype))
    read = db["v"]
    assert read.dtype == np.dtype(dtype)
    assert read.compute().tolist() == 2 * block.tolist()


def test_what_a_task_returns_may_be_a_scalar(db):
    db["number"] = da.from_delayed(dask.delayed(lambda: 1.5)(), (), float)
    db["sum"] = da.ones(10, chunks=3).sum()
    assert db["number"].compute() == 1.5
    assert db["sum"].compute() == 10


def test_a_function_of_xarray_with_the_wrong_dtype_is_refused(db):
    array = xr.DataArray(np.arange(4), dims="x").chunk(x=2)
    halved = xr.apply_ufunc(lambda a: a / 2, array, dask="parallelized", output_dtypes=[int])
    with pytest.raises(UnsupportedValueError, match=r"^half: the block .*float64.*promises int64.*astype"):
        db["half"] = halved


def test_a_mask_that_the_array_does_not_promise_is_refused(db):
    array = da.arange(4, chunks=2).map_blocks(lambda b: np.ma.masked_less(b, 2), dtype=float, meta=np.empty(0))
    with pytest.raises(UnsupportedValueError, match=r"masked"):
        db["v"] = array


def test_the_old_value_stays(db):
    db["v"] = np.arange(3)
    with pytest.raises(UnsupportedValueError):
        db["v"] = promised([[1.9]], int)
    assert db["v"].tolist() == [0, 1, 2]


def test_errors_of_tasks_stay_what_they_were(db):
    def fail(block):
        raise RuntimeError("no current")

    with pytest.raises(WriteError, match=r"v: .*no current"):
        db["v"] = da.ones(4, chunks=2).map_blocks(fail, dtype=float)


def test_blocks_of_ragged_datasets_are_checked(db):
    ragged = xr.Dataset({"values": ("value", promised([[1.9, 2.9]], int)), "row_size": ("row", [1, 1])})
    with pytest.raises(UnsupportedValueError, match=r"r: the block .*'values'.*promises"):
        db.set("r", ragged, format="ragged")
    sizes = xr.Dataset(
        {"values": ("value", np.ones(2)), "row_size": ("row", [1, 1]), "n": ("row", promised([[1.9, 2.9]], int))}
    )
    with pytest.raises(UnsupportedValueError, match=r"r: the block .*'n'.*promises"):
        db.set("r", sizes, format="ragged")


def test_blocks_of_parts_are_checked(db):
    db.create("v", da.empty(4, chunks=2, dtype=int))
    with pytest.raises(UnsupportedValueError, match=r"v: the block .*float64.*promises int64"):
        db.write_region("v", promised([[1.9, 2.9]], int), region=slice(0, 2))
    with pytest.raises(UnsupportedValueError, match=r"v: the block .*shape"):
        db.write_region("v", promised([[1]], int, [2]), region=slice(0, 2))
    db.write_region("v", np.array([1, 2]), region=slice(0, 2))
    db.write_region("v", promised([[3, 4]], int), region=slice(2, 4))
    db.finish("v")
    assert db["v"].compute().tolist() == [1, 2, 3, 4]


def test_blocks_that_are_appended_are_checked(db):
    db["v"] = np.arange(3)
    with pytest.raises(UnsupportedValueError, match=r"v: the block .*float64.*promises int64"):
        db.append("v", promised([[1.9, 2.9]], int))
    assert db["v"].tolist() == [0, 1, 2]


def test_text_that_is_longer_than_its_part_promises_is_refused(db):
    longer = promised([["longer"]], "U3")
    db["v"] = np.array(["four"])
    with pytest.raises(UnsupportedValueError, match=r"v: the block .*U6.*promises <U3"):
        db.append("v", longer)
    db.create("w", da.empty(1, chunks=1, dtype="U4"))
    with pytest.raises(UnsupportedValueError, match=r"w: the block .*U6.*promises <U3"):
        db.write_region("w", longer, region=slice(0, 1))


def test_parts_with_a_mask_are_refused(db):
    masked = np.ma.array([5, 6], mask=[True, False])
    db["v"] = np.arange(2)
    with pytest.raises(PartMismatchError, match=r"v: .*mask"):
        db.append("v", masked)
    db.create("w", da.empty(2, chunks=2, dtype=int))
    with pytest.raises(PartMismatchError, match=r"w: .*mask"):
        db.write_region("w", masked, region=slice(0, 2))
