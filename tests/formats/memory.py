"""A store in memory for tests of formats: it keeps and refuses what an engine keeps and refuses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

if TYPE_CHECKING:
    from zdb.formats import Format

NUMERIC = {np.dtype(code) for code in ("?", *"bhilBHIL", "i8", "u8", *"efdFD")}
VARIABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")
FORMAT_ATTRIBUTES = ("zdb_type", "zdb_dtype", "zdb_shape", "zdb_recipe")


class StoredArray(BackendArray):
    """An array as the engine hands it out: read when indexed, and counting what was read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape = values.shape
        self.dtype = values.dtype
        self.elements_read = 0

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        result = self.values
        for axis, part in enumerate(reversed(key)):
            index = (slice(None),) * (len(key) - 1 - axis) + (part,)
            result = result[index]
        self.elements_read += result.size
        return np.array(result)


def roundtrip(format: Format, value: Any, chunk_size: int = 3) -> Any:  # noqa: A002
    """Encode, store, read back and decode a value.

    Parameters
    ----------
    format : Format
        The format under test.
    value : object
        Anything that it encodes.
    chunk_size : int
        Length of the stored shards along every dimension, told to `decode` as ``preferred_chunks``.
    """
    return format.decode(store(format.encode(value), chunk_size))


def store(node: xr.Dataset | xr.DataTree, chunk_size: int = 3) -> xr.Dataset | xr.DataTree:
    """Check that an engine can store `node`, and return it as the engine would read it back."""
    if isinstance(node, xr.Dataset):
        return _store_dataset(node, chunk_size)
    datasets = {}
    for each in node.subtree:
        datasets[each.path] = _store_dataset(each.to_dataset(inherit=False), chunk_size)
        names = [*each.children, *map(str, each.to_dataset(inherit=False).variables)]
        _check_names(names)
    return xr.DataTree.from_dict(datasets)


def elements_read(node: xr.Dataset | xr.DataTree) -> int:
    """How many elements have been read from the arrays of a stored Dataset."""
    nodes = [node] if isinstance(node, xr.Dataset) else [n.dataset for n in node.subtree]
    return sum(v.encoding["stored"].elements_read for n in nodes for v in n.variables.values())


def _store_dataset(dataset: xr.Dataset, chunk_size: int) -> xr.Dataset:
    assert not dataset.xindexes, f"indexes were built: {list(dataset.xindexes)}"
    for name in FORMAT_ATTRIBUTES:
        assert isinstance(dataset.attrs.get(name), str), f"attribute {name} must be a string"
    json.loads(dataset.attrs["zdb_recipe"])
    assert isinstance(json.loads(dataset.attrs["zdb_shape"]), list)
    _check_names([*dataset.variables])
    for dim in dataset.sizes:
        assert type(dim) is str, f"dimension {dim!r}"
        assert dim, "empty name of a dimension"
    variables = {
        name: _store_variable(name, variable, chunk_size)
        for name, variable in sorted(dataset.variables.items(), key=lambda item: str(item[0]))
    }
    return xr.Dataset(
        {name: variables[name] for name in variables if name not in dataset.coords},
        xr.Coordinates({n: variables[n] for n in variables if n in dataset.coords}, indexes={}),
        _json(dataset.attrs, "the Dataset"),
    )


def _store_variable(name: Any, variable: xr.Variable, chunk_size: int) -> xr.Variable:
    assert set(variable.encoding) <= {"chunks", "shards", "element_dims"}, f"encoding of {name!r}"
    if variable.chunks is not None:
        assert all(not np.isnan(size) for sizes in variable.chunks for size in sizes), name
    promised = variable.dtype
    values = variable.compute().values
    assert type(values) is np.ndarray, f"{name!r} holds a {type(values)}"
    assert values.dtype == promised, f"{name!r}: {promised} promised, {values.dtype} came"
    text = isinstance(values.dtype, np.dtypes.StringDType)
    if text:
        assert values.dtype == np.dtypes.StringDType(), f"{name!r}: {values.dtype!r}"
    else:
        assert values.dtype in NUMERIC, f"{name!r}: dtype {values.dtype}"
        assert values.dtype.isnative, f"{name!r}: dtype {values.dtype}"
    stored = StoredArray(values.copy())
    data = np.array(values) if values.ndim == 0 else indexing.LazilyIndexedArray(stored)
    attrs = _json(variable.attrs, f"variable {name!r}")
    assert not any(key.startswith("zdb_") for key in attrs), f"attributes of variable {name!r}"
    encoding = {"stored": stored, "preferred_chunks": dict.fromkeys(variable.dims, chunk_size)}
    return xr.Variable(variable.dims, data, attrs, encoding)


def _check_names(names: list[Any]) -> None:
    for name in names:
        assert type(name) is str, f"name {name!r}"
        assert VARIABLE_NAME.fullmatch(name), f"name {name!r}"
        assert name != "zarr.json"
    folded = [name.casefold() for name in names]
    assert len(set(folded)) == len(folded), f"names differ by case only: {names}"


def _json(attrs: dict[Any, Any], owner: str) -> dict[str, Any]:
    for name in attrs:
        assert type(name) is str, f"attribute {name!r} of {owner}"
    text = json.dumps(attrs, allow_nan=False)
    text.encode("utf-8")
    read: dict[str, Any] = json.loads(text)
    assert _same(read, dict(attrs)), f"attributes of {owner} are not JSON: {attrs}"
    return read


def _same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
