"""The variables, coordinates and attributes of a Dataset as they are stored, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from zdb.errors import UnsupportedValueError
from zdb.formats.attributes import decode_attributes, drop_node_attributes, encode_attributes
from zdb.formats.dataset_indexes import decode_index, decode_pandas_array, encode_index, encode_pandas_array
from zdb.formats.exact import exact_from_json, exact_to_json
from zdb.formats.names import safe_names
from zdb.formats.variables import (
    check_chunked_by_numpy,
    chunks_from_json,
    chunks_to_json,
    chunks_to_read,
    decode_variables,
    encode_variables,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

__all__ = ["decode_dataset", "encode_dataset"]

Recipe = dict[str, Any]

# Encodings that say how values were written elsewhere and may be written again; those of files and chunks that the
# stored arrays have anyway are not among them.
KEPT_ENCODINGS = (
    "units",
    "calendar",
    "dtype",
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "_Unsigned",
    "chunks",
    "chunksizes",
)


def encode_dataset(dataset: xr.Dataset) -> tuple[xr.Dataset, Recipe]:
    """Turn a Dataset into one that an engine can store, and a recipe in JSON.

    Raises
    ------
    UnsupportedValueError
        A variable, index or attribute would not come back exactly.
    """
    encoder = _Encoder(dataset)
    indexed: set[Hashable] = set()
    indexes = []
    for index, members in dataset.xindexes.group_by_index():
        indexed.update(members)
        indexes.append(encoder.add_index(index, members))
    entries = [encoder.add(name, variable, name in indexed) for name, variable in dataset.variables.items()]
    shown, attributes = encode_attributes(drop_node_attributes(dataset.attrs))
    recipe: Recipe = {"variables": entries, "indexes": indexes, "attributes": attributes}
    unlimited = dataset.encoding.get("unlimited_dims")
    if unlimited:
        recipe["unlimited_dims"] = exact_to_json(unlimited, "unlimited_dims")
    coords = {name: v for name, v in encoder.variables.items() if name in encoder.coords}
    data = {name: v for name, v in encoder.variables.items() if name not in encoder.coords}
    return xr.Dataset(data, xr.Coordinates(coords, indexes={}), shown), recipe


class _Encoder:
    """Collects the stored variables of one Dataset."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self.dataset = dataset
        self.variables: dict[str, xr.Variable] = {}
        self.coords: set[str] = set()
        # A dimension and its coordinate share one name, by which plain xarray knows that they belong together.
        names = list(dict.fromkeys([*dataset.variables, *dataset.sizes]))
        self.names: dict[Hashable, str] = dict(zip(names, safe_names(names), strict=True))
        self.taken = set(self.names.values())

    def add_index(self, index: xr.Index, members: Mapping[Any, xr.Variable]) -> Recipe:
        names = {name: self.names[name] for name in members}
        (dim,) = {dim for variable in members.values() for dim in variable.dims} or {next(iter(members))}
        made, recipe = encode_index(index, names, self.names[dim], self.taken)
        self.variables |= made
        self.coords.update(made)
        return {"names": [exact_to_json(name, "the name of a coordinate") for name in members], "index": recipe}

    def add(self, name: Hashable, variable: xr.Variable, is_indexed: bool) -> Recipe:
        """Add a variable; of one that has an index, only the attributes are left to keep."""
        stored_name = self.names[name]
        recipe: Recipe = {
            "name": exact_to_json(name, "the name of a variable"),
            "dims": [exact_to_json(dim, "the name of a dimension") for dim in variable.dims],
        }
        if name in self.dataset.coords:
            recipe["coord"] = True
        if not is_indexed:
            self._add_data(stored_name, variable, recipe)
            if "coord" in recipe:
                self.coords.add(stored_name)
        target = self.variables.get(stored_name)
        hidden = set() if target is None else set(target.attrs)
        shown, recipe["attributes"] = encode_attributes(variable.attrs, hidden, show=target is not None)
        if target is not None:
            target.attrs.update(shown)
            recipe["main"] = stored_name
        encoding = _encode_encoding(variable.encoding)
        if encoding:
            recipe["encoding"] = encoding
        return recipe

    def _add_data(self, stored_name: str, variable: xr.Variable, recipe: Recipe) -> None:
        what = f"the variable {stored_name!r}"
        if isinstance(variable.dtype, pd.api.extensions.ExtensionDtype):
            (dim,) = variable.dims
            made, recipe["pandas"] = encode_pandas_array(stored_name, variable, self.names[dim], self.taken)
        else:
            data = variable.data if variable.chunks is not None else variable.values
            if variable.chunks is not None:
                check_chunked_by_numpy(data, what)
                recipe["chunks"] = chunks_to_json(variable.chunks)
            dims = [self.names[dim] for dim in variable.dims]
            try:
                made, recipe["array"] = encode_variables(stored_name, dims, data, self.taken)
            except UnsupportedValueError as error:
                raise UnsupportedValueError(f"{what}: {error}") from error
        self.variables |= made


