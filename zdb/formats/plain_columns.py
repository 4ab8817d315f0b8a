"""Columns that need no other column: numbers, times, text, nullable and Arrow arrays as stored variables, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr

from zdb.errors import UnsupportedValueError
from zdb.formats import arrow, strings
from zdb.formats.labels import USE_PICKLE, from_json, timezone_from_json, timezone_to_json, to_json
from zdb.formats.times import time_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas.api.extensions import ExtensionArray

    from zdb.formats.rows import Rows

__all__ = ["Encoded", "Recipe", "Variables", "decode_plain", "encode_numpy", "encode_plain_extension"]

Variables = dict[str, xr.Variable]
Recipe = dict[str, Any]
Encoded = tuple[Variables, Recipe]

_WIDEST = {"f": 8, "c": 16}


def encode_numpy(
    values: np.ndarray[Any, Any],
    name: str,
    dim: str,
    what: str,
    layout: strings.Layout,
    labels: bool,
) -> Encoded:
    dtype = values.dtype
    if dtype.kind in "biufc" and dtype.itemsize <= _WIDEST.get(dtype.kind, 8):
        native = values if dtype.isnative else values.astype(dtype.newbyteorder("="))
        return {name: xr.Variable((dim,), native)}, {"kind": "numpy", "dtype": dtype.str}
    if dtype.kind in "mM":
        native = values if dtype.isnative else values.astype(dtype.newbyteorder("="))
        counts = native.view(np.int64)
        attributes = time_attributes(dtype, counts)
        return {name: xr.Variable((dim,), counts, attributes)}, {
            "kind": "numpy",
            "dtype": dtype.str,
        }
    if dtype.kind == "O":
        try:
            text, mask = strings.from_objects(values, what)
        except UnsupportedValueError:
            if not labels:
                raise
            return _encode_labels(values, name, dim), {"kind": "labels"}
        variables, recipe = strings.encode_strings(text, mask, name, dim, layout)
        return variables, {"kind": "object", **recipe}
    raise UnsupportedValueError(f"{what} has dtype {dtype}, which is not kept; convert it, {USE_PICKLE}")


def _encode_labels(values: np.ndarray[Any, Any], name: str, dim: str) -> Variables:
    text = [json.dumps(to_json(value), allow_nan=False) for value in values]
    return {name: xr.Variable((dim,), np.array(text, dtype=np.dtypes.StringDType()))}


def encode_plain_extension(values: ExtensionArray, name: str, dim: str, what: str, layout: strings.Layout) -> Encoded:
    dtype: Any = values.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        return encode_numpy(np.asarray(values), name, dim, what, layout, labels=False)
    if isinstance(dtype, pd.DatetimeTZDtype):
        recipe = {"kind": "zoned", "zone": timezone_to_json(dtype.tz)}
        utc = np.asarray(values, dtype=f"datetime64[{dtype.unit}]")
        variables, times = encode_numpy(utc, name, dim, what, layout, labels=False)
        return variables, {**recipe, "dtype": times["dtype"]}
    if isinstance(dtype, pd.StringDtype):
        return _encode_string_dtype(values, dtype, name, dim, what, layout)
    if isinstance(dtype, pd.ArrowDtype):
        array = _chunked(pa.array(values))
        variables, recipe = arrow.encode_arrow(array, name, dim, layout)
        return variables, {"kind": "arrow", **recipe, **arrow.type_to_json(array.type)}
    if isinstance(dtype, pd.PeriodDtype):
        ordinals = pd.PeriodIndex(values).asi8
        if pd.PeriodDtype(_frequency(dtype)) != dtype:
            raise UnsupportedValueError(f"{what} has periods of {dtype.freq!r}; {USE_PICKLE}")
        return {name: xr.Variable((dim,), ordinals)}, {"kind": "period", "freq": _frequency(dtype)}
    if dtype.name in _masked_dtypes():
        return _encode_masked(values, name, dim)
    raise UnsupportedValueError(
        f"{what} has dtype {dtype} ({type(values).__qualname__}), which is not kept exactly; "
        "convert it to an ordinary dtype (a sparse column by .sparse.to_dense()), "
        f"{USE_PICKLE}"
    )


def _frequency(dtype: pd.PeriodDtype) -> str:
    return dtype.name.removeprefix("period[").removesuffix("]")


def _masked_dtypes() -> frozenset[str]:
    integers = {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
    return frozenset({*integers, "Float32", "Float64", "boolean"})


def _encode_masked(values: Any, name: str, dim: str) -> Encoded:
    missing = np.asarray(values.isna())
    numpy_dtype = np.dtype(values.dtype.numpy_dtype)
    fill = numpy_dtype.type(0)
    data = values.to_numpy(dtype=numpy_dtype, na_value=fill)
    variables = {name: xr.Variable((dim,), data)}
    if missing.any():
        variables[f"{name}.mask"] = xr.Variable((dim,), missing)
    return variables, {"kind": "masked", "dtype": values.dtype.name}


def _encode_string_dtype(
    values: ExtensionArray,
    dtype: pd.StringDtype,
    name: str,
    dim: str,
    what: str,
    layout: strings.Layout,
) -> Encoded:
    missing = "NA" if dtype.na_value is pd.NA else "nan"
    try:
        text = _chunked(pa.array(values))
    except UnicodeEncodeError as error:
        raise UnsupportedValueError(f"{what} has text that is not Unicode: {error}; {USE_PICKLE}") from error
    mask = None
    if text.null_count:
        number = np.uint8(3 if missing == "NA" else 2)
        mask = np.where(np.asarray(values.isna()), number, np.uint8(0))
    variables, recipe = strings.encode_strings(text, mask, name, dim, layout)
    return variables, {"kind": "string", "storage": dtype.storage, "missing": missing, **recipe}


def _chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def decode_plain(
    variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any], rows: Rows
) -> np.ndarray[Any, Any] | ExtensionArray:
    """Read rows of a column that was made here, as the array that it was."""
    name, kind = recipe["variable"], recipe["kind"]
    match kind:
        case "numpy" | "zoned":
            return _decode_numpy(variables[name], recipe, rows)
        case "object":
            return strings.read_objects(variables, name, recipe, rows)
        case "labels":
            texts = rows.read(variables[name]).tolist()
            objects = np.empty(len(texts), dtype=object)
            objects[:] = [from_json(json.loads(text)) for text in texts]
            return objects
        case "string":
            text, _ = strings.read_strings(variables, name, recipe, rows)
            missing = pd.NA if recipe["missing"] == "NA" else np.nan
            return _from_arrow(pd.StringDtype(recipe["storage"], na_value=missing), text)
        case "masked":
            values = rows.read(variables[name])
            masked: Any = pd.api.types.pandas_dtype(recipe["dtype"])
            mask = variables.get(f"{name}.mask")
            missing_rows = np.zeros(values.shape, bool) if mask is None else rows.read(mask)
            return masked.construct_array_type()(values, missing_rows)  # type: ignore[no-any-return]
        case "arrow":
            array_type = arrow.type_from_json(recipe)
            return _from_arrow(pd.ArrowDtype(array_type), arrow.decode_arrow(variables, recipe, array_type, rows))
        case "period":
            ordinals = rows.read(variables[name])
            periods: Any = pd.PeriodIndex
            return cast("ExtensionArray", periods.from_ordinals(ordinals, freq=recipe["freq"]).array)
    raise UnsupportedValueError(f"unknown kind of column {kind!r}: written by a newer version of zdb?")


def _decode_numpy(
    variable: xr.Variable, recipe: Mapping[str, Any], rows: Rows
) -> np.ndarray[Any, Any] | ExtensionArray:
    dtype = np.dtype(recipe["dtype"])
    values = rows.read(variable)
    if dtype.kind in "mM":
        values = np.ascontiguousarray(values).view(dtype.newbyteorder("="))
    if not dtype.isnative:
        values = values.astype(dtype)
    if recipe["kind"] == "numpy":
        return values
    utc = pd.DatetimeIndex(values).tz_localize("UTC")
    return utc.tz_convert(timezone_from_json(recipe["zone"])).array


def _from_arrow(dtype: Any, array: pa.Array | pa.ChunkedArray) -> ExtensionArray:
    made: ExtensionArray = dtype.__from_arrow__(array)
    return made
