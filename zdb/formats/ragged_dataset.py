"""Ragged data given as a Dataset, so that its arrays may be lazy: larger than memory, written part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from zdb.errors import UnsupportedValueError
from zdb.formats import frames
from zdb.formats.blocks import checked
from zdb.formats.codecs import is_lazy
from zdb.formats.columns import encode_array
from zdb.formats.frames import ROW, Parts
from zdb.formats.jagged import VALUE, row_size_variable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LABELS", "encode_dataset"]

VALUES, ROW_SIZE = "values", "row_size"
# Attribute of a variable of codes: the labels that they stand for, -1 for a missing one.
LABELS = "labels"


def encode_dataset(dataset: xr.Dataset) -> Parts:
    """Lay out a contiguous ragged array with columns as :class:`zdb.Ragged` is.

    Parameters
    ----------
    dataset : xarray.Dataset
        ``values`` along ``value`` and ``row_size`` along ``row``; every other variable along ``row`` is a column of
        numbers, or of codes if it has the attribute ``labels``. All but ``row_size`` may be dask arrays.

    Raises
    ------
    UnsupportedValueError
        It is not laid out like this.
    """
    values, row_size = _variable(dataset, VALUES, VALUE), _variable(dataset, ROW_SIZE, ROW)
    sizes = row_size.values
    if sizes.dtype.kind not in "iu" or sizes.min(initial=0) < 0:
        raise UnsupportedValueError("row_size holds the number of values of each row: integers from 0 on")
    total = int(sizes.sum(dtype=np.int64))
    if total != values.size:
        raise UnsupportedValueError(f"row_size adds up to {total}, but there are {values.size} values")
    columns = {name: _variable(dataset, name, ROW) for name in dataset.variables if name not in (VALUES, ROW_SIZE)}
    empty = pd.DataFrame({name: _empty(name, column) for name, column in columns.items()})
    table = frames.encode_frame(empty, taken=[VALUES, ROW_SIZE, VALUE])
    stored = {**table.variables, **_filled(table, columns)}
    _, recipe = encode_array(np.empty(0, values.dtype), VALUES, VALUE, VALUES)
    variables = {VALUES: xr.Variable((VALUE,), values.data, {}, values.encoding)}
    variables |= {ROW_SIZE: row_size_variable(sizes, VALUE), **stored}
    index = frames.encode_only_index(pd.RangeIndex(sizes.size)).recipe["index"]
    table_recipe = {**table.recipe, "rows": sizes.size, "index": index}
    return Parts(variables, {}, {"rows": sizes.size, "values": recipe, "columns": table_recipe})


def _variable(dataset: xr.Dataset, name: Any, dim: str) -> xr.Variable:
    if name not in dataset.variables:
        raise UnsupportedValueError(f"a ragged Dataset needs the variable {name!r} along {dim!r}")
    variable = dataset.variables[name]
    if variable.dims != (dim,):
        raise UnsupportedValueError(f"{name!r} lies along {variable.dims}; in a ragged Dataset it lies along {dim!r}")
    if variable.dtype.kind not in "biufcmM":
        raise UnsupportedValueError(
            f"{name!r} is of {variable.dtype}; a ragged Dataset holds numbers, booleans, times, and labels as codes"
        )
    return variable.copy(data=checked(name, variable.data)) if is_lazy(variable.data) else variable


def _empty(name: Any, column: xr.Variable) -> Any:
    if LABELS not in column.attrs:
        return np.empty(0, column.dtype)
    made = pd.Categorical.from_codes([], pd.Index(column.attrs[LABELS]))
    if made.codes.dtype != column.dtype:
        raise UnsupportedValueError(
            f"the codes of {name!r} are {column.dtype}; for {len(made.categories)} labels pandas takes "
            f"{made.codes.dtype}"
        )
    return made


def _filled(table: Parts, columns: Mapping[Any, xr.Variable]) -> dict[str, xr.Variable]:
    names = [column["variable"] for column in table.recipe["values"]]
    filled = {}
    for name, column in zip(names, columns.values(), strict=True):
        encoding = {**table.variables[name].encoding, **column.encoding}
        filled[name] = xr.Variable((ROW,), column.data, table.variables[name].attrs, encoding)
    return filled
