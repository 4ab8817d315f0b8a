"""Format ``table``: pandas, dask, Arrow and polars tables, a column an array along ``row``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from zdb.errors import UnsupportedValueError
from zdb.formats import arrow, frames
from zdb.formats.columns import column_names, decode_index
from zdb.formats.frames import ROW, Parts
from zdb.formats.labels import USE_PICKLE
from zdb.formats.registry import Format, Selection, require_types
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import polars as pl
    import xarray as xr

    from zdb.formats.dask_tables import PartitionedTable

__all__ = ["TableFormat"]


class TableFormat(Format):
    """Tables of pandas, dask, pyarrow and polars; also Series and Index."""

    name = "table"
    types = (
        "pandas.DataFrame",
        "pandas.Series",
        "pandas.Index",
        "dask.DataFrame",
        "dask.Series",
        "dask.Index",
        "pyarrow.Table",
        "pyarrow.RecordBatch",
        "polars.DataFrame",
        "polars.Series",
        "polars.LazyFrame",
    )

    def encode(self, value: Any) -> xr.Dataset:
        """Turn a table into a Dataset with one variable or more for each column.

        A dask frame is computed into memory, partition by partition; to write one that does not
        fit, use `partitioned`, as the database does.
        """
        name = _type_name(value)
        if name.startswith("dask."):
            require_types(self, value)
            from zdb.formats.dask_tables import encode_in_memory

            return encode_in_memory(value)
        if name in ("pandas.DataFrame", "pandas.Series"):
            encode = frames.encode_frame if name == "pandas.DataFrame" else frames.encode_series
            return _dataset(name, encode(value), value)
        if name.startswith("pandas.") and isinstance(value, pd.Index):
            return _dataset(name, frames.encode_only_index(value), value)
        if name == "pyarrow.Table":
            return _dataset(name, _encode_arrow_table(value), value)
        if name == "pyarrow.RecordBatch":
            return _dataset(name, _encode_arrow_table(pa.Table.from_batches([value])), value)
        if name in ("polars.DataFrame", "polars.Series"):
            return _dataset(name, _encode_polars(value), value)
        raise UnsupportedValueError(_why_not(name, value))

    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Restore the table; a dask frame comes back lazy, with its partitions and divisions."""
        return self.select(node, Selection())

    def select(self, node: xr.Dataset | xr.DataTree, selection: Selection) -> Any:
        """Read some columns, in the order asked for, and some rows.

        Rows of a dask frame come back as a pandas frame, columns of one as a lazy dask frame.
        """
        name = node.attrs["zdb_type"]
        one_column = name.endswith((".Series", "Index"))
        selection.require(self.name, *(["rows"] if one_column else ["columns", "rows"]))
        recipe = json.loads(node.attrs["zdb_recipe"])
        if name.startswith("dask."):
            from zdb.formats import dask_partitions

            return dask_partitions.decode(node, name, recipe, selection)
        rows = Rows.of(selection.rows, recipe["rows"])
        variables = node.variables
        if name == "pandas.DataFrame":
            return frames.decode_frame(variables, recipe, rows, selection.columns)
        if name == "pandas.Series":
            return frames.decode_series(variables, recipe, rows)
        if name.startswith("pandas."):
            return decode_index(variables, recipe["index"], rows)
        table = _decode_arrow_table(variables, recipe, rows, selection.columns)
        return _FROM_ARROW[name](table)

    def partitioned(self, value: Any) -> PartitionedTable | None:
        """How to write a table by partitions, each computed once; None for a table in memory."""
        if not _type_name(value).startswith("dask."):
            return None
        require_types(self, value)  # a dask array is no table
        from zdb.formats.dask_tables import PartitionedTable

        return PartitionedTable(value)


def _type_name(value: Any) -> str:
    cls = type(value)
    package = cls.__module__.partition(".")[0]
    return f"{package}.{cls.__qualname__}"


def _why_not(name: str, value: Any) -> str:
    if name == "polars.LazyFrame":
        return "a polars LazyFrame has no data yet: call .collect() first"
    if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
        base = next(c.__name__ for c in type(value).__mro__ if c.__module__.startswith("pandas"))
        return (
            f"a {name} is a subclass of pandas.{base} and would come back as a plain {base}; "
            f"convert it by pandas.{base}(value), {USE_PICKLE}"
        )
    return f"a {name} is not a table; {USE_PICKLE.removeprefix('or ')}"


def _dataset(name: str, parts: Parts, value: Any) -> xr.Dataset:
    shape = [parts.recipe["rows"], *list(value.shape)[1:]]
    dtype = getattr(value, "dtype", "")
    return parts.dataset(
        {
            "zdb_type": name,
            "zdb_dtype": str(dtype),
            "zdb_shape": json.dumps(shape),
            "zdb_recipe": json.dumps(parts.recipe, allow_nan=False),
        }
    )


def _encode_arrow_table(table: pa.Table) -> Parts:
    names = column_names(table.column_names, [ROW])
    variables: dict[str, xr.Variable] = {}
    stored = []
    for name, column in zip(names, table.columns, strict=True):
        parts, recipe = arrow.encode_arrow(column, name, ROW)
        variables |= parts
        stored.append({"variable": name, **recipe})
    schema = arrow.schema_to_json(table.schema)
    return Parts(variables, {}, {"rows": table.num_rows, "values": stored, **schema})


def _decode_arrow_table(
    variables: Mapping[Any, xr.Variable],
    recipe: Mapping[str, Any],
    rows: Rows,
    columns: Sequence[Hashable] | None,
) -> pa.Table:
    schema = arrow.schema_from_json(recipe)
    positions = list(range(len(schema)))
    if columns is not None:
        positions = frames.find_columns(pd.Index(schema.names, dtype=object), columns)
        schema = pa.schema([schema.field(i) for i in positions], metadata=schema.metadata)
    data = [
        arrow.decode_arrow(variables, recipe["values"][i], field.type, rows)
        for i, field in zip(positions, schema, strict=True)
    ]
    return pa.Table.from_arrays(data, schema=schema)


def _encode_polars(value: pl.DataFrame | pl.Series) -> Parts:
    import polars as pl

    frame = value.to_frame() if isinstance(value, pl.Series) else value
    try:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        restored = _to_polars(table.slice(0, 0)).schema
    except (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError) as error:
        raise UnsupportedValueError(f"polars cannot turn this into Arrow: {error}; {USE_PICKLE}") from error
    for column, dtype in frame.schema.items():
        if restored[column] != dtype:
            raise UnsupportedValueError(
                f"column {column!r} of polars type {dtype} would come back as {restored[column]}; cast it, {USE_PICKLE}"
            )
    return _encode_arrow_table(table)


def _to_batch(table: pa.Table) -> pa.RecordBatch:
    arrays = [column.combine_chunks() for column in table.columns]
    arrays = [a.combine_chunks() if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def _to_polars(table: pa.Table) -> pl.DataFrame:
    import polars as pl

    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    frame.columns = table.column_names  # polars gives other names to those that are empty
    return frame


_FROM_ARROW: dict[str, Callable[[pa.Table], Any]] = {
    "pyarrow.Table": lambda table: table,
    "pyarrow.RecordBatch": _to_batch,
    "polars.DataFrame": _to_polars,
    "polars.Series": lambda table: _to_polars(table).to_series(0),
}
