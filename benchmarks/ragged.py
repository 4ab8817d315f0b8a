"""Rows of different length: write them, read them, read a slice, and what they take on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

import zdb
from benchmarks.harness import ZDB, Goal, Row, Settings, Topic, fresh_folder, measure, size_on_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 2_000_000
SLICE = 1000
MEAN_LENGTH = 4
PARQUET, NPY, ZARR = "parquet lists", "NaN padding, npy", "NaN padding, zarr"

Array = np.ndarray[Any, Any]


def make_spikes(rows: int, seed: int = 0) -> tuple[Array, Array]:
    """Spike times in ms, row after row, and their number in each row."""
    rng = np.random.default_rng(seed)
    sizes = rng.poisson(MEAN_LENGTH, rows)
    return np.round(rng.uniform(0, 500, int(sizes.sum())), 3), sizes


def pad(values: Array, sizes: Array) -> Array:
    """Make a dense array of them, filled up with NaN."""
    padded = np.full((len(sizes), int(sizes.max())), np.nan)
    padded[np.arange(padded.shape[1]) < sizes[:, np.newaxis]] = values
    return padded


def run(settings: Settings) -> Topic:
    """Measure all operations."""
    values, sizes = make_spikes(settings.sized(ROWS))
    count = min(SLICE, len(sizes) // 2)
    part = slice(len(sizes) // 2, len(sizes) // 2 + count)
    folders = {name: settings.folder / name for name in (ZDB, PARQUET, NPY, ZARR)}
    files = {
        ZDB: folders[ZDB] / "results.zdb",
        PARQUET: folders[PARQUET] / "spikes.parquet",
        NPY: folders[NPY] / "spikes.npy",
        ZARR: folders[ZARR] / "spikes.zarr",
    }

    def write_zdb() -> None:
        zdb.open(files[ZDB])["spikes"] = zdb.Ragged(values, sizes)

    def write_parquet() -> None:
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
        pq.write_table(pa.table({"spikes": lists}), files[PARQUET], compression="zstd")

    writers: dict[str, Callable[[], Any]] = {
        ZDB: write_zdb,
        PARQUET: write_parquet,
        NPY: lambda: np.save(files[NPY], pad(values, sizes)),
        ZARR: lambda: zarr.create_array(files[ZARR], data=pad(values, sizes)),
    }
    rows = [Row("write", measure(writers, settings.rounds, before=lambda name: _clean(folders[name])))]
    database = zdb.open(files[ZDB])
    whole: dict[str, Callable[[], Any]] = {
        ZDB: lambda: database["spikes"],
        PARQUET: lambda: pq.read_table(files[PARQUET]),
        NPY: lambda: np.load(files[NPY]),
        ZARR: lambda: zarr.open_array(files[ZARR], mode="r")[:],
    }
    rows.append(Row("read all", measure(whole, settings.rounds, check=_checker(values, sizes))))
    some: dict[str, Callable[[], Any]] = {
        ZDB: lambda: database.get("spikes", rows=part),
        PARQUET: lambda: _read_parquet(files[PARQUET], part),
        NPY: lambda: np.array(np.load(files[NPY], mmap_mode="r")[part]),
        ZARR: lambda: zarr.open_array(files[ZARR], mode="r")[part],
    }
    first, last = int(sizes[: part.start].sum()), int(sizes[: part.stop].sum())
    check = _checker(values[first:last], sizes[part])
    goal = Goal("≥ 10 × parquet lists", peer=PARQUET, factor=1 / 10)
    rows.append(Row(f"slice of {count} rows", measure(some, settings.rounds, check=check), [goal]))
    on_disk = {name: float(size_on_disk(folder)) for name, folder in folders.items()}
    rows.append(Row("bytes on disk", on_disk, unit="B"))
    return Topic(
        f"Ragged: {len(sizes)} rows, {len(values)} values",
        f"Spike times rounded to 3 decimals, {MEAN_LENGTH} per row on average and up to {sizes.max()}. All contenders are "
        "given flat values and sizes; padding belongs to the write. They are read as what each library offers: "
        "`zdb.Ragged`, an Arrow table, a dense array. For the slice, parquet reads only the row groups that hold it.",
        rows,
    )


def _clean(folder: Path) -> None:
    fresh_folder(folder)


def _read_parquet(path: Path, rows: slice) -> pa.Table:
    file = pq.ParquetFile(path)
    ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
    first, last = (int(np.searchsorted(ends, row, side="right")) for row in (rows.start, rows.stop - 1))
    table = file.read_row_groups(range(first, last + 1))
    start = rows.start - (int(ends[first - 1]) if first else 0)
    return table.slice(start, rows.stop - rows.start)


def _checker(values: Array, sizes: Array) -> Callable[[str, Any], None]:
    def check(name: str, found: Any) -> None:
        if name == ZDB:
            assert np.array_equal(found.values, values)
            assert np.array_equal(found.row_size, sizes)
        elif name == PARQUET:
            assert found["spikes"].combine_chunks().flatten().to_numpy().tolist() == values.tolist()
        else:
            assert np.array_equal(found[~np.isnan(found)], values), name

    return check
