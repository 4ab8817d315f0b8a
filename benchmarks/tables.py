"""A table of eight columns: write it, read it, and read single columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import zdb
from benchmarks.harness import ZDB, Goal, Row, Settings, Topic, fresh_folder, measure, size_on_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 5_000_000
PARQUET, FEATHER = "parquet zstd", "feather"
CELL_TYPES = ["L2", "L34", "L4py", "L4sp", "L4ss", "L5st", "L5tt", "L6cc", "L6ccinv", "L6ct", "VPM"]


def make_table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Synapse activations: one line each."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, max(2, rows // 5), rows)
    return pd.DataFrame(
        {
            "trial": np.sort(rng.integers(0, max(2, rows // 5000), rows)),
            "synapse": rng.integers(0, 30_000, rows).astype(np.int32),
            "time": np.round(rng.uniform(0, 500, rows), 3),
            "soma_distance": np.round(rng.gamma(3, 120, rows), 4),
            "weight": rng.lognormal(0, 0.5, rows),
            "is_active": rng.random(rows) < 0.3,
            "cell_type": pd.Series(rng.choice(CELL_TYPES, rows), dtype="str"),
            "cell": pd.Series(np.char.add("cell_", np.char.zfill(cells.astype("U"), 9)), dtype="str"),
        }
    )


def run(settings: Settings) -> Topic:
    """Measure all operations."""
    table = make_table(settings.sized(ROWS))
    folders = {name: settings.folder / name for name in (ZDB, PARQUET, FEATHER)}
    paths = {
        ZDB: folders[ZDB] / "results.zdb",
        PARQUET: folders[PARQUET] / "t.parquet",
        FEATHER: folders[FEATHER] / "t.feather",
    }

    def write_zdb() -> None:
        zdb.open(paths[ZDB])["table"] = table

    writers: dict[str, Callable[[], Any]] = {
        ZDB: write_zdb,
        PARQUET: lambda: table.to_parquet(paths[PARQUET], compression="zstd"),
        FEATHER: lambda: table.to_feather(paths[FEATHER]),
    }
    nbytes = int(table.memory_usage(deep=True).sum())
    seconds = measure(writers, settings.rounds, memory=nbytes, before=lambda name: _clean(folders[name]))
    rows = [Row("write", seconds)]
    faster = [Goal("faster than parquet", peer=PARQUET)]
    selections = {
        "read all": None,
        "one column (float64)": ["time"],
        "one column (few different strings)": ["cell_type"],
        "one column (many different strings)": ["cell"],
    }
    for operation, columns in selections.items():
        seconds = measure(_readers(paths, columns), settings.rounds, memory=nbytes, check=_checker(table, columns))
        rows.append(Row(operation, seconds, faster))
    sizes = {name: float(size_on_disk(folder)) for name, folder in folders.items()}
    rows.append(Row("bytes on disk", sizes, unit="B"))
    return Topic(
        f"Table: {len(table)} rows × {table.shape[1]} columns",
        "A pandas table of one sorted and one random integer column, three float64 columns (two of them rounded), a "
        f"boolean, a string column with {len(CELL_TYPES)} and one with {table['cell'].nunique()} different strings. "
        "Parquet and feather are written and read by pandas with pyarrow, parquet with zstd, feather with its default, lz4.",
        rows,
    )


def _clean(folder: Path) -> None:
    fresh_folder(folder)


def _readers(paths: dict[str, Path], columns: list[str] | None) -> dict[str, Callable[[], Any]]:
    database = zdb.open(paths[ZDB])
    return {
        ZDB: lambda: database["table"] if columns is None else database.get("table", columns=columns),
        PARQUET: lambda: pd.read_parquet(paths[PARQUET], columns=columns),
        FEATHER: lambda: pd.read_feather(paths[FEATHER], columns=columns),
    }


def _checker(table: pd.DataFrame, columns: list[str] | None) -> Callable[[str, pd.DataFrame], None]:
    expected = table if columns is None else table[columns]
    return lambda name, found: pd.testing.assert_frame_equal(found, expected, obj=name)
