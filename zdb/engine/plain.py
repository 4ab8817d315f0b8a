"""The engine on plain Zarr: look up, list, publish, delete and move the nodes of one store."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from zdb.engine.node import DATABASE, FOREIGN, FORMAT_VERSION, VALUE, Node, dump, node_path
from zdb.errors import (
    InvalidKeyError,
    KeyConflictError,
    UnsupportedValueError,
    UnsupportedVersionError,
    WriteError,
    ZdbError,
)
from zdb.keys import is_listed, join, split

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from zdb.engine.store import NodeStore
    from zdb.engine.writer import LayoutOptions
    from zdb.formats.registry import Partitioned

__all__ = ["PlainEngine"]

RECORDS = "_zdb"
# Records that a process uses are never a day old, which is when they may be collected.
RECORD_MEMORY = 3600.0
RECORD_RENEWAL = timedelta(hours=12)
JSONDict = dict[str, Any]


class PlainEngine:
    """Nodes of one store by path, as plain Zarr.

    Parameters
    ----------
    nodes : NodeStore

    Notes
    -----
    What is known of the store is remembered only where it saves requests and does no harm when it is out of date: which
    databases and records exist, and which names differ only by case.
    """

    def __init__(self, nodes: NodeStore) -> None:
        self.nodes = nodes
        self._forget()

    def __getstate__(self) -> JSONDict:
        return {"nodes": self.nodes}

    def __setstate__(self, state: JSONDict) -> None:
        self.nodes = state["nodes"]
        self._forget()

    def _forget(self) -> None:
        self._consolidated: bool | None = None  # not known before the first look
        self._databases: set[str] = set()
        self._records: dict[str, float] = {}  # until when they need not be looked at
        self._names: dict[str, dict[str, str]] = {}

    # Looking up

    def node(self, path: str) -> Node | None:
        """Return what lies at a path, or None.

        Raises
        ------
        UnsupportedVersionError
            A newer zdb wrote it.
        """
        data = self.nodes.get(node_path(path))
        return None if data is None else self._parsed(path, data)

    def _parsed(self, path: str, data: bytes) -> Node | None:
        node = Node.parse(path, data)
        if node.version > FORMAT_VERSION:
            raise UnsupportedVersionError(
                f"{self.nodes.url}: {path or 'the database'} has format version {node.version}; this zdb reads up to "
                f"{FORMAT_VERSION}. Update zdb"
            )
        if not path and self._consolidated is None:
            self._consolidated = "consolidated_metadata" in node.document
        if node.kind == DATABASE:
            self._databases.add(path)
        elif node.kind == FOREIGN and self._is_part_of_value(path):
            return None
        return node

    def _is_part_of_value(self, path: str) -> bool:
        """Whether a node that zdb does not know is an array or group inside of a value."""
        parent, _ = split(path)
        while parent and parent not in self._databases:
            data = self.nodes.get(node_path(parent))
            if data is not None:
                node = Node.parse(parent, data)
                if node.kind == VALUE:
                    return True
                if node.kind == DATABASE:
                    return False
            parent, _ = split(parent)
        return False

    def is_database(self, node: Node) -> bool:
        """Whether a node has keys below it: a database, or a plain Zarr group that holds only groups."""
        if node.kind != FOREIGN:
            return node.kind == DATABASE
        if node.document["node_type"] == "array" or node.arrays:
            return False
        children = self.children(node.path).values()
        return not any(child.document["node_type"] == "array" for child in children)

    def names(self, path: str) -> list[str]:
        """Names of the keys directly in a database, sorted; unfinished work is none."""
        names = [name for name in self.nodes.list_names(path) if is_listed(name)]
        absent = set(self.nodes.missing([node_path(join(path, name)) for name in names]))
        return [name for name in names if node_path(join(path, name)) not in absent]

    def children(self, path: str, names: list[str] | None = None) -> dict[str, Node]:
        """Nodes directly below a path, by name, read concurrently."""
        if names is None:
            names = [name for name in self.nodes.list_names(path) if is_listed(name)]
        found = self.nodes.get_many([node_path(join(path, name)) for name in names])
        return {
            name: Node.parse(join(path, name), data)
            for name, data in zip(names, found, strict=True)
            if data is not None
        }

    # Writing

    def check_vacant(self, path: str) -> None:
        """Raise unless a new node may be made at a path at which nothing is.

        Raises
        ------
        KeyConflictError
            A value lies above it.
        InvalidKeyError
            A sibling differs only by case.
        """
        above, _ = split(path)
        while above:
            node = self.node(above)  # not from memory: another process may have deleted or replaced it
            if node is None:
                self._drop(above)
                self._check_no_twin(above)
            elif self.is_database(node):
                break
            else:
                raise KeyConflictError(
                    f"{path}: {above} is a value, so nothing can be put below it; use another key or delete the value"
                )
            above, _ = split(above)
        self._check_no_twin(path)

    def _check_no_twin(self, path: str) -> None:
        parent, name = split(path)
        twin = self._siblings(parent).get(name.casefold(), name)
        if twin != name and self.nodes.get(node_path(join(parent, twin))) is not None:
            raise InvalidKeyError(f"{path}: {join(parent, twin)} exists and differs only by case")

    def _siblings(self, parent: str) -> dict[str, str]:
        if parent not in self._names:
            self._names[parent] = {name.casefold(): name for name in self.nodes.list_names(parent)}
        return self._names[parent]

    def create_databases(self, path: str) -> None:
        """Make a database at a path and at all paths above it, where there is none."""
        if path in self._databases:
            return
        if path:
            self.create_databases(split(path)[0])
        self.create_database(path)
        self._remember(path)

    def create_database(self, path: str) -> None:
        """Make a database at a path, where there is none, without looking at what lies above it."""
        if self.nodes.get(node_path(path)) is None:
            attributes = {"zdb_kind": DATABASE, "zdb_version": FORMAT_VERSION, "zdb_id": new_id()}
            document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
            self.nodes.create(node_path(path), dump(document))  # of several processes, one gives it its id
        self._databases.add(path)

    def _set_group(self, path: str, attributes: JSONDict) -> None:
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        self.nodes.set(node_path(path), dump(document))

    def value_attributes(self, format_name: str, format_version: int, previous: Node | None) -> JSONDict:
        """Return the attributes of the engine for the next generation of a value."""
        return {
            "zdb_kind": VALUE,
            "zdb_version": FORMAT_VERSION,
            "zdb_id": previous.id if previous else new_id(),
            "zdb_format": format_name,
            "zdb_format_version": format_version,
            "zdb_generation": previous.generation + 1 if previous else 0,
        }

    def publish(
        self,
        path: str,
        encoded: xr.Dataset | xr.DataTree,
        generation: int,
        seal: Callable[[], JSONDict],
        previous: Node | None,
        options: LayoutOptions,
    ) -> None:
        """Write a value with arrays; see :func:`zdb.engine.writer.publish`."""
        from zdb.engine.writer import publish

        self.nodes.require_writable()
        publish(self.nodes, path, encoded, generation, seal, previous, options)
        self._remember(path)

    def publish_small(self, path: str, attributes: JSONDict) -> None:
        """Write a value that is all in its attributes, by one request."""
        document = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": attributes,
            "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": {}},
        }
        self.nodes.set(node_path(path), dump(document))
        self._remember(path)

    def _remember(self, path: str) -> None:
        parent, name = split(path)
        if parent in self._names:
            self._names[parent][name.casefold()] = name

    def publish_parts(
        self,
        path: str,
        partitioned: Partitioned,
        generation: int,
        seal: Callable[[], JSONDict],
        previous: Node | None,
        options: LayoutOptions,
    ) -> None:
        """Write a value whose parts are computed once, kept in the store, and joined when their sizes are known."""
        from zdb.engine.computing import compute
        from zdb.engine.spool import Spool

        with Spool(self.nodes) as spool:
            try:
                sizes = compute(partitioned.parts(spool.write))
                encoded = partitioned.finish(sizes, spool.read)
            except UnsupportedValueError as error:
                raise UnsupportedValueError(f"{path}: {error}") from error
            except ZdbError:
                raise
            except Exception as error:
                raise WriteError(
                    f"{path}: computing a part failed, the key is as it was before: {type(error).__name__}: {error}"
                ) from error
            self.publish(path, encoded, generation, seal, previous, options)

    def open_plain(self, node: Node) -> Any:
        """Open a node as plain xarray does; see :func:`zdb.engine.reader.open_plain`."""
        from zdb.engine.reader import open_plain

        return open_plain(self.nodes, node)

    def open_value(self, node: Node) -> xr.Dataset | xr.DataTree:
        """Open the Dataset of a value lazily; see :func:`zdb.engine.reader.open_value`."""
        from zdb.engine.reader import open_value

        return open_value(self.nodes, node)

    def set_record(self, path: str, attributes: JSONDict) -> None:
        """Write a record below ``_zdb`` once; records are named by their content."""
        place = f"{RECORDS}/{path}"
        if time.monotonic() < self._records.get(place, 0):
            return
        if self.nodes.get(node_path(place)) is None:
            groups = [RECORDS, split(place)[0]]
            for group in groups:
                if self.nodes.get(node_path(group)) is None:
                    self._set_group(group, {})
            self._set_group(place, attributes)
        elif datetime.now(UTC) - self.modified(place) > RECORD_RENEWAL:
            self._set_group(place, attributes)  # what is old and not referred to is collected
        self._records[place] = time.monotonic() + RECORD_MEMORY

    def modified(self, path: str) -> datetime:
        """When a node was last written, by the clock of the store; the epoch if it does not say."""
        return self.nodes.modified(node_path(path)) or datetime(1970, 1, 1, tzinfo=UTC)

    def record(self, path: str) -> JSONDict | None:
        data = self.nodes.get(node_path(f"{RECORDS}/{path}"))
        return None if data is None else Node.parse(path, data).attributes

    def delete(self, path: str) -> None:
        """Remove a value or a database with all that is in it."""
        self.nodes.require_writable()
        if path not in self._databases:
            self.nodes.delete([node_path(path)])
        self.nodes.delete_tree(path)
        self._drop(path)

    def move(self, old: str, new: str) -> None:
        """Give a value or a database another path, at which nothing is."""
        self.create_databases(split(new)[0])
        self.nodes.delete_tree(new)
        self.nodes.move_tree(old, new)
        self._drop(old)
        self._remember(new)

    def _drop(self, path: str) -> None:
        below = f"{path}/"
        self._databases = {p for p in self._databases if p != path and not p.startswith(below)}
        self._names = {p: n for p, n in self._names.items() if p != path and not p.startswith(below)}
        parent, name = split(path)
        siblings = self._names.get(parent, {})
        if siblings.get(name.casefold()) == name:
            del siblings[name.casefold()]

    def consolidate(self) -> None:
        """Copy the metadata of all nodes into the root."""
        data = self.nodes.get(node_path(""))
        assert data is not None
        metadata = {"kind": "inline", "must_understand": False, "metadata": self._all_metadata("")}
        document = {**Node.parse("", data).document, "consolidated_metadata": metadata}
        self.nodes.set(node_path(""), dump(document))
        self._consolidated = True

    def _all_metadata(self, path: str) -> dict[str, JSONDict]:
        found: dict[str, JSONDict] = {}
        for node in self.children(path).values():
            below = node.document.get("consolidated_metadata") or {}
            own = {k: v for k, v in node.document.items() if k != "consolidated_metadata"}
            found[node.path] = own
            found |= {f"{node.path}/{n}": one for n, one in below.get("metadata", {}).items()}
            if node.kind == DATABASE:
                found |= self._all_metadata(node.path)
        return found

    def unconsolidate(self) -> None:
        """Take the consolidated metadata off the root, which would hide keys that are written later."""
        if self._consolidated is False:
            return
        data = self.nodes.get(node_path(""))
        document = None if data is None else Node.parse("", data).document
        if document and document.pop("consolidated_metadata", None):
            self.nodes.set(node_path(""), dump(document))
        self._consolidated = False


def new_id() -> str:
    return uuid.uuid4().hex
