"""The format ``dataset``: xarray Datasets, DataArrays and DataTrees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import xarray as xr

from zdb.errors import SelectionError
from zdb.formats.dataset_variables import decode_dataset, encode_dataset
from zdb.formats.exact import exact_from_json, exact_to_json
from zdb.formats.names import is_safe_name, safe_names
from zdb.formats.positions import checked_indexers
from zdb.formats.registry import Format
from zdb.formats.variables import short_dtype

if TYPE_CHECKING:
    from collections.abc import Hashable

    from zdb.formats.registry import Selection

__all__ = ["DatasetFormat"]


class DatasetFormat(Format):
    """xarray objects: variables as xarray lays them out, and a recipe for what xarray would lose.

    Data variables and coordinates without an index come back as dask arrays: in the chunks they had, or in those they
    are stored in. Encodings come back in ``encoding``; they are not applied, because packing loses digits.
    """

    name = "dataset"
    types = ("xarray.Dataset", "xarray.DataArray", "xarray.DataTree")

    def accepts(self, value: Any) -> bool:
        """Refuse subclasses, which would not come back as such."""
        return type(value) in (xr.Dataset, xr.DataArray, xr.DataTree)

    def encode(self, value: Any) -> xr.Dataset | xr.DataTree:
        """Turn an xarray object into the Dataset that is stored.

        Parameters
        ----------
        value : xarray.Dataset, xarray.DataArray or xarray.DataTree

        Raises
        ------
        UnsupportedValueError
            A variable, index or attribute would not come back exactly.
        """
        if isinstance(value, xr.DataTree):
            return _encode_tree(value)
        if isinstance(value, xr.DataArray):
            return _encode_data_array(value)
        return _with_attributes(value, {"class": "Dataset"}, "xarray.Dataset", "", list(value.sizes.values()))

    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Turn the stored Dataset back into the xarray object."""
        if isinstance(node, xr.DataTree):
            return _decode_tree(node)
        recipe = json.loads(node.attrs["zdb_recipe"])
        decoded = decode_dataset(node, recipe["dataset"])
        if recipe["class"] == "DataTree":
            return xr.DataTree(decoded, name=exact_from_json(recipe["name"]))
        return _to_data_array(decoded, recipe) if recipe["class"] == "DataArray" else decoded

    def select(self, node: xr.Dataset | xr.DataTree, selection: Selection) -> Any:
        """Decode a part: `columns` are variables of a Dataset, `isel` and `sel` as in xarray.

        Parameters
        ----------
        node : xarray.Dataset
        selection : Selection

        Raises
        ------
        SelectionError
            There is no such variable, dimension or label.
        """
        found = self.decode(node)
        if isinstance(found, xr.DataTree):
            selection.require(self.name)
        selection.require(self.name, "isel", "sel", *(["columns"] if isinstance(found, xr.Dataset) else []))
        if selection.columns is not None:
            found = _columns(found, list(selection.columns))
        if selection.isel is not None:
            found = found.isel(checked_indexers(selection.isel, found.sizes))
        if selection.sel is not None:
            try:
                found = found.sel(selection.sel)
            except (KeyError, ValueError) as error:
                raise SelectionError(f"sel: {error.args[0] if error.args else error}") from error
        return found


def _with_attributes(
    dataset: xr.Dataset, recipe: dict[str, Any], type_name: str, dtype: str, shape: list[int]
) -> xr.Dataset:
    """Encode a Dataset, and add the attributes that every format sets."""
    stored, recipe["dataset"] = encode_dataset(dataset)
    own = {
        "zdb_type": type_name,
        "zdb_dtype": dtype,
        "zdb_shape": json.dumps(shape),
        "zdb_recipe": json.dumps(recipe, allow_nan=False),
    }
    return stored.assign_attrs(own)


def _columns(dataset: xr.Dataset, names: list[Hashable]) -> xr.Dataset:
    unknown = [name for name in names if name not in dataset.variables]
    if unknown:
        known = ", ".join(map(repr, dataset.variables))
        raise SelectionError(f"columns: there is no variable {unknown[0]!r}; known ones are {known}")
    return dataset[names]


def _encode_data_array(array: xr.DataArray) -> xr.Dataset:
    taken = {*array.coords, *array.dims}
    stored_name = array.name
    if not is_safe_name(stored_name) or stored_name in taken:
        (stored_name,) = safe_names(["data"], [str(name) for name in taken])
    recipe = {
        "class": "DataArray",
        "name": exact_to_json(array.name, "the name of the DataArray"),
        "variable": stored_name,
    }
    dataset = array.coords.to_dataset().assign({stored_name: array.variable})
    return _with_attributes(dataset, recipe, "xarray.DataArray", short_dtype(array.dtype), list(array.shape))


def _to_data_array(dataset: xr.Dataset, recipe: dict[str, Any]) -> xr.DataArray:
    array: xr.DataArray = dataset[recipe["variable"]]
    return array.rename(exact_from_json(recipe["name"]))


def _encode_tree(tree: xr.DataTree) -> xr.DataTree:
    """Encode each node by itself, without the coordinates that it inherits."""
    name = exact_to_json(tree.name, "the name of the DataTree")
    return xr.DataTree.from_dict(dict(_encoded_nodes(tree, "/", name)))


def _encoded_nodes(node: xr.DataTree, path: str, name: Any) -> list[tuple[str, xr.Dataset]]:
    dataset = node.to_dataset(inherit=False)
    children = list(node.children)
    stored_children = safe_names(children, [str(variable) for variable in dataset.variables])
    recipe = {"class": "DataTree", "name": name, "children": dict(zip(stored_children, children, strict=True))}
    shape = list(dataset.sizes.values())
    found = [(path, _with_attributes(dataset, recipe, "xarray.DataTree", "", shape))]
    for stored, (child, below) in zip(stored_children, node.children.items(), strict=True):
        found += _encoded_nodes(below, f"{path.rstrip('/')}/{stored}", child)
    return found


def _decode_tree(node: xr.DataTree) -> xr.DataTree:
    recipe = json.loads(node.attrs["zdb_recipe"])
    stored = node.to_dataset(inherit=False)
    children = {child: _decode_tree(node.children[stored_child]) for stored_child, child in recipe["children"].items()}
    name = exact_from_json(recipe["name"])
    return xr.DataTree(decode_dataset(stored, recipe["dataset"]), children=children, name=name)
