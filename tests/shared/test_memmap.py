"""Arrays that are mapped from where they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from zdb.errors import CorruptChunkError, MissingChunkError, NotMappableError

if TYPE_CHECKING:
    from places import Place

    import zdb

SMALL = np.random.default_rng(3).random((20, 30))
LARGE = np.random.default_rng(4).random((300, 1000))  # more than one MiB, which is a shard


def chunk_of(db: zdb.Database) -> Path:
    (chunk,) = (file for file in Path(db.url, "value", "data", "c").rglob("*") if file.is_file())
    return chunk


@pytest.mark.parametrize("value", [SMALL, LARGE, LARGE > 0.5, LARGE.astype("M8[s]"), SMALL.astype("complex64")])
def test_the_bytes_are_those_of_the_file(db: zdb.Database, value: np.ndarray) -> None:
    db.set("value", value, codec=False, chunks=value.shape)
    mapped = db.memmap("value")
    assert isinstance(mapped, np.memmap)
    assert mapped.dtype == value.dtype
    np.testing.assert_array_equal(mapped, value)
    chunk = chunk_of(db)
    assert str(chunk) in Path("/proc/self/maps").read_text()
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 0


def test_it_stays_when_the_key_is_written_again(db: zdb.Database) -> None:
    for number in range(5):
        db.set("value", SMALL + number, codec=False, chunks=SMALL.shape)
        if number == 0:
            first = db.memmap("value")
        np.testing.assert_array_equal(db.memmap("value"), SMALL + number)
    np.testing.assert_array_equal(first, SMALL)


def test_variables_and_columns(db: zdb.Database) -> None:
    value = xr.DataArray(SMALL, dims=("a", "b"), coords={"data": ("a", np.arange(20))}, name="w")
    db.set("array", value, codec=False, chunks={"a": 20, "b": 30})
    np.testing.assert_array_equal(db.memmap("array"), SMALL)
    np.testing.assert_array_equal(db.memmap("array", "data"), np.arange(20))
    db.set("table", pd.DataFrame({"é": [1.0, 2.0], 3: [5, 6]}), codec=False)
    np.testing.assert_array_equal(db.memmap("table", "é"), [1, 2])
    np.testing.assert_array_equal(db.memmap("table", 3), [5, 6])


def test_other_layouts_are_refused_with_the_way_to_store_it(db: zdb.Database) -> None:
    for options in ({}, {"codec": False}, {"chunks": LARGE.shape}, {"codec": False, "chunks": (100, 1000)}):
        db.set("value", LARGE, **options)
        with pytest.raises(NotMappableError, match=r"value: .*codec=False, chunks=value.shape"):
            db.memmap("value")
    for value in (SMALL.astype(">f8"), np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])):
        db.set("value", value, codec=False, chunks=value.shape)
        with pytest.raises(NotMappableError, match=r"value: .*db\.shared"):
            db.memmap("value")
    for value in (np.array(3.5), np.empty((0, 3))):
        db["value"] = value
        with pytest.raises(NotMappableError, match=r"value: .*no chunk"):
            db.memmap("value")


def test_only_a_local_disk_has_files(place: Place) -> None:
    db = place.open()
    db.set("value", SMALL, codec=False, chunks=SMALL.shape)
    if "://" not in place.url:
        np.testing.assert_array_equal(db.memmap("value"), SMALL)
        return
    with pytest.raises(NotMappableError, match="local disk"):
        db.memmap("value")


@pytest.mark.parametrize("value", [SMALL, LARGE])
def test_a_lost_or_cut_file_is_an_error(db: zdb.Database, value: np.ndarray) -> None:
    db.set("value", value, codec=False, chunks=value.shape)
    chunk = chunk_of(db)
    content = chunk.read_bytes()
    for length in (0, 3, 1000, len(content) - 100):
        chunk.write_bytes(content[:length])
        with pytest.raises(CorruptChunkError, match="value"):
            db.memmap("value")
    chunk.unlink()
    with pytest.raises(MissingChunkError, match="value"):
        db.memmap("value")