def decode_dataset(stored: xr.Dataset, recipe: Mapping[str, Any]) -> xr.Dataset:
    """Restore the Dataset that :func:`encode_dataset` took apart; arrays without an index stay lazy."""
    made: dict[Hashable, xr.Variable] = {}
    indexes: dict[Any, xr.Index] = {}
    dims_of = {_name(entry): [exact_from_json(dim) for dim in entry["dims"]] for entry in recipe["variables"]}
    for entry in recipe["indexes"]:
        names = [exact_from_json(name) for name in entry["names"]]
        dim = (dims_of[names[0]] or names)[0]
        index, variables = decode_index(stored.variables, entry["index"], dim, names)
        made |= variables
        indexes |= dict.fromkeys(names, index)
    ordered = {}
    for entry in recipe["variables"]:
        name = _name(entry)
        variable = made[name] if name in made else _decode_data(stored, entry, dims_of[name])
        variable.attrs = decode_attributes(_shown(stored, entry), entry["attributes"])
        variable.encoding = {k: exact_from_json(v) for k, v in entry.get("encoding", {}).items()}
        ordered[name] = variable
    coords = {_name(entry): ordered[_name(entry)] for entry in recipe["variables"] if "coord" in entry}
    data = {name: variable for name, variable in ordered.items() if name not in coords}
    shown = {name: value for name, value in stored.attrs.items() if not name.startswith("zdb_")}
    attrs = decode_attributes(shown, recipe["attributes"])
    dataset = xr.Dataset(data, xr.Coordinates(coords, indexes=indexes), attrs)
    if "unlimited_dims" in recipe:
        dataset.encoding["unlimited_dims"] = exact_from_json(recipe["unlimited_dims"])
    return dataset


def _decode_data(stored: xr.Dataset, entry: Mapping[str, Any], dims: list[Hashable]) -> xr.Variable:
    if "pandas" in entry:
        return decode_pandas_array(stored.variables, entry["pandas"], dims[0])
    main = stored.variables[entry["array"]["variables"][0]]
    shape = main.shape[: len(dims)]
    if "chunks" in entry:
        chunks = chunks_from_json(entry["chunks"], shape)
    elif dims:
        chunks = chunks_to_read(main, len(dims))
    else:
        chunks = None
    return xr.Variable(dims, decode_variables(stored.variables, entry["array"], chunks))


def _shown(stored: xr.Dataset, entry: Mapping[str, Any]) -> Mapping[Any, Any]:
    """Attributes of the stored variable that bears the name of this one."""
    main = entry.get("main")
    return stored.variables[main].attrs if main in stored.variables else {}


def _name(entry: Mapping[str, Any]) -> Any:
    return exact_from_json(entry["name"])


def _encode_encoding(encoding: Mapping[Any, Any]) -> Recipe:
    kept = {}
    for name in KEPT_ENCODINGS:
        if name in encoding:
            try:
                kept[name] = exact_to_json(encoding[name], f"the encoding {name!r}")
            except UnsupportedValueError:
                continue  # a hint for other writers, not data
    return kept
