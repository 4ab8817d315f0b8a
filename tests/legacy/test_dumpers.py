"""Dumpers, and features of their files, one by one."""

from __future__ import annotations

import io
import json
import zlib
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pandas as pd
import pytest
import zarr
from legacy.legacy_pickles import dumps, old_array, old_frame, old_index
from legacy.samples import (
    FRAME,
    TRACES,
    IsfWriter,
    MdbWriter,
    old_pickled_frame,
    pack_array,
    pack_frame,
    pack_index,
    range_frame,
    write_meta,
)
from numcodecs import blosc
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal

import zdb.legacy
from zdb.errors import UnreadableValueError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def isf(tmp_path: Path) -> IsfWriter:
    return IsfWriter(tmp_path / "isf")


def read(isf: IsfWriter, key: str = "key") -> Any:
    return zdb.legacy.open(isf.path, allow_pickle="safe")[key]


def read_packed(isf: IsfWriter, packed: Any) -> Any:
    isf.key("key", "pandas_to_msgpack", {"pandas_to_msgpack": msgpack.packb(packed)})
    return read(isf)


def compressed(array: np.ndarray, how: str) -> dict[str, Any]:
    compress = {"zlib": zlib.compress, "blosc": lambda raw: blosc.compress(raw, b"blosclz", 5, typesize=8)}[how]
    return {**pack_array(array), "data": msgpack.ExtType(0, compress(array.tobytes())), "compress": how}


@pytest.mark.parametrize("how", ["zlib", "blosc"])
@pytest.mark.parametrize("array", [TRACES, np.arange(1000), np.empty((0, 2))], ids=["floats", "integers", "empty"])
def test_compressed_arrays(isf: IsfWriter, how: str, array: np.ndarray) -> None:
    found = read_packed(isf, compressed(array, how))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("change", [{"compress": "lzma"}, {"shape": [5, 5]}, {"dtype": "f9"}, {"data": [1, 2]}])
def test_damaged_arrays(isf: IsfWriter, change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableValueError, match="pandas_to_msgpack"):
        read_packed(isf, {**pack_array(TRACES), **change})


def category(codes: list[int], labels: list[Any]) -> dict[str, Any]:
    index = pack_index(pd.Index(labels, dtype=object))
    packed = {"typ": "category", "klass": "Categorical", "name": None, "ordered": False, "compress": None}
    return {**packed, "codes": pack_array(np.array(codes, dtype="i1")), "categories": index}


def test_categories(isf: IsfWriter) -> None:
    series = {"typ": "series", "klass": "Series", "name": "s", "dtype": "category", "compress": None}
    found = read_packed(isf, {**series, "data": category([0, 1, -1], ["a", "b"]), "index": pack_index(FRAME.index)})
    wanted = pd.Categorical.from_codes([0, 1, -1], pd.Index(["a", "b"], dtype=object))
    assert_series_equal(found, pd.Series(wanted, index=FRAME.index, name="s"))


def test_indexes(isf: IsfWriter) -> None:
    times = pd.DatetimeIndex(["2020-01-01", "2020-01-02"], name="t").as_unit("ns")
    packed = pack_array(times.asi8)
    cases = [
        ({"typ": "range_index", "klass": "RangeIndex", "name": "r", "start": 0, "stop": 6, "step": 2},
         pd.RangeIndex(0, 6, 2, name="r")),
        ({"typ": "multi_index", "klass": "MultiIndex", "names": ["k", "n"], "dtype": "object",
          "data": [("a", 1), ("b", 2)], "compress": None},
         pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])),
        ({"typ": "datetime_index", "klass": "DatetimeIndex", "name": "t", "dtype": "datetime64[ns]",
          "data": packed["data"], "freq": None, "tz": "Europe/Berlin", "compress": None},
         times.tz_localize("UTC").tz_convert("Europe/Berlin")),
        ({"typ": "index", "klass": "CategoricalIndex", "name": "c", "dtype": "category",
          "data": category([1, 0], ["a", "b"]), "compress": None},
         pd.CategoricalIndex(pd.Categorical.from_codes([1, 0], pd.Index(["a", "b"], dtype=object)), name="c")),
    ]  # fmt: skip
    for number, (index, wanted) in enumerate(cases):
        isf.key(f"key{number}", "pandas_to_msgpack", {"pandas_to_msgpack": msgpack.packb(index)})
        assert_index_equal(read(isf, f"key{number}"), wanted)


