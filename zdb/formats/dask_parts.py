"""One partition of a dask frame, checked and encoded on the worker that computed it."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from zdb.errors import UnsupportedValueError
from zdb.formats import frames
from zdb.formats.columns import decode_array
from zdb.formats.labels import USE_PICKLE
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import xarray as xr

    from zdb.formats.columns import Recipe
    from zdb.formats.frames import Parts

__all__ = ["PartInfo", "Shape", "check_part", "columns_of", "encode_part", "split_index"]


@dataclass(frozen=True)
class Shape:
    """A stored variable of a partition, without its data."""

    dim: str
    length: int
    dtype: np.dtype[Any]
    attrs: dict[str, Any]
    is_coord: bool
    place: tuple[int, int]  # start and length in the payload, in bytes

    @property
    def holds_offsets(self) -> bool:
        """Whether it holds the offsets of strings, which count on from one partition to the next."""
        return self.dim.endswith(".offset")


@dataclass(frozen=True)
class PartInfo:
    """What must be known of a computed partition to lay out the whole table.

    Attributes
    ----------
    rows : int
        Number of rows.
    recipe : dict
        How the partition was encoded, without the categories.
    shapes : dict of str to Shape
        The variables that were spooled.
    categories : dict of str to CategoricalDtype
        Categories of this partition, by name of the variable of codes.
    """

    rows: int
    recipe: Recipe
    shapes: dict[str, Shape]
    categories: dict[str, pd.CategoricalDtype]


def encode_part(part: Any, number: int, meta: Any) -> tuple[PartInfo, bytes]:
    """Encode a partition.

    Parameters
    ----------
    part : pandas.DataFrame, Series or Index
        The computed partition.
    number : int
        Its position, for errors.
    meta : pandas.DataFrame, Series or Index
        What dask promises that it is: an empty one with the same columns.

    Returns
    -------
    info : PartInfo
    payload : bytes
        The data of the variables, pickled one after the other; it is read back by this process or its workers only.

    Raises
    ------
    UnsupportedValueError
        It cannot be kept exactly, or is not what dask promises.
    """
    try:
        check_part(part, meta)
        parts = _encode(part)
    except UnsupportedValueError as error:
        raise UnsupportedValueError(f"partition {number}: {error}") from error
    variables = {**parts.variables, **parts.coords}
    categories = {name: _take_categories(variables, recipe) for name, recipe in _categorical(parts.recipe).items()}
    payload = io.BytesIO()
    shapes = {}
    for name, v in variables.items():
        start = payload.tell()
        pickle.dump(v.values, payload, protocol=5)
        place = (start, payload.tell() - start)
        shapes[name] = Shape(str(v.dims[0]), v.size, v.dtype, dict(v.attrs), name in parts.coords, place)
    return PartInfo(len(part), parts.recipe, shapes, categories), payload.getvalue()


def _encode(part: Any) -> Parts:
    if isinstance(part, pd.DataFrame):
        return frames.encode_frame(part, layout="bytes")
    if isinstance(part, pd.Series):
        return frames.encode_series(part, layout="bytes")
    return frames.encode_only_index(part, layout="bytes")


def columns_of(recipe: Mapping[str, Any]) -> dict[str, Recipe]:
    """Recipes of all columns by variable, and of the index if it is stored as one."""
    index = recipe["index"]
    stored = [*recipe.get("values", []), *([index["values"]] if "values" in index else [])]
    return {column["variable"]: column for column in stored}


def split_index(recipe: Recipe) -> tuple[Recipe, Recipe]:
    """What all partitions share of the recipe of an index, and what is particular to one."""
    shared: Recipe = {key: recipe[key] for key in ("names", "values") if key in recipe}
    return shared, {key: value for key, value in recipe.items() if key not in shared}


def _categorical(recipe: Recipe) -> dict[str, Recipe]:
    return {name: column for name, column in columns_of(recipe).items() if column["kind"] == "categorical"}


def _take_categories(variables: dict[str, xr.Variable], recipe: Recipe) -> pd.CategoricalDtype:
    """Take the categories of a column out of what is stored of a partition: the table has one list of them."""
    dtype: pd.CategoricalDtype = decode_array(variables, recipe, Rows(0, 0)).dtype  # type: ignore[assignment]
    for name in [n for n in variables if n.startswith(f"{recipe['variable']}.")]:
        del variables[name]
    del recipe["categories"]
    return dtype


def check_part(part: Any, meta: Any) -> None:
    """Refuse a partition that is not what the frame promises."""
    if type(part) is not type(meta) and not (isinstance(part, pd.Index) and isinstance(meta, pd.Index)):
        raise UnsupportedValueError(f"it is a {type(part)}, but the dask frame promises a {type(meta)}")
    promised, found = _dtypes(meta), _dtypes(part)
    if [label for label, _ in promised] != [label for label, _ in found]:
        raise UnsupportedValueError(
            f"it has {', '.join(label for label, _ in found)}; the dask frame promises "
            f"{', '.join(label for label, _ in promised)}; give the right meta="
        )
    for (label, wanted), (_, dtype) in zip(promised, found, strict=True):
        if not _same_dtype(wanted, dtype):
            raise UnsupportedValueError(
                f"{label} has dtype {dtype}, but the dask frame promises {wanted}; convert it by map_partitions, or "
                "give the right meta="
            )
    index = part if isinstance(part, pd.Index) else part.index
    if isinstance(index, pd.MultiIndex):
        raise UnsupportedValueError(f"it has a MultiIndex, which dask frames do not keep; {USE_PICKLE}")


def _dtypes(part: Any) -> list[tuple[str, Any]]:
    """What each column and the index is called, and its dtype."""
    if isinstance(part, pd.Index):
        return [(f"index {part.name!r}", part.dtype)]
    columns = [part] if isinstance(part, pd.Series) else [part.iloc[:, i] for i in range(part.shape[1])]
    return [*((f"column {c.name!r}", c.dtype) for c in columns), (f"index {part.index.name!r}", part.index.dtype)]


def _same_dtype(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, pd.CategoricalDtype) and isinstance(found, pd.CategoricalDtype):
        return bool(wanted.ordered) == bool(found.ordered)
    return bool(wanted == found)
