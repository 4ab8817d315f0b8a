"""One array of a stored value, read block by block."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.engine.layout import SHARD_BYTES, grow
from zdb.errors import NotMappableError, SelectionError
from zdb.formats.registry import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from zdb.formats.registry import Format

__all__ = ["Blocks"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Index = tuple[slice, ...]
Found = tuple[Shape, str, "Callable[[Index], Any]"]  # shape, name of the stored array, how it is read


@dataclass(frozen=True)
class Blocks:
    """An array that is read by parts.

    Attributes
    ----------
    shape, dtype
        Of the array.
    block : tuple of int
        Shape of the parts by which it is read best.
    read : callable
        Returns the part at a tuple of slices.
    stored_name : str
        The array in the store, or the first of several that it is made of.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    block: tuple[int, ...]
    read: Callable[[Index], Array]
    stored_name: str

    @classmethod
    def of(cls, chosen: Format, stored: xr.Dataset | xr.DataTree, name: Hashable) -> Blocks:
        """Find the array that is meant.

        Parameters
        ----------
        chosen : Format
            The format of the value.
        stored : xarray.Dataset
            The opened value.
        name : hashable
            The variable of a Dataset or the column of a table; None for a value that is one array.

        Raises
        ------
        NotMappableError
            There is no array of numbers, or it is not said which one is meant.
        SelectionError
            There is no such variable or column.
        """
        try:
            find = {"array": _of_array, "dataset": _of_dataset, "table": _of_table}[chosen.name]
        except KeyError:
            raise NotMappableError(f"a value of format {chosen.name!r} is no array; read it by db[key]") from None
        shape, stored_name, read = find(chosen, stored, name)
        sample = read(tuple(slice(0, 0) for _ in shape))
        if type(sample) is not np.ndarray:
            what = getattr(sample, "dtype", None) or type(sample).__name__
            raise NotMappableError(f"{what} is kept as no plain array of numbers; read it by db[key]")
        if sample.dtype.hasobject or sample.dtype.kind == "T":
            raise NotMappableError(f"values of dtype {sample.dtype} have no fixed size; read them by db[key]")
        block = _block(stored.variables.get(stored_name), shape, sample.dtype)
        return cls(shape, sample.dtype, block, read, stored_name)

    def copy_to(self, target: Array) -> None:
        """Read all parts, one after the other, into an array."""
        starts = (range(0, size, step) for size, step in zip(self.shape, self.block, strict=True))
        for corner in product(*starts):
            part = tuple(
                slice(start, min(start + step, size))
                for start, step, size in zip(corner, self.block, self.shape, strict=True)
            )
            target[part] = self.read(part)


def _block(variable: xr.Variable | None, shape: Shape, dtype: np.dtype[Any]) -> Shape:
    """Whole objects of the store, several if they are small."""
    parts = tuple(1 for _ in shape)
    if variable is not None and variable.shape[: len(shape)] == shape:
        preferred = variable.encoding.get("preferred_chunks", {})
        parts = tuple(preferred.get(dim, size) for dim, size in zip(variable.dims, shape, strict=False))
    return grow(parts, shape, SHARD_BYTES // max(1, dtype.itemsize))


def _of_array(chosen: Format, stored: Any, name: Hashable) -> Found:
    if name is not None:
        raise SelectionError(f"the value is one array and has no {name!r}; leave the name out")
    recipe = json.loads(stored.attrs["zdb_recipe"])

    def read(part: Index) -> Any:
        indexers: dict[Hashable, Any] = {f"dim_{axis}": one for axis, one in enumerate(part)}
        return _computed(chosen.select(stored, Selection(isel=indexers)))

    return tuple(json.loads(stored.attrs["zdb_shape"])), recipe["data"]["variables"][0], read


def _of_dataset(chosen: Format, stored: Any, name: Hashable) -> Found:
    found = chosen.decode(stored)
    if isinstance(found, xr.DataTree):
        raise NotMappableError("a DataTree is no array; read it by db[key]")
    recipe = json.loads(stored.attrs["zdb_recipe"])
    variables: dict[Hashable, xr.Variable] = dict(found.coords.variables)
    if isinstance(found, xr.Dataset):
        variables = dict(found.variables)
    elif name is None:
        name = recipe["variable"]
        variables[name] = found.variable
    known = ", ".join(map(repr, variables))
    if name is None:
        raise NotMappableError(f"the value has several arrays; name one of {known}")
    if name not in variables:
        raise SelectionError(f"there is no variable {name!r}; known ones are {known}")
    entry = next(one for one in recipe["dataset"]["variables"] if one["name"] == name)
    return variables[name].shape, entry["main"], lambda part: _computed(variables[name][part].data)


def _of_table(chosen: Format, stored: Any, name: Hashable) -> Found:
    shape = tuple(json.loads(stored.attrs["zdb_shape"]))
    recipe = json.loads(stored.attrs["zdb_recipe"])
    columns: Any = getattr(chosen.select(stored, Selection(rows=slice(0, 0))), "columns", None)
    if name is None and len(shape) > 1:
        raise NotMappableError(f"the value is a table; name one of its columns {', '.join(map(repr, columns))}")

    def read(part: Index) -> Any:
        found: Any = chosen.select(stored, Selection(None if name is None else [name], part[0]))
        if hasattr(found, "iloc") and found.ndim == 2:
            found = found.iloc[:, 0]
        return found.to_numpy() if isinstance(getattr(found, "dtype", None), np.dtype) else found

    read((slice(0, 0),))  # complains about an unknown name
    position = columns.get_loc(name) if hasattr(columns, "get_loc") and name is not None else 0
    values = recipe.get("values") or [recipe["index"].get("values", {})]
    entry = values[position] if isinstance(position, int) else {}
    return shape[:1], entry.get("variable", ""), read


def _computed(data: Any) -> Any:
    """Return the data of a dask array, computed by threads: the other processes wait for this one."""
    if isinstance(data, np.generic):
        return np.asarray(data)
    if not hasattr(data, "dask"):
        return data
    from dask.base import compute

    return compute(data, scheduler="threads")[0]  # type: ignore[no-untyped-call]
