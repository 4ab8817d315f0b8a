"""Finding keys by what their metadata says, in one database or in all of a catalog."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from zdb.engine.node import NONSENSE, UNREADABLE, VALUE, Node
from zdb.engine.store import LocalNodes
from zdb.errors import InvalidQueryError
from zdb.handle import Handle
from zdb.info import Info

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from zdb.engine.plain import PlainEngine

__all__ = ["Finding", "Query", "as_frame", "search"]

Row = dict[str, Any]
COLUMNS = (
    "key",
    "kind",
    "format",
    "type",
    "dtype",
    "dims",
    "shape",
    "size",
    "created",
    "user",
    "hostname",
    "commit",
    "git_state",
    "inputs",
    "attrs",
)
# Sub-databases of a bucket are listed at the same time; on a local disk it would not help.
CONCURRENT_LISTINGS = 16


class Finding(Handle):
    """What a database can do to find keys."""

    def find(
        self,
        pattern: str | None = None,
        *,
        kind: str | None = None,
        format: str | None = None,  # noqa: A002
        type: str | None = None,  # noqa: A002
        dtype: str | None = None,
        dims: str | Sequence[str] | None = None,
        min_size: int | str | None = None,
        max_size: int | str | None = None,
        attrs: Mapping[str, Any] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        commit: str | None = None,
        dirty: bool | None = None,
        user: str | None = None,
        hostname: str | None = None,
        inputs: str | None = None,
    ) -> pd.DataFrame:
        """Find keys by their metadata; no data is read.

        All conditions that are given must hold. Texts may have ``*``, ``?`` and ``[…]``, as file names in a shell.

        Parameters
        ----------
        pattern : str, optional
            Compared with the last name of the key, or with all of it where the pattern has a ``/``; ``*`` matches
            ``/`` too.
        kind : {"value", "database", "foreign", "unreadable"}, optional
        format, type, dtype : str, optional
            As :meth:`info` shows them; `dtype` also that of any stored array.
        dims : str or sequence of str, optional
            Dimensions that the value has.
        min_size, max_size : int or str, optional
            Uncompressed size, in bytes or as ``"10 MB"``.
        attrs : mapping, optional
            Attributes and what they equal: of the value, such as ``DataFrame.attrs``, and remarks kept with ``attrs=``,
            or also of one of the variables or groups in it.
        since, until : datetime or str, optional
            When the value was written; ISO 8601, in UTC where no zone is given.
        commit : str, optional
            Beginning of the git commit of the code that wrote it.
        dirty : bool, optional
            Whether that code had changes that were not committed.
        user, hostname : str, optional
        inputs : str, optional
            A key or URL that the value was computed from.

        Returns
        -------
        pandas.DataFrame
            A row for each key, by key: key, kind, format, type, dtype, dims, shape, size (bytes, uncompressed),
            created (UTC), user, hostname, commit, git_state, inputs, attrs.

        Raises
        ------
        InvalidQueryError
            A size or time cannot be understood.
        """
        query = Query(
            pattern, kind, format, type, dtype, dims, min_size, max_size, attrs, since, until, commit, dirty, user,
            hostname, inputs,
        )  # fmt: skip
        return as_frame(sorted(search(self._engine, self._path, query), key=lambda row: row["key"]))


@dataclass(frozen=True)
class Query:
    """The conditions of :meth:`zdb.Database.find`."""

    pattern: str | None = None
    kind: str | None = None
    format: str | None = None
    type: str | None = None
    dtype: str | None = None
    dims: str | Sequence[str] | None = None
    min_size: int | str | None = None
    max_size: int | str | None = None
    attrs: Mapping[str, Any] | None = None
    since: datetime | str | None = None
    until: datetime | str | None = None
    commit: str | None = None
    dirty: bool | None = None
    user: str | None = None
    hostname: str | None = None
    inputs: str | None = None

    def __post_init__(self) -> None:
        understood = {
            "dims": (self.dims,) if isinstance(self.dims, str) else self.dims,
            "min_size": _bytes("min_size", self.min_size),
            "max_size": _bytes("max_size", self.max_size),
            "since": _moment("since", self.since),
            "until": _moment("until", self.until),
        }
        for name, value in understood.items():
            object.__setattr__(self, name, value)

    def matches(self, row: Row, node: Node) -> bool:
        """Whether a key is among what is asked for."""
        return all(
            getattr(self, condition.name) is None or _CHECKS[condition.name](getattr(self, condition.name), row, node)
            for condition in fields(self)
        )


def _bytes(name: str, size: int | str | None) -> int | None:
    if not isinstance(size, str):
        return size
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(size))
    except ValueError as error:
        raise InvalidQueryError(f"{name}={size!r} is no size such as '10 MB': {error}") from error


def _moment(name: str, moment: datetime | str | None) -> datetime | None:
    if moment is None:
        return None
    try:
        found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidQueryError(f"{name}={moment!r} is no time such as '2026-03-14 09:26': {error}") from error


def _named(pattern: str, row: Row, _: Node) -> bool:
    key = row["key"]
    return fnmatchcase(key if "/" in pattern else key.rpartition("/")[2], pattern)


def _has_dtype(pattern: str, row: Row, node: Node) -> bool:
    stored = [array.dtype for array in node.described_arrays.values()]
    return any(fnmatchcase(dtype, pattern) for dtype in (row["dtype"], *stored))


def _has_attributes(wanted: Mapping[str, Any], row: Row, node: Node) -> bool:
    of_arrays = [array.metadata.get("attributes") or {} for array in node.described_arrays.values()]
    return any(
        all(
            any(name in known and known[name] == value for known in (node.attributes, row["attrs"], own))
            for name, value in wanted.items()
        )
        for own in [{}, *of_arrays, *node.groups.values(), *_attrs_of_tables(node)]
    )


def _attrs_of_tables(node: Node) -> Iterator[dict[str, Any]]:
    """What DataFrames, Series and awkward arrays, and the columns of ragged data, have in their `attrs`."""
    for attributes in node.groups.values():
        with suppress(*NONSENSE):
            recipe = json.loads(attributes.get("zdb_recipe", "{}"))
            found = [
                one["attrs"] for one in (recipe, recipe.get("columns")) if isinstance(one, dict) and "attrs" in one
            ]
            yield from (one for one in found if isinstance(one, dict))


def _text(name: str) -> Any:
    return lambda pattern, row, _: fnmatchcase(row[name], pattern)


_CHECKS: dict[str, Any] = {
    "pattern": _named,
    "kind": _text("kind"),
    "format": _text("format"),
    "type": _text("type"),
    "dtype": _has_dtype,
    "dims": lambda wanted, row, _: set(wanted) <= set(row["dims"]),
    "min_size": lambda size, row, _: row["size"] >= size,
    "max_size": lambda size, row, _: row["size"] <= size,
    "attrs": _has_attributes,
    "since": lambda moment, row, _: row["created"] is not None and row["created"] >= moment,
    "until": lambda moment, row, _: row["created"] is not None and row["created"] <= moment,
    "commit": lambda start, row, _: row["commit"].startswith(start),
    "dirty": lambda wanted, row, _: row["git_state"] == ("dirty" if wanted else "clean"),
    "user": _text("user"),
    "hostname": _text("hostname"),
    "inputs": lambda pattern, row, _: any(fnmatchcase(one, pattern) for one in row["inputs"]),
}


def search(engine: PlainEngine, path: str, query: Query) -> Iterator[Row]:
    """Find the keys below a database that a query asks for.

    Parameters
    ----------
    engine : PlainEngine
    path : str
        Of the database; keys are relative to it.
    query : Query

    Yields
    ------
    dict
        The columns of :meth:`zdb.Database.find`.
    """
    start = len(path) + 1 if path else 0
    for node in _nodes_below(engine, path):
        row = _row(node.path[start:], node)
        if query.matches(row, node):
            yield row


def _nodes_below(engine: PlainEngine, path: str) -> Iterator[Node]:
    """All nodes of a database, level by level."""
    with ThreadPoolExecutor(1 if isinstance(engine.nodes, LocalNodes) else CONCURRENT_LISTINGS) as pool:
        level = [path]
        while level:
            below: list[str] = []
            for children in pool.map(engine.children, level):
                for node in map(engine.described, children.values()):
                    yield node
                    if engine.is_database(node):
                        below.append(node.path)
            level = below


def _row(key: str, node: Node) -> Row:
    info = Info.listed(key, node)
    if info.kind == UNREADABLE:
        node = Node(node.path, {}, "unreadable")
    attributes = node.attributes
    is_value = node.kind == VALUE
    return {
        "key": key,
        "kind": info.kind,
        "format": info.format,
        "type": info.type,
        "dtype": info.dtype,
        "dims": tuple(dict.fromkeys(dim for array in node.described_arrays.values() for dim in array.dims)),
        "shape": info.shape,
        "size": info.nbytes,
        "created": info.created,
        "user": str(attributes.get("zdb_user", "")),
        "hostname": str(attributes.get("zdb_hostname", "")),
        "commit": str(attributes.get("zdb_git_commit", "")),
        "git_state": str(attributes.get("zdb_git_state", "")),
        "inputs": tuple(json.loads(attributes.get("zdb_inputs", "[]"))) if is_value else (),
        "attrs": info.attrs,
    }


def as_frame(rows: list[Row], columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Return rows as a table with the same columns and dtypes whether there are any or not."""
    import pandas as pd

    made = pd.DataFrame(rows, columns=list(columns))
    return made.astype({"created": "datetime64[us, UTC]", "size": "int64"})