def test_a_table_in_several_files(isf: IsfWriter) -> None:
    files = {f"pandas_to_msgpack_{n}": pack_frame(FRAME.iloc[n : n + 1]) for n in range(3)}
    isf.key("key", "pandas_to_msgpack", files)
    found = read(isf)
    found.index = found.index.astype(object)
    assert_frame_equal(found, FRAME)


def test_more_than_ten_partitions_are_in_order(isf: IsfWriter) -> None:
    numbers = pd.DataFrame({"n": np.arange(12)})
    numbers.columns = numbers.columns.astype(object)
    files = {f"dask_to_msgpack.{n:02d}.csv": pack_frame(numbers.iloc[n : n + 1]) for n in range(12)}
    write_meta(isf.key("key", "dask_to_msgpack", files, index_name=None, divisions=[None] * 13), numbers)
    assert read(isf).compute(scheduler="synchronous")["n"].tolist() == list(range(12))


def test_divisions_that_look_like_numbers(isf: IsfWriter) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3]}, index=pd.Index(["007", "010", "011"], dtype=object, name="i"))
    frame.columns = frame.columns.astype(object)
    files = {f"dask_to_msgpack.{n}.csv": pack_frame(frame.iloc[n : n + 1]) for n in range(3)}
    write_meta(isf.key("key", "dask_to_msgpack", files, index_name="i", divisions=[7, 10, 11, 11]), frame)
    assert read(isf).divisions == ("007", "010", "011", "011")


def test_parquet(isf: IsfWriter) -> None:
    folder = isf.key("key", "pandas_to_parquet")
    FRAME.to_parquet(folder / "pandas_to_parquet.parquet")
    write_meta(folder, FRAME)
    assert_frame_equal(read(isf), FRAME)
    (folder / "object_meta.json").unlink()
    assert_frame_equal(read(isf), FRAME)


def test_labels_of_columns_that_are_numbers(isf: IsfWriter) -> None:
    frame = pd.DataFrame(np.ones((2, 3)), columns=["0", "1", "2.5"])
    folder = isf.key("key", "pandas_to_parquet")
    frame.to_parquet(folder / "pandas_to_parquet.parquet")
    meta = {
        "columns": ["0", "1", "2.5"],
        "column_name_dtypes": ["int64", "<U1", "float64"],
        "index_dtype": "int64",
        "dtypes": ["float64"] * 3,
    }
    (folder / "object_meta.json").write_text(json.dumps(meta))
    assert list(read(isf).columns) == [0, "1", 2.5]


@pytest.mark.parametrize("frame", [old_pickled_frame(), range_frame()], ids=["text", "ranges"])
def test_pickled_tables(isf: IsfWriter, frame: Any) -> None:
    isf.key("key", "pandas_to_pickle", {"pandas_to_pickle.pickle": dumps(frame, 4)})
    assert isinstance(read(isf), pd.DataFrame)


@pytest.mark.parametrize("array", [TRACES, np.arange(10), np.array(["ab", "cde"])], ids=["2d", "1d", "text"])
def test_zarr(isf: IsfWriter, array: np.ndarray) -> None:
    stored = zarr.create_array(
        isf.key("key", "numpy_to_zarr") / "obj.zarr", shape=array.shape, dtype=array.dtype, zarr_format=2
    )
    stored[...] = array
    found = read(isf)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert zdb.legacy.open(isf.path).info("key").shape == array.shape


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_a_generation_of_a_genetic_algorithm(isf: IsfWriter) -> None:
    files = {"parameters.npz": npz(arr_0=TRACES), "objectives.npz": npz(arr_0=TRACES + 1)}
    isf.key("key", "genetic_algorithm_generation", files)
    parameters, objectives = read(isf)
    np.testing.assert_array_equal(objectives - parameters, 1)


