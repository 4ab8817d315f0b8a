"""Records of the provenance, to which values refer: kept below ``_zdb``, each under a name made of its content."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from zdb.engine.node import Node, dump, group_document, node_path
from zdb.keys import split

if TYPE_CHECKING:
    from zdb.engine.nodes import NodeStore

__all__ = ["RECORDS", "ProvenanceRecords"]

RECORDS = "_zdb"
# Records that a process uses are never a day old, which is when they may be collected.
MEMORY = 3600.0
RENEWAL = timedelta(hours=12)
JSONDict = dict[str, Any]


class ProvenanceRecords:
    """The records of one store."""

    def __init__(self, nodes: NodeStore) -> None:
        self._nodes = nodes
        self._remembered: dict[str, float] = {}  # until when they need not be looked at

    def write(self, path: str, attributes: JSONDict) -> None:
        """Write a record, if it is not there."""
        place = f"{RECORDS}/{path}"
        if time.monotonic() < self._remembered.get(place, 0):
            return
        document = dump(group_document(attributes))
        data = self._nodes.get(node_path(place))
        if data is None:
            for group in (RECORDS, split(place)[0]):
                if self._nodes.get(node_path(group)) is None:
                    self._nodes.create(node_path(group), dump(group_document({})))
            self._nodes.create(node_path(place), document)
        elif Node.read(place, data).attributes != attributes:  # it was damaged
            self._nodes.set(node_path(place), document)
        elif self._is_old(place):
            self._nodes.set(node_path(place), document)  # what is old and not referred to is collected
        self._remembered[place] = time.monotonic() + MEMORY

    def _is_old(self, place: str) -> bool:
        modified = self._nodes.modified(node_path(place))
        return modified is None or datetime.now(UTC) - modified > RENEWAL

    def read(self, path: str) -> JSONDict | None:
        """Return a record; None if it is lost or cannot be read."""
        data = self._nodes.get(node_path(f"{RECORDS}/{path}"))
        node = None if data is None else Node.read(path, data)
        return None if node is None or node.error else node.attributes
