"""Awkward arrays with one level of lists as stored variables, and back.

Three shapes are kept: lists (``var * float64``), records of lists and of single values
(``{"times": var * float64, "cell": string}``), and lists of records
(``var * {"time": float64, "cell": int64}``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pandas as pd
import xarray as xr

from zdb.errors import UnsupportedValueError
from zdb.formats import strings
from zdb.formats.columns import column_names, decode_array, encode_array
from zdb.formats.frames import ROW, Parts, find_columns
from zdb.formats.jagged import VALUE, Window, read_window, row_size_variable
from zdb.formats.labels import USE_PICKLE, json_exactly
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from zdb.formats.columns import Encoded, Recipe
    from zdb.formats.registry import Selection

__all__ = ["decode", "encode"]

ADVICE = (
    "zdb keeps lists of numbers, times or strings, records of these, and lists of records, without "
    f"missing values; convert it, {USE_PICKLE}"
)


def encode(array: ak.Array) -> Parts:
    """Turn an awkward array into variables.

    Parameters
    ----------
    array : awkward.Array
        With one level of lists.

    Raises
    ------
    UnsupportedValueError
        It has another shape, options, unions, parameters, or behavior.
    """
    if type(array) is not ak.Array or array.behavior is not None:
        raise UnsupportedValueError(f"an awkward array with behavior is not kept exactly; {ADVICE}")
    layout = ak.to_packed(array).layout
    recipe: Recipe = {"rows": len(array), "attrs": json_exactly(dict(array.attrs), "attrs")}
    if _is_list(layout):
        variables = {"row_size": _row_size(layout, VALUE)}
        parts, recipe["list"] = _encode_flat(layout.content, "values", VALUE, "the array")
        return Parts({**parts, **variables}, {}, recipe)
    if not _is_record(layout):
        raise _not_kept("the array", array.type)
    recipe["fields"] = {}
    variables = {}
    names = column_names(layout.fields, [ROW])
    for field, name in zip(layout.fields, names, strict=True):
        content, what = layout.content(field), f"field {field!r}"
        if _is_list(content):
            dim = f"{name}.{VALUE}"
            parts, flat = _encode_flat(content.content, name, dim, what)
            parts[f"{name}.row_size"] = _row_size(content, dim)
            recipe["fields"][field] = {"list": flat, "row_size": f"{name}.row_size"}
        else:
            parts, recipe["fields"][field] = _encode_flat(content, name, ROW, what)
        variables |= parts
    return Parts(variables, {}, recipe)


def _row_size(layout: ak.contents.ListOffsetArray, dim: str) -> xr.Variable:
    return row_size_variable(np.diff(np.asarray(layout.offsets)), dim)


def _is_list(layout: Any) -> bool:
    return isinstance(layout, ak.contents.ListOffsetArray) and not layout.parameters


def _is_record(layout: Any) -> bool:
    is_record = isinstance(layout, ak.contents.RecordArray)
    return is_record and not layout.is_tuple and not layout.parameters


def _not_kept(what: str, found: Any) -> UnsupportedValueError:
    return UnsupportedValueError(f"{what} is of awkward type {found}; {ADVICE}")


def _encode_flat(layout: Any, name: str, dim: str, what: str) -> Encoded:
    """One array without lists; records of them only within a list."""
    if isinstance(layout, ak.contents.EmptyArray):
        return {name: xr.Variable((dim,), np.zeros(0))}, {"variable": name, "kind": "unknown"}
    if isinstance(layout, ak.contents.NumpyArray) and layout.data.ndim == 1 and not layout.parameters:
        return encode_array(np.asarray(layout.data), name, dim, what)
    if layout.parameters == {"__array__": "string"}:
        text = ak.to_arrow(layout, extensionarray=False)
        variables, recipe = strings.encode_strings(text, None, name, dim)
        return variables, {"variable": name, "kind": "text", **recipe}
    if dim == VALUE and _is_record(layout):
        variables, fields = {}, {}
        names = column_names(layout.fields, [ROW, VALUE, "row_size"])
        for field, field_name in zip(layout.fields, names, strict=True):
            content = layout.content(field)
            if _is_record(content):
                raise _not_kept(f"field {field!r}", content.form.type)
            parts, fields[field] = _encode_flat(content, field_name, dim, f"field {field!r}")
            variables |= parts
        return variables, {"kind": "record", "fields": fields}
    raise _not_kept(what, layout.form.type)


def decode(variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any], selection: Selection) -> ak.Array:
    """Read rows and fields of an awkward array that `encode` made."""
    rows, size = selection.rows, recipe["rows"]
    if "list" in recipe:
        window = read_window(variables["row_size"], rows)
        wanted = _choose(recipe["list"], selection)
        return _finish(_list(_decode_flat(variables, wanted, window.values), window), recipe)
    fields = _choose(recipe, selection)["fields"]
    contents = []
    for stored in fields.values():
        if "list" in stored:
            window = read_window(variables[stored["row_size"]], rows)
            contents.append(_list(_decode_flat(variables, stored["list"], window.values), window))
        else:
            contents.append(_decode_flat(variables, stored, Rows.of(rows, size)))
    length = len(Rows.of(rows, size))
    return _finish(ak.contents.RecordArray(contents, list(fields), length=length), recipe)


def _choose(recipe: Mapping[str, Any], selection: Selection) -> Mapping[str, Any]:
    if selection.columns is None:
        return recipe
    names = list(recipe.get("fields", {}))
    positions = find_columns(pd.Index(names, dtype=object), selection.columns)
    return {**recipe, "fields": {names[i]: recipe["fields"][names[i]] for i in positions}}


def _list(content: Any, window: Window) -> Any:
    offsets = np.concatenate([[0], np.cumsum(window.row_size)]).astype(np.int64)
    return ak.contents.ListOffsetArray(ak.index.Index64(offsets), content)


def _decode_flat(variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any], rows: Rows) -> Any:
    match recipe["kind"]:
        case "unknown":
            return ak.contents.EmptyArray()
        case "text":
            text, _ = strings.read_strings(variables, recipe["variable"], recipe, rows)
            return _from_strings(text)
        case "record":
            fields: dict[str, Recipe] = recipe["fields"]
            contents = [_decode_flat(variables, stored, rows) for stored in fields.values()]
            return ak.contents.RecordArray(contents, list(fields), length=len(rows))
    return ak.contents.NumpyArray(decode_array(variables, recipe, rows))


def _from_strings(text: pa.LargeStringArray) -> Any:
    _, offsets, data = text.buffers()
    characters = np.frombuffer(data or b"", dtype=np.uint8)
    starts = np.frombuffer(offsets, dtype=np.int64) if len(text) else np.zeros(1, dtype=np.int64)
    content = ak.contents.NumpyArray(characters, parameters={"__array__": "char"})
    index = ak.index.Index64(starts[text.offset : text.offset + len(text) + 1])
    return ak.contents.ListOffsetArray(index, content, parameters={"__array__": "string"})


def _finish(layout: Any, recipe: Mapping[str, Any]) -> ak.Array:
    return ak.Array(layout, attrs=recipe["attrs"] or None)
