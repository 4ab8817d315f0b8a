"""Attributes, exactly: what JSON can show stands in the open, the rest is kept by a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.attributes import NODE_ATTRIBUTES
from zdb.errors import UnsupportedValueError
from zdb.formats.exact import exact_from_json, exact_to_json, is_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = [
    "decode_attributes",
    "drop_node_attributes",
    "encode_attributes",
]

# Attributes by which xarray changes the data, or its place, when it opens a stored Dataset.
DECODED_BY_XARRAY = frozenset(
    {
        "_ARRAY_DIMENSIONS",
        "_Encoding",
        "_FillValue",
        "_Unsigned",
        "add_offset",
        "bounds",
        "calendar",
        "coordinates",
        "dtype",
        "grid_mapping",
        "missing_value",
        "scale_factor",
    }
)
SHOWN_ELEMENTS = 1000


def drop_node_attributes(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Leave out what zdb wrote on the node that a Dataset of the user was opened from.

    Raises
    ------
    UnsupportedValueError
        Another name begins with ``zdb_``.
    """
    kept = {}
    for name, value in attrs.items():
        if isinstance(name, str) and name.startswith("zdb_"):
            if name in NODE_ATTRIBUTES:
                continue
            raise UnsupportedValueError(f"the attribute {name!r} begins with 'zdb_', which is reserved; rename it")
        kept[name] = value
    return kept


def encode_attributes(
    attrs: Mapping[Any, Any], hidden: Collection[str] = (), show: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide attributes into those that plain xarray shows and a recipe that restores all.

    Parameters
    ----------
    attrs : mapping
        Attributes with names and values of many types.
    hidden : collection of str
        Names that must not be shown, besides those that make xarray change the data.
    show : bool
        False leaves everything to the recipe.

    Returns
    -------
    shown : dict of str to JSON
        Attributes to store in the open; numpy values appear as numbers and lists.
    recipe : dict
        JSON for :func:`decode_attributes`; empty if there are no attributes.

    Raises
    ------
    UnsupportedValueError
        A value of a type that would not come back exactly.
    """
    shown: dict[str, Any] = {}
    names: list[Any] = []
    exact: list[list[Any]] = []
    for position, (name, value) in enumerate(attrs.items()):
        names.append(exact_to_json(name, "the name of an attribute"))
        stored = exact_to_json(value, f"the attribute {name!r}")
        visible = _visible(value) if show and _may_be_shown(name, value, hidden) else None
        if visible is not None:
            shown[name] = visible[0]
        if visible is None or not is_json(value):
            exact.append([position, stored])
    recipe: dict[str, Any] = {"names": names} if names else {}
    if exact:
        recipe["exact"] = exact
    return shown, recipe


def decode_attributes(shown: Mapping[Any, Any], recipe: Mapping[str, Any]) -> dict[Any, Any]:
    """Restore attributes that :func:`encode_attributes` divided.

    Attributes that were removed from the store since are left out.
    """
    exact = dict(recipe.get("exact", []))
    attrs = {}
    for position, stored_name in enumerate(recipe.get("names", [])):
        name = exact_from_json(stored_name)
        if position in exact:
            attrs[name] = exact_from_json(exact[position])
        elif name in shown:
            attrs[name] = shown[name]
    return attrs


def _may_be_shown(name: Any, value: Any, hidden: Collection[str]) -> bool:
    if type(name) is not str or not is_json(name) or name in hidden or name.startswith("zdb_"):
        return False
    return name not in DECODED_BY_XARRAY and not (name == "units" and "since" in str(value))


def _visible(value: Any) -> tuple[Any] | None:
    """What plain xarray is shown of a value; None if nothing."""
    if isinstance(value, np.ndarray) and value.size > SHOWN_ELEMENTS:
        return None
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufUT":
        value = value.tolist()
    elif type(value) is tuple:
        value = list(value)
    return (value,) if is_json(value) else None
