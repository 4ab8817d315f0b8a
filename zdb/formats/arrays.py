"""The format ``array``: numpy and dask arrays, masked arrays and numpy scalars."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.errors import SelectionError, UnsupportedValueError
from zdb.formats.positions import check_positions, checked_indexers
from zdb.formats.registry import Format, require_types
from zdb.formats.variables import (
    check_chunked_by_numpy,
    chunks_from_json,
    chunks_to_json,
    decode_variables,
    encode_variables,
    short_dtype,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zdb.formats.registry import Selection

__all__ = ["ArrayFormat"]

CLASSES: dict[str, type[np.ndarray[Any, Any]]] = {
    "ndarray": np.ndarray,
    "matrix": np.matrix,
    "recarray": np.recarray,
    "masked": np.ma.MaskedArray,
}


class ArrayFormat(Format):
    """Arrays of every numpy dtype, masked arrays, numpy scalars, dask arrays with their chunks.

    The array is the variable ``data`` along ``dim_0``, ``dim_1``, … A structured array has one
    variable for each field, a masked array also ``data_mask`` and ``data_fill_value``. A lazy object
    array is taken to hold what its first element is, which is computed; each block is checked when
    it is written. A memory map comes back as the array that it shows.
    """

    name = "array"
    types = ("numpy.ndarray", "numpy.generic", "dask.Array")

    def encode(self, value: Any) -> xr.Dataset:
        """Turn an array or a numpy scalar into a Dataset.

        Parameters
        ----------
        value : numpy.ndarray, numpy.generic or dask.array.Array

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        UnsupportedValueError
            An object array of anything but strings, a subclass of ndarray that cannot be restored,
            chunks of unknown sizes.
        """
        require_types(self, value)
        data, recipe, type_name = _unwrap(value)
        dims = [f"dim_{axis}" for axis in range(data.ndim)]
        taken = {"data", "data_mask", "data_fill_value", *dims}
        variables, recipe["data"] = encode_variables("data", dims, data, taken)
        if recipe["class"] == "masked":
            for part, part_dims, array in _mask_parts(value, dims):
                more, recipe[part] = encode_variables(f"data_{part}", part_dims, array, taken)
                variables |= more
        attrs = {
            "zdb_type": type_name,
            "zdb_dtype": short_dtype(data.dtype),
            "zdb_shape": json.dumps(list(data.shape)),
            "zdb_recipe": json.dumps(recipe, allow_nan=False),
        }
        return xr.Dataset(variables, attrs=attrs)

    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Turn the Dataset back into the array, of the same class, dtype, order and chunks."""
        recipe = json.loads(node.attrs["zdb_recipe"])
        return _decode(node, recipe)

    def select(self, node: xr.Dataset | xr.DataTree, selection: Selection) -> Any:
        """Read a part of the array.

        Parameters
        ----------
        node : xarray.Dataset
        selection : Selection
            `rows` along the first axis, or `isel` by ``"dim_0"``, ``"dim_1"``, …

        Returns
        -------
        numpy.ndarray, numpy.generic or dask.array.Array
            As indexing of the whole array gives it.
        """
        selection.require(self.name, "rows", "isel")
        recipe = json.loads(node.attrs["zdb_recipe"])
        shape = json.loads(node.attrs["zdb_shape"])
        indexers = _indexers(selection, shape)
        if recipe["class"] == "dask":
            result = _decode(node, recipe)
            for axis, dim in reversed(list(enumerate(f"dim_{i}" for i in range(len(shape))))):
                if dim in indexers:
                    result = result[(slice(None),) * axis + (indexers[dim],)]
            return result
        assert isinstance(node, xr.Dataset)
        result = _decode(node.isel(indexers), recipe)
        return result[()] if result.ndim == 0 and shape else result


def _unwrap(value: Any) -> tuple[Any, dict[str, Any], str]:
    """The plain array, the recipe so far, and the name of the type."""
    cls = type(value)
    if isinstance(value, np.generic):
        data = np.asarray(value)
        _check_scalar(value, data)
        return data, {"class": "scalar"}, f"numpy.{cls.__name__}"
    if not isinstance(value, np.ndarray):
        check_chunked_by_numpy(value, "the dask array")
        return value, {"class": "dask", "chunks": chunks_to_json(value.chunks)}, "dask.array.Array"
    if isinstance(value, np.memmap):
        value, cls = np.asarray(value), np.ndarray
    by_class = {known: name for name, known in CLASSES.items()}
    if cls not in by_class or (cls is np.ma.MaskedArray and value.baseclass is not np.ndarray):
        raise UnsupportedValueError(
            f"an array of class {cls.__module__}.{cls.__qualname__} would come back without what "
            "the class adds; keep numpy.asarray() of it"
        )
    recipe: dict[str, Any] = {"class": by_class[cls]}
    data = np.asarray(value.data if cls is np.ma.MaskedArray else value)
    if data.flags.f_contiguous and not data.flags.c_contiguous:
        recipe["fortran"] = True
    if cls is np.ma.MaskedArray:
        recipe["hard_mask"] = bool(value.hardmask)
        return data, recipe, "numpy.ma.MaskedArray"
    return data, recipe, f"numpy.{cls.__name__}"


def _check_scalar(value: np.generic, data: NDArray[Any]) -> None:
    restored: Any = data[()]
    if type(restored) is not type(value) or (data.dtype.kind in "US" and restored != value):
        raise UnsupportedValueError(
            f"the scalar {value!r} ({type(value).__module__}.{type(value).__qualname__}) would "
            f"come back as {restored!r}"
        )


def _mask_parts(value: Any, dims: list[str]) -> list[tuple[str, list[str], NDArray[Any]]]:
    parts = []
    if value.mask is not np.ma.nomask:
        parts.append(("mask", dims, np.asarray(value.mask)))
    # The default is not stored: that of a short string dtype is too long to be set again.
    if repr(value.fill_value) != repr(np.ma.array([], dtype=value.dtype).fill_value):
        no_dims: list[str] = []
        parts.append(("fill_value", no_dims, np.asarray(value.fill_value, dtype=value.dtype)))
    return parts


def _decode(node: xr.Dataset | xr.DataTree, recipe: dict[str, Any]) -> Any:
    variables: Any = node.variables
    if recipe["class"] == "dask":
        chunks = chunks_from_json(recipe["chunks"], json.loads(node.attrs["zdb_shape"]))
        return decode_variables(variables, recipe["data"], chunks)
    data = decode_variables(variables, recipe["data"])
    if recipe["class"] == "scalar":
        return data[()]
    if recipe.get("fortran"):
        data = np.asfortranarray(data)
    if recipe["class"] != "masked":
        return data if recipe["class"] == "ndarray" else data.view(CLASSES[recipe["class"]])
    mask = decode_variables(variables, recipe["mask"]) if "mask" in recipe else np.ma.nomask
    result: Any = np.ma.MaskedArray(data, mask=mask, hard_mask=recipe["hard_mask"])
    if "fill_value" in recipe:
        result.fill_value = decode_variables(variables, recipe["fill_value"])[()]
    return result


def _indexers(selection: Selection, shape: list[int]) -> dict[Any, Any]:
    sizes = {f"dim_{axis}": length for axis, length in enumerate(shape)}
    indexers = checked_indexers(selection.isel or {}, sizes)
    if selection.rows is not None:
        if not shape or "dim_0" in indexers:
            raise SelectionError(
                "rows= selects along the first axis, "
                + ("which isel= does already" if shape else "and this value has none")
            )
        indexers["dim_0"] = check_positions(selection.rows, shape[0], "rows")
    return indexers
