"""pandas indexes of every kind as stored variables or as JSON, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from pandas.tseries.frequencies import to_offset

from zdb.errors import UnsupportedValueError
from zdb.formats.columns import decode_array, encode_array, stored_length
from zdb.formats.labels import USE_PICKLE, from_json, to_json
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from zdb.formats.columns import Encoded, Recipe, Variables
    from zdb.formats.strings import Layout

__all__ = [
    "decode_index",
    "encode_index",
    "index_from_json",
    "index_length",
    "index_names",
    "index_to_json",
]

KNOWN = (
    pd.Index,
    pd.RangeIndex,
    pd.MultiIndex,
    pd.CategoricalIndex,
    pd.IntervalIndex,
    pd.PeriodIndex,
    pd.DatetimeIndex,
    pd.TimedeltaIndex,
)


def index_names(index: pd.Index[Any], default: str = "index") -> list[Hashable]:
    """Names for the variables of an index, one per level, also for those that have none."""
    if isinstance(index, pd.MultiIndex):
        return [f"level_{i}" if name is None else name for i, name in enumerate(index.names)]
    return [default if index.name is None else index.name]


def encode_index(
    index: pd.Index[Any],
    names: Sequence[str],
    dim: str,
    what: str = "the index",
    layout: Layout = "auto",
) -> Encoded:
    """Turn an index into variables along `dim`.

    Parameters
    ----------
    index : pandas.Index
        Of any kind that pandas itself has.
    names : sequence of str
        Safe names of the variables: one for each level, one for an index of one level.
    dim : str
        Dimension of the rows.
    what : str
        What this is, for errors.
    layout : {"auto", "bytes"}
        How to store strings, see :mod:`zdb.formats.strings`.

    Returns
    -------
    variables : dict of str to xarray.Variable
        None for a RangeIndex.
    recipe : dict
        JSON by which `decode_index` restores the index.

    Raises
    ------
    UnsupportedValueError
        The index would not come back exactly.
    """
    if type(index) not in KNOWN:
        raise UnsupportedValueError(
            f"{what} is a {type(index).__module__}.{type(index).__qualname__}, not one of pandas' "
            f"own indexes; convert it, {USE_PICKLE}"
        )
    recipe: Recipe = {"names": [to_json(name) for name in index.names]}
    if isinstance(index, pd.RangeIndex):
        return {}, {"kind": "range", **recipe, "range": [index.start, index.stop, index.step]}
    if isinstance(index, pd.MultiIndex):
        return _encode_levels(index, names, dim, what, layout, recipe)
    variables, values = encode_array(index.array, names[0], dim, what, layout=layout, labels=True)
    recipe = {"kind": "values", **recipe, "values": values}
    frequency = getattr(index, "freq", None)
    if frequency is not None and not isinstance(index, pd.PeriodIndex):
        if to_offset(frequency.freqstr) != frequency:
            raise UnsupportedValueError(
                f"{what} has the frequency {frequency!r}, which its name {frequency.freqstr!r} "
                f"does not describe; drop it by index.freq = None, {USE_PICKLE}"
            )
        recipe["frequency"] = frequency.freqstr
    return variables, recipe


def _encode_levels(
    index: pd.MultiIndex,
    names: Sequence[str],
    dim: str,
    what: str,
    layout: Layout,
    recipe: Recipe,
) -> Encoded:
    variables: Variables = {}
    levels = []
    for name, level, codes in zip(names, index.levels, index.codes, strict=True):
        variables[name] = xr.Variable((dim,), np.asarray(codes))
        parts, stored = encode_index(level, [f"{name}.labels"], f"{name}.label", f"a level of {what}", layout)
        variables |= parts
        levels.append({"variable": name, "labels": stored})
    return variables, {"kind": "levels", **recipe, "levels": levels}


def decode_index(variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any], rows: Rows) -> pd.Index[Any]:
    """Read rows of an index that `encode_index` made."""
    names = [from_json(name) for name in recipe["names"]]
    if recipe["kind"] == "range":
        start, stop, step = recipe["range"]
        return _decode_range(pd.RangeIndex(start, stop, step, name=names[0]), rows)
    if recipe["kind"] == "levels":
        levels: list[Any] = []
        codes: list[Any] = []
        for level in recipe["levels"]:
            everything = Rows.of(None, index_length(variables, level["labels"]))
            levels.append(decode_index(variables, level["labels"], everything))
            codes.append(rows.read(variables[level["variable"]]))
        return pd.MultiIndex(levels=levels, codes=codes, names=names, verify_integrity=False)
    array = decode_array(variables, recipe["values"], rows)
    index: pd.Index[Any] = pd.Index(array, dtype=array.dtype, name=names[0])
    if "frequency" in recipe and rows.step is not None:
        index.freq = to_offset(recipe["frequency"]) * rows.step  # type: ignore[attr-defined]
    return index


def _decode_range(whole: pd.RangeIndex, rows: Rows) -> pd.Index[Any]:
    window = whole[rows.start : rows.stop]
    if rows.positions is None:
        return window
    if rows.step is None:
        return window.take(rows.positions)
    first = 0 if rows.step > 0 else len(window) - 1
    return window[first :: rows.step]


def index_length(variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any]) -> int:
    """Number of rows of a stored index."""
    if recipe["kind"] == "range":
        return len(range(*recipe["range"]))
    if recipe["kind"] == "levels":
        return int(variables[recipe["levels"][0]["variable"]].size)
    return stored_length(variables, recipe["values"])


def index_to_json(index: pd.Index[Any], what: str) -> dict[str, Any]:
    """Describe a short index, such as the names of columns, by JSON alone.

    Raises
    ------
    UnsupportedValueError
        The index would not come back exactly.
    """
    names = [f"level_{i}" for i in range(index.nlevels)]
    variables, recipe = encode_index(index, names, "label", what)
    return {**recipe, "variables": {n: _variable_to_json(v) for n, v in variables.items()}}


def index_from_json(stored: Mapping[str, Any]) -> pd.Index[Any]:
    """Restore an index that `index_to_json` described."""
    variables = {n: _variable_from_json(v) for n, v in stored["variables"].items()}
    return decode_index(variables, stored, Rows.of(None, index_length(variables, stored)))


def _variable_to_json(variable: xr.Variable) -> dict[str, Any]:
    values = variable.values
    if isinstance(values.dtype, np.dtypes.StringDType):
        return {"dtype": "text", "data": values.tolist()}
    if values.dtype.kind == "c":
        values = values.view(values.real.dtype)
    data = values.tolist()
    if values.dtype.kind == "f":
        data = [number if math.isfinite(number) else repr(number) for number in data]
    return {"dtype": variable.dtype.str, "data": data}


def _variable_from_json(stored: Mapping[str, Any]) -> xr.Variable:
    data = stored["data"]
    if stored["dtype"] == "text":
        return xr.Variable(("label",), np.array(data, dtype=np.dtypes.StringDType()))
    dtype = np.dtype(stored["dtype"])
    if dtype.kind == "c":
        parts = np.array([float(x) for x in data], dtype=f"f{dtype.itemsize // 2}")
        return xr.Variable(("label",), parts.view(dtype))
    if dtype.kind == "f":
        data = [float(number) for number in data]
    return xr.Variable(("label",), np.array(data, dtype=dtype))
