"""Formats: how a Python value becomes an :class:`xarray.Dataset`, and back.

A format is two pure functions, ``encode`` and ``decode``. They see no path and no store, so a new type is added and
tested in memory; the engine writes and reads whatever Dataset they exchange.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from zdb.errors import FormatNotInstalledError, SelectionError, UnsupportedValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import xarray as xr

__all__ = [
    "Format",
    "Partitioned",
    "Selection",
    "by_name",
    "for_value",
    "is_of_types",
    "names",
    "register",
    "require_types",
    "why_not",
]

ENTRY_POINT_GROUP = "zdb.formats"

# Order matters: the first format that accepts a value gets it. Modules are imported on first use.
BUILT_IN = {
    "json": "zdb.formats.objects:JsonFormat",
    "array": "zdb.formats.arrays:ArrayFormat",
    "dataset": "zdb.formats.datasets:DatasetFormat",
    "table": "zdb.formats.tables:TableFormat",
    "ragged": "zdb.formats.ragged:RaggedFormat",
    "file": "zdb.formats.files:FileFormat",
    "nested": "zdb.formats.nested:NestedFormat",
    "pickle": "zdb.formats.objects:PickleFormat",
}


@dataclass(frozen=True)
class Selection:
    """The part of a value that a reader asked for; each format takes what fits it.

    Attributes
    ----------
    columns : sequence of hashable, optional
        Names of columns (table) or variables (dataset).
    rows : slice or sequence of int, optional
        Positions along the first dimension.
    isel, sel : mapping, optional
        Positions or labels by dimension, as in :meth:`xarray.Dataset.isel` and ``sel``.
    """

    columns: Sequence[Hashable] | None = None
    rows: slice | Sequence[int] | None = None
    isel: Mapping[Hashable, Any] | None = None
    sel: Mapping[Hashable, Any] | None = None

    def __bool__(self) -> bool:
        return any(p is not None for p in (self.columns, self.rows, self.isel, self.sel))

    def require(self, format_name: str, *allowed: str) -> None:
        """Raise :class:`SelectionError` for every part that is asked for and not in `allowed`."""
        for part in ("columns", "rows", "isel", "sel"):
            if getattr(self, part) is not None and part not in allowed:
                known = ", ".join(f"{name}=" for name in allowed) or "no parts"
                raise SelectionError(f"{part}= cannot select from a value of format {format_name!r} (it has {known})")


class Partitioned(Protocol):
    """A lazy value in parts of unknown size (a dask DataFrame), encoded so that each part is computed once."""

    def parts(self, spool: Callable[[int, bytes], None]) -> list[Any]:
        """Return a dask Delayed per part: it encodes it, keeps it by ``spool(number, payload)`` and returns sizes."""

    def finish(self, infos: Sequence[Any], load: Callable[[int, int, int], bytes]) -> xr.Dataset:
        """Return the Dataset made of the parts, which reads them lazily by ``load(number, start, length)``."""


class Format(ABC):
    """How one family of types is kept. Subclass it, and register it or name it in an entry point.

    Attributes
    ----------
    name, version
        Recorded with each value as ``zdb_format`` and ``zdb_format_version``.
    types
        Types that the format takes, as ``"package.ClassName"``: the top-level package and the qualified name, so that
        nothing is imported to find out. A subclass of one of these types is asked about too.
    executes_code
        Decoding can run code that the value brings along, so that it needs ``allow_pickle=True``.
    is_reference
        The value is somewhere else, and the database holds only where; :meth:`zdb.Database.materialize` brings it in.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    types: ClassVar[tuple[str, ...]] = ()
    executes_code: ClassVar[bool] = False
    is_reference: ClassVar[bool] = False

    def accepts(self, value: Any) -> bool:  # noqa: ARG002
        """Whether the format keeps this value, whose type is already one of `types`, by default."""
        return True

    @abstractmethod
    def encode(self, value: Any) -> xr.Dataset | xr.DataTree:
        """Turn a value into a Dataset that the engine can store (``docs/format.md``, "What an engine stores").

        Raises
        ------
        UnsupportedValueError
            The value would not come back exactly.
        """

    def partitioned(self, value: Any) -> Partitioned | None:  # noqa: ARG002
        """Return how to encode a value whose sizes are not known before its parts are computed; None for all others."""
        return None

    def check_written(self, encoded: xr.Dataset | xr.DataTree) -> None:  # noqa: B027 - most have nothing to look at
        """Called when the data has been written, before the commit: raise if its source changed meanwhile."""

    @abstractmethod
    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Turn the Dataset, as `encode` made it but lazily indexed, back into the value."""

    def select(self, node: xr.Dataset | xr.DataTree, selection: Selection) -> Any:  # noqa: ARG002
        """Decode a part of the value, reading no more than it needs."""
        selection.require(self.name)
        raise AssertionError("unreachable: an empty selection is decoded whole")


_registered: dict[str, Format] = {}


def register(format_class: type[Format]) -> type[Format]:
    """Make a format known in this process; usable as a class decorator."""
    _registered[format_class.name] = format_class()
    return format_class


@cache
def _load(target: str) -> Format:
    module, _, name = target.partition(":")
    made = getattr(importlib.import_module(module), name)()
    assert isinstance(made, Format)
    return made


@cache
def _plugins() -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}


def names() -> list[str]:
    """Names of all formats that are built in, registered or installed as plug-ins."""
    return list(dict.fromkeys([*_registered, *BUILT_IN, *_plugins()]))


def by_name(name: str) -> Format:
    """Return the format of this name.

    Raises
    ------
    FormatNotInstalledError
        No installed package provides it, or it cannot be imported.
    """
    if not isinstance(name, str):
        raise FormatNotInstalledError(f"format={name!r} is no name; known formats are {', '.join(names())}")
    if name in _registered:
        return _registered[name]
    target = BUILT_IN.get(name) or _plugins().get(name)
    if target is None:
        raise FormatNotInstalledError(
            f"format {name!r} is not installed; known formats are {', '.join(names())}. Install the package that "
            f"provides it (entry point group {ENTRY_POINT_GROUP!r}), or read the stored Dataset with db.dataset(key)"
        )
    try:
        return _load(target)
    except ImportError as error:
        raise FormatNotInstalledError(f"format {name!r} cannot be imported: {error}") from error


def _type_names(value: Any) -> Iterator[str]:
    for cls in type(value).__mro__[:-1]:
        yield f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}"


def is_of_types(chosen: Format, value: Any) -> bool:
    """Whether a value is of one of the types that a format names; one that names none takes any."""
    return not chosen.types or not set(_type_names(value)).isdisjoint(chosen.types)


def require_types(chosen: Format, value: Any) -> None:
    """Refuse a value that is of none of the types of a format.

    Raises
    ------
    UnsupportedValueError
    """
    if not is_of_types(chosen, value):
        raise UnsupportedValueError(why_not(chosen, value))


def why_not(chosen: Format, value: Any) -> str:
    """Say that a value is of none of the types of a format."""
    cls = type(value)
    known = ", ".join(name.removeprefix("builtins.") for name in chosen.types)
    return (
        f"format {chosen.name!r} does not keep a {cls.__module__}.{cls.__qualname__}; it is for {known}. Leave out "
        "format=, so that the type of the value decides"
    )


def for_value(value: Any) -> Format:
    """Return the format that keeps this value: what was registered last, plug-ins, then the built-in ones.

    Plug-ins are for types of packages: for a dict or a str none is imported.

    Raises
    ------
    UnsupportedValueError
        No format takes it; only ``format="pickle"`` could.
    """
    type_names = set(_type_names(value))
    plugins = {} if type(value).__module__ == "builtins" else _plugins()
    for name in dict.fromkeys([*reversed(_registered), *plugins, *BUILT_IN]):
        try:
            candidate = by_name(name)
        except FormatNotInstalledError:
            continue  # a broken plug-in must not keep others from writing
        if type_names.intersection(candidate.types) and candidate.accepts(value):
            return candidate
    cls = type(value)
    raise UnsupportedValueError(
        f"no format keeps a {cls.__module__}.{cls.__qualname__} exactly; convert it to an array, a Dataset, a table or "
        'JSON, or keep it by set(key, value, format="pickle")'
    )
