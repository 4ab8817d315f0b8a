"""Arrow arrays as stored variables, and back, with their exact Arrow type.

Numbers, booleans, strings, timestamps, durations and dates become arrays that every reader
understands, with ``<name>.mask`` where values are missing. Every other type (nested, decimal,
dictionary ...) is kept as Arrow IPC streams in ``<name>`` (bytes), each of some rows.
"""

from __future__ import annotations

import base64
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xarray as xr

from zdb.formats import strings
from zdb.formats.times import time_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zdb.formats.rows import Rows

__all__ = [
    "decode_arrow",
    "encode_arrow",
    "schema_from_json",
    "schema_to_json",
    "type_from_json",
    "type_to_json",
]

STREAM_ROWS = 2**16


def encode_arrow(
    array: pa.ChunkedArray, name: str, dim: str, layout: strings.Layout = "auto"
) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    """Turn an Arrow array into variables along `dim`.

    Parameters
    ----------
    array : pyarrow.ChunkedArray
        Of any type. How it is chunked is not kept.
    name, dim : str
        Name of the variables and of the dimension of the rows.
    layout : {"auto", "bytes"}
        How to store strings, see :mod:`zdb.formats.strings`.

    Returns
    -------
    variables, recipe
        The recipe does not hold the type, see `type_to_json`.
    """
    kind = _storage(array.type)
    mask = _missing(array) if array.null_count and kind != "ipc" else None
    if kind == "strings":
        numbers = None if mask is None else mask.astype(np.uint8)
        variables, recipe = strings.encode_strings(array, numbers, name, dim, layout)
        return variables, {"storage": kind, **recipe}
    if kind == "ipc":
        return _encode_streams(array, name)
    values, attributes = _values(array)
    variables = {name: xr.Variable((dim,), values, attributes)}
    if mask is not None:
        variables[f"{name}.mask"] = xr.Variable((dim,), mask)
    return variables, {"storage": "values"}


def _storage(array_type: pa.DataType) -> str:
    if isinstance(array_type, pa.BaseExtensionType):
        return "ipc"
    if pa.types.is_string(array_type) or pa.types.is_large_string(array_type):
        return "strings"
    if (
        pa.types.is_boolean(array_type)
        or pa.types.is_integer(array_type)
        or pa.types.is_floating(array_type)
        or _numpy_time(array_type) is not None
    ):
        return "values"
    return "ipc"


def _numpy_time(array_type: pa.DataType) -> np.dtype[Any] | None:
    if pa.types.is_timestamp(array_type):
        return np.dtype(f"datetime64[{array_type.unit}]")
    if pa.types.is_duration(array_type):
        return np.dtype(f"timedelta64[{array_type.unit}]")
    if pa.types.is_date32(array_type):
        return np.dtype("datetime64[D]")
    return None


def _missing(array: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask: np.ndarray[Any, np.dtype[np.bool_]] = array.is_null().to_numpy()
    return mask


def _values(array: pa.ChunkedArray) -> tuple[np.ndarray[Any, Any], dict[str, str]]:
    """Numbers of an array, and their CF attributes; not copied if it is one chunk without gaps."""
    time = _numpy_time(array.type)
    whole = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.array([], type=array.type)
    if time is not None:
        whole = whole.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64())
    if whole.null_count:
        not_a_time = np.iinfo(np.int64).min
        fill = not_a_time if time is not None and whole.type == pa.int64() else 0
        whole = pc.fill_null(whole, pa.scalar(fill, pa.int64()).cast(whole.type))
    values = whole.to_numpy(zero_copy_only=False)
    return values, {} if time is None else time_attributes(time, values)


def _encode_streams(array: pa.ChunkedArray, name: str) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    streams, rows = [], []
    for start in range(0, len(array), STREAM_ROWS):
        part = pa.table({"": array.slice(start, STREAM_ROWS)}).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part)
        streams.append(np.frombuffer(sink.getvalue(), dtype=np.uint8))
        rows.append(len(part))
    data = np.concatenate([np.zeros(0, np.uint8), *streams])
    recipe = {"storage": "ipc", "rows": rows, "bytes": [len(stream) for stream in streams]}
    return {name: xr.Variable((f"{name}.byte",), data)}, recipe


def decode_arrow(
    variables: Mapping[Any, xr.Variable],
    recipe: Mapping[str, Any],
    array_type: pa.DataType,
    rows: Rows,
) -> pa.ChunkedArray:
    """Read rows of an Arrow array that `encode_arrow` made.

    Parameters
    ----------
    variables : mapping
        The stored variables.
    recipe : mapping
        From `encode_arrow`, with the name under "variable".
    array_type : pyarrow.DataType
        The type of the array.
    rows : Rows
        The rows to read.
    """
    name = recipe["variable"]
    if recipe["storage"] == "strings":
        text, _ = strings.read_strings(variables, name, recipe, rows)
        return pa.chunked_array([text]).cast(array_type)
    if recipe["storage"] == "ipc":
        return _decode_streams(variables[name], recipe, array_type, rows)
    mask = rows.read(variables[f"{name}.mask"]) if f"{name}.mask" in variables else None
    array = pa.array(rows.read(variables[name]), mask=mask, from_pandas=False)
    if array.type != array_type:
        array = array.view(array_type)
    return pa.chunked_array([array], type=array_type)


def _decode_streams(
    variable: xr.Variable, recipe: Mapping[str, Any], array_type: pa.DataType, rows: Rows
) -> pa.ChunkedArray:
    row_ends = list(accumulate(recipe["rows"], initial=0))
    byte_ends = list(accumulate(recipe["bytes"], initial=0))
    chunks: list[pa.Array] = []
    first_row = 0
    for i in range(len(recipe["rows"])):
        if row_ends[i + 1] <= rows.start or row_ends[i] >= rows.stop:
            continue
        if not chunks:
            first_row = row_ends[i]
        data = np.ascontiguousarray(variable[byte_ends[i] : byte_ends[i + 1]].values)
        chunks.extend(pa.ipc.open_stream(pa.py_buffer(data)).read_all().column(0).chunks)
    window = pa.chunked_array(chunks, type=array_type)
    window = window.slice(rows.start - first_row, rows.stop - rows.start)
    return window if rows.positions is None else window.take(pa.array(rows.positions))


def schema_to_json(schema: pa.Schema) -> dict[str, str]:
    """A schema as text for people, and as Arrow's own bytes (base64) from which it is restored."""
    raw = base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")
    return {
        "text": schema.to_string(show_field_metadata=False, show_schema_metadata=False),
        "schema": raw,
    }


def schema_from_json(stored: Mapping[str, str]) -> pa.Schema:
    """Restore a schema that `schema_to_json` described."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored["schema"])))


def type_to_json(array_type: pa.DataType) -> dict[str, str]:
    """A type as text for people, and as the schema of one field of it."""
    return {**schema_to_json(pa.schema([pa.field("", array_type)])), "text": str(array_type)}


def type_from_json(stored: Mapping[str, str]) -> pa.DataType:
    """Restore a type that `type_to_json` described."""
    return schema_from_json(stored).field(0).type
