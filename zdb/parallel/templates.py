"""Templates: from something that looks like the value to what is to be filled, and in which parts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.engine.layout import CHUNK_BYTES, WHOLE, choose_layout, choose_parted_layout
from zdb.errors import UnsupportedValueError
from zdb.formats import registry
from zdb.formats.dtypes import is_lazy

if TYPE_CHECKING:
    from zdb.engine.options import LayoutOptions

__all__ = ["Template", "Variable", "prepare"]

# Into how many regions a chunk of a dask array is divided at most, on average, where chunks differ.
MOST_OF_A_CHUNK = 4


@dataclass(frozen=True)
class Variable:
    """A variable that is filled by jobs.

    Attributes
    ----------
    name : str
    dims : tuple of str
    shape : tuple of int
    dtype : str
        For errors.
    arrays : tuple of str
        Names of the arrays in which it is stored.
    codec : dict
        How values become these.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    arrays: tuple[str, ...]
    codec: dict[str, Any]


@dataclass(frozen=True)
class Template:
    """A template, encoded.

    Attributes
    ----------
    format : Format
    encoded : xarray.Dataset
        The value as its format encodes it; what is to be filled is lazy and has no data.
    variables : tuple of Variable
        What is to be filled.
    sizes : dict of str to int
        Sizes of the dimensions of these.
    unit : dict of str to int
        Regions begin at multiples of this along each dimension.
    """

    format: registry.Format
    encoded: xr.Dataset
    variables: tuple[Variable, ...]
    sizes: dict[str, int]
    unit: dict[str, int]


def prepare(value: Any, options: LayoutOptions, npartitions: int | None) -> Template:
    """Encode a template. Nothing of it is computed.

    Raises
    ------
    UnsupportedValueError
        It is of a kind that cannot be filled.
    """
    if isinstance(value, xr.DataTree):
        raise UnsupportedValueError("a DataTree cannot be filled as one value; use one key for each of its nodes")
    if not (isinstance(value, xr.Dataset | xr.DataArray) or type(value) is np.ndarray or is_lazy(value)):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise UnsupportedValueError(
            f"a {kind} is no template; give an xarray Dataset or DataArray, an array of numpy or dask, such as "
            "dask.array.empty(shape, dtype=...), or a DataFrame together with npartitions="
        )
    wanted = _wanted(value)
    _check(wanted)
    unit = _unit(wanted, options, npartitions)
    chosen, encoded, recipes = _encode(value, wanted, unit)
    variables = []
    for name, variable in wanted.items():
        recipe = recipes[name]
        for stored in recipe["variables"]:
            made = encoded.variables[stored]
            parts = tuple(unit.get(str(dim), made.shape[i]) for i, dim in enumerate(variable.dims))
            made.encoding["zdb_layout"] = choose_parted_layout(
                made.shape,
                made.dtype,
                parts + made.shape[len(parts) :],
                chunks=options.chunks_of(made),
                shards=options.shards_of(made),
            )
        dims = tuple(map(str, variable.dims))
        stored_names = tuple(recipe["variables"])
        variables.append(Variable(name, dims, variable.shape, str(variable.dtype), stored_names, recipe["codec"]))
    sizes = {str(dim): size for variable in wanted.values() for dim, size in variable.sizes.items()}
    return Template(chosen, encoded, tuple(variables), sizes, {dim: unit[dim] for dim in sizes})


def _wanted(value: Any) -> dict[str, xr.Variable]:
    """Return what is to be filled: what is lazy; if nothing is, all that is no coordinate."""
    if isinstance(value, xr.DataArray):
        lazy = {str(name): one.variable for name, one in value.coords.items() if one.chunks is not None}
        return {_own_name(value): value.variable, **lazy}
    if isinstance(value, xr.Dataset):
        found = {name: one for name, one in value.variables.items() if one.chunks is not None}
        found = found or {name: one.variable for name, one in value.data_vars.items()}
        if not found:
            raise UnsupportedValueError("the Dataset has no variable that jobs could fill")
        _require_names([*found, *value.dims])
        return {str(name): one for name, one in found.items()}
    return {"data": xr.Variable([f"dim_{axis}" for axis in range(value.ndim)], value)}


def _own_name(array: xr.DataArray) -> str:
    _require_names(array.dims)
    name = "data" if array.name is None else str(array.name)
    if name in array.coords:
        raise UnsupportedValueError(f"the DataArray {name!r} has the name of its coordinate; rename it")
    return name


def _require_names(names: Any) -> None:
    for name in names:
        if type(name) is not str:
            raise UnsupportedValueError(f"{name!r}: names of variables and dimensions that jobs fill are str")