def test_several_arrays_in_one_file(isf: IsfWriter) -> None:
    isf.key("key", "numpy_to_npz", {"np.npz": npz(a=TRACES, b=TRACES[0])})
    assert {name: array.shape for name, array in read(isf).items()} == {"a": (4, 6), "b": (6,)}


def test_objects_in_an_npy_file(isf: IsfWriter) -> None:
    objects = np.array([1, "a", None], dtype=object)
    np.save(isf.key("key", "numpy_to_npy") / "np.npy", objects, allow_pickle=True)
    assert read(isf).tolist() == objects.tolist()


def test_large_npy_files_are_mapped(isf: IsfWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    from zdb.legacy import arrays

    monkeypatch.setattr(arrays, "MAPPED", 1)
    np.save(isf.key("key", "numpy_to_npy") / "np.npy", np.asfortranarray(TRACES))
    found = read(isf)
    assert isinstance(found.base, np.memmap)
    np.testing.assert_array_equal(found, TRACES)
    found[0, 0] = -1  # stays in memory
    np.testing.assert_array_equal(read(isf), TRACES)
    content = (isf.path / "key" / "np.npy").read_bytes()
    (isf.path / "key" / "np.npy").write_bytes(content[:-8])
    with pytest.raises(UnreadableValueError, match="damaged"):
        read(isf)


def test_csv(tmp_path: Path) -> None:
    mdb = MdbWriter(tmp_path / "mdb")
    frame = FRAME[["a", "b"]]
    empty = [(old_array(np.empty((1, 0), "i8")), slice(0, 1, 1)), (old_array(np.empty((1, 0), "f8")), slice(1, 2, 1))]
    columns = old_index(np.array(["a", "b"], object))
    meta = old_frame(columns, old_index(np.array([], object), "sim_trial_index"), empty)
    files = {f"dask_to_csv.{n}.csv": frame.iloc[n : n + 1].to_csv().encode() for n in range(3)}
    mdb.key("key", "key_abcdefgh_", "dask_to_csv", files, meta=meta, index_name="sim_trial_index", divisions=None)
    found = zdb.legacy.open(mdb.path)["key"].compute(scheduler="synchronous")
    found.index = found.index.astype(object)
    assert_frame_equal(found, frame)


def test_a_raw_array_that_is_being_appended_to(isf: IsfWriter) -> None:
    store = isf.key("key", "shared_numpy_store")
    np.concatenate([TRACES, TRACES]).tofile(store / "a__4_6__float64")  # the new rows have no name yet
    TRACES.tofile(store / "b__5_6__float64")
    (store / "c__4_6__float64.saving").write_bytes(b"")
    db = zdb.legacy.open(isf.path)
    np.testing.assert_array_equal(db["key/a"], TRACES)
    assert list(db["key"]) == ["a", "b"]
    with pytest.raises(UnreadableValueError, match="192 bytes, and its name says 240"):
        db["key/b"]


PLAIN = {"dt": 0.025, "cells": ["L5", "L2"], 3: [1, None, True], "raw": b"\0\xff"}


def test_plain_msgpack(isf: IsfWriter) -> None:
    isf.key("key", "to_msgpack", {"to_pickle_dump": msgpack.packb(PLAIN)})
    assert zdb.legacy.open(isf.path)["key"] == PLAIN  # is no pickle, in spite of the name of its file


def test_plain_msgpack_is_migrated(isf: IsfWriter, tmp_path: Path) -> None:
    isf.key("key", "to_msgpack", {"to_pickle_dump": msgpack.packb({"cells": ["L5", "L2"]})})
    assert zdb.legacy.migrate(isf.path, tmp_path / "new.zdb", workers=1).ok
    assert zdb.open(tmp_path / "new.zdb")["key"] == {"cells": ["L5", "L2"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [(msgpack.packb(PLAIN)[:-3], "no msgpack, or damaged"), (msgpack.packb([msgpack.ExtType(5, b"x")]), "type 5")],
    ids=["cut", "extension"],
)
def test_damaged_plain_msgpack(isf: IsfWriter, content: bytes, message: str) -> None:
    isf.key("key", "to_msgpack", {"to_pickle_dump": content})
    with pytest.raises(UnreadableValueError, match=f"to_pickle_dump.*{message}"):
        read(isf)
