"""The partitions of a dask frame joined: one recipe, and dask arrays that read them from the spool."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import delayed

from zdb.errors import UnsupportedValueError
from zdb.formats.columns import encode_array
from zdb.formats.dask_parts import columns_of, split_index
from zdb.formats.frames import ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zdb.formats.columns import Recipe, Variables
    from zdb.formats.dask_parts import PartInfo, Shape

__all__ = ["join_categories", "join_recipes", "join_variables"]

Array = np.ndarray[Any, Any]
Categories = dict[str, pd.CategoricalDtype]
Load = Callable[[int, int, int], bytes]  # number of the partition, start and length in its payload

# About as much as one object of the store holds, see zdb.engine.layout.
BLOCK_BYTES = 64 << 20


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
    joined["index"], _ = split_index(joined["index"])
    joined["indexes"] = [split_index(info.recipe["index"])[1] for info in infos]
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


def _fixed(recipe: Recipe) -> Recipe:
    """The part of the recipe of a column that all partitions must share."""
    return {key: value for key, value in recipe.items() if key not in ("rows", "bytes")}


def join_variables(infos: Sequence[PartInfo], unions: Categories, load: Load) -> Variables:
    """All variables that were spooled, as dask arrays whose chunks are read from the payloads.

    A chunk is made of whole partitions, as many as fit into one stored object: so it is written as it is, and the
    memory needed does not grow with the number of partitions or columns.
    """
    shapes = {name: shape for info in infos for name, shape in info.shapes.items()}
    joined: Variables = {}
    for name, shape in shapes.items():
        if shape.holds_offsets:
            pieces = _offset_pieces(name, infos)
        elif name in unions:
            pieces = _code_pieces(name, unions[name], infos)
        else:
            pieces = [_piece(number, name, info, shape) for number, info in enumerate(infos)]
        pieces = [piece for piece in pieces if piece.length] or pieces[:1]
        chunks = [
            da.from_delayed(delayed(_read, pure=False)(load, some), (_length(some),), dtype=some[0].dtype)  # type: ignore[no-untyped-call]
            for some in _grouped(pieces)
        ]
        same = all(info.shapes[name].attrs == shape.attrs for info in infos if name in info.shapes)
        data = da.concatenate(chunks)  # type: ignore[no-untyped-call]
        joined[name] = xr.Variable((shape.dim,), data, shape.attrs if same else {})
    return joined


@dataclass(frozen=True)
class Piece:
    """What one partition adds to a variable: the end of an array in its payload, or of one that is made here.

    Attributes
    ----------
    number : int
        Of the partition.
    place : tuple of int, or None
        Start and length in the payload.
    length, dtype
        Of the piece.
    made : tuple of int or None
        Start, stop and step of the numbers that stand in for an array that the partition did not need.
    added : int
        Is added to all.
    codes : numpy.ndarray or None
        What the numbers in the payload stand for.
    """

    number: int
    place: tuple[int, int] | None
    length: int
    dtype: np.dtype[Any]
    made: tuple[int, int, int] | None = None
    added: int = 0
    codes: Array | None = None

    def read(self, load: Load) -> Array:
        if self.place is None:
            return np.zeros(self.length, self.dtype) if self.made is None else np.arange(*self.made, dtype=self.dtype)
        values: Array = pickle.loads(load(self.number, *self.place))
        values = values[values.size - self.length :]
        if self.codes is not None:
            return self.codes[values]
        return values + np.int64(self.added) if self.added else values


def _piece(number: int, name: str, info: PartInfo, shape: Shape) -> Piece:
    if name in info.shapes:
        own = info.shapes[name]
        return Piece(number, own.place, own.length, shape.dtype)
    # The partition did not need it: a mask where nothing is missing, or the labels of a RangeIndex.
    labels = info.recipe["index"].get("range")
    return Piece(number, None, info.rows, shape.dtype, made=tuple(labels) if shape.is_coord and labels else None)


def _offset_pieces(name: str, infos: Sequence[PartInfo]) -> list[Piece]:
    bytes_name = name.removesuffix(".offsets") + ".bytes"
    starts = np.cumsum([0, *(info.shapes[bytes_name].length for info in infos)]).tolist()
    dtype = np.dtype(np.int32 if starts[-1] <= np.iinfo(np.int32).max else np.int64)
    # All partitions but the first leave out their zero, which is the end of the one before.
    return [
        Piece(number, info.shapes[name].place, info.rows + (number == 0), dtype, added=start)
        for number, (info, start) in enumerate(zip(infos, starts[:-1], strict=True))
    ]


def _code_pieces(name: str, union: pd.CategoricalDtype, infos: Sequence[PartInfo]) -> list[Piece]:
    dtype = pd.Categorical.from_codes([], dtype=union).codes.dtype
    pieces = []
    for number, info in enumerate(infos):
        positions = union.categories.get_indexer(info.categories[name].categories)
        codes = np.append(positions, -1).astype(dtype)  # code -1, a missing value, picks the last
        pieces.append(Piece(number, info.shapes[name].place, info.rows, dtype, codes=codes))
    return pieces


def _length(pieces: Sequence[Piece]) -> int:
    return sum(piece.length for piece in pieces)


def _grouped(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Neighbours together up to the size of a stored object."""
    groups: list[list[Piece]] = []
    room = 0
    for piece in pieces:
        size = piece.length * piece.dtype.itemsize
        if not groups or size > room:
            groups.append([])
            room = BLOCK_BYTES
        groups[-1].append(piece)
        room -= size
    return groups


def _read(load: Load, pieces: Sequence[Piece]) -> Array:
    first = pieces[0].read(load).astype(pieces[0].dtype, copy=False)
    if len(pieces) == 1:
        return first
    joined = np.empty(_length(pieces), pieces[0].dtype)
    at = first.size
    joined[:at] = first
    for piece in pieces[1:]:
        joined[at : at + piece.length] = piece.read(load)
        at += piece.length
    return joined
