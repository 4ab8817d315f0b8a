"""Short indexes, such as the names of columns, as JSON, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.formats.columns import decode_index, encode_index, index_length
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["index_from_json", "index_to_json"]


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
