"""Tables of dask go to files as those of pandas do, one partition after the other."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from zdb.exchange import partitions, writers

if TYPE_CHECKING:
    from pathlib import Path

    from zdb import Database

FRAME = pd.DataFrame(
    {
        "x": np.linspace(0, 1, 12),
        "n": pd.array([1, None, 3] * 4, dtype="Int64"),
        "cell": pd.Categorical(list("aabbccaabbcc")),
        "label": [None] * 5 + ["one"] * 7,
        "when": pd.date_range("2026-01-01", periods=12, tz="Europe/Berlin"),
    }
)


def later(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index(frame.index + 5)


def restarted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index(pd.RangeIndex(len(frame)))


def with_attrs(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame.attrs["unit"] = "mV"
    return frame


FRAMES = {
    "numbered": dd.from_pandas(FRAME, npartitions=3),
    "one partition": dd.from_pandas(FRAME, npartitions=1),
    "no rows": dd.from_pandas(FRAME.iloc[:0], npartitions=1),
    "later": dd.from_pandas(FRAME, npartitions=3).map_partitions(later),
    "restarted": dd.from_pandas(FRAME, npartitions=3).map_partitions(restarted),
    "labels": dd.from_pandas(FRAME.set_index("x"), npartitions=3),
    "texts": dd.from_pandas(FRAME.set_index(pd.Index(list("abcdefghijkl"), name="id")), npartitions=3),
    "series": dd.from_pandas(FRAME["x"], npartitions=3),
    "with attrs": dd.from_pandas(FRAME, npartitions=2).map_partitions(with_attrs),
    "other categories": dd.from_pandas(FRAME, npartitions=3).map_partitions(
        lambda f: f.assign(cell=f["cell"].cat.remove_unused_categories())
    ),
}


def whole(value: Any) -> pd.DataFrame:
    found = value.compute()
    return found.to_frame() if isinstance(found, pd.Series) else found


@pytest.mark.parametrize("name", FRAMES)
def test_parquet_is_as_pandas_writes_it(name: str, tmp_path: Path) -> None:
    writers.write(FRAMES[name], "table", "parquet", tmp_path / "a.parquet")
    whole(FRAMES[name]).to_parquet(tmp_path / "b.parquet", engine="pyarrow")
    found = pd.read_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(found, pd.read_parquet(tmp_path / "b.parquet"))
    if name == "with attrs":
        assert found.attrs == {"unit": "mV"}


@pytest.mark.parametrize("name", FRAMES)
def test_csv_is_as_pandas_writes_it(name: str, tmp_path: Path) -> None:
    writers.write(FRAMES[name], "table", "csv", tmp_path / "a.csv")
    is_numbered = name in ("numbered", "one partition", "no rows", "series", "with attrs", "other categories")
    whole(FRAMES[name]).to_csv(tmp_path / "b.csv", index=not is_numbered)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_each_partition_is_a_row_group(tmp_path: Path) -> None:
    plain = dd.from_pandas(FRAME[["x", "n", "cell", "when"]], npartitions=3)
    partitions.partitions_to_parquet(plain, tmp_path / "a.parquet")
    assert pyarrow.parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == plain.npartitions


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_table(db: Database, tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"x": np.arange(800_000.0)})
    db["t"] = dd.from_pandas(frame, npartitions=80)
    writers.write(db["t"], "table", kind, tmp_path / f"warm.{kind}")  # modules are loaded
    tracemalloc.start()
    try:
        writers.write(db["t"], "table", kind, tmp_path / f"t.{kind}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < frame["x"].nbytes / 2
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    pd.testing.assert_frame_equal(read(tmp_path / f"t.{kind}"), frame)
