"""The root of a store: changed in one step, and the metadata of all nodes kept in it for readers of an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zdb.engine.lookup import Lookup
from zdb.engine.node import DATABASE, Node, dump, node_path

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Consolidation"]

JSONDict = dict[str, Any]


class Consolidation(Lookup):
    """Keep the metadata of all nodes in the root, until something is written."""

    def consolidate(self) -> None:
        """Copy the metadata of all nodes into the root."""
        metadata = {"kind": "inline", "must_understand": False, "metadata": self._all_metadata("")}
        self.change_root(lambda document: {**document, "consolidated_metadata": metadata})
        self._consolidated = True

    def change_root(self, change: Callable[[JSONDict], JSONDict]) -> None:
        """Replace the node of the database in one step by what a function makes of it; it may be called again."""
        is_written = False
        while not is_written:
            found = self.nodes.read_tagged(node_path(""))
            document = {} if found is None else Node.parse("", found.data).document
            changed = change(document)
            is_written = (
                found is None
                or changed == document
                or self.nodes.replace(node_path(""), dump(changed), found.tag) is not None
            )

    def _all_metadata(self, path: str) -> dict[str, JSONDict]:
        found: dict[str, JSONDict] = {}
        for node in map(self.readable, self.children(path).values()):
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
        self.change_root(lambda document: {k: v for k, v in document.items() if k != "consolidated_metadata"})
        self._consolidated = False
