"""Where a database lies, and how what is at a key is found: the base of all that a database can do."""

from __future__ import annotations

import difflib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, TypeVar

from zdb.engine.node import DATABASE, FOREIGN, VALUE, Node, node_path
from zdb.errors import (
    CorruptChunkError,
    KeyNotFoundError,
    MissingChunkError,
    PickleRefusedError,
    StaleValueError,
    UnsupportedVersionError,
    ZdbError,
)
from zdb.formats import registry
from zdb.formats.objects import decode_attributes
from zdb.keys import join, normalize, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb.engine.plain import PlainEngine
    from zdb.keys import Key

__all__ = ["NOTHING", "Handle", "keys_read", "while_current"]

# A value that is replaced while it is read is read again.
READ_ATTEMPTS = 10
# So many names that are alike are tried at each level of a key that does not exist.
MOST_ALIKE = 2
# Formats of whose values parts are read by name.
WITH_COLUMNS = ("dataset", "table", "ragged")
NOTHING = object()
"""Stands for what is not there, since None is a value."""
# Where what is read is noted, by the URL of the store and the path in it; None where nobody wants to know.
keys_read: ContextVar[dict[tuple[str, str], None] | None] = ContextVar("keys_read", default=None)
T = TypeVar("T")


def while_current(read: Callable[[], T]) -> T:
    """Return what a function reads; it is called again if the value is replaced meanwhile."""
    for _ in range(READ_ATTEMPTS - 1):
        try:
            return read()
        except StaleValueError:
            continue
    return read()


class Handle:
    """A place in a store at which a database lies.

    :class:`zdb.Database` is made of this and of classes that each add one ability, so that one module says all of it.

    Attributes
    ----------
    url : str
        Where the database lies, without credentials.
    mode : str
        "r", "r+", "a" or "w-", as given to :func:`zdb.open`.
    """

    def __init__(self, engine: PlainEngine, path: str = "", mode: str = "a", *, allow_pickle: bool = False) -> None:
        self._engine = engine
        self._path = path
        self._allow_pickle = allow_pickle
        self.mode = mode

    @property
    def url(self) -> str:
        return join(self._engine.nodes.url, self._path) if self._path else self._engine.nodes.url

    @property
    def read_only(self) -> bool:
        return self._engine.nodes.read_only

    def _read(self, key: Key, selection: registry.Selection) -> Any:
        path = self._at(key)
        found = self._read_if_there(path, selection)
        if found is NOTHING:
            raise self._not_found(path)
        return found

    def _read_if_there(self, path: str, selection: registry.Selection) -> Any:
        """Read what is at a path; NOTHING if nothing is."""

        def read() -> Any:
            node = self._engine.node(path)
            return NOTHING if node is None else self._decode(node, selection)

        found = while_current(read)
        noted = keys_read.get()
        if noted is not None and found is not NOTHING and not isinstance(found, Handle):
            noted[self._engine.nodes.url, path] = None
        return found

    def _while_current(self, path: str, read: Callable[[Node], T]) -> T:
        """Read what is at a path, again if it is replaced meanwhile."""
        return while_current(lambda: read(self._require(path)))

    def _decode(self, node: Node, selection: registry.Selection) -> Any:
        if node.kind != VALUE:
            if self._engine.is_database(node):
                return self._sub(node.path)
            return self._engine.open_plain(node)
        if not selection:
            self._check_whole(node)
        if node.format == "json" and not selection:
            try:
                return decode_attributes(node.attributes)
            except CorruptChunkError as error:
                raise CorruptChunkError(f"{node.path}: {error}") from error
        chosen = registry.by_name(node.format)
        stored_version = int(node.attributes.get("zdb_format_version", 1))
        if stored_version > chosen.version:
            raise UnsupportedVersionError(
                f"{node.path}: written by version {stored_version} of format {node.format!r}; version {chosen.version} "
                "is installed. Update the package that provides it, or use db.dataset(key)"
            )
        if chosen.executes_code and not self._allow_pickle:
            raise PickleRefusedError(
                f"{node.path}: reading a value of format {node.format!r} can run code that it brings along. If you "
                "trust who wrote it, open the database with allow_pickle=True"
            )
        opened = self._engine.open_value(node)
        if selection:
            return chosen.select(opened, selection)
        try:
            return chosen.decode(opened)
        except KeyError as error:
            if isinstance(error, ZdbError) or chosen.executes_code:
                raise
            raise CorruptChunkError(
                f"{node.path}: the metadata lack {error}; let zdb repair, or db.repair(dry_run=False), rescue what is "
                "there"
            ) from error

    def _check_whole(self, node: Node) -> None:
        if "zdb_lost" in node.attributes:
            raise MissingChunkError(
                f"{node.path}: is damaged, {node.attributes['zdb_lost']}; parts that are whole can be read, such as "
                "db.get(key, rows=slice(0, 10)), and db.dataset(key) has the fill value in place of what is lost"
            )

    def _before_writing(self) -> None:
        self._engine.nodes.require_writable()
        self._engine.unconsolidate()

    def _at(self, key: object) -> str:
        return join(self._path, normalize(key))

    def _relative(self, path: str) -> str:
        return path[len(self._path) + 1 :] if self._path else path

    def _sub(self, path: str) -> Self:
        return type(self)(self._engine, path, self.mode, allow_pickle=self._allow_pickle)

    def _require(self, path: str) -> Node:
        node = self._engine.node(path)
        if node is None:
            raise self._not_found(path)
        return node

    def _not_found(self, path: str) -> KeyNotFoundError:
        value, claim = self._value_above(path), self._engine.claims.state(path)
        if value is not None:
            hint = self._how_to_read(value, path)
        elif claim is not None and claim.plan:
            hint = f" yet; it is being filled: see db.progress({self._relative(path)!r})"
        else:
            near = self._nearest(self._path, self._relative(path).split("/"))
            hint = "" if near is None else f"; did you mean {self._relative(near)!r}?"
        return KeyNotFoundError(f"{self._relative(path)!r} is not in {self.url}{hint}")

    def _value_above(self, path: str) -> Node | None:
        above = split(path)[0]
        while above and above != self._path:
            data = self._engine.nodes.get(node_path(above))
            if data is not None:
                node = Node.read(above, data)
                if node.kind != FOREIGN:  # which may be a group in a value
                    return node if node.kind == VALUE else None
            above = split(above)[0]
        return None

    def _how_to_read(self, value: Node, path: str) -> str:
        """Say how what was taken for a key is read: a part of a value, if there is one of this name."""
        key, name = self._relative(value.path), path[len(value.path) + 1 :]
        if name not in value.arrays:
            return f": {key!r} is a value, and there are no keys in it"
        how = f"get({key!r}, columns=[{name!r}])" if value.format in WITH_COLUMNS else f"dataset({key!r})[{name!r}]"
        return f": it is a variable of the value {key!r}, read it by db.{how}"

    def _nearest(self, path: str, names: list[str]) -> str | None:
        """Return the path of the key below a database that is most like the names, or None."""
        name, *below = names
        known = self._engine.names(path)
        folded = {one.casefold(): one for one in known}
        alike = difflib.get_close_matches(name.casefold(), folded, n=MOST_ALIKE)
        for found in [name] * (name in known) + [folded[one] for one in alike if folded[one] != name]:
            there = join(path, found)
            if not below:
                return there
            data = self._engine.nodes.get(node_path(there))
            if data is not None and Node.read(there, data).kind in (DATABASE, FOREIGN):
                near = self._nearest(there, below)
                if near is not None:
                    return near
        return None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Handle):
            return NotImplemented
        return self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)
