"""Indexes and pandas arrays of a Dataset as stored variables, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.indexes import PandasIndex, PandasMultiIndex

from zdb.errors import UnsupportedValueError
from zdb.formats import columns
from zdb.formats.names import safe_names
from zdb.formats.rows import Rows
from zdb.formats.variables import decode_variables, encode_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

__all__ = [
    "decode_index",
    "decode_pandas_array",
    "encode_index",
    "encode_pandas_array",
]

Variables = dict[str, xr.Variable]
Recipe = dict[str, Any]


def encode_index(index: xr.Index, names: Mapping[Hashable, str], dim: str, taken: set[str]) -> tuple[Variables, Recipe]:
    """Turn an index of a Dataset into stored variables.

    Parameters
    ----------
    index : xarray.Index
    names : mapping of hashable to str
        Names of its coordinates and the safe names of the same.
    dim : str
        Safe name of its dimension.
    taken : set of str
        Safe names in use; new ones are added.

    Raises
    ------
    UnsupportedValueError
        It is not a pandas index or MultiIndex, or its labels cannot be kept.
    """
    if type(index) is PandasMultiIndex:
        return _encode_multi_index(index, names, dim, taken)
    if type(index) is not PandasIndex:
        known = ", ".join(map(repr, names))
        raise UnsupportedValueError(
            f"the index of {known} is a {type(index).__module__}.{type(index).__qualname__}, which "
            "is not kept; drop it by drop_indexes()"
        )
    ((name, stored_name),) = names.items()
    labels = index.index
    recipe: Recipe = {"type": "pandas", "dim": dim, "dtype": _describe(index.coord_dtype)}
    values = _values(index)
    if isinstance(labels, pd.RangeIndex):
        recipe["range"] = [labels.start, labels.stop, labels.step]
    elif values is None or not _is_default(labels, values, dim):
        what = f"the index of {name!r}"

        def encode(base: str) -> tuple[Variables, Recipe]:
            return columns.encode_index(labels, [base], dim, what)

        variables, recipe["pandas"] = _encode_uniquely(encode, stored_name, taken)
        return variables, recipe
    assert values is not None
    variables, recipe["values"] = encode_variables(stored_name, [dim], values, taken)
    return variables, recipe


def decode_index(
    variables: Mapping[Any, xr.Variable],
    recipe: Mapping[str, Any],
    dim: Hashable,
    names: list[Hashable],
) -> tuple[xr.Index, dict[Any, xr.Variable]]:
    """Read an index that :func:`encode_index` made, and its coordinates by name."""
    if recipe["type"] == "multi":
        levels = _read(variables, recipe["pandas"])
        assert isinstance(levels, pd.MultiIndex)
        dtypes = {
            name: _dtype(text, level.dtype)
            for name, text, level in zip(names[1:], recipe["level_dtypes"], levels.levels, strict=True)
        }
        multi = PandasMultiIndex(levels.set_names(names[1:]), dim, level_coords_dtype=dtypes)
        return multi, dict(multi.create_variables())
    (name,) = names
    labels: Any
    if "range" in recipe:
        labels = pd.RangeIndex(*recipe["range"])
    elif "pandas" in recipe:
        labels = _read(variables, recipe["pandas"])
    else:
        # A PandasIndex is made of values as xarray makes that of any coordinate.
        labels = decode_variables(variables, recipe["values"])
    if isinstance(labels, pd.Index):
        labels = labels.rename(name)
    text = recipe["dtype"]
    coord_dtype = np.dtype(text) if text is not None and text != "T" else None
    index = PandasIndex(labels, dim, coord_dtype=coord_dtype)
    index.index.name = name
    return index, dict(index.create_variables())


def encode_pandas_array(name: str, variable: xr.Variable, dim: str, taken: set[str]) -> tuple[Variables, Recipe]:
    """Turn a variable that holds a pandas extension array into stored variables.

    Raises
    ------
    UnsupportedValueError
        The array is of a kind that cannot be kept.
    """
    if isinstance(variable.dtype, pd.StringDtype):
        array = pd.array(variable.values, dtype=variable.dtype)
    else:
        array = variable.to_index().array

    def encode(base: str) -> tuple[Variables, Recipe]:
        return columns.encode_array(array, base, dim, f"the variable {name!r}")

    return _encode_uniquely(encode, name, taken)


def decode_pandas_array(variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any], dim: Hashable) -> xr.Variable:
    """Read a variable that :func:`encode_pandas_array` made."""
    rows = Rows.of(None, columns.stored_length(variables, recipe))
    array: Any = columns.decode_array(variables, recipe, rows)
    if isinstance(array.dtype, pd.DatetimeTZDtype):
        array = pd.DatetimeIndex(array)
    return xr.Variable((dim,), array)


def _encode_multi_index(
    index: PandasMultiIndex, names: Mapping[Hashable, str], dim: str, taken: set[str]
) -> tuple[Variables, Recipe]:
    labels = index.index
    assert isinstance(labels, pd.MultiIndex)
    level_names = safe_names([f"{names[level]}.codes" for level in labels.names], taken)
    taken.update(level_names)

    def encode(base: str) -> tuple[Variables, Recipe]:
        prefix = "" if base == names[index.dim] else f"{base}."
        own = [prefix + level_name for level_name in level_names]
        return columns.encode_index(labels, own, dim, f"the index of {index.dim!r}")

    variables, pandas = _encode_uniquely(encode, names[index.dim], taken, set(level_names))
    dtypes = [_describe(index.level_coords_dtype[level]) for level in labels.names]
    return variables, {"type": "multi", "dim": dim, "pandas": pandas, "level_dtypes": dtypes}


def _encode_uniquely(
    encode: Callable[[str], tuple[Variables, Recipe]],
    base: str,
    taken: set[str],
    own: set[str] | None = None,
) -> tuple[Variables, Recipe]:
    """Encode under a name whose derived names of variables and dimensions are not taken."""
    known = {name.casefold() for name in taken} - {base.casefold()}
    known -= {name.casefold() for name in own or ()}
    candidate, count = base, 1
    while True:
        variables, recipe = encode(candidate)
        dims = {dim for variable in variables.values() for dim in variable.dims} - taken
        new = {str(name) for name in (*variables, *dims)}
        if not known & {name.casefold() for name in new}:
            taken.update(new)
            return variables, recipe
        count += 1
        candidate = f"{base}_{count}"


def _values(index: PandasIndex) -> np.ndarray[Any, Any] | None:
    """The labels as the numpy array that xarray shows; None if it shows none."""
    if not isinstance(index.coord_dtype, np.dtype):
        return None
    (variable,) = index.create_variables().values()
    values = variable.values
    return values if values.dtype == index.coord_dtype else values.astype(index.coord_dtype)


def _is_default(labels: pd.Index[Any], values: np.ndarray[Any, Any], dim: str) -> bool:
    """Whether xarray makes the same index from the values alone."""
    default = PandasIndex(values, dim).index
    return (
        type(default) is type(labels)
        and default.dtype == labels.dtype
        and default.equals(labels)
        and getattr(default, "freq", None) == getattr(labels, "freq", None)
        and not (values.dtype.kind == "O" and _has_missing(labels))
    )


def _has_missing(labels: pd.Index[Any]) -> bool:
    return bool(labels.hasnans)


def _read(variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any]) -> pd.Index[Any]:
    rows = Rows.of(None, columns.index_length(variables, recipe))
    return columns.decode_index(variables, recipe, rows)


def _describe(dtype: Any) -> str | None:
    """Name the dtype of a coordinate, if it is one of numpy."""
    if isinstance(dtype, np.dtypes.StringDType):
        return "T"
    return dtype.str if isinstance(dtype, np.dtype) else None


def _dtype(text: str | None, default: Any) -> Any:
    if text is None:
        return default
    return np.dtypes.StringDType() if text == "T" else np.dtype(text)
