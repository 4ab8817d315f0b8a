"""Rows that are added to a ragged value: behind its arrays where these can stay as they are, or all anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from zdb.engine.layout import CHUNK_BYTES
from zdb.errors import PartMismatchError
from zdb.formats import registry
from zdb.formats.frames import ROW, decode_frame
from zdb.formats.jagged import VALUE, more_row_sizes
from zdb.formats.more_rows import more_of_column, more_of_frame
from zdb.formats.ragged import Ragged
from zdb.formats.rows import Rows
from zdb.parallel.growing_layout import is_cut_to_size, with_layout_of
from zdb.parallel.growth import Growth

if TYPE_CHECKING:
    import awkward as ak

    from zdb.engine.node import Node

__all__ = ["checked_rows", "growth_of_rows", "with_ragged_rows"]


def checked_rows(node: Node, stored: xr.Dataset, part: Any, dim: Any) -> Ragged | ak.Array:
    """Return a part as rows like those of a value: a Ragged, or an awkward array for one of these.

    Raises
    ------
    PartMismatchError
        It does not fit.
    """
    path, recipe = node.path, json.loads(node.attributes["zdb_recipe"])
    if dim not in (None, ROW):
        raise PartMismatchError(f"{path}: rows are added to a ragged value, along {ROW!r}, not along {dim!r}")
    if node.attributes["zdb_type"] == "awkward.Array":
        return _checked_awkward(path, part, node.attributes["zdb_dtype"])
    dtype = np.dtype(recipe["values"]["dtype"])
    if isinstance(part, list):
        part = _ragged(path, part, dtype)
    if not isinstance(part, Ragged):
        raise PartMismatchError(
            f"{path}: holds ragged data, and the part is a {type(part).__name__}; give a zdb.Ragged or a list of arrays"
        )
    _check_dtype(path, "the part", part.values, dtype)
    columns = _following(recipe["columns"], part.columns)
    _check_columns(path, decode_frame(stored.variables, recipe["columns"], Rows(0, 0)), columns)
    return Ragged(part.values.astype(dtype, copy=False), part.row_size, columns)


def _ragged(path: str, rows: list[Any], dtype: np.dtype[Any]) -> Ragged:
    for i, row in enumerate(rows):
        if type(row) is not np.ndarray or row.ndim != 1:
            raise PartMismatchError(
                f"{path}: a list to be added holds one-dimensional numpy arrays, but its row {i} is a "
                f"{type(row).__name__}" + (f" with {row.ndim} dimensions" if isinstance(row, np.ndarray) else "")
            )
        _check_dtype(path, f"row {i} of the part", row, dtype)
    return Ragged.from_lists(rows, dtype=dtype)


def _check_dtype(path: str, what: str, values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> None:
    if values.dtype != dtype and values.size:
        raise PartMismatchError(
            f"{path}: {what} has values of dtype {values.dtype}, not {dtype}; convert them by .astype({dtype.str!r})"
        )


def _checked_awkward(path: str, part: Any, wanted: str) -> ak.Array:
    import awkward as ak

    if not isinstance(part, ak.Array):
        raise PartMismatchError(
            f"{path}: is an awkward array, and the part is a {type(part).__name__}; give an awkward.Array"
        )
    if str(part.type.content) != wanted:
        raise PartMismatchError(
            f"{path}: the part is of awkward type {part.type.content}, not {wanted}; convert it, for example by "
            "awkward.values_astype"
        )
    return part


def _following(recipe: dict[str, Any], columns: pd.DataFrame) -> pd.DataFrame:
    """Let numbers of rows that nobody has chosen go on."""
    rows, index = recipe["rows"], columns.index
    is_default = recipe["index"].get("range") == [0, rows, 1]
    if is_default and isinstance(index, pd.RangeIndex) and index.equals(pd.RangeIndex(len(index))):
        return columns.set_axis(pd.RangeIndex(rows, rows + len(index), name=index.name))
    return columns


def _check_columns(path: str, wanted: pd.DataFrame, columns: pd.DataFrame) -> None:
    if list(wanted.columns) != list(columns.columns):
        named = [", ".join(map(repr, frame.columns)) or "none" for frame in (columns, wanted)]
        raise PartMismatchError(f"{path}: the part has the columns {named[0]}; the value has {named[1]}")
    if list(wanted.index.names) != list(columns.index.names):
        raise PartMismatchError(
            f"{path}: the index of the part is named {list(columns.index.names)}, that of the value "
            f"{list(wanted.index.names)}"
        )
    found = [(f"column {label!r}", *pair) for label, *pair in zip(wanted, wanted.dtypes, columns.dtypes, strict=True)]
    found += [("the index", *pair) for pair in zip(_dtypes(wanted.index), _dtypes(columns.index), strict=True)]
    for what, dtype, own in found:
        if dtype == own or _can_be_united(dtype, own):
            continue
        if own.name == dtype.name == "category":
            raise PartMismatchError(
                f"{path}: {what} of the part has other categories than the value ({dtype}), which are ordered or of "
                "another dtype; give it the same by .cat.set_categories"
            )
        raise PartMismatchError(
            f"{path}: {what} of the part has dtype {own}, not {dtype}; convert it by .astype({str(dtype)!r})"
        )


def _dtypes(index: pd.Index[Any]) -> list[Any]:
    return list(index.dtypes) if isinstance(index, pd.MultiIndex) else [index.dtype]


def _can_be_united(one: Any, other: Any) -> bool:
    """Whether the values of two categorical dtypes can be told by one: by the categories of both."""
    if not isinstance(one, pd.CategoricalDtype) or not isinstance(other, pd.CategoricalDtype):
        return False
    if one.ordered or other.ordered:
        return False
    return one.categories.dtype == other.categories.dtype or not len(one.categories) or not len(other.categories)


def growth_of_rows(node: Node, stored: xr.Dataset, rows: Ragged | ak.Array) -> Growth | None:
    """Return what rows add to the arrays of a value; None if it has to be written anew as a whole."""
    if not len(rows):
        return Growth(0)
    if node.nbytes < CHUNK_BYTES and is_cut_to_size(node):
        return None
    recipe = json.loads(node.attributes["zdb_recipe"])
    found = _flat(recipe, rows)
    if found is None:
        return None
    kept, values, row_size = found
    more = more_of_column(stored.variables, kept, values, VALUE, "the values of the part")
    sizes = more_row_sizes(stored.variables["row_size"], row_size, stored.sizes[VALUE])
    if more is None or sizes is None:
        return None
    more |= {"row_size": sizes.values}
    if isinstance(rows, Ragged):
        columns = more_of_frame(stored.variables, recipe["columns"], rows.columns)
        if columns is None:
            return None
        added, recipe["columns"] = columns
        more |= added
    recipe["rows"] += len(rows)
    return Growth(
        len(rows),
        {name: (0, data) for name, data in more.items()},
        {"zdb_shape": json.dumps([recipe["rows"]]), "zdb_recipe": json.dumps(recipe, allow_nan=False)},
        {"row_size": sizes.attrs},
    )


def _flat(recipe: dict[str, Any], rows: Ragged | ak.Array) -> tuple[Any, Any, Any] | None:
    """Recipe of the values, the values of rows, and their sizes; None if there is more than one array of values."""
    if isinstance(rows, Ragged):
        return recipe["values"], rows.values, rows.row_size
    if recipe.get("list", {}).get("kind") != "numpy":
        return None
    import awkward as ak

    layout: Any = ak.to_packed(rows).layout
    return recipe["list"], np.asarray(layout.content.data), np.diff(np.asarray(layout.offsets))


def with_ragged_rows(node: Node, stored: xr.Dataset, rows: Ragged | ak.Array) -> xr.Dataset:
    """Return a value with rows behind its own, encoded, with chunks that suit a value that grows.

    Raises
    ------
    PartMismatchError
        Labels would repeat that must not.
    """
    chosen = registry.by_name("ragged")
    value: Any = chosen.decode(stored)
    if isinstance(value, list):
        joined: Any = value + rows.to_list()
    elif isinstance(rows, Ragged):
        values, row_size = (
            np.concatenate([getattr(one, name) for one in (value, rows)], dtype=getattr(value, name).dtype)
            for name in ("values", "row_size")
        )
        try:
            joined = Ragged(values, row_size, _joined_columns(value.columns, rows.columns))
        except pd.errors.DuplicateLabelError as error:
            raise PartMismatchError(f"{node.path}: {error}") from error
    else:
        import awkward as ak

        joined = ak.Array(ak.concatenate([value, rows]).layout, attrs=value.attrs)
    encoded = chosen.encode(joined)
    assert isinstance(encoded, xr.Dataset)
    return with_layout_of(node, encoded)


def _joined_columns(before: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    before, more = before.copy(deep=False), more.copy(deep=False)
    for i, dtype in enumerate(before.dtypes):
        if isinstance(dtype, pd.CategoricalDtype):
            known, own = dtype.categories, more.iloc[:, i].cat.categories
            new = own[~own.isin(known)]
            united = known.append(new) if len(known) and len(new) else known if len(known) else new
            for frame in (before, more):
                frame.isetitem(i, frame.iloc[:, i].cat.set_categories(united).array)
    made = pd.concat([before, more])
    made.columns, made.attrs = before.columns, before.attrs
    return made
