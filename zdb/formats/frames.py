"""pandas frames and series as stored variables along dimension ``row``, and back."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from zdb.errors import SelectionError
from zdb.formats.columns import column_names, decode_array, decode_index, encode_array, encode_index, index_names
from zdb.formats.index_json import index_from_json, index_to_json
from zdb.formats.labels import from_json, json_exactly, to_json

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from zdb.formats.columns import Recipe, Variables
    from zdb.formats.rows import Rows
    from zdb.formats.strings import Layout

__all__ = [
    "ROW",
    "Parts",
    "decode_frame",
    "decode_series",
    "encode_frame",
    "encode_head",
    "encode_only_index",
    "encode_series",
    "find_columns",
]

ROW = "row"
UNNAMED = "values"


@dataclass(frozen=True)
class Parts:
    """What an object turned into.

    Attributes
    ----------
    variables : dict of str to xarray.Variable
        The data.
    coords : dict of str to xarray.Variable
        The index.
    recipe : dict
        JSON that restores the object.
    """

    variables: Variables
    coords: Variables
    recipe: Recipe

    def dataset(self, attrs: Mapping[str, str]) -> xr.Dataset:
        """A Dataset of the variables and coordinates, without indexes."""
        return xr.Dataset(self.variables, xr.Coordinates(self.coords, indexes={}), attrs)


def encode_frame(frame: pd.DataFrame, layout: Layout = "auto", taken: Iterable[str] = ()) -> Parts:
    """Turn a DataFrame into one variable or more for each column and level of the index.

    Parameters
    ----------
    frame : pandas.DataFrame
        Numbers are not copied.
    layout : {"auto", "bytes"}
        How to store strings, see :mod:`zdb.formats.strings`.
    taken : iterable of str
        Names of variables and dimensions that are in use already, besides ``row``.

    Raises
    ------
    UnsupportedValueError
        A column, the index, the names of columns or ``frame.attrs`` would not come back exactly.
    """
    labels = list(frame.columns)
    arrays = [frame.iloc[:, i].array for i in range(len(labels))]
    return _encode(frame, arrays, labels, layout, taken)


def encode_series(series: pd.Series[Any], layout: Layout = "auto") -> Parts:
    """Turn a Series into variables, as `encode_frame` does with a frame of one column."""
    label = UNNAMED if series.name is None else series.name
    return _encode(series, [series.array], [label], layout)


def encode_head(value: pd.DataFrame | pd.Series[Any]) -> Recipe:
    """Describe what a frame or series is besides its rows: names, attributes and flags."""
    recipe: Recipe = {}
    if isinstance(value, pd.Series):
        recipe["name"] = to_json(value.name)
    else:
        recipe["columns"] = index_to_json(value.columns, "the index of columns")
    if value.attrs:
        recipe["attrs"] = json_exactly(dict(value.attrs), "attrs")
    if not value.flags.allows_duplicate_labels:
        recipe["unique"] = True
    return recipe


def _encode(
    value: pd.DataFrame | pd.Series[Any],
    arrays: Sequence[Any],
    labels: Sequence[Hashable],
    layout: Layout,
    taken: Iterable[str] = (),
) -> Parts:
    head = encode_head(value)
    names = column_names([*labels, *index_names(value.index)], [ROW, *taken])
    coords, index = encode_index(value.index, names[len(labels) :], ROW, layout=layout)
    variables: Variables = {}
    stored = []
    for array, label, name in zip(arrays, labels, names, strict=False):
        parts, column = encode_array(array, name, ROW, f"column {label!r}", layout=layout)
        variables |= parts
        stored.append(column)
    return Parts(variables, coords, {**head, "rows": len(value), "index": index, "values": stored})


def encode_only_index(index: pd.Index[Any], layout: Layout = "auto") -> Parts:
    """Turn an Index that is a value of its own into variables."""
    variables, recipe = encode_index(index, column_names(index_names(index), [ROW]), ROW, layout=layout)
    return Parts(variables, {}, {"rows": len(index), "index": recipe})


def decode_frame(
    variables: Mapping[Any, xr.Variable],
    recipe: Mapping[str, Any],
    rows: Rows,
    columns: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """Read rows and columns of a frame that `encode_frame` made.

    Parameters
    ----------
    variables : mapping
        The stored variables, coordinates included.
    recipe : mapping
        From `encode_frame`.
    rows : Rows
        The rows to read.
    columns : sequence of hashable, optional
        Labels of columns in the order wanted; all by default.

    Raises
    ------
    SelectionError
        There is no such column.
    """
    labels = index_from_json(recipe["columns"])
    stored = recipe["values"]
    if columns is not None:
        positions = find_columns(labels, columns)
        labels, stored = labels.take(positions), [stored[i] for i in positions]
    series = {i: _as_series(decode_array(variables, c, rows)) for i, c in enumerate(stored)}
    frame = pd.DataFrame(series, index=pd.RangeIndex(len(rows)), copy=False)
    frame.columns = labels
    _finish(frame, variables, recipe, rows)
    return frame


def decode_series(variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any], rows: Rows) -> pd.Series[Any]:
    """Read rows of a series that `encode_series` made."""
    series = _as_series(decode_array(variables, recipe["values"][0], rows))
    series.name = from_json(recipe["name"])
    _finish(series, variables, recipe, rows)
    return series


def _as_series(array: Any) -> pd.Series[Any]:
    # With the dtype given pandas does not guess: objects stay objects.
    series: pd.Series[Any] = pd.Series(array, dtype=array.dtype, copy=False)
    return series


def _finish(value: Any, variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any], rows: Rows) -> None:
    value.index = decode_index(variables, recipe["index"], rows)
    value.attrs = dict(recipe.get("attrs", {}))
    if recipe.get("unique"):
        value.flags.allows_duplicate_labels = False


def find_columns(labels: pd.Index[Any], wanted: Sequence[Hashable]) -> list[int]:
    """Positions of columns by label, in the order of `wanted`; all columns of a repeated label.

    Raises
    ------
    SelectionError
        A label is not there, or `wanted` is a single string.
    """
    if isinstance(wanted, str):
        raise SelectionError(f"columns= takes a list of names: columns=[{wanted!r}]")
    everything = np.arange(len(labels))
    positions: list[int] = []
    for label in wanted:
        try:
            found = everything[labels.get_loc(label)]
        except (KeyError, TypeError, ValueError, pd.errors.InvalidIndexError) as error:
            near = difflib.get_close_matches(str(label), [str(each) for each in labels], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {_few(labels)}"
            raise SelectionError(f"there is no column {label!r}{hint}") from error
        positions.extend(np.atleast_1d(found).tolist())
    return positions


def _few(labels: pd.Index[Any], most: int = 10) -> str:
    shown = ", ".join(repr(label) for label in labels[:most])
    return f"{shown} and {len(labels) - most} more" if len(labels) > most else shown or "none"
