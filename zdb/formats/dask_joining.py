"""The partitions of a dask frame joined: one recipe, and dask arrays of one chunk for each partition."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import delayed

from zdb.errors import UnsupportedValueError
from zdb.formats.columns import encode_array
from zdb.formats.dask_parts import columns_of
from zdb.formats.frames import ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask.delayed import Delayed

    from zdb.formats.columns import Recipe, Variables
    from zdb.formats.dask_parts import PartInfo, Shape

__all__ = ["join_categories", "join_recipes", "join_variables"]

Array = np.ndarray[Any, Any]
Categories = dict[str, pd.CategoricalDtype]


def join_categories(infos: Sequence[PartInfo]) -> Categories:
    """For each categorical column the categories of all partitions.

    Raises
    ------
    UnsupportedValueError
        Categories are ordered and differ, or are of different dtypes.
    """
    return {name: _union([info.categories[name] for info in infos], name) for name in infos[0].categories}


def _union(dtypes: list[pd.CategoricalDtype], column: str) -> pd.CategoricalDtype:
    first = dtypes[0]
    if all(dtype == first and dtype.categories.equals(first.categories) for dtype in dtypes):
        return first
    if first.ordered:
        raise UnsupportedValueError(
            f"the ordered categories of {column!r} differ between partitions; set them by .cat.set_categories"
        )
    categories = first.categories
    for number, dtype in enumerate(dtypes):
        if dtype.categories.dtype != categories.dtype:
            raise UnsupportedValueError(
                f"partition {number}: the categories of {column!r} are {dtype.categories.dtype}, "
                f"not {categories.dtype} as in partition 0"
            )
        categories = categories.append(dtype.categories[~dtype.categories.isin(categories)])
    return pd.CategoricalDtype(categories, ordered=False)


def join_recipes(infos: Sequence[PartInfo], unions: Categories) -> tuple[Recipe, Variables]:
    """The recipe of the whole table, and the variables of its categories.

    The recipe has, besides what that of a pandas frame has, the number of rows of each partition ("partitions") and
    what is particular to the index of each ("indexes"): it may be a RangeIndex in some, or have a frequency.

    Raises
    ------
    UnsupportedValueError
        A partition was encoded in another way than those before; the message says which.
    """
    main = next((info for info in infos if "values" in info.recipe["index"]), infos[0])
    joined: Recipe = copy.deepcopy(main.recipe)
    joined["rows"] = sum(info.rows for info in infos)
    joined["partitions"] = [info.rows for info in infos]
    joined["index"], _ = _split_index(joined["index"])
    joined["indexes"] = [_split_index(info.recipe["index"])[1] for info in infos]
    columns = columns_of(joined)
    for number, info in enumerate(infos):
        for name, column in columns_of(info.recipe).items():
            if _fixed(column) != _fixed(columns[name]):
                raise UnsupportedValueError(f"partition {number}: {name!r} is of another kind than before")
        for key in ("attrs", "unique"):
            if info.recipe.get(key) != joined.get(key):
                raise UnsupportedValueError(f"partition {number}: it has other attrs or flags than before")
    variables: Variables = {}
    for name, column in columns.items():
        if column.get("storage") == "ipc":
            for key in ("rows", "bytes"):
                column[key] = [n for info in infos for n in columns_of(info.recipe)[name][key]]
        if name in unions:
            parts, recipe = encode_array(pd.Categorical.from_codes([], dtype=unions[name]), name, ROW, name)
            column |= recipe
            variables |= {n: v for n, v in parts.items() if n != name}
    return joined, variables


def _split_index(recipe: Recipe) -> tuple[Recipe, Recipe]:
    """What all partitions share of the recipe of an index, and what is particular to one."""
    shared: Recipe = {key: recipe[key] for key in ("names", "values") if key in recipe}
    return shared, {key: value for key, value in recipe.items() if key not in shared}


def _fixed(recipe: Recipe) -> Recipe:
    """The part of the recipe of a column that all partitions must share."""
    return {key: value for key, value in recipe.items() if key not in ("rows", "bytes")}


def join_variables(infos: Sequence[PartInfo], unions: Categories, load: Callable[[int], bytes]) -> Variables:
    """All variables that were spooled, as dask arrays that read the payloads."""
    payloads = [delayed(_load, pure=False)(load, number) for number in range(len(infos))]
    shapes = {name: shape for info in infos for name, shape in info.shapes.items()}
    joined: Variables = {}
    for name, shape in shapes.items():
        if shape.holds_offsets:
            chunks = _offset_chunks(name, infos, payloads)
        elif name in unions:
            chunks = _code_chunks(name, unions[name], infos, payloads)
        else:
            chunks = [
                _chunk(delayed(_pick, pure=False)(payload, name), info.shapes[name].length, shape.dtype)
                if name in info.shapes
                else _absent(info, shape)
                for payload, info in zip(payloads, infos, strict=True)
            ]
        chunks = [chunk for chunk in chunks if chunk.size] or chunks[:1]
        same = all(info.shapes[name].attrs == shape.attrs for info in infos if name in info.shapes)
        data = da.concatenate(chunks)  # type: ignore[no-untyped-call]
        joined[name] = xr.Variable((shape.dim,), data, shape.attrs if same else {})
    return joined


def _chunk(values: Delayed, length: int, dtype: np.dtype[Any]) -> da.Array:
    chunk: da.Array = da.from_delayed(values, (length,), dtype=dtype)  # type: ignore[no-untyped-call]
    return chunk


def _absent(info: PartInfo, shape: Shape) -> da.Array:
    """A variable that a partition did not need: a mask where nothing is missing, or the labels of a RangeIndex."""
    labels = info.recipe["index"].get("range")
    if shape.is_coord and labels is not None:
        values = np.arange(*labels, dtype=shape.dtype)
    else:
        values = np.zeros(info.rows, dtype=shape.dtype)
    chunk: da.Array = da.from_array(values)  # type: ignore[no-untyped-call]
    return chunk


def _offset_chunks(name: str, infos: Sequence[PartInfo], payloads: list[Delayed]) -> list[da.Array]:
    bytes_name = name.removesuffix(".offsets") + ".bytes"
    starts = np.cumsum([0, *(info.shapes[bytes_name].length for info in infos)]).tolist()
    dtype = np.dtype(np.int32 if starts[-1] <= np.iinfo(np.int32).max else np.int64)
    chunks = []
    for number, (payload, info, start) in enumerate(zip(payloads, infos, starts[:-1], strict=True)):
        # All partitions but the first leave out their zero, which is the end of the one before.
        length = info.rows + (number == 0)
        chunks.append(_chunk(delayed(_pick_offsets, pure=False)(payload, name, length, start, dtype), length, dtype))
    return chunks


def _code_chunks(
    name: str, union: pd.CategoricalDtype, infos: Sequence[PartInfo], payloads: list[Delayed]
) -> list[da.Array]:
    dtype = pd.Categorical.from_codes([], dtype=union).codes.dtype
    chunks = []
    for payload, info in zip(payloads, infos, strict=True):
        positions = union.categories.get_indexer(info.categories[name].categories)
        codes = np.append(positions, -1).astype(dtype)  # code -1, a missing value, picks the last
        chunks.append(_chunk(delayed(_pick_codes, pure=False)(payload, name, codes), info.rows, dtype))
    return chunks


def _load(load: Callable[[int], bytes], number: int) -> dict[str, Array]:
    arrays: dict[str, Array] = pickle.loads(load(number))
    return arrays


def _pick(arrays: Mapping[str, Array], name: str) -> Array:
    return arrays[name]


def _pick_offsets(arrays: Mapping[str, Array], name: str, length: int, start: int, dtype: np.dtype[Any]) -> Array:
    values = arrays[name]
    return np.asarray((values[values.size - length :] + np.int64(start)).astype(dtype))


def _pick_codes(arrays: Mapping[str, Array], name: str, codes: Array) -> Array:
    return codes[arrays[name]]
