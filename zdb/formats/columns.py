"""Columns and indexes as stored variables, and back.

They are in one module because they hold each other: an index has columns for its values, and a categorical column has
an index for its categories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import xarray as xr
from pandas.tseries.frequencies import to_offset

from zdb.errors import UnsupportedValueError
from zdb.formats.labels import USE_PICKLE, from_json, to_json
from zdb.formats.names import safe_names
from zdb.formats.plain_columns import (
    Encoded,
    Recipe,
    Variables,
    decode_plain,
    encode_numpy,
    encode_plain_extension,
)
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from pandas.api.extensions import ExtensionArray

    from zdb.formats.strings import Layout

__all__ = [
    "Encoded",
    "Recipe",
    "Variables",
    "column_names",
    "decode_array",
    "decode_index",
    "encode_array",
    "encode_index",
    "index_length",
    "index_names",
    "stored_length",
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


def column_names(labels: Sequence[Hashable], taken: Iterable[str] = ()) -> list[str]:
    """Safe names of columns, none of which can meet a part of another, such as ``<name>.mask``."""
    taken = list(taken)
    names = safe_names(labels, taken)
    used = {name.casefold() for name in [*names, *taken]}
    plain = [
        name.replace(".", "_") if _has_prefix_in(name.casefold(), used) else label
        for name, label in zip(names, labels, strict=True)
    ]
    return safe_names(plain, taken)


def _has_prefix_in(name: str, used: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:end]) in used for end in range(1, len(parts)))


def encode_array(
    values: np.ndarray[Any, Any] | ExtensionArray,
    name: str,
    dim: str,
    what: str,
    *,
    layout: Layout = "auto",
    labels: bool = False,
) -> Encoded:
    """Turn a one-dimensional array into variables along `dim`, without copying numbers.

    Parameters
    ----------
    values : ndarray or pandas ExtensionArray
        The column.
    name : str
        Safe name of the variable; parts get names such as ``<name>.mask``.
    dim : str
        Dimension of the rows.
    what : str
        What this is, for errors, such as ``"column 'rate'"``.
    layout : {"auto", "bytes"}
        How to store strings, see :mod:`zdb.formats.strings`.
    labels : bool
        Keep an object array of other things than strings as JSON, if each of them is a label.

    Returns
    -------
    variables : dict of str to xarray.Variable
    recipe : dict
        JSON by which `decode_array` restores the array with its type.

    Raises
    ------
    UnsupportedValueError
        The array would not come back exactly.
    """
    if type(values) is pd.arrays.NumpyExtensionArray:
        values = values.to_numpy()
    if type(values) is np.ndarray:
        variables, recipe = encode_numpy(values, name, dim, what, layout, labels)
    elif isinstance(values.dtype, pd.CategoricalDtype):
        variables, recipe = _encode_categorical(values, name, dim, what, layout)
    elif isinstance(values.dtype, pd.IntervalDtype):
        variables, recipe = _encode_interval(values, name, dim, what, layout)
    else:
        variables, recipe = encode_plain_extension(cast("ExtensionArray", values), name, dim, what, layout)
    return variables, {"variable": name, **recipe}


def _encode_categorical(values: Any, name: str, dim: str, what: str, layout: Layout) -> Encoded:
    variables = {name: xr.Variable((dim,), np.asarray(values.codes))}
    categories, stored = encode_index(
        values.categories, [f"{name}.categories"], f"{name}.category", f"the categories of {what}", layout
    )
    recipe = {"kind": "categorical", "ordered": bool(values.ordered), "categories": stored}
    return {**variables, **categories}, recipe


def _encode_interval(values: Any, name: str, dim: str, what: str, layout: Layout) -> Encoded:
    recipe: Recipe = {"kind": "interval", "closed": values.closed}
    variables: Variables = {}
    for end in ("left", "right"):
        array = getattr(values, end).array
        parts, recipe[end] = encode_array(array, f"{name}.{end}", dim, what, layout=layout)
        variables |= parts
    return variables, recipe


def decode_array(
    variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any], rows: Rows
) -> np.ndarray[Any, Any] | ExtensionArray:
    """Read rows of a column that `encode_array` made, as the array that it was.

    Parameters
    ----------
    variables : mapping
        The stored variables, lazily indexed or in memory.
    recipe : mapping
        From `encode_array`.
    rows : Rows
        The rows to read.
    """
    name, kind = recipe["variable"], recipe["kind"]
    if kind == "categorical":
        return pd.Categorical.from_codes(rows.read(variables[name]), dtype=_categories(variables, recipe))
    if kind == "interval":
        left = decode_array(variables, recipe["left"], rows)
        right = decode_array(variables, recipe["right"], rows)
        return pd.arrays.IntervalArray.from_arrays(left, right, closed=recipe["closed"])
    return decode_plain(variables, recipe, rows)


def _categories(variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any]) -> pd.CategoricalDtype:
    stored = recipe["categories"]
    everything = Rows.of(None, index_length(variables, stored))
    return pd.CategoricalDtype(decode_index(variables, stored, everything), ordered=recipe["ordered"])


def stored_length(variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any]) -> int:
    """Number of rows of a stored array, from the shapes of its variables."""
    name = recipe["variable"]
    if recipe["kind"] == "interval":
        return stored_length(variables, recipe["left"])
    if recipe.get("storage") == "ipc":
        return int(sum(recipe["rows"]))
    if name in variables:
        return int(variables[name].size)
    return int(variables[f"{name}.offsets"].size) - 1


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
