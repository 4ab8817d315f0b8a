"""Where a part belongs, and whether it fits there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from zdb.errors import MisalignedRegionError, PartMismatchError
from zdb.formats.dtypes import codec_from_recipe, encode_array, is_lazy
from zdb.formats.exact import exact_from_json
from zdb.parallel.growth import as_array, check_name

if TYPE_CHECKING:
    from zdb.parallel.plan import Plan, Region
    from zdb.parallel.templates import Variable

__all__ = ["Piece", "as_dataset", "check_aligned", "pieces_of", "resolve_region"]


class Piece(NamedTuple):
    """What is written to one stored array."""

    array: str
    origin: tuple[int, ...]
    data: Any


def as_dataset(plan: Plan, part: Any, region: Any) -> xr.Dataset:
    """Return a part as a Dataset with the variables and dimensions of the value.

    Raises
    ------
    PartMismatchError
        It is of another kind.
    """
    recipe = json.loads(plan.node.attributes["zdb_recipe"])
    is_dataset = recipe["class"] == "Dataset"
    main = plan.variables[0]
    if isinstance(part, xr.Dataset):
        if not is_dataset:
            raise PartMismatchError(f"{plan.key}: is one array, and the part is a Dataset; give one variable of it")
        return part
    if isinstance(part, xr.DataArray):
        if recipe["class"] == "DataArray":
            check_name(plan.key, exact_from_json(recipe["name"]), part)
        name = part.name if is_dataset else main.name
        if name is None:
            raise PartMismatchError(f"{plan.key}: is a Dataset, and the part is a DataArray without a name")
        return part.coords.to_dataset().assign({name: part.variable})
    if is_dataset or not (isinstance(part, np.ndarray | np.generic | list | tuple | float | int) or is_lazy(part)):
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        raise PartMismatchError(f"{plan.key}: {'a Dataset' if is_dataset else 'an array'}, and the part is a {kind}")
    if isinstance(part, np.ma.MaskedArray):
        raise PartMismatchError(f"{plan.key}: has no mask, and the part has one; fill it, such as by .filled()")
    data = as_array(plan.key, part)
    if data.ndim != len(main.dims):
        raise PartMismatchError(
            f"{plan.key}: has the dimensions {', '.join(main.dims)}, and the part has {data.ndim} of them"
        )
    if region is None or region == "auto":
        raise PartMismatchError(f"{plan.key}: a part without labels needs region=, such as {_example(plan)}")
    return xr.Dataset({main.name: (main.dims, data)})


def resolve_region(plan: Plan, part: xr.Dataset, region: Any, stored: xr.Dataset) -> Region:
    """Return start and stop along each dimension of a part.

    Parameters
    ----------
    plan : Plan
    part : xarray.Dataset
    region : "auto", mapping of dimension to slice or "auto", slice, or tuple of slice
    stored : xarray.Dataset
        The value as far as it is there, for its coordinates.

    Raises
    ------
    PartMismatchError
        The region is not one of this value, or the part has another size.
    """
    given = _given(plan, region)
    unknown = [str(dim) for dim in part.dims if dim not in plan.sizes] + [d for d in given if d not in plan.sizes]
    if unknown:
        raise PartMismatchError(
            f"{plan.key}: there is no dimension {unknown[0]!r} to fill; there are {', '.join(plan.sizes)}"
        )
    found: Region = {}
    for name in plan.sizes:
        if name not in part.dims:
            continue
        wanted, size, whole = given.get(name, "auto"), part.sizes[name], plan.sizes[name]
        if isinstance(wanted, str):
            found[name] = _find(plan, name, part, stored)
            continue
        start, stop, step = wanted.indices(whole)
        if step != 1 or stop <= start or (wanted.stop is not None and wanted.stop > whole):
            raise PartMismatchError(f"{plan.key}: {_text({name: wanted})} is no region of {name} 0–{whole}")
        if stop - start != size:
            raise PartMismatchError(
                f"{plan.key}: the region {name} {start}–{stop} has {stop - start} elements, and the part has {size}"
            )
        found[name] = slice(start, stop)
    return found


def _given(plan: Plan, region: Any) -> Mapping[str, Any]:
    if region is None or isinstance(region, str):
        if region not in (None, "auto"):
            raise PartMismatchError(f"{plan.key}: region={region!r} is neither 'auto' nor slices by dimension")
        return {}
    if isinstance(region, slice):
        region = (region,)
    if isinstance(region, tuple):
        if len(region) > len(plan.variables[0].dims) or len(plan.variables) > 1:
            raise PartMismatchError(f"{plan.key}: give the region by dimension, such as {_example(plan)}")
        region = dict(zip(plan.variables[0].dims, region, strict=False))
    if not isinstance(region, Mapping):
        raise PartMismatchError(f"{plan.key}: region={region!r} is neither 'auto' nor slices, such as {_example(plan)}")
    for dim, one in region.items():
        is_slice = isinstance(one, slice) and all(end is None or hasattr(end, "__index__") for end in _ends(one))
        if not is_slice and not (isinstance(one, str) and one == "auto"):
            raise PartMismatchError(f"{plan.key}: the region of {dim!r} is {one!r}, not a slice of whole numbers")
    return region


def _ends(region: slice) -> tuple[Any, Any, Any]:
    return region.start, region.stop, region.step


def _find(plan: Plan, dim: str, part: xr.Dataset, stored: xr.Dataset) -> slice:
    """Find where the labels of a part are among those of the value."""
    whole, size = plan.sizes[dim], part.sizes[dim]
    if dim not in part.indexes or dim not in stored.indexes:
        if size == whole:
            return slice(0, whole)
        missing = "the part" if dim in stored.indexes else "the value"
        raise PartMismatchError(
            f"{plan.key}: {missing} has no labels along {dim}, so region= must say where the part belongs, such as "
            f"{_example(plan)}"
        )
    if not stored.indexes[dim].is_unique:
        raise PartMismatchError(
            f"{plan.key}: labels along {dim} repeat, so region= must say where the part belongs, such as "
            f"{_example(plan)}"
        )
    positions = stored.indexes[dim].get_indexer(part.indexes[dim])
    if (positions < 0).any():
        label = part.indexes[dim][int(np.argmax(positions < 0))]
        raise PartMismatchError(f"{plan.key}: the label {label} of the part is not among those of {dim}")
    start = int(positions[0]) if size else 0
    if not np.array_equal(positions, np.arange(start, start + size)):
        raise PartMismatchError(f"{plan.key}: the labels of the part are not in the order of those of {dim}")
    return slice(start, start + size)


def pieces_of(plan: Plan, part: xr.Dataset, region: Region, stored: xr.Dataset) -> tuple[list[str], list[Piece]]:
    """Return which variables a part has, and what is to be written for it.

    Raises
    ------
    PartMismatchError
        A variable is not one of the value, or has another dtype or other dimensions; or a coordinate differs.
    """
    known = {one.name: one for one in plan.variables}
    names = [str(name) for name in part.variables if name in known]
    for name in part.variables:
        if name not in known:
            _check_equal(plan, str(name), part, region, stored)
    if not names:
        raise PartMismatchError(f"{plan.key}: the part has none of the variables to fill, {', '.join(known)}")
    pieces = []
    for name in names:
        variable = _checked(plan, known[name], part.variables[name])
        codec = codec_from_recipe(known[name].codec)
        origin = tuple(region[dim].start for dim in known[name].dims)
        for array, data in zip(known[name].arrays, encode_array(codec, name, variable.data), strict=True):
            pieces.append(Piece(array, origin + (0,) * (data.ndim - len(origin)), data))
    return names, pieces


def _checked(plan: Plan, wanted: Variable, variable: xr.Variable) -> xr.Variable:
    """Return a variable of a part with numpy or dask data of the dtype of the value."""
    what = f"{plan.key}: {wanted.name!r} of the part"
    if variable.dims != wanted.dims:
        raise PartMismatchError(
            f"{what} has the dimensions {', '.join(map(str, variable.dims)) or 'none'}, not {', '.join(wanted.dims)}"
        )
    if str(variable.dtype) != wanted.dtype and not _is_shorter_text(variable.dtype, wanted):
        raise PartMismatchError(
            f"{what} has dtype {variable.dtype}, not {wanted.dtype}; convert it by .astype({wanted.dtype!r})"
        )
    return variable if is_lazy(variable.data) else xr.Variable(variable.dims, variable.values)


def _is_shorter_text(dtype: Any, wanted: Variable) -> bool:
    if wanted.codec["kind"] != "fixed text" or not isinstance(dtype, np.dtype):
        return False
    whole: Any = np.dtype(wanted.codec["dtype"])
    return bool(dtype.kind == whole.kind and dtype.itemsize <= whole.itemsize)


def _check_equal(plan: Plan, name: str, part: xr.Dataset, region: Region, stored: xr.Dataset) -> None:
    if name not in stored.variables:
        raise PartMismatchError(
            f"{plan.key}: the value has no variable {name!r}; it has {', '.join(map(str, stored.variables))}"
        )
    expected = stored[name].isel({dim: one for dim, one in region.items() if dim in stored[name].dims}).variable
    if not expected.compute().equals(part.variables[name].compute()):  # type: ignore[no-untyped-call]
        raise PartMismatchError(
            f"{plan.key}: {name!r} of the part differs from that of the value in this region; leave it out by "
            f".drop_vars({name!r}), or choose the region that it belongs to"
        )


def check_aligned(plan: Plan, pieces: list[Piece], region: Region) -> None:
    """Refuse a region that shares an object with others.

    Raises
    ------
    MisalignedRegionError
        The message says which boundaries to use.
    """
    for piece in pieces:
        node = plan.node.arrays[piece.array]
        for axis, dim in enumerate(node.dims[: len(piece.origin)]):
            start, size, unit = piece.origin[axis], node.shape[axis], node.object_shape[axis]
            stop = start + piece.data.shape[axis]
            if start % unit or (stop % unit and stop != size):
                low, high = start // unit * unit, min(size, math.ceil(stop / unit) * unit)
                raise MisalignedRegionError(
                    f"{plan.key}: the region {_text(region)} cuts through objects of {piece.array!r} that other jobs "
                    f"write too: use multiples of {plan.unit.get(dim, unit)} along {dim}, such as {low}–{high}, or "
                    "realign=True, which reads and writes these objects again"
                )


def _text(region: Mapping[str, slice]) -> str:
    return ", ".join(f"{dim} {one.start}–{one.stop}" for dim, one in region.items())


def _example(plan: Plan) -> str:
    dim = next(iter(plan.dims or plan.sizes))
    return f"region={{{dim!r}: slice(0, {min(plan.unit[dim], plan.sizes[dim])})}}"
