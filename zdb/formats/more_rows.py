"""More rows for columns that are stored: what comes behind their arrays, where these can stay as they are.

Everything here returns None where the rows need another encoding, such as a mask for the first value that is missing,
so that the column has to be encoded anew as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from zdb.formats import strings
from zdb.formats.columns import decode_array, encode_array, encode_index
from zdb.formats.dask_parts import split_index
from zdb.formats.frames import ROW
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from zdb.formats.columns import Recipe

    Stored = Mapping[Any, xr.Variable]

__all__ = ["More", "more_of_column", "more_of_frame", "more_of_partition"]

#: What is added, by the name of the stored array.
More = dict[str, np.ndarray[Any, Any]]


def more_of_frame(stored: Stored, recipe: Recipe, frame: pd.DataFrame) -> tuple[More, Recipe] | None:
    """Encode rows to be added to a frame that is stored.

    Parameters
    ----------
    stored : mapping
        The stored variables.
    recipe : dict
        By which the frame was encoded.
    frame : pandas.DataFrame
        With the same columns and dtypes; categories may differ.

    Returns
    -------
    more : dict of str to ndarray
    recipe : dict
        That of the frame with these rows.
    """
    if recipe.get("unique"):  # whether a label is new, only all labels can tell
        return None
    index = _more_of_index(stored, recipe["index"], frame.index)
    columns = _more_of_columns(stored, recipe, frame)
    if index is None or columns is None:
        return None
    more, index_recipe = index
    return {**more, **columns}, {**recipe, "rows": recipe["rows"] + len(frame), "index": index_recipe}


def more_of_partition(stored: Stored, recipe: Recipe, frame: pd.DataFrame) -> tuple[More, Recipe] | None:
    """Encode a partition to be added to a dask frame that is stored; as :func:`more_of_frame`.

    The recipe that is returned has the divisions of the one that was given.
    """
    if recipe.get("unique"):
        return None
    _, encoded = encode_index(frame.index, ["index"], ROW, layout="bytes")
    _, own = split_index(encoded)
    if "values" in recipe["index"]:
        index = more_of_column(stored, recipe["index"]["values"], frame.index.array, ROW, "the index", labels=True)
    else:
        index = {} if own["kind"] == "range" else None
    columns = _more_of_columns(stored, recipe, frame)
    if index is None or columns is None:
        return None
    grown = {**recipe, "rows": recipe["rows"] + len(frame)}
    grown["partitions"] = [*recipe["partitions"], len(frame)]
    grown["indexes"] = [*recipe["indexes"], own]
    return {**index, **columns}, grown


def _more_of_index(stored: Stored, recipe: Recipe, index: pd.Index[Any]) -> tuple[More, Recipe] | None:
    if recipe["kind"] == "range":
        made = pd.RangeIndex(*recipe["range"]).append(index)
        if not isinstance(made, pd.RangeIndex):
            return None
        return {}, {**recipe, "range": [made.start, made.stop, made.step]}
    if recipe["kind"] != "values" or "frequency" in recipe or isinstance(index, pd.MultiIndex):
        return None
    more = more_of_column(stored, recipe["values"], index.array, ROW, "the index", labels=True)
    return None if more is None else (more, recipe)


def _more_of_columns(stored: Stored, recipe: Recipe, frame: pd.DataFrame) -> More | None:
    more: More = {}
    for i, column in enumerate(recipe["values"]):
        added = more_of_column(stored, column, frame.iloc[:, i].array, ROW, f"column {frame.columns[i]!r}")
        if added is None:
            return None
        more |= added
    return more


def more_of_column(
    stored: Stored, recipe: Recipe, values: Any, dim: str, what: str, *, labels: bool = False
) -> More | None:
    """Encode values to be added to a stored column; parameters as of :func:`zdb.formats.columns.encode_array`."""
    if recipe["kind"] == "categorical":
        return _more_codes(stored, recipe, values)
    if recipe.get("layout", "text") != "text":
        return _more_strings(stored, recipe, values, dim, what)
    made, own = encode_array(values, recipe["variable"], dim, what, labels=labels)
    if own != recipe:
        return None
    if "layout" in recipe and stored[recipe["variable"]].size + len(values) > strings.TEXT_ROWS:
        return None
    more = {}
    for name, variable in made.items():
        # Attributes say how plain xarray reads times, which is not possible for all of them.
        if name not in stored or stored[name].dims != (dim,) or not _are_part(stored[name].attrs, variable.attrs):
            return None
        more[name] = variable.values
    return _with_mask(stored, recipe, more, len(values))


def _are_part(attributes: dict[Any, Any], of: dict[Any, Any]) -> bool:
    return attributes.items() <= of.items()


def _with_mask(stored: Stored, recipe: Recipe, more: More, length: int) -> More:
    """Say that nothing is missing, if a mask of the column does not say anything yet."""
    name = f"{recipe['variable']}.mask"
    if name in stored and name not in more:
        more[name] = np.zeros(length, stored[name].dtype)
    return more


def _more_codes(stored: Stored, recipe: Recipe, values: Any) -> More | None:
    dtype: Any = decode_array(stored, recipe, Rows(0, 0)).dtype
    own = values.dtype
    is_known = own == dtype or not len(own.categories)
    if not is_known and own.categories.dtype == dtype.categories.dtype and not (own.ordered or dtype.ordered):
        is_known = bool(own.categories.isin(dtype.categories).all())
    if not is_known:
        return None
    return {recipe["variable"]: np.asarray(values.set_categories(dtype.categories).codes)}


def _more_strings(stored: Stored, recipe: Recipe, values: Any, dim: str, what: str) -> More | None:
    name = recipe["variable"]
    made, own = encode_array(values, name, dim, what, layout="bytes")
    if {**own, "layout": recipe["layout"]} != recipe:
        return None
    mask = made[f"{name}.mask"].values if f"{name}.mask" in made else None
    if recipe["layout"] == "codes":
        text, _ = strings.read_strings(made, name, own, Rows(0, len(values)))
        missing = np.zeros(len(values), int) if mask is None else mask
        return _coded(stored, name, text.to_pylist(), missing.tolist())
    if mask is not None and f"{name}.mask" not in stored:
        return None
    offsets, kept = made[f"{name}.offsets"].values[1:], stored[f"{name}.offsets"].dtype
    offsets = offsets.astype(np.int64) + stored[f"{name}.bytes"].size
    if offsets.max(initial=0) > np.iinfo(kept).max:
        return None
    more = {f"{name}.bytes": made[f"{name}.bytes"].values, f"{name}.offsets": offsets.astype(kept)}
    if mask is not None:
        more[f"{name}.mask"] = mask
    return _with_mask(stored, recipe, more, len(values))


def _coded(stored: Stored, name: str, text: list[str], missing: list[int]) -> More | None:
    """Codes of strings, and the labels among them that are new."""
    codes_dtype = stored[name].dtype
    known = {str(label): code for code, label in enumerate(stored[f"{name}.labels"].values.tolist())}
    before = len(known)
    codes = [-why if why else known.setdefault(one, len(known)) for one, why in zip(text, missing, strict=True)]
    if len(known) > min(np.iinfo(codes_dtype).max, strings.MOST_LABELS):
        return None
    new = np.array(list(known)[before:], dtype=np.dtypes.StringDType())
    return {name: np.array(codes, codes_dtype), f"{name}.labels": new}
