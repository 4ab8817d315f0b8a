"""Strings as arrays that are fast to read: as text, codes and labels, or bytes and offsets.

A column of strings takes one of three layouts:

``text``
    ``<name>``: the strings themselves, as xarray shows them. For short columns.
``codes``
    ``<name>``: integers that point into ``<name>.labels`` (text); negative where a string is
    missing. For long columns with few different strings.
``bytes``
    ``<name>.bytes``: all strings as UTF-8, one after the other, and ``<name>.offsets``: where each
    begins, with the end of the last one at the end (as in Arrow). For all others.

Why a string is missing is kept by a number: 1 is None, 2 is NaN, 3 is ``pandas.NA``, 4 is
``pandas.NaT``; in ``codes`` the number is negated, in the other layouts it stands in
``<name>.mask``, where 0 means that the string is present.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xarray as xr

from zdb.errors import UnsupportedValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zdb.formats.rows import Rows

__all__ = ["MISSING", "encode_strings", "from_objects", "read_objects", "read_strings"]

Layout = Literal["auto", "bytes"]
Array = np.ndarray[Any, Any]

#: What each number of a mask stands for; 0 is a string that is present.
MISSING: tuple[Any, ...] = ("", None, float("nan"), pd.NA, pd.NaT)
_NUMBER_OF_TYPE = {type(None): 1, float: 2, np.float64: 2, type(pd.NA): 3, type(pd.NaT): 4}

TEXT_ROWS = 10_000
TEXT_BYTES = 2**20
MOST_LABELS = 2**15 - 1
SAMPLE = 4096


def from_objects(values: Array, what: str) -> tuple[pa.LargeStringArray, Array | None]:
    """Turn an object array of strings and missing values into Arrow strings and a mask.

    Parameters
    ----------
    values : ndarray of object
        Strings, None, NaN, ``pandas.NA`` and ``pandas.NaT``.
    what : str
        What the values are, for the error, such as ``"column 'name'"``.

    Raises
    ------
    UnsupportedValueError
        There is something else among them.
    """
    null = pd.isna(values)
    mask: Array | None = None
    present = values
    if null.any():
        mask = np.zeros(values.shape, dtype=np.uint8)
        numbers = [_NUMBER_OF_TYPE.get(type(value), 0) for value in values[null]]
        mask[null] = numbers
        present = values[~null]
        if 0 in numbers:
            raise _not_strings(values[null][numbers.index(0)], what)
    if not set(map(type, present)) <= {str}:
        raise _not_strings(next(value for value in present if type(value) is not str), what)
    try:
        return pa.array(values, type=pa.large_string(), mask=null), mask
    except UnicodeEncodeError as error:
        raise UnsupportedValueError(
            f"{what} has text that is not Unicode (a lone surrogate): {error}; "
            'encode it, or keep the whole value by set(key, value, format="pickle")'
        ) from error


def _not_strings(value: Any, what: str) -> UnsupportedValueError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    if isinstance(value, (np.ndarray, list, tuple)):
        advice = "keep rows of different length as a list of arrays or as zdb.Ragged"
    elif isinstance(value, str):
        advice = "make plain strings of them by .map(str)"
    else:
        advice = "give it a dtype of its own, such as Int64, boolean, Float64, category or datetime64"
    return UnsupportedValueError(
        f"{what} holds Python objects other than plain strings (a {kind}: {repr(value)[:60]}), which are "
        f"not kept exactly; {advice}, "
        'or keep the whole value by set(key, value, format="pickle")'
    )


def encode_strings(
    array: pa.Array | pa.ChunkedArray,
    mask: Array | None,
    name: str,
    dim: str,
    layout: Layout = "auto",
) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    """Choose a layout for strings and make its variables.

    Parameters
    ----------
    array : pyarrow.Array or ChunkedArray
        Of any string type.
    mask : ndarray of uint8, optional
        Numbers of the missing values; None if there are none.
    name, dim : str
        Name of the variables and of the dimension of the rows.
    layout : {"auto", "bytes"}
        Set to ``"bytes"`` to have the same variables whatever the strings are.

    Returns
    -------
    variables, recipe
        The recipe names the layout.
    """
    strings = _one_chunk(array)
    if layout == "auto":
        if len(strings) <= TEXT_ROWS and _count_bytes(strings) <= TEXT_BYTES:
            return _encode_text(strings, mask, name, dim), {"layout": "text"}
        coded = _encode_codes(strings, mask, name, dim)
        if coded is not None:
            return coded, {"layout": "codes"}
    return _encode_bytes(strings, mask, name, dim), {"layout": "bytes"}


def _one_chunk(array: pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """One chunk with 64-bit offsets; without copying characters where the type allows it."""
    if array.type != pa.large_string():
        array = array.cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # pyarrow < 18 keeps a ChunkedArray without chunks
        return pa.array([], type=pa.large_string())
    return array


def _count_bytes(strings: pa.LargeStringArray) -> int:
    return int(pc.sum(pc.binary_length(strings), min_count=0).as_py())


def _encode_text(strings: pa.LargeStringArray, mask: Array | None, name: str, dim: str) -> dict[str, xr.Variable]:
    text = np.array(pc.fill_null(strings, "").to_pylist(), dtype=np.dtypes.StringDType())
    return {name: xr.Variable((dim,), text), **_mask_variable(mask, name, dim)}


def _encode_codes(
    strings: pa.LargeStringArray, mask: Array | None, name: str, dim: str
) -> dict[str, xr.Variable] | None:
    """Codes and labels, or None if there are too many different strings for that."""
    step = max(1, len(strings) // SAMPLE)
    sample = strings.take(pa.array(np.arange(0, len(strings), step)))
    if pc.count_distinct(sample).as_py() > len(sample) // 2:
        return None
    coded = pc.dictionary_encode(strings)
    labels = coded.dictionary
    if len(labels) > min(MOST_LABELS, len(strings) // 4):
        return None
    dtype = np.int8 if len(labels) <= np.iinfo(np.int8).max else np.int16
    codes = pc.fill_null(coded.indices, 0).to_numpy(zero_copy_only=False).astype(dtype)
    if mask is not None:
        missing = mask != 0
        codes[missing] = -mask[missing].astype(dtype)
    text = np.array(labels.to_pylist(), dtype=np.dtypes.StringDType())
    return {
        name: xr.Variable((dim,), codes),
        f"{name}.labels": xr.Variable((f"{name}.label",), text),
    }


def _encode_bytes(strings: pa.LargeStringArray, mask: Array | None, name: str, dim: str) -> dict[str, xr.Variable]:
    _, offset_buffer, data_buffer = strings.buffers()
    if len(strings) == 0 or offset_buffer is None:
        offsets = np.zeros(1, dtype=np.int64)
    else:
        offsets = np.frombuffer(offset_buffer, dtype=np.int64)
        offsets = offsets[strings.offset : strings.offset + len(strings) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    if data_buffer is None:
        data = np.zeros(0, dtype=np.uint8)
    else:
        data = np.frombuffer(data_buffer, dtype=np.uint8)[first:last]
    if first:
        offsets = offsets - first
    if last - first <= np.iinfo(np.int32).max:
        offsets = offsets.astype(np.int32)
    return {
        f"{name}.bytes": xr.Variable((f"{name}.byte",), data),
        f"{name}.offsets": xr.Variable((f"{name}.offset",), offsets),
        **_mask_variable(mask, name, dim),
    }


def _mask_variable(mask: Array | None, name: str, dim: str) -> dict[str, xr.Variable]:
    return {} if mask is None else {f"{name}.mask": xr.Variable((dim,), mask)}


def read_strings(
    variables: Mapping[Any, xr.Variable], name: str, recipe: Mapping[str, Any], rows: Rows
) -> tuple[pa.LargeStringArray, Array | None]:
    """Read rows as Arrow strings, null where they are missing, and the mask that says why.

    Parameters
    ----------
    variables : mapping
        The stored variables.
    name : str
        As given to `encode_strings`.
    recipe : mapping
        As returned by `encode_strings`.
    rows : Rows
        The rows to read.
    """
    if recipe["layout"] == "codes":
        codes, labels = rows.read(variables[name]), _text(variables[f"{name}.labels"])
        mask = _mask_of_codes(codes)
        indices = pa.array(codes, mask=None if mask is None else mask != 0)
        return pa.array(labels, type=pa.large_string()).take(indices), mask
    mask = rows.read(variables[f"{name}.mask"]) if f"{name}.mask" in variables else None
    if recipe["layout"] == "text":
        text = rows.read(variables[name]).tolist()
        null = None if mask is None else mask != 0
        return pa.array(text, type=pa.large_string(), mask=null), mask
    return _read_bytes(variables, name, rows, mask), mask


def _read_bytes(variables: Mapping[Any, xr.Variable], name: str, rows: Rows, mask: Array | None) -> pa.LargeStringArray:
    if rows.start == rows.stop:
        return pa.array([], type=pa.large_string())
    offsets = np.asarray(variables[f"{name}.offsets"][rows.start : rows.stop + 1].values)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.ascontiguousarray(variables[f"{name}.bytes"][first:last].values)
    offsets = offsets.astype(np.int64) if first == 0 else offsets.astype(np.int64) - first
    null_bits = None
    if mask is not None and rows.positions is None:
        null_bits = pa.py_buffer(np.packbits(mask == 0, bitorder="little"))
    window = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data), null_bits)
    if rows.positions is None:
        return window
    indices = pa.array(rows.positions, mask=None if mask is None else mask != 0)
    return window.take(indices)


def read_objects(variables: Mapping[Any, xr.Variable], name: str, recipe: Mapping[str, Any], rows: Rows) -> Array:
    """Read rows as an object array of Python strings, with each missing value as it was."""
    if recipe["layout"] == "codes":
        codes = rows.read(variables[name])
        labels = np.array([*_text(variables[f"{name}.labels"]), *reversed(MISSING)], dtype=object)
        # Negative codes count from the end, one further because MISSING[0] stands last.
        mask = _mask_of_codes(codes)
        if mask is None:
            return np.asarray(labels[codes])
        positions = codes.astype(np.int64)
        missing = codes < 0
        positions[missing] -= 1
        return np.asarray(labels[positions])
    strings, mask = read_strings(variables, name, recipe, rows)
    objects: Array = strings.to_numpy(zero_copy_only=False)
    if mask is not None and mask.any():
        objects = objects.copy()
        missing = mask != 0
        objects[missing] = np.array(MISSING, dtype=object)[mask[missing]]
    return objects


def _mask_of_codes(codes: Array) -> Array | None:
    if codes.size == 0 or codes.min() >= 0:
        return None
    return np.where(codes < 0, -codes, 0).astype(np.uint8)


def _text(variable: xr.Variable) -> list[str]:
    return [str(label) for label in variable.values.tolist()]
