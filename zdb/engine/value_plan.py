"""What a value will look like in the store: the metadata of all its groups and arrays, before anything is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from zarr.core.metadata import ArrayV3Metadata

from zdb.attributes import FORMAT_ATTRIBUTES
from zdb.engine.layout import choose_codecs, choose_layout
from zdb.engine.node import ArrayNode, dump, group_document, is_chunk_of, key_encoding, node_path
from zdb.errors import UnsupportedValueError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zdb.engine.options import LayoutOptions

__all__ = ["ValuePlan", "groups_of", "typical_part"]

# The types that lie in the store; formats turn all others into these.
_STORED_KINDS = "biufcT"
JSONDict = dict[str, Any]


class ValuePlan:
    """The metadata of all groups and arrays of a value, and where the data of each array comes from."""

    def __init__(self, path: str, groups: dict[str, xr.Dataset], generation: int, options: LayoutOptions) -> None:
        self.path = path
        self.generation = generation
        self.options = options
        self.groups: dict[str, JSONDict] = {}
        self.sources: list[tuple[ArrayNode, xr.Variable]] = []
        for group, dataset in groups.items():
            self.groups[group] = _group_attributes(path, dataset)
            for name, variable in dataset.variables.items():
                array_path = "/".join(filter(None, (path, group, str(name))))
                self.sources.append((self._plan_array(array_path, variable), variable))
        try:
            options.require_fit({node.path[len(path) + 1 :]: variable for node, variable in self.sources})
        except UnsupportedValueError as error:
            raise UnsupportedValueError(f"{path}: {error}") from error

    def _plan_array(self, path: str, variable: xr.Variable) -> ArrayNode:
        dtype = variable.dtype
        if dtype.kind not in _STORED_KINDS or not dtype.isnative:
            raise UnsupportedValueError(
                f"{path}: an array of dtype {dtype} cannot be stored; this is a defect of the format"
            )
        if any(size != size for size in variable.shape):  # NaN: dask does not know the size
            raise UnsupportedValueError(
                f"{path}: the dask array has chunks of unknown size; call compute_chunk_sizes() on it first"
            )
        options, encoding = self.options, variable.encoding
        try:
            layout = encoding.get("zdb_layout") or choose_layout(
                variable.shape,
                dtype,
                parts=typical_part(variable),
                chunks=options.chunks_of(variable) or encoding.get("chunks"),
                shards=options.shards_of(variable) or encoding.get("shards"),
            )
            codecs = choose_codecs(dtype, layout, encoding.get("zdb_codec", options.codec))
        except UnsupportedValueError as error:
            raise UnsupportedValueError(f"{path}: {error}") from error
        metadata = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(variable.shape),
            "data_type": "string" if dtype.kind == "T" else dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": list(layout.objects)},
            },
            "chunk_key_encoding": key_encoding(self.generation),
            "fill_value": _fill_value(variable),
            "codecs": codecs,
            "attributes": _checked_attributes(path, variable.attrs),
            "dimension_names": list(map(str, variable.dims)),
            "storage_transformers": [],
        }
        if options.codec is not None and options.codec is not False:
            _require_codec(path, metadata, options.codec)
        return ArrayNode(path, metadata)

    @property
    def is_lazy(self) -> bool:
        """Whether any array is computed while it is written."""
        return any(variable.chunks is not None for _, variable in self.sources)

    def own_chunks(self, paths: Iterable[str]) -> list[str]:
        """Return those of the paths that are the keys of chunks of this generation of these arrays."""
        prefixes = [f"{node.path}/" for node, _ in self.sources]
        return [
            path
            for path in paths
            if any(path.startswith(p) and is_chunk_of(self.generation, path[len(p) :]) for p in prefixes)
        ]

    def metadata(self) -> dict[str, JSONDict]:
        """Return the metadata of groups and arrays by path, without that of the value itself."""
        groups = {node_path(f"{self.path}/{name}"): group_document(own) for name, own in self.groups.items() if name}
        return groups | {node_path(node.path): node.metadata for node, _ in self.sources}

    def top_document(self, attributes: JSONDict) -> JSONDict:
        """Return the ``zarr.json`` of the value, which holds the metadata of all that lies below it."""
        start = len(self.path) + 1
        below = {name: group_document(own) for name, own in self.groups.items() if name} | {
            node.path[start:]: node.metadata for node, _ in self.sources
        }
        consolidated = {"kind": "inline", "must_understand": False, "metadata": below}
        document = group_document({**self.groups[""], **attributes, "zdb_arrays": len(self.sources)})
        return {**document, "consolidated_metadata": consolidated}


def groups_of(encoded: xr.Dataset | xr.DataTree) -> dict[str, xr.Dataset]:
    if isinstance(encoded, xr.Dataset):
        return {"": encoded}
    return {node.path.strip("/"): node.to_dataset(inherit=False) for node in encoded.subtree}


def _group_attributes(path: str, dataset: xr.Dataset) -> JSONDict:
    coords = [str(name) for name, c in dataset.coords.items() if c.dims != (name,)]
    made = _checked_attributes(path, dataset.attrs)
    reserved = [n for n in made if n.startswith("zdb_") and n not in FORMAT_ATTRIBUTES]
    if reserved or "coordinates" in made:
        raise UnsupportedValueError(
            f"{path}: the format sets attributes that belong to the engine: {', '.join(reserved) or 'coordinates'}"
        )
    plain = [name for name in coords if " " not in name]
    if plain:
        made["coordinates"] = " ".join(plain)
    if len(plain) < len(coords):
        made["zdb_coordinates"] = json.dumps([name for name in coords if " " in name])
    return made


def _checked_attributes(path: str, attributes: dict[Any, Any]) -> JSONDict:
    try:
        dump(attributes)
    except (TypeError, ValueError) as error:
        raise UnsupportedValueError(f"{path}: attributes are not plain JSON: {error}") from error
    return dict(attributes)


def _require_codec(path: str, metadata: JSONDict, codec: Any) -> None:
    """Refuse a codec of which zarr makes no array."""
    try:
        ArrayV3Metadata.from_dict(metadata)
    except Exception as error:
        raise UnsupportedValueError(
            f"{path}: codec={codec!r} is none that zarr takes here ({type(error).__name__}: {error}); give one such as "
            "zarr.codecs.BloscCodec(), its dict, or False"
        ) from error


def typical_part(variable: xr.Variable) -> tuple[int, ...] | None:
    if variable.chunks is None or not all(map(all, variable.chunks)):
        return None
    return tuple(max(sizes) for sizes in variable.chunks)


def _fill_value(variable: xr.Variable) -> Any:
    """Return the fill value as JSON. An array without dimensions has no chunk: its value is its fill value."""
    kind = variable.dtype.kind
    value = variable.values[()] if not variable.ndim else None
    if kind == "T":
        return "" if value is None else str(value)
    if kind == "b":
        return bool(value)
    if kind in "iu":
        return int(value or 0)
    if kind == "f":
        return "NaN" if value is None else _float_json(value)
    return ["NaN", "NaN"] if value is None else [_float_json(value.real), _float_json(value.imag)]


def _float_json(value: Any) -> float | str:
    if np.isfinite(value):
        return float(value)
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    # The bits tell one NaN from another.
    return f"0x{np.asarray(value, value.dtype.newbyteorder('>')).tobytes().hex()}"
