"""Looking up nodes by path, and what is remembered of a store."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from zdb.engine.claims import Claims
from zdb.engine.node import DATABASE, FOREIGN, FORMAT_VERSION, VALUE, Node, node_path
from zdb.engine.provenance_records import ProvenanceRecords
from zdb.errors import CorruptChunkError, InvalidKeyError, KeyConflictError, UnsupportedVersionError
from zdb.keys import is_listed, join, split

if TYPE_CHECKING:
    from zdb.engine.store import NodeStore

__all__ = ["Lookup"]

JSONDict = dict[str, Any]


class Lookup:
    """The nodes of one store by path, and what is remembered of them.

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
        self.claims = Claims(self.nodes)
        self.records = ProvenanceRecords(self.nodes)
        self._consolidated: bool | None = None  # not known before the first look
        self._databases: set[str] = set()
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

    def modified(self, path: str) -> datetime:
        """When a node was last written, by the clock of the store; the epoch if it does not say."""
        return self.nodes.modified(node_path(path)) or datetime(1970, 1, 1, tzinfo=UTC)

    def exists(self, path: str) -> bool:
        """Whether there is a key at a path, be it one that cannot be read, or that a newer zdb wrote."""
        data = self.nodes.get(node_path(path))
        if data is None:
            return False
        if Node.read(path, data).kind in (DATABASE, VALUE):
            return True
        try:
            return not self.is_part_of_value(path)
        except CorruptChunkError:  # in what lies above it, which was a value, since those alone hold such nodes
            return False

    def _parsed(self, path: str, data: bytes) -> Node | None:
        return self._known(self.readable(Node.read(path, data)))

    def readable(self, node: Node) -> Node:
        """Return a node, or raise :class:`~zdb.errors.CorruptChunkError` and say what can be done."""
        if node.error:
            advice = (
                "; let zdb repair, or db.repair(dry_run=False), rescue what is there, write the key again, or delete it"
            )
            raise CorruptChunkError(f"{self.nodes.url}: {node.error}{advice * bool(node.path)}")
        return node

    def _known(self, node: Node) -> Node | None:
        """Check and remember a node that was read; None if it is a part of a value."""
        path = node.path
        if node.version > FORMAT_VERSION:
            raise UnsupportedVersionError(
                f"{self.nodes.url}: {path or 'the database'} has format version {node.version}; this zdb reads up to "
                f"{FORMAT_VERSION}. Update zdb"
            )
        if not path and self._consolidated is None:
            self._consolidated = "consolidated_metadata" in node.document
        if node.kind == DATABASE:
            self._databases.add(path)
        elif node.kind == FOREIGN and self.is_part_of_value(path):
            return None
        return node

    def is_part_of_value(self, path: str) -> bool:
        """Whether a node that zdb does not know lies inside of a value."""
        parent, _ = split(path)
        while parent and parent not in self._databases:
            data = self.nodes.get(node_path(parent))
            if data is not None:
                node = self.readable(Node.read(parent, data))
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
        return not any(child.document.get("node_type") == "array" for child in children)

    def described(self, node: Node) -> Node:
        """Return a node with the metadata of its arrays, which plain Zarr need not keep in their group."""
        if node.kind != FOREIGN or node.document["node_type"] == "array" or node.arrays:
            return node
        children = self.children(node.path)
        arrays = {name: one.document for name, one in children.items() if one.document.get("node_type") == "array"}
        return Node(node.path, {**node.document, "consolidated_metadata": {"metadata": arrays}}) if arrays else node

    def names(self, path: str) -> list[str]:
        """Names of the keys directly in a database, sorted; unfinished work is none."""
        names = [name for name in self.nodes.list_names(path) if is_listed(name)]
        absent = set(self.nodes.missing([node_path(join(path, name)) for name in names]))
        return [name for name in names if node_path(join(path, name)) not in absent]

    def children(self, path: str, names: list[str] | None = None) -> dict[str, Node]:
        """Nodes directly below a path, by name, read concurrently; also those that cannot be read."""
        if names is None:
            names = [name for name in self.nodes.list_names(path) if is_listed(name)]
        found = self.nodes.get_many([node_path(join(path, name)) for name in names])
        return {
            name: Node.read(join(path, name), data) for name, data in zip(names, found, strict=True) if data is not None
        }

    def nodes_below(self, path: str) -> list[Node]:
        """Return the databases and values at any depth below a path that has no node itself."""
        paths = [one for one in self.nodes.list_objects(path) if one.endswith("/zarr.json")]
        found = []
        for one, data in zip(paths, self.nodes.get_many(paths), strict=True):
            with contextlib.suppress(CorruptChunkError):
                found += [] if data is None else [Node.parse(one.rpartition("/")[0], data)]
        return [node for node in found if node.kind != FOREIGN]

    def may_have_more_below(self, path: str) -> bool:
        """Whether something lay at a path, or below it, when the database above was listed."""
        parent, name = split(path)
        return self._siblings(parent).get(name.casefold()) == name

    def require_nothing_below(self, path: str) -> None:
        """Raise if others write below a path without a node that can be read, or databases and values lie there.

        Raises
        ------
        KeyConflictError
        """
        self.claims.require_none_below(path)
        below = [node for node in self.nodes_below(path) if node.path != path]
        if below:
            others = f" and {len(below) - 1} more" * (len(below) > 1)
            raise KeyConflictError(
                f"{path}: is a sub-database in {self.nodes.url} that lost its node: below it lies {below[0].path}"
                f"{others}; nothing was changed. Let zdb repair, or db.repair(dry_run=False), make the node again, or "
                "use another key"
            )

    def check_vacant(self, path: str, *, look: bool = True) -> None:
        """Raise unless a new node may be made at a path at which nothing is.

        Parameters
        ----------
        path : str
        look : bool
            Look at the database above even if it is remembered: another process may have deleted or replaced it.

        Raises
        ------
        KeyConflictError
            A value lies above it.
        InvalidKeyError
            A sibling differs only by case.
        """
        above, _ = split(path)
        while above and (look or above not in self._databases):
            node = self.node(above)
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

    def _remember(self, path: str) -> None:
        parent, name = split(path)
        if parent in self._names:
            self._names[parent][name.casefold()] = name

    def _drop(self, path: str) -> None:
        below = f"{path}/"
        self._databases = {p for p in self._databases if p != path and not p.startswith(below)}
        self._names = {p: n for p, n in self._names.items() if p != path and not p.startswith(below)}
        parent, name = split(path)
        siblings = self._names.get(parent, {})
        if siblings.get(name.casefold()) == name:
            del siblings[name.casefold()]
