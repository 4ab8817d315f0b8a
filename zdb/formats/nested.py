"""The format ``nested``: tuples, sets, lists and dicts of arrays, tables and plain values."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.errors import UnsupportedValueError
from zdb.formats import registry
from zdb.formats.exact import exact_from_json, exact_to_json, is_json
from zdb.formats.registry import Format

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NestedFormat"]

# Formats of which a value can be a part.
PARTS = frozenset({"array", "dataset", "ragged", "table"})
# Packages of which a type may be one of them.
PACKAGES = frozenset({"awkward", "dask", "numpy", "pandas", "polars", "pyarrow", "xarray", "zdb"})
# Arrays of fewer bytes stand in the recipe.
SMALLEST_PART = 256


class NestedFormat(Format):
    """Containers: a recipe of what is in them, and a group for each array or table.

    A tuple or a set gets this format by itself; a list or dict of more than JSON by ``format="nested"``.
    """

    name = "nested"
    types = ("builtins.tuple", "builtins.set", "builtins.frozenset")

    def accepts(self, value: Any) -> bool:
        """Refuse subclasses, such as named tuples, which would not come back as such."""
        return type(value) in (tuple, set, frozenset)

    def encode(self, value: Any) -> xr.Dataset | xr.DataTree:
        """Turn a container into a DataTree of its parts.

        Parameters
        ----------
        value : tuple, set, frozenset, list, dict or OrderedDict

        Raises
        ------
        UnsupportedValueError
            Something in it would not come back exactly; the message tells where it is.
        """
        parts: list[xr.Dataset] = []
        structure = _packed(value, "the value", parts)
        root = xr.Dataset(
            attrs={
                "zdb_type": type(value).__name__,
                "zdb_dtype": "",
                "zdb_shape": f"[{len(value)}]",
                "zdb_recipe": json.dumps({"structure": structure}, allow_nan=False),
            }
        )
        if not parts:
            return root
        return xr.DataTree.from_dict({"/": root, **{f"/part_{n}": part for n, part in enumerate(parts)}})

    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Turn the parts back into the container."""
        structure = json.loads(node.attrs["zdb_recipe"])["structure"]
        children = node.children if isinstance(node, xr.DataTree) else {}

        def part(number: int, format_name: str) -> Any:
            stored = children[f"part_{number}"].to_dataset(inherit=False)
            return registry.by_name(format_name).decode(stored)

        return _unpacked(structure, part)


def _packed(value: Any, what: str, parts: list[xr.Dataset]) -> dict[str, Any]:
    kind = type(value)
    if is_json(value):
        return {"json": value}
    if kind in (list, tuple):
        return {kind.__name__: [_packed(part, f"{what}[{n}]", parts) for n, part in enumerate(value)]}
    if kind in (dict, OrderedDict):
        items = [
            [exact_to_json(key, f"a key of {what}"), _packed(part, f"{what}[{key!r}]", parts)]
            for key, part in value.items()
        ]
        return {kind.__name__: items}
    if _may_be_part(value):
        return _part(value, what, parts)
    return {"exact": exact_to_json(value, what)}


def _may_be_part(value: Any) -> bool:
    if isinstance(value, np.generic) or type(value).__module__.partition(".")[0] not in PACKAGES:
        return False
    return hasattr(value, "__len__") or hasattr(value, "dims")


def _part(value: Any, what: str, parts: list[xr.Dataset]) -> dict[str, Any]:
    if type(value) is np.ndarray and value.nbytes < SMALLEST_PART and not value.dtype.hasobject:
        try:
            return {"exact": exact_to_json(value, what)}
        except UnsupportedValueError:
            pass  # a dtype that only the format array keeps
    try:
        chosen = registry.for_value(value)
        if chosen.name not in PARTS or chosen.partitioned(value) is not None:
            raise UnsupportedValueError(f"a value of format {chosen.name!r} cannot be a part; give it a key of its own")
        encoded = chosen.encode(value)
    except UnsupportedValueError as error:
        if type(value) is np.ndarray and value.dtype == object:
            elements = [_packed(element, f"{what}[{n}]", parts) for n, element in enumerate(value.ravel().tolist())]
            return {"objects": elements, "shape": list(value.shape)}
        raise UnsupportedValueError(f"{what}: {error}") from error
    if not isinstance(encoded, xr.Dataset):
        raise UnsupportedValueError(f"{what}: a DataTree cannot be a part; give it a key of its own")
    parts.append(encoded)
    return {"part": len(parts) - 1, "format": chosen.name}


def _unpacked(stored: dict[str, Any], part: Callable[[int, str], Any]) -> Any:
    match stored:
        case {"json": value}:
            return value
        case {"list": elements}:
            return [_unpacked(element, part) for element in elements]
        case {"tuple": elements}:
            return tuple(_unpacked(element, part) for element in elements)
        case {"dict": items}:
            return {exact_from_json(key): _unpacked(element, part) for key, element in items}
        case {"OrderedDict": items}:
            return OrderedDict((exact_from_json(key), _unpacked(element, part)) for key, element in items)
        case {"part": number, "format": format_name}:
            return part(number, format_name)
        case {"objects": elements, "shape": shape}:
            made = np.empty(len(elements), dtype=object)
            for position, element in enumerate(elements):
                made[position] = _unpacked(element, part)
            return made.reshape(shape)
    return exact_from_json(stored["exact"])