def _check(wanted: dict[str, xr.Variable]) -> None:
    for name, variable in wanted.items():
        what = repr(name)
        if not isinstance(variable.dtype, np.dtype):
            raise UnsupportedValueError(
                f"{what} has the pandas dtype {variable.dtype}; only numpy dtypes can be filled"
            )
        if variable.dtype.kind == "O":
            raise UnsupportedValueError(
                f"{what} has dtype object, and nothing tells what jobs will put there; use a dtype such as 'U20' or "
                "numpy.dtypes.StringDType()"
            )
        if not variable.ndim:
            raise UnsupportedValueError(f"{what} has no dimension along which jobs could fill it; give it in memory")
        if any(size != size for size in variable.shape):
            raise UnsupportedValueError(f"{what} has chunks of unknown size")
        if 0 in variable.shape:
            raise UnsupportedValueError(
                f"{what} has the shape {variable.shape}, so there is nothing to fill; write it by db.set, and "
                "add to it by db.append"
            )


def _unit(wanted: dict[str, xr.Variable], options: LayoutOptions, npartitions: int | None) -> dict[str, int]:
    """Along which dimensions jobs divide the value, and at multiples of what."""
    ordered = sorted(wanted.values(), key=lambda variable: -variable.size * variable.dtype.itemsize)
    largest = ordered[0]
    unit: dict[str, int] = {}
    if npartitions is not None:
        unit[str(largest.dims[0])] = _rows(largest, npartitions)
    elif not any(variable.chunks for variable in ordered):
        chunks, shards = options.chunks_of(largest), options.shards_of(largest)
        layout = choose_layout(largest.shape, largest.dtype, chunks=chunks, shards=shards)
        unit |= dict(zip(map(str, largest.dims), layout.objects, strict=True))
    for variable in ordered:
        shards = options.shards_of(variable) or ()
        given = [whole if size == WHOLE else size for size, whole in zip(shards, variable.shape, strict=False)]
        unit |= dict(zip(map(str, variable.dims), given, strict=False))
    for variable in ordered:
        chunked = variable.chunks if npartitions is None else None
        for axis, (dim, size) in enumerate(zip(map(str, variable.dims), variable.shape, strict=True)):
            if dim not in unit:
                unit[dim] = _step(dim, chunked[axis]) if chunked else size
    sizes = {str(dim): size for variable in ordered for dim, size in variable.sizes.items()}
    return {dim: max(1, min(size, sizes[dim])) for dim, size in unit.items()}


def _step(dim: str, chunks: tuple[int, ...]) -> int:
    """Return the size of regions that are like the chunks of a dask array: all but the last have one size."""
    size = sum(chunks)
    even = math.ceil(size / len(chunks))
    if max(chunks) - min(chunks) <= 1:
        return even
    common = math.gcd(*(chunks[:-1] or (size,)))
    if math.ceil(size / common) > MOST_OF_A_CHUNK * len(chunks):
        shown = ", ".join(map(str, chunks[:5])) + (", …" if len(chunks) > 5 else "")
        raise UnsupportedValueError(
            f"the chunks ({shown}) along {dim!r} have no size in common but {common}, so there would be "
            f"{math.ceil(size / common)} regions; chunk the template evenly, such as by {even}, or give npartitions= "
            "or shards="
        )
    return common


def _rows(variable: xr.Variable, npartitions: int) -> int:
    """Rows of each of so many parts; a few more where that makes better chunks."""
    rows = math.ceil(len(variable) / npartitions)
    row_bytes = max(1, variable.size // max(1, len(variable)) * int(variable.dtype.itemsize))
    chunk = max(1, CHUNK_BYTES // row_bytes)
    if rows <= chunk or any(rows % size == 0 for size in range(chunk, chunk // 2, -1)):
        return rows
    return math.ceil(rows / chunk) * chunk


def _encode(
    value: Any, wanted: dict[str, xr.Variable], unit: dict[str, int]
) -> tuple[registry.Format, xr.Dataset, dict[str, Any]]:
    """Encode the template with lazy variables in place of all that is to be filled; also return their recipes."""
    lazy = {name: _without_data(variable, unit) for name, variable in wanted.items()}
    if isinstance(value, xr.DataArray):
        own = _own_name(value)
        coords = {name: one for name, one in lazy.items() if name != own}
        value = value.copy(data=lazy[own].data).assign_coords(coords)
    elif isinstance(value, xr.Dataset):
        value = value.copy()
        for name, one in lazy.items():
            value[name] = one  # a coordinate stays one
    else:
        value = lazy["data"].data
    chosen = registry.for_value(value)
    encoded = chosen.encode(value)
    assert isinstance(encoded, xr.Dataset)
    recipe = json.loads(encoded.attrs["zdb_recipe"])
    if chosen.name == "array":
        return chosen, encoded, {"data": recipe["data"]}
    entries = {entry["name"]: entry["array"] for entry in recipe["dataset"]["variables"] if "array" in entry}
    if recipe["class"] == "DataArray":
        entries[_own_name(value)] = entries[recipe["variable"]]
    return chosen, encoded, entries


def _without_data(variable: xr.Variable, unit: dict[str, int]) -> xr.Variable:
    import dask.array

    chunks: Any = variable.chunks or tuple(unit.get(str(dim), size) for dim, size in variable.sizes.items())
    data = dask.array.empty(variable.shape, dtype=variable.dtype, chunks=chunks)
    return xr.Variable(variable.dims, data, variable.attrs, variable.encoding)
