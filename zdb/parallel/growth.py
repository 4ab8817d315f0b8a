"""What becomes of a value when a part is added to it along a dimension."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from zdb.errors import PartMismatchError, UnsupportedValueError
from zdb.formats import columns, registry
from zdb.formats.dtypes import codec_for, codec_from_recipe, encode_array, is_lazy
from zdb.formats.exact import exact_from_json
from zdb.formats.variables import check_chunked_by_numpy

if TYPE_CHECKING:
    from zdb.engine.node import Node

__all__ = ["Growth", "as_array", "check_name", "growth_of"]

DASK_NAME = re.compile(r".*-[0-9a-f]{32}")


@dataclass
class Growth:
    """What is added to a value.

    Attributes
    ----------
    size : int
        Elements along the dimension.
    added : dict of str to (int, array)
        For each stored array the axis and the data that is added.
    attributes : dict
        Attributes of the node that change.
    array_attributes : dict of str to dict
        Attributes of stored arrays that change, all of each array.
    """

    size: int
    added: dict[str, tuple[int, Any]] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    array_attributes: dict[str, dict[str, Any]] = field(default_factory=dict)


def growth_of(node: Node, stored: xr.Dataset, part: Any, dim: str | None) -> Growth:
    """Return what a part adds to a value.

    Raises
    ------
    PartMismatchError
        The part does not fit.
    UnsupportedValueError
        The value is of a kind that does not grow.
    """
    if node.format not in ("array", "dataset"):
        raise UnsupportedValueError(
            f"{node.path}: a value of format {node.format!r} cannot be added to; arrays, xarray objects, tables and "
            "ragged data can. Keep each part under a key of its own, or read the value, add to it, and write it again"
        )
    recipe = json.loads(node.attributes["zdb_recipe"])
    if node.format == "array":
        return _grow_array(node, recipe, part, dim)
    return _grow_dataset(node, stored, recipe, part, dim)


def _grow_array(node: Node, recipe: dict[str, Any], part: Any, dim: str | None) -> Growth:
    if recipe["class"] == "scalar":
        raise UnsupportedValueError(f"{node.path}: is a scalar, which has no dimension to grow along")
    if recipe["class"] not in ("ndarray", "dask", "masked") or recipe.get("fortran"):
        raise UnsupportedValueError(f"{node.path}: an array of class {recipe['class']!r} cannot be added to")
    shape = json.loads(node.attributes["zdb_shape"])
    if is_lazy(part):
        check_chunked_by_numpy(part, f"{node.path}: the part")
    data = as_array(node.path, part)
    dims = [f"dim_{axis}" for axis in range(len(shape))]
    along = dims[0] if dim is None and dims else dim
    if along not in dims:
        raise PartMismatchError(f"{node.path}: there is no dimension {along!r}; there are {', '.join(dims) or 'none'}")
    axis = dims.index(along)
    _check_shape(node.path, "the part", dims, shape, data.shape, axis)
    growth = Growth(data.shape[axis])
    _add(node.path, growth, "the part", recipe["data"], data, axis)
    _add_mask(node.path, growth, recipe, part, axis)
    shape[axis] += growth.size
    if "chunks" in recipe:
        recipe["chunks"][axis] = _longer(recipe["chunks"][axis], growth.size)
    growth.attributes = {"zdb_shape": json.dumps(shape), "zdb_recipe": json.dumps(recipe, allow_nan=False)}
    return growth


def _add_mask(path: str, growth: Growth, recipe: dict[str, Any], part: Any, axis: int) -> None:
    if "mask" in recipe:
        _add(path, growth, "the mask of the part", recipe["mask"], np.ma.getmaskarray(part), axis)
    elif isinstance(part, np.ma.MaskedArray):
        masks = np.ascontiguousarray(np.ma.getmaskarray(part)).view(bool)  # of a structured array one for each field
        if masks.any():
            raise PartMismatchError(
                f"{path}: elements of the part are masked, and the value was written without a mask; fill them by "
                ".filled(), or write the value again as numpy.ma.MaskedArray(value, mask=numpy.ma.getmaskarray(value))"
            )


def _grow_dataset(node: Node, stored: xr.Dataset, recipe: dict[str, Any], part: Any, dim: str | None) -> Growth:
    path = node.path
    if recipe["class"] == "DataTree":
        raise UnsupportedValueError(f"{path}: a DataTree cannot be added to; use one key for each of its nodes")
    whole = registry.by_name("dataset").decode(stored)
    if not isinstance(whole, xr.Dataset):
        if isinstance(part, xr.DataArray):
            check_name(path, whole.name, part)
        whole = whole.to_dataset(name=recipe["variable"])
        if isinstance(part, xr.DataArray):
            part = part.to_dataset(name=recipe["variable"])
    elif isinstance(part, xr.DataArray) and part.name is not None:
        part = part.to_dataset()
    if not isinstance(part, xr.Dataset):
        raise PartMismatchError(f"{path}: is an xarray object, and the part is a {type(part).__name__}")
    if dim is None or dim not in whole.dims:
        raise PartMismatchError(
            f"{path}: dim= says along which dimension to add: {', '.join(map(str, whole.dims))}"
            + (f", not {dim!r}" if dim is not None else "")
        )
    _check_variables(path, whole, part, dim)
    growth = Growth(part.sizes[dim])
    entries = {exact_from_json(entry["name"]): entry for entry in recipe["dataset"]["variables"]}
    for name, entry in entries.items():
        variable = whole.variables[name]
        if dim not in variable.dims or "main" not in entry:
            continue
        axis = variable.dims.index(dim)
        if "array" in entry:
            data = part.variables[name].data if part.variables[name].chunks else part.variables[name].values
            _add(path, growth, f"{name!r} of the part", entry["array"], data, axis)
        elif "pandas" in entry:
            raise UnsupportedValueError(
                f"{path}: {name!r} has the pandas dtype {variable.dtype}, which cannot be added to"
            )
        if "chunks" in entry:
            entry["chunks"][axis] = _longer(entry["chunks"][axis], growth.size)
    for entry in recipe["dataset"]["indexes"]:
        names = [exact_from_json(name) for name in entry["names"]]
        if dim in whole.variables[names[0]].dims:
            _grow_index(path, growth, entry["index"], names, whole, part, dim)
    if recipe["class"] == "DataArray":
        shape = [size + growth.size * (d == dim) for d, size in whole[recipe["variable"]].sizes.items()]
    else:
        shape = [size + growth.size * (d == dim) for d, size in whole.sizes.items()]
    growth.attributes = {"zdb_shape": json.dumps(shape), "zdb_recipe": json.dumps(recipe, allow_nan=False)}
    return growth


def as_array(path: str, part: Any) -> Any:
    """Return the array of numpy or dask that a part is, or that numpy makes of it.

    Raises
    ------
    PartMismatchError
        It makes none.
    """
    try:
        return part if is_lazy(part) else np.asarray(part)
    except ValueError as error:
        raise PartMismatchError(f"{path}: the part is no array: {error}") from error


def check_name(path: str, name: Any, part: xr.DataArray) -> None:
    """Refuse a DataArray for a value of another name; where nobody chose one of the two, they fit.

    Raises
    ------
    PartMismatchError
    """
    if name != part.name and _is_chosen(name) and _is_chosen(part.name):
        raise PartMismatchError(
            f"{path}: the part is named {part.name!r}, and the value {name!r}; if it belongs there, name it so by "
            f".rename({name!r})"
        )


def _is_chosen(name: Any) -> bool:
    """Whether a DataArray was given this name; without one it takes that of its dask array."""
    return name is not None and DASK_NAME.fullmatch(str(name)) is None


def _check_variables(path: str, whole: xr.Dataset, part: xr.Dataset, dim: str) -> None:
    unknown = [name for name in part.variables if name not in whole.variables]
    if unknown:
        raise PartMismatchError(f"{path}: the value has no variable {unknown[0]!r}")
    for name, variable in whole.variables.items():
        if dim not in variable.dims:
            if name in part.variables and not _equal(variable, part.variables[name]):
                raise PartMismatchError(f"{path}: {name!r}, which has no dimension {dim!r}, differs in the part")
            continue
        if name not in part.variables:
            raise PartMismatchError(f"{path}: the part has no variable {name!r}, which has the dimension {dim!r}")
        own = part.variables[name]
        what = f"{name!r} of the part"
        if own.dims != variable.dims:
            raise PartMismatchError(
                f"{path}: {what} has the dimensions {', '.join(map(str, own.dims))}, not "
                f"{', '.join(map(str, variable.dims))}"
            )
        _check_shape(path, what, list(variable.dims), variable.shape, own.shape, variable.dims.index(dim))
        if own.dtype != variable.dtype and not _is_text(own.dtype, variable.dtype):
            raise PartMismatchError(
                f"{path}: {what} has dtype {own.dtype}, not {variable.dtype}; convert it by "
                f".astype({str(variable.dtype)!r})"
            )


def _equal(one: xr.Variable, other: xr.Variable) -> bool:
    return bool(one.compute().equals(other.compute()))  # type: ignore[no-untyped-call]


def _is_text(one: Any, other: Any) -> bool:
    """Whether both are texts, or both bytes, of a fixed width."""
    return isinstance(one, np.dtype) and isinstance(other, np.dtype) and one.kind == other.kind and one.kind in "US"


def _check_shape(path: str, what: str, dims: list[Any], whole: Any, part: Any, axis: int) -> None:
    if len(whole) != len(part):
        raise PartMismatchError(f"{path}: {what} has {len(part)} dimensions, not {len(whole)}")
    for i, (dim, size, own) in enumerate(zip(dims, whole, part, strict=True)):
        if i != axis and size != own:
            raise PartMismatchError(f"{path}: {what} has the size {own} along {dim}, not {size}")


def _add(path: str, growth: Growth, what: str, recipe: dict[str, Any], data: Any, axis: int) -> None:
    wanted, own = recipe["codec"], codec_for(data).recipe()
    if wanted["kind"] == "fixed text" and _is_text(data.dtype, np.dtype(wanted["dtype"])):
        own["dtype"] = wanted["dtype"] = np.promote_types(data.dtype, wanted["dtype"]).str
    if own != wanted and not (wanted.get("has_mask") and {**own, "has_mask": True} == wanted):
        if own.get("has_mask") and {**own, "has_mask": False} == wanted:
            raise PartMismatchError(f"{path}: {what} has missing strings, and the value was written without any")
        if own["kind"] == wanted["kind"] == "plain":
            raise PartMismatchError(
                f"{path}: {what} has dtype {data.dtype}, and the value {np.dtype(wanted['dtype'])}; convert it by "
                f".astype({wanted['dtype']!r})"
            )
        raise PartMismatchError(f"{path}: {what} has dtype {data.dtype} ({own}), and the value was written as {wanted}")
    codec = codec_from_recipe(wanted)
    for name, stored in zip(recipe["variables"], encode_array(codec, recipe["variables"][0], data), strict=True):
        growth.added[name] = (axis, stored)


def _grow_index(
    path: str, growth: Growth, recipe: dict[str, Any], names: list[Any], whole: xr.Dataset, part: xr.Dataset, dim: str
) -> None:
    (name,) = names if len(names) == 1 else (None,)
    if name is None or recipe["type"] != "pandas":
        raise UnsupportedValueError(f"{path}: the index of {dim!r} has several levels and cannot be added to")
    if name not in part.indexes:
        raise PartMismatchError(f"{path}: the part has no labels along {dim!r}")
    old, new = whole.indexes[name], part.indexes[name]
    if "range" in recipe:
        start, stop, step = recipe["range"]
        following = pd.RangeIndex(stop, stop + step * len(new), step)
        if len(range(start, stop, step)) and (stop - start) % step == 0 and new.equals(following):
            recipe["range"] = [start, following.stop, step]
        else:
            del recipe["range"]  # the labels themselves are stored too
    if "values" in recipe:
        values = part.variables[name].values
        _add(path, growth, f"the labels {name!r} of the part", recipe["values"], values, 0)
        if recipe["values"]["codec"]["kind"] == "fixed text":
            recipe["dtype"] = recipe["values"]["codec"]["dtype"]
        return
    inner = recipe.get("pandas", {})
    if inner.get("kind") != "values" or inner["values"]["kind"] != "numpy":
        raise UnsupportedValueError(f"{path}: the index of {dim!r} is a {type(old).__name__}, which cannot be added to")
    stored_name = inner["values"]["variable"]
    made, own = columns.encode_array(new.array, stored_name, dim, f"the labels {name!r} of the part", labels=True)
    if own != inner["values"]:
        raise PartMismatchError(f"{path}: the labels {name!r} of the part have dtype {new.dtype}, not {old.dtype}")
    growth.added[stored_name] = (0, made[stored_name].values)
    if "frequency" in inner:
        frequency = getattr(old, "freq", None)
        expected = pd.date_range(old[-1], periods=len(new) + 1, freq=frequency)[1:] if len(old) and frequency else None
        if expected is None or not isinstance(old, pd.DatetimeIndex) or not expected.equals(new):
            del inner["frequency"]


def _longer(sizes: Any, more: int) -> Any:
    """The chunks of a dask array with one more; one number says that all have this size."""
    return [*sizes, more] if isinstance(sizes, list) else sizes
