"""Writing dask tables as csv and parquet, one partition after the other, so that only one is in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

__all__ = ["partitions_to_csv", "partitions_to_parquet"]


class _LabelsNeededError(Exception):
    """The rows are not numbered from 0 on over all partitions."""


class _OtherTypesError(Exception):
    """A partition has other categories than the first one."""


def partitions_to_csv(value: Any, path: Path) -> None:
    """Write a dask DataFrame or Series; row numbers from 0 on are left out, other labels stand in the first columns."""
    _with_labels_if_needed(_write_csv, value, path)


def partitions_to_parquet(value: Any, path: Path) -> None:
    """Write a dask DataFrame or Series as pandas writes one, with at least one row group for each partition.

    Partitions that have different types in Arrow, such as strings after one in which all are missing, are written as
    one table, in memory.
    """
    import pyarrow as pa

    try:
        _with_labels_if_needed(_write_parquet, value, path)
    except (_OtherTypesError, pa.ArrowException):
        _as_frame(value).to_parquet(path, engine="pyarrow")


def _with_labels_if_needed(write: Callable[..., None], value: Any, path: Path) -> None:
    try:
        write(value, path, labels=False)
    except _LabelsNeededError:
        write(value, path, labels=True)


def _write_csv(value: Any, path: Path, *, labels: bool) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, frame in enumerate(_frames(value, labels=labels)):
            frame.to_csv(file, index=labels, header=not number)


def _write_parquet(value: Any, path: Path, *, labels: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    frames = _frames(value, labels=labels)
    first = next(frames)
    table = pa.Table.from_pandas(first, preserve_index=labels)
    schema = _with_attrs(table.schema, first)
    categories = [dtype for dtype in first.dtypes if isinstance(dtype, pd.CategoricalDtype)]
    with pyarrow.parquet.ParquetWriter(path, schema) as file:
        file.write_table(table)
        for frame in frames:
            if [dtype for dtype in frame.dtypes if isinstance(dtype, pd.CategoricalDtype)] != categories:
                raise _OtherTypesError
            file.write_table(pa.Table.from_pandas(frame, schema=table.schema, preserve_index=labels))


def _with_attrs(schema: pa.Schema, frame: pd.DataFrame) -> pa.Schema:
    """Keep the attributes of a frame where pandas looks for them."""
    if not frame.attrs:
        return schema
    return schema.with_metadata({**(schema.metadata or {}), b"PANDAS_ATTRS": json.dumps(frame.attrs).encode()})


def _frames(value: Any, *, labels: bool) -> Iterator[pd.DataFrame]:
    """Yield the partitions; raise if they have labels that are needed, but are to be left out."""
    rows = 0
    for partition in value.partitions:
        frame = _as_frame(partition)
        if not labels and not _is_numbered(frame.index, rows):
            raise _LabelsNeededError
        rows += len(frame)
        yield frame


def _as_frame(value: Any) -> pd.DataFrame:
    found: pd.DataFrame | pd.Series = value.compute()
    return found.to_frame() if isinstance(found, pd.Series) else found


def _is_numbered(index: pd.Index, start: int) -> bool:
    if not isinstance(index, pd.RangeIndex) or index.name is not None:
        return False
    return not len(index) or (index.start == start and index.step == 1)
