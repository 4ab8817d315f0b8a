"""What a user asks for instead of the layout policy, for all arrays of a value or for those that it names."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from zdb.engine.layout import WHOLE
from zdb.errors import UnsupportedValueError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["LayoutOptions"]

Sizes = int | tuple[int, ...] | dict[Any, int]


@dataclass(frozen=True)
class LayoutOptions:
    """Chunks and shards, as sizes that are understood or None for the policy, and a codec.

    Attributes
    ----------
    chunks : int, tuple of int, dict of dimension to int, "balanced" or None
        The size along each dimension of each array; the shape for arrays of this rank; or the size along dimensions of
        these names, where others are whole.
    shards : int, tuple of int, dict of dimension to int, or None
        The same.
    codec : optional
        See :func:`zdb.engine.layout.choose_codecs`.
    """

    chunks: Any = None
    shards: Any = None
    codec: Any = None

    @classmethod
    def of(cls, wanted: Any) -> Self:
        """Return the options that a request or other object has as attributes.

        Raises
        ------
        UnsupportedValueError
            One of them cannot be understood.
        """
        chunks = "balanced" if _is_text(wanted.chunks, "balanced") else _understood("chunks", wanted.chunks)
        return cls(chunks, _understood("shards", wanted.shards), wanted.codec)

    def chunks_of(self, variable: xr.Variable) -> Any:
        """Return what is said of the chunks of one array, as :func:`zdb.engine.layout.choose_layout` takes it."""
        return _for_array(self.chunks, variable)

    def shards_of(self, variable: xr.Variable) -> Any:
        """Return what is said of the shards of one array."""
        return _for_array(self.shards, variable)

    def require_fit(self, variables: Mapping[Any, xr.Variable]) -> None:
        """Refuse sizes for arrays or dimensions of which a value has none.

        Raises
        ------
        UnsupportedValueError
        """
        for name, wanted in (("chunks", self.chunks), ("shards", self.shards)):
            if isinstance(wanted, dict):
                dims = dict.fromkeys(dim for one in variables.values() for dim in one.dims)
                for dim in wanted:
                    if dim not in dims:
                        known = ", ".join(map(repr, dims)) or "none"
                        raise UnsupportedValueError(
                            f"{name}={wanted!r}: no array has the dimension {dim!r}; there are {known}"
                        )
            elif isinstance(wanted, tuple) and all(_rank(one) != len(wanted) for one in variables.values()):
                arrays = ", ".join(f"{key} ({', '.join(map(str, one.dims))})" for key, one in variables.items())
                raise UnsupportedValueError(
                    f"{name}={wanted!r} fits no array of the value, because none has {len(wanted)} dimensions; there "
                    f"are {arrays or 'none'}"
                )


def _for_array(wanted: Any, variable: xr.Variable) -> Any:
    if wanted is None or not variable.ndim:
        return None
    rank = _rank(variable)
    rest = (WHOLE,) * (variable.ndim - rank)
    if isinstance(wanted, int):
        return (wanted,) * rank + rest
    if isinstance(wanted, dict):
        named = not set(wanted).isdisjoint(variable.dims)
        return tuple(wanted.get(dim, WHOLE) for dim in variable.dims) if named else None
    if wanted == "balanced":
        return wanted
    return wanted + rest if len(wanted) == rank else None


def _rank(variable: xr.Variable) -> int:
    """Dimensions of an array, without those in which its format puts the parts of an element."""
    return variable.ndim - int(variable.encoding.get("element_dims", 0))


def _understood(name: str, wanted: Any) -> Sizes | None:
    if wanted is None or _is_text(wanted, "auto"):
        return None
    try:
        if isinstance(wanted, Mapping):
            return {dim: _size(size) for dim, size in wanted.items()}
        if isinstance(wanted, Iterable):
            return tuple(map(_size, wanted))
        return _size(wanted)
    except (TypeError, ValueError) as error:
        balanced = ', or "balanced"' if name == "chunks" else ""
        raise UnsupportedValueError(
            f"{name}={wanted!r} cannot be understood: give one size for all dimensions, a size for each, or sizes by "
            f"name of the dimension{balanced}; sizes are positive integers, or -1 for a whole dimension"
        ) from error


def _size(wanted: Any) -> int:
    size = operator.index(wanted)
    if isinstance(wanted, bool) or not (size > 0 or size == WHOLE):
        raise ValueError(wanted)
    return size


def _is_text(wanted: Any, text: str) -> bool:
    return isinstance(wanted, str) and wanted == text
