"""Repairing a database: what can be made whole is made whole, and what is lost is marked as lost.

Each key is repaired under its claim, from what is wrong with it then.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from zdb.display import format_count
from zdb.engine.new_nodes import new_database, new_id
from zdb.engine.node import (
    FORMAT_VERSION,
    VALUE,
    Node,
    dump,
    group_document,
    have_same_keys,
    node_path,
    previous_path,
    same_keys_after,
)
from zdb.errors import CorruptChunkError, KeyClaimedError
from zdb.maintenance.garbage import GarbageCollection, claimed_keys
from zdb.maintenance.inspecting import rebuilt
from zdb.maintenance.report import Problem, Repair, RepairReport
from zdb.maintenance.verifying import Verification

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb.engine.claim import Claim
    from zdb.engine.plain import PlainEngine

__all__ = ["Repairs"]

# How many lost chunks of an array the mark names.
NAMED = 10
UNFINISHED_GRACE = timedelta(days=1)
# What depends on other nodes; the rest is looked at again when the claim of a key was taken.
AMONG_OTHERS = {"id", "name", "record"}
BUSY = "is being written, or filled by jobs; repair it when that has ended"
LOSSES = {"missing chunk", "damaged chunk", "checksum", "value"}
ONLY_BY_HAND = {"name", "record", "filling"}
BY_HAND = {
    "filling": "let db.finish(key) make the record again, or give the filling up with db.discard(key)",
    "name": "give it a legal name by hand",
    "record": "a writer with the same environment and history writes it again, or copy it from another database",
    "value": "write the value again, or copy it from another database",
}


class Repairs:
    """The repair of a database or of a part of it.

    Parameters
    ----------
    engine : PlainEngine
    path : str
        What to repair: a value or a database.
    dry_run : bool
        Only report.
    progress : bool
        Show a bar while all is verified.
    """

    def __init__(self, engine: PlainEngine, path: str, *, dry_run: bool, progress: bool) -> None:
        self._engine = engine
        self._nodes = engine.nodes
        self._path = path
        self._dry_run = dry_run
        self._claim: Claim | None = None  # of the key that is being repaired, unless this is a dry run
        self._progress = progress
        self.report = RepairReport(engine.nodes.url, dry_run)

    def run(self) -> RepairReport:
        """Verify, repair, and return the report."""
        found = Verification(self._engine, self._path, deep=True, progress=self._progress).run()
        by_key: dict[str, list[Problem]] = {}
        for problem in found.problems:
            by_key.setdefault(problem.key, []).append(problem)
        claimed = claimed_keys(self._engine)
        for key, problems in by_key.items():
            is_by_hand = all(problem.kind in ONLY_BY_HAND for problem in problems)
            if key in claimed and not is_by_hand:
                self._note(key, "none", BUSY)
            elif self._dry_run or is_by_hand:
                self._repair(key, problems)
            else:
                self._repair_under_claim(key, problems)
        garbage = GarbageCollection(self._engine, self._path, UNFINISHED_GRACE, dry_run=self._dry_run)
        for path in found.unfinished:
            if garbage.drop(path):
                self._note(path, "drop", "was begun and never finished")
        return self.report

    def _repair_under_claim(self, key: str, problems: list[Problem]) -> None:
        try:
            with self._engine.claim(key, blocking=False, hand_out=False, damaged=True) as self._claim:
                self._repair(key, self._still(problems))
        except KeyClaimedError:
            self._note(key, "none", BUSY)
        finally:
            self._claim = None

    def _still(self, problems: list[Problem]) -> list[Problem]:
        """Return what is wrong with a key now that nobody else writes it."""
        node = self._claim.previous if self._claim is not None else None
        if node is not None and any(one.kind == "node" and "format version" not in one.message for one in problems):
            return []  # a node was put there
        if node is None or node.kind != VALUE or node.version > FORMAT_VERSION:
            return problems
        return [one for one in problems if one.kind in AMONG_OTHERS] + Verification.problems_of(self._engine, node)

    def _repair(self, key: str, problems: list[Problem]) -> None:
        kinds = {problem.kind for problem in problems}
        for problem in problems:
            advice = BY_HAND.get(problem.kind)
            if advice and (problem.kind != "value" or self._previous(key) is None):
                self._note(key, "none", f"{problem.path} {problem.message}; {advice}")
        if kinds <= ONLY_BY_HAND:
            return
        if "node" in kinds:
            self._repair_node(key, problems)
        elif not key and "consolidated metadata" in kinds:
            self._do(key, "rewrite", "take the consolidated metadata off, which hides keys", self._engine.unconsolidate)
        else:
            self._repair_value(key, problems, kinds)

    # Nodes that cannot be read

    def _repair_node(self, key: str, problems: list[Problem]) -> None:
        if any("format version" in problem.message for problem in problems):
            self._note(key, "none", "was written by a newer zdb; update zdb")
            return
        below = self._engine.nodes_below(key)
        if below:
            within = format_count(len(below), "database or value", "databases and values")
            what = f"make a sub-database of it again, with {within}"
            self._do(key, "rebuild", what, lambda: self._put(Node(key, new_database())))
            return
        empty = Node(key, group_document({}))
        arrays = rebuilt(self._nodes, empty, any_generation=True)
        if arrays.arrays:
            names = ", ".join(arrays.arrays)
            what = f"{problems[0].message}; make plain Zarr, without attributes, of its arrays {names}"
            self._do(key, "rescue", what, lambda: self._put(arrays))
        else:
            self._note(key, "none", f"{problems[0].message}; write the value again, or delete it")

    def _put(self, node: Node) -> bool:
        """Put a node, unless another writer did meanwhile."""
        return self._claim is not None and self._claim.put(node)

    def _write(self, documents: dict[str, dict[str, Any]]) -> None:
        """Write metadata of arrays and groups of the key."""
        for path, document in documents.items():
            if self._claim is not None:
                self._claim.check()
                self._nodes.set(path, dump(document))

    # Values

    def _repair_value(self, key: str, problems: list[Problem], kinds: set[str]) -> None:
        node = self._engine.node(key)
        if self._claim is not None and node is not None:
            node = self._claim.previous
        if node is None:
            return
        if "id" in kinds:
            own = {**node.attributes, "zdb_id": new_id()}
            node = self._edit(node, own, "rename", "give it an id of its own")
        if "consolidated metadata" in kinds:
            node = self._rebuild(node)
        if kinds & LOSSES and self._restore(node):
            return
        if "array metadata" in kinds:
            self._rewrite(node, problems)
        if kinds & LOSSES:
            self._mark(node, problems)
        elif "lost" in kinds:
            own = {name: value for name, value in node.attributes.items() if name != "zdb_lost"}
            self._edit(node, own, "unmark", "all is there again")

    def _rebuild(self, node: Node) -> Node:
        whole = rebuilt(self._nodes, node)
        names, expected = ", ".join(whole.arrays), node.attributes.get("zdb_arrays")
        if expected not in (None, len(whole.arrays)):
            found = format_count(len(whole.arrays), "array")
            self._note(node.path, "none", f"has {found} ({names}), not the {expected} written; write the value again")
            return node
        return self._replace(node, whole, "rebuild", f"rebuild its consolidated metadata, with the arrays {names}")

    def _rewrite(self, node: Node, problems: list[Problem]) -> None:
        documents = node.below_documents()
        for problem in problems:
            if problem.path in documents and "chunk keys" not in problem.message:
                self._note(node.path, "rewrite", f"write {problem.path} from the consolidated metadata")
                self._write({problem.path: documents[problem.path]})
            elif problem.kind == "array metadata":
                self._note(node.path, "none", f"{problem.path} {problem.message}; write the value again")

    def _previous(self, key: str) -> Node | None:
        """Return a generation before of a value, if its metadata is there and all its chunks can be decoded.

        Its number need not be the one before: writers that died have left some out.
        """
        data = self._nodes.get(previous_path(key))
        node = self._engine.node(key) if self._claim is None else self._claim.previous
        if data is None or node is None:
            return None
        try:
            previous = Node.parse(key, data)
        except CorruptChunkError:
            return None
        is_before = previous.id == node.id and previous.generation < node.generation
        if not is_before or have_same_keys(previous.generation, node.generation) or "zdb_lost" in previous.attributes:
            return None
        if self._may_be_overwritten(previous):
            return None
        return previous if Verification.is_whole(self._engine, previous) else None

    def _may_be_overwritten(self, node: Node) -> bool:
        """Whether a writer that was given up could still write to the chunk keys of a generation."""
        claim = self._claim
        return claim is not None and not claim.is_clean and have_same_keys(claim.generation, node.generation)

    def _restore(self, node: Node) -> bool:
        previous = self._previous(node.path)
        if previous is None:
            return False
        created = previous.attributes.get("zdb_created", "an unknown time")
        message = f"bring back generation {previous.generation} of {created}; generation {node.generation} is damaged"
        # A later generation whose chunks have the same keys; no reader takes it for one that it had opened.
        handed_out = node.generation if self._claim is None else max(node.generation, self._claim.generation)
        generation = same_keys_after(previous.generation, handed_out)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        own = {**previous.attributes, "zdb_generation": generation, "zdb_restored": now}
        self._write({node_path(array.path): array.metadata for array in previous.arrays.values()})
        self._replace(node, Node(node.path, {**previous.document, "attributes": own}), "restore", message)
        return True

    def _mark(self, node: Node, problems: list[Problem]) -> None:
        lost = _describe_loss(node, problems)
        if lost and node.attributes.get("zdb_lost") != lost:
            self._edit(node, {**node.attributes, "zdb_lost": lost}, "mark", f"mark that it is damaged: {lost}")
        elif lost:
            self._note(node.path, "none", f"is marked already: {lost}; write the value again")

    def _edit(self, node: Node, attributes: dict[str, Any], action: str, message: str) -> Node:
        return self._replace(node, Node(node.path, {**node.document, "attributes": attributes}), action, message)

    def _replace(self, node: Node, changed: Node, action: str, message: str) -> Node:
        """Write a node, unless another writer did meanwhile; return it as it is then."""
        self._note(node.path, action, message)
        return changed if self._put(changed) else node

    # What is done

    def _do(self, key: str, action: str, message: str, function: Callable[[], object]) -> None:
        self._note(key, action, message)
        if not self._dry_run:
            function()

    def _note(self, key: str, action: str, message: str) -> None:
        self.report.repairs.append(Repair(key, action, message))


def _describe_loss(node: Node, problems: list[Problem]) -> str:
    """Say which chunks of which arrays are lost."""
    if node.kind != VALUE:
        return ""
    parts = []
    for name, array in node.arrays.items():
        lost = sorted({p.path for p in problems if p.kind in LOSSES and p.path.startswith(f"{array.path}/")})
        if lost:
            named = ", ".join(path[len(array.path) + 1 :] for path in lost[:NAMED])
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            number = f"{len(lost)} of {math.prod(array.grid)}"
            parts.append(f"array {name!r} lacks {number} chunks or shards ({named}{more})")
    if any(problem.kind == "checksum" for problem in problems):
        parts.append("the file does not match its SHA-256")
    return "; ".join(parts)
