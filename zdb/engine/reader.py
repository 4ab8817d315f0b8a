"""Opening a stored value as an :class:`xarray.Dataset` whose arrays are read when they are used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import xarray as xr
from xarray.core import indexing
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import StorePath

from zdb.attributes import FORMAT_ATTRIBUTES
from zdb.engine.chunks import SteadySource, StoredArray, ValueSource

if TYPE_CHECKING:
    from zdb.engine.node import ArrayNode, Node
    from zdb.engine.store import NodeStore

__all__ = ["open_plain", "open_steady", "open_value"]


def open_value(nodes: NodeStore, node: Node) -> xr.Dataset | xr.DataTree:
    """Open the Dataset or DataTree of a value, as its format encoded it, without reading a chunk."""
    return _open(ValueSource(nodes, node), node)


def open_steady(nodes: NodeStore, node: Node) -> xr.Dataset | xr.DataTree:
    """Open the Dataset of a value whose claim is held, or that is not there yet: then what is written can be read."""
    return _open(SteadySource(nodes, node), node)


def _open(source: ValueSource, node: Node) -> xr.Dataset | xr.DataTree:
    node.check()
    groups = {name: _open_group(source, node, name, attributes) for name, attributes in node.groups.items()}
    if len(groups) == 1:
        return groups[""]
    return xr.DataTree.from_dict({f"/{name}": dataset for name, dataset in groups.items()})


def open_plain(nodes: NodeStore, node: Node) -> Any:
    """Open a node of any writer as plain xarray does, by the CF conventions, with dask arrays."""
    place = StorePath(nodes.zarr_store(reading=False), node.path)
    if node.document["node_type"] == "array":
        import dask.array
        import zarr

        array = zarr.open_array(place, mode="r")
        names: Any = array.metadata.to_dict().get("dimension_names")
        data = dask.array.from_zarr(array)  # type: ignore[no-untyped-call]
        return xr.DataArray(data, dims=names, attrs=dict(array.attrs))
    consolidated = "consolidated_metadata" in node.document
    if len(node.groups) > 1:
        return xr.open_datatree(place, engine="zarr", consolidated=consolidated, chunks={})  # type: ignore[arg-type]
    return xr.open_zarr(place, consolidated=consolidated)


def _open_group(source: ValueSource, node: Node, group: str, attributes: dict[str, Any]) -> xr.Dataset:
    prefix = f"{group}/" if group else ""
    variables = {
        name[len(prefix) :]: _open_variable(source, array)
        for name, array in node.arrays.items()
        if name.startswith(prefix) and "/" not in name[len(prefix) :]
    }
    named = str(attributes.get("coordinates", "")).split()
    named += json.loads(attributes.get("zdb_coordinates", "[]"))
    coords = {name: variable for name, variable in variables.items() if name in named or variable.dims == (name,)}
    data_vars = {name: variable for name, variable in variables.items() if name not in coords}
    kept = {
        name: value
        for name, value in attributes.items()
        if name in FORMAT_ATTRIBUTES or (not name.startswith("zdb_") and name != "coordinates")
    }
    return xr.Dataset(data_vars, xr.Coordinates(coords, indexes={}), kept)


def _open_variable(source: ValueSource, array: ArrayNode) -> xr.Variable:
    attributes = dict(array.metadata.get("attributes") or {})
    if not array.shape:
        value = ArrayV3Metadata.from_dict(array.metadata).fill_value
        return xr.Variable((), value, attributes)
    lazy = indexing.LazilyIndexedArray(StoredArray(source, array))
    encoding = {"preferred_chunks": dict(zip(array.dims, array.object_shape, strict=True))}
    return xr.Variable(array.dims, lazy, attributes, encoding)
