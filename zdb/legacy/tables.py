"""Tables in parquet and msgpack files: whole ones, and ones in partitions, which are read lazily by dask."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from zdb.errors import UnreadableValueError
from zdb.legacy.pandas_msgpack import read_pandas_msgpack
from zdb.legacy.pandas_pickles import index_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path

    import dask.dataframe as dd

__all__ = ["read_csv_parts", "read_msgpack_files", "read_msgpack_parts", "read_parquet", "read_parquet_parts"]


def read_parquet(folder: Path) -> pd.DataFrame:
    """Read the parquet file of a folder, with the labels and dtypes that it had."""
    return _parquet_file(folder / "pandas_to_parquet.parquet", read_meta(folder))


def _parquet_file(path: Path, meta: pd.DataFrame | None) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, partitioning=None)
        frame = table.to_pandas()
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise UnreadableValueError(f"{path.name}: is no parquet file of a table, or damaged ({error})") from error
    for position, name in enumerate(frame.columns):
        if isinstance(frame.dtypes.iloc[position], pd.StringDtype) and name in table.column_names:
            objects = table.column(name).to_numpy(zero_copy_only=False)
            _set_objects(frame, position, objects)
    frame.index = _objects_for_text(frame.index)
    frame.columns = _objects_for_text(frame.columns)
    return frame if meta is None else _with_meta(frame, meta)


def _set_objects(frame: pd.DataFrame, position: int, objects: Any) -> None:
    column = pd.Series(objects, index=frame.index, dtype=object)
    frame.isetitem(position, column)  # type: ignore[arg-type]


def _objects_for_text(index: pd.Index[Any]) -> pd.Index[Any]:
    """Labels as they were before pandas 3: text is ``object``."""
    if isinstance(index, pd.MultiIndex):
        levels: list[Any] = [_objects_for_text(level) for level in index.levels]
        return index.set_levels(levels)
    return index.astype(object) if isinstance(index.dtype, pd.StringDtype) else index


def _with_meta(frame: pd.DataFrame, meta: pd.DataFrame) -> pd.DataFrame:
    if len(meta.columns) != len(frame.columns):
        raise UnreadableValueError(f"has {len(frame.columns)} columns, and its metadata names {len(meta.columns)}")
    frame.columns = meta.columns
    for position, dtype in enumerate(meta.dtypes):
        if frame.dtypes.iloc[position] != dtype and not isinstance(dtype, pd.CategoricalDtype):
            frame.isetitem(position, frame.iloc[:, position].astype(dtype))  # type: ignore[arg-type]
    if not isinstance(frame.index, pd.MultiIndex):
        if frame.index.dtype != meta.index.dtype:
            frame.index = frame.index.astype(meta.index.dtype)
        frame.index.name = meta.index.name
    return frame


def read_meta(folder: Path) -> pd.DataFrame | None:
    """Return an empty frame with the labels and dtypes of a table, if the folder says them."""
    if (folder / "object_meta.msgpack").exists():
        made: pd.DataFrame = read_pandas_msgpack(folder / "object_meta.msgpack").iloc[:0]
        return made
    for name in ("object_meta.json", "dask_meta.json"):
        if (folder / name).exists():
            try:
                return _meta_of_json(json.loads((folder / name).read_bytes()))
            except (ValueError, KeyError, TypeError) as error:
                raise UnreadableValueError(f"{name}: is damaged ({type(error).__name__}: {error})") from error
    return None


def _meta_of_json(stored: dict[str, Any]) -> pd.DataFrame:
    names = stored["columns"]
    labels = [_label(name, dtype) for name, dtype in zip(names, stored["column_name_dtypes"], strict=True)]
    columns = {position: pd.Series([], dtype=dtype) for position, dtype in enumerate(stored["dtypes"])}
    frame = pd.DataFrame(columns)
    frame.columns = columns_of(labels)
    index_dtype = stored.get("index_dtype", "object")
    frame.index = pd.Index([], dtype=index_dtype)
    if stored.get("index_name") is not None:
        frame.index.name = _label(stored["index_name"], stored.get("index_name_dtype", "<U"))
    return frame


def _label(text: str, dtype_name: str) -> Hashable:
    """A label of a column from its text and the dtype that numpy gives its type."""
    if dtype_name.startswith(("<U", "|S", "object")):
        return text
    label: Hashable = np.dtype(dtype_name).type(text).item()
    return label


def columns_of(labels: Sequence[Any]) -> pd.Index[Any]:
    """Labels of one numeric type become a numeric index, all others an index of objects."""
    kinds = {type(label) for label in labels}
    if len(kinds) == 1 and kinds <= {int, float}:
        numbers: pd.Index[Any] = pd.Index(labels)
        return numbers
    objects = np.empty(len(labels), dtype=object)
    objects[:] = labels
    return index_of(objects)


def read_msgpack_files(folder: Path) -> Any:
    """Read a table in one file, or in several of some rows each."""
    single = folder / "pandas_to_msgpack"
    if single.exists():
        return read_pandas_msgpack(single)
    files = _numbered(folder, r"pandas_to_msgpack_?\.?(\d+)(?:\.\w+)?")
    return pd.concat([read_pandas_msgpack(file) for file in files])


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """Files by the number in their name."""
    matches = [(re.fullmatch(pattern, file.name), file) for file in folder.iterdir()]
    found = sorted((int(match[1]), file) for match, file in matches if match)
    if not found:
        raise UnreadableValueError("its data files are missing")
    return [file for _, file in found]


def read_msgpack_parts(folder: Path, meta: pd.DataFrame | None, divisions: Any, index_name: Any) -> dd.DataFrame:
    """A table in partitions, each a msgpack file, possibly with text as categories."""
    files = _numbered(folder, r"dask_to_msgpack\.(\d+)\.csv")
    meta = read_meta(folder) if meta is None else meta
    if meta is None:
        meta = _msgpack_part(files[0], None, index_name).iloc[:0]
    meta = meta.copy()
    meta.index.name = index_name
    return _lazy(partial(_msgpack_part, meta=meta, index_name=index_name), files, meta, divisions)


def _msgpack_part(file: Path, meta: pd.DataFrame | None, index_name: Any) -> pd.DataFrame:
    frame: pd.DataFrame = read_pandas_msgpack(file)
    wanted = [object] * len(frame.columns) if meta is None else list(meta.dtypes)
    for position, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, pd.CategoricalDtype) and not isinstance(wanted[position], pd.CategoricalDtype):
            _set_objects(frame, position, np.asarray(frame.iloc[:, position], dtype=object))
    if isinstance(frame.index, pd.CategoricalIndex):
        frame.index = index_of(np.asarray(frame.index, dtype=object))
    frame.index.name = index_name
    return frame


def read_parquet_parts(folder: Path, meta: pd.DataFrame | None) -> dd.DataFrame:
    """A table in partitions, each a parquet file ``pandas_to_parquet.<number of partitions>.<partition>.parquet``."""
    files = _numbered(folder, r"pandas_to_parquet\.\d+\.(\d+)\.parquet")
    meta = read_meta(folder) if meta is None else meta
    shown = _parquet_file(files[0], None).iloc[:0] if meta is None else meta
    divisions = None
    if (folder / "divisions.json").exists():
        divisions = json.loads((folder / "divisions.json").read_bytes())
    return _lazy(partial(_parquet_file, meta=meta), files, shown, divisions)


def read_csv_parts(folder: Path, meta: pd.DataFrame, divisions: Any, index_name: Any) -> dd.DataFrame:
    """A table in partitions, each a csv file."""
    files = _numbered(folder, r"dask_to_csv\.(\d+)\.csv")
    return _lazy(partial(_csv_part, meta=meta, index_name=index_name), files, meta, divisions)


def _csv_part(file: Path, meta: pd.DataFrame, index_name: Any) -> pd.DataFrame:
    frame = pd.read_csv(file, index_col=None if index_name is None else 0)
    return _with_meta(frame, meta)


def _lazy(read: Callable[[Path], pd.DataFrame], files: list[Path], meta: pd.DataFrame, divisions: Any) -> dd.DataFrame:
    import dask
    import dask.dataframe as dd

    known = divisions is not None and None not in divisions and len(divisions) == len(files) + 1
    if known and meta.index.dtype == object:
        divisions = _text_divisions(read, files, divisions)
        known = divisions is not None
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(  # type: ignore[no-untyped-call, no-any-return]
            read, files, meta=meta, divisions=tuple(divisions) if known else None, enforce_metadata=False
        )


def _text_divisions(
    read: Callable[[Path], pd.DataFrame], files: list[Path], divisions: Sequence[Any]
) -> list[Any] | None:
    """Divisions of an index of text; those that look like numbers were written as numbers, and are looked up."""
    if not any(isinstance(division, int) for division in divisions):
        return list(divisions)
    indexes = [read(file).index for file in files]
    found = [*(index.min() for index in indexes), indexes[-1].max()]
    same = all(str(a) == str(b) or _number(b) == a for a, b in zip(divisions, found, strict=True))
    return found if same else None


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
