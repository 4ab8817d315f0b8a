"""Copying one value object by object: nothing is decoded, and readers of the target never see a part of it.

The order of writing is that of ``docs/format.md``, "Writing". The generation of a copy is counted in the target, so
that its chunks lie beside those of the value that it replaces; the bytes of the chunks do not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.engine.concurrency import Budget, concurrently
from zdb.engine.node import VALUE, ArrayNode, Node, dump, key_encoding, node_path, previous_path
from zdb.engine.plain import new_id
from zdb.errors import CorruptChunkError, MissingChunkError, StaleValueError, StorageError
from zdb.keys import split

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb.engine.plain import PlainEngine

__all__ = ["Copier", "CopyJob", "is_copy", "origin"]

# From so many bytes on, a copy that is interrupted is taken up where it ended.
RESUMED_BYTES = 32 << 20
MARKER = ".copying"
JSONDict = dict[str, Any]


class CopyJob(NamedTuple):
    """A node of the source, where it goes, and what is there."""

    node: Node
    path: str
    existing: Node | None

    @property
    def replaced(self) -> Node | None:
        """The value that the copy replaces."""
        return self.existing if self.existing is not None and self.existing.kind == VALUE else None


class _Object(NamedTuple):
    """One object to copy."""

    source: str
    target: str
    size: int


@dataclass
class Copied:
    """What was written."""

    objects: int = 0
    nbytes: int = 0


def origin(node: Node) -> str:
    """Return which generation of which value a value is, or is a copy of."""
    return str(node.attributes.get("zdb_copy_of", f"{node.id}/{node.generation}"))


def is_copy(node: Node, of: Node) -> bool:
    """Whether a value is the same as another one that it, or a copy of it, was copied from, as that is now."""
    same_time = node.attributes.get("zdb_created") == of.attributes.get("zdb_created")
    return node.kind == VALUE and same_time and origin(node) == origin(of) and "zdb_lost" not in node.attributes


@dataclass
class Copier:
    """Copies nodes from one database to another.

    Parameters
    ----------
    source, target : PlainEngine
    expect, advance : callable
        Told how many bytes will be copied, and have been copied.
    """

    source: PlainEngine
    target: PlainEngine
    expect: Callable[[int], object]
    advance: Callable[[int], object]
    _budget: Budget = field(default_factory=Budget)
    _records: set[str] = field(default_factory=set)

    def copy(self, job: CopyJob) -> Copied:
        """Copy a value, or a group or array of plain Zarr.

        Raises
        ------
        MissingChunkError, CorruptChunkError
            The value is damaged; the target is as it was before.
        StaleValueError
            The value was replaced or deleted meanwhile; the target is as it was before.
        StorageError
            A store failed. What was copied is used again by the next attempt.
        """
        if job.node.kind != VALUE:
            return self._copy_foreign(job)
        replaced = job.replaced
        generation = job.node.generation if replaced is None else replaced.generation + 1
        arrays = {name: _for_generation(array, job.path, name, generation) for name, array in job.node.arrays.items()}
        objects = self._objects(job.node, arrays)
        left = self._prepare(job, objects, generation)
        done = self._copy_objects(left)
        metadata = self._metadata(job, arrays)
        for path, data in metadata.items():
            self.target.nodes.stage(path, data)
        if objects:
            self.target.nodes.sync(job.path)
            self._check_sizes(job.path, [*objects, *(_Object("", path, len(data)) for path, data in metadata.items())])
        self._copy_records(job.node)
        self.target.create_databases(split(job.path)[0])
        if objects:
            self._require_current(job.node)
        document = self._top_document(job, arrays, generation)
        self.target.nodes.set(node_path(job.path), document)
        if _is_resumed(objects):
            self.target.nodes.delete([f"{job.path}/{MARKER}"])
        return Copied(done.objects + len(metadata) + 1, done.nbytes + len(document) + sum(map(len, metadata.values())))

    def _objects(self, node: Node, arrays: dict[str, ArrayNode]) -> list[_Object]:
        """Pair the chunks of a value with their paths in the target."""
        pairs = [
            pair
            for name, array in node.arrays.items()
            for pair in zip(array.object_paths(), arrays[name].object_paths(), strict=True)
        ]
        sizes = {one.path: one.size for one in self.source.nodes.list_status(node.path)} if pairs else {}
        for path, _ in pairs:
            if path not in sizes:
                self._require_current(node)
                raise MissingChunkError(f"{node.path}: chunk {path} is not in the store; see zdb verify")
            if not sizes[path]:
                raise CorruptChunkError(f"{node.path}: chunk {path} is empty; see zdb verify")
        self.expect(sum(sizes[path] for path, _ in pairs))
        return [_Object(path, target, sizes[path]) for path, target in pairs]

    def _prepare(self, job: CopyJob, objects: list[_Object], generation: int) -> list[_Object]:
        """Remove leftovers in the target, and return the objects that an interrupted copy has not brought yet."""
        if not objects:
            return []
        nodes = self.target.nodes
        kept = set() if job.replaced is None else set(job.replaced.object_paths())
        listed = {one.path: one.size for one in nodes.list_status(job.path) if one.path not in kept}
        marker, mark = f"{job.path}/{MARKER}", f"{job.node.id}/{job.node.generation}/{generation}".encode()
        there: set[str] = set()
        if marker in listed and nodes.get(marker) == mark:
            there = {one.target for one in objects if listed.get(one.target) == one.size} | {marker}
        nodes.delete(path for path in listed if path not in there)
        if _is_resumed(objects) and not there:
            nodes.stage(marker, mark)
        self.advance(sum(one.size for one in objects if one.target in there))
        return [one for one in objects if one.target not in there]

    def _copy_objects(self, objects: list[_Object]) -> Copied:
        def copy(one: _Object) -> int:
            data = self.source.nodes.get(one.source)
            if data is None or len(data) != one.size:
                raise StaleValueError(f"{one.source}: was replaced or deleted while it was copied")
            self.target.nodes.stage(one.target, data)
            self.advance(len(data))
            return len(data)

        if len(objects) == 1:
            return Copied(1, copy(objects[0]))
        written = list(concurrently(copy, objects, weight=lambda one: one.size, budget=self._budget))
        return Copied(len(written), sum(written))

    def _metadata(self, job: CopyJob, arrays: dict[str, ArrayNode]) -> dict[str, bytes]:
        groups = {name: own for name, own in job.node.groups.items() if name}
        documents = {node_path(array.path): array.metadata for array in arrays.values()}
        for name, own in groups.items():
            path = node_path(f"{job.path}/{name}")
            documents[path] = {"zarr_format": 3, "node_type": "group", "attributes": own}
        if job.replaced is not None:
            documents[previous_path(job.path)] = job.replaced.document
        return {path: dump(document) for path, document in documents.items()}

    def _top_document(self, job: CopyJob, arrays: dict[str, ArrayNode], generation: int) -> bytes:
        node, replaced = job.node, job.replaced
        identifier = new_id() if replaced is None else replaced.id
        own = {"zdb_id": identifier, "zdb_generation": generation, "zdb_copy_of": origin(node)}
        document = {**node.document, "attributes": {**node.attributes, **own}}
        consolidated = dict(node.document["consolidated_metadata"])
        below = {**consolidated["metadata"], **{name: array.metadata for name, array in arrays.items()}}
        document["consolidated_metadata"] = {**consolidated, "metadata": below}
        return dump(document)

    def _check_sizes(self, path: str, expected: list[_Object]) -> None:
        listed = {one.path: one.size for one in self.target.nodes.list_status(path)}
        wrong = [one.target for one in expected if listed.get(one.target) != one.size]
        if wrong:
            raise StorageError(
                f"{self.target.nodes.url}: {wrong[0]} has {listed.get(wrong[0], 'no')} bytes after it was copied; "
                "the key is as it was before"
            )

    def _copy_records(self, node: Node) -> None:
        for attribute, folder in (("zdb_environment", "environments"), ("zdb_history", "histories")):
            if attribute in node.attributes:
                self._copy_record(f"{folder}/{node.attributes[attribute]}")

    def _copy_record(self, path: str) -> None:
        record = None if path in self._records else self.source.record(path)
        if record is None:
            return
        if "pixi_lock" in record:
            self._copy_record(f"environments/{record['pixi_lock']}")
        self.target.set_record(path, record)
        self._records.add(path)

    def _require_current(self, node: Node) -> None:
        """Raise unless what was copied belongs to this generation, see :class:`zdb.engine.chunks.ValueSource`."""
        now = self.source.node(node.path)
        if now is None or now.id != node.id or now.generation not in (node.generation, node.generation + 1):
            raise StaleValueError(f"{node.path}: was replaced or deleted while it was copied")

    def _copy_foreign(self, job: CopyJob) -> Copied:
        listed = self.source.nodes.list_status(job.node.path)
        start = len(job.node.path)
        pairs = [_Object(one.path, job.path + one.path[start:], one.size) for one in listed]
        self.expect(sum(one.size for one in pairs))
        nodes = [one for one in pairs if one.target.endswith("/zarr.json")]
        done = self._copy_objects([one for one in pairs if one not in nodes])
        self.target.nodes.sync(job.path)
        for one in sorted(nodes, key=lambda one: -one.target.count("/")):  # the top one makes it visible
            more = self._copy_objects([one])
            done = Copied(done.objects + more.objects, done.nbytes + more.nbytes)
        self._check_sizes(job.path, pairs)
        self.target.nodes.sync(job.path)
        self.target.nodes.delete(set(self.target.nodes.list_objects(job.path)) - {one.target for one in pairs})
        return done


def _is_resumed(objects: list[_Object]) -> bool:
    return sum(one.size for one in objects) >= RESUMED_BYTES


def _for_generation(array: ArrayNode, path: str, name: str, generation: int) -> ArrayNode:
    return ArrayNode(f"{path}/{name}", {**array.metadata, "chunk_key_encoding": key_encoding(generation)})
