"""Copying one value object by object: nothing is decoded, and readers of the target never see a part of it.

The order of writing is that of ``docs/format.md``, "Writing", under the claim of the key in the target. The generation
of a copy is counted in the target, so that its chunks lie beside those of the value that it replaces; the bytes of the
chunks do not depend on it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.engine.checksums import ObjectCheck
from zdb.engine.concurrency import Budget, concurrently
from zdb.engine.gate import Gate
from zdb.engine.new_nodes import new_id, small_document
from zdb.engine.node import (
    VALUE,
    ArrayNode,
    Node,
    dump,
    group_document,
    is_chunk_of,
    key_encoding,
    node_path,
    previous_path,
)
from zdb.environment import canonical_hash
from zdb.errors import (
    ClaimLostError,
    CorruptChunkError,
    KeyConflictError,
    KeyExistsError,
    MissingChunkError,
    StaleValueError,
    StorageError,
)
from zdb.keys import split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zdb.engine.claim import Claim
    from zdb.engine.plain import PlainEngine

__all__ = ["Copier", "CopyJob", "is_copy", "origin"]

# From so many bytes on, a copy that is interrupted is taken up where it ended.
RESUMED_BYTES = 32 << 20
MARKER = ".copying"
JSONDict = dict[str, Any]


class CopyJob(NamedTuple):
    """A node of the source, where it goes, and whether it may replace what is there, readable or not."""

    node: Node
    path: str
    overwrite: bool
    damaged: bool = False


class _Object(NamedTuple):
    """One object to copy; `check` raises if its bytes are damaged."""

    source: str
    target: str
    size: int
    check: Callable[[bytes], object] | None = None


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
        KeyExistsError, KeyConflictError
            Another writer has put something there.
        ClaimLostError
            Another writer has taken over; the target is as that leaves it.
        """
        is_value = job.node.kind == VALUE
        if is_value:
            self.source.check(job.node)
        if is_value and not job.node.arrays and not job.node.groups.keys() - {""} and not job.damaged:
            return self._copy_small(job)
        with self.target.claim(job.path, hand_out=is_value, damaged=job.damaged) as claim:
            self._check_replaceable(job, claim.previous)
            if is_value and claim.previous is not None and is_copy(claim.previous, job.node):
                return Copied()  # another process has copied it meanwhile
            gate = Gate(claim.fence)
            try:
                return (self._copy_value if is_value else self._copy_foreign)(job, claim, gate)
            except BaseException:
                gate.close()
                claim.give_up(settled=not claim.in_doubt)
                raise

    def _check_replaceable(self, job: CopyJob, existing: Node | None) -> None:
        """Raise unless what lies in the target now may be replaced."""
        if existing is None:
            self.target.require_nothing_below(job.path)
        elif self.target.is_database(existing):
            raise KeyConflictError(f"{job.path}: is a sub-database in {self.target.nodes.url}; delete it first")
        elif not job.overwrite and not is_copy(existing, job.node):
            raise KeyExistsError(f"{job.path}: exists in {self.target.nodes.url}, and overwrite=False was given")

    def _copy_small(self, job: CopyJob) -> Copied:
        """Copy a value that is one object."""
        self._copy_records(job.node)
        size = 0

        def seal(previous: Node | None, generation: int) -> JSONDict:
            nonlocal size
            if previous is not None:
                self._check_replaceable(job, previous)
            elif self.target.may_have_more_below(job.path):
                self.target.require_nothing_below(job.path)
            self.target.create_databases(split(job.path)[0])
            attributes = _attributes_of_copy(job.node, previous, generation)
            size = len(small_document(attributes))
            return attributes

        self.target.publish_small(job.path, seal)
        return Copied(1, size)

    def _copy_value(self, job: CopyJob, claim: Claim, gate: Gate) -> Copied:
        sizes = self._sizes(job.node)
        objects, left, arrays = self._prepare(job, claim, sizes)
        done = self._copy_objects(job.node, left, gate)
        metadata = _metadata(job, claim.previous, arrays)
        for path, data in metadata.items():
            with gate:
                self.target.nodes.stage(path, data)
        if objects:
            self.target.nodes.sync(job.path)
            self._check_sizes(job.path, [*objects, *(_Object("", path, len(data)) for path, data in metadata.items())])
        self._copy_records(job.node)
        size = 0

        def make(previous: Node | None, generation: int) -> bytes:
            nonlocal size
            if previous is not None:
                self._check_replaceable(job, previous)
            self.target.create_databases(split(job.path)[0])
            if objects:
                self._require_current(job.node)
            document = _top_document(job.node, previous, arrays, generation)
            size = len(document)
            return document

        claim.commit(make)
        if _is_resumed(sizes):
            with contextlib.suppress(ClaimLostError):
                claim.check()
                self.target.nodes.delete([f"{job.path}/{MARKER}"])
        return Copied(done.objects + len(metadata) + 1, done.nbytes + size + sum(map(len, metadata.values())))

    def _sizes(self, node: Node) -> dict[str, int]:
        """Return the sizes of the chunks of a value in the source, by path."""
        paths = [path for array in node.arrays.values() for path in array.object_paths()]
        listed = {one.path: one.size for one in self.source.nodes.list_status(node.path)} if paths else {}
        for path in paths:
            if path not in listed:
                self._require_current(node)
                raise MissingChunkError(f"{node.path}: chunk {path} is not in the store; see zdb verify")
            if not listed[path]:
                raise CorruptChunkError(f"{node.path}: chunk {path} is empty; see zdb verify")
        self.expect(sum(listed[path] for path in paths))
        return {path: listed[path] for path in paths}

    def _prepare(
        self, job: CopyJob, claim: Claim, sizes: dict[str, int]
    ) -> tuple[list[_Object], list[_Object], dict[str, ArrayNode]]:
        """Make room in the target.

        Returns
        -------
        objects, left : list
            What belongs to the copy, and what of it an interrupted copy has not brought yet.
        arrays : dict
            The arrays of the copy.
        """
        kept = set() if claim.previous is None else set(claim.previous.object_paths())
        status = self.target.nodes.list_status(job.path) if sizes else []
        listed = {one.path: one.size for one in status if one.path not in kept}
        is_resumed = self._go_on(job, claim, listed)
        generation = claim.generation
        arrays = {name: _of_generation(array, job.path, name, generation) for name, array in job.node.arrays.items()}
        targets = [path for array in arrays.values() for path in array.object_paths()]
        checks = _checks(job.node)
        objects = [
            _Object(path, target, size, check)
            for (path, size), target, check in zip(sizes.items(), targets, checks, strict=True)
        ]
        there = {one.target for one in objects if listed.get(one.target) == one.size} if is_resumed else set()
        self._clear(job, claim, arrays, listed.keys() - there)
        if _is_resumed(sizes):
            self.target.nodes.stage(f"{job.path}/{MARKER}", f"{_mark(job.node)}{generation}".encode())
        self.advance(sum(one.size for one in objects if one.target in there))
        return objects, [one for one in objects if one.target not in there], arrays

    def _go_on(self, job: CopyJob, claim: Claim, listed: dict[str, int]) -> bool:
        """Whether a copy of the same value was interrupted; then its generation is written."""
        marker = f"{job.path}/{MARKER}"
        found = (self.target.nodes.get(marker) or b"").decode() if marker in listed else ""
        generation = found.removeprefix(_mark(job.node))
        return found.startswith(_mark(job.node)) and generation.isdecimal() and claim.go_on_with(int(generation))

    def _clear(self, job: CopyJob, claim: Claim, arrays: dict[str, ArrayNode], left_over: Iterable[str]) -> None:
        """Remove what lies in the way, but nothing that a writer that may still be at work could yet commit."""
        left = list(left_over)
        if not claim.is_clean:
            prefixes = [f"{array.path}/" for array in arrays.values()]
            left = [
                path
                for path in left
                if any(path.startswith(one) and is_chunk_of(claim.generation, path[len(one) :]) for one in prefixes)
            ]
        elif left and claim.previous is None:
            self.target.claims.require_none_below(job.path)
        claim.check()
        self.target.nodes.delete(left)
        self.target.nodes.prune(job.path)  # where a chunk c/0/0 was, c/0 may come now

    def _copy_objects(self, node: Node, objects: list[_Object], gate: Gate) -> Copied:
        def copy(one: _Object) -> int:
            data = self.source.nodes.get(one.source)
            if data is None or len(data) != one.size:
                raise StaleValueError(f"{one.source}: was replaced or deleted while it was copied")
            self._check(node, one, data)
            with gate:
                self.target.nodes.stage(one.target, data)
            self.advance(len(data))
            return len(data)

        if len(objects) == 1:
            return Copied(1, copy(objects[0]))
        written = list(concurrently(copy, objects, weight=lambda one: one.size, budget=self._budget))
        return Copied(len(written), sum(written))

    def _check(self, node: Node, one: _Object, data: bytes) -> None:
        """Raise unless the bytes of an object are those that were written."""
        try:
            if one.check is not None:
                one.check(data)
        except ValueError as error:
            self._require_current(node)
            raise CorruptChunkError(f"{node.path}: chunk {one.source} is damaged: {error}; see zdb verify") from error

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
        record = None if path in self._records else self.source.records.read(path)
        if record is None or canonical_hash(record) != path.rpartition("/")[2]:
            return
        if "pixi_lock" in record:
            self._copy_record(f"environments/{record['pixi_lock']}")
        self.target.records.write(path, record)
        self._records.add(path)

    def _require_current(self, node: Node) -> None:
        """Raise unless what was copied belongs to this generation, see :class:`zdb.engine.chunks.ValueSource`."""
        now = self.source.node(node.path)
        if now is None or now.id != node.id or now.generation not in (node.generation, node.generation + 1):
            raise StaleValueError(f"{node.path}: was replaced or deleted while it was copied")

    def _copy_foreign(self, job: CopyJob, claim: Claim, gate: Gate) -> Copied:
        listed = self.source.nodes.list_status(job.node.path)
        start = len(job.node.path)
        pairs = [_Object(one.path, job.path + one.path[start:], one.size) for one in listed]
        self.expect(sum(one.size for one in pairs))
        nodes = [one for one in pairs if one.target.endswith("/zarr.json")]
        top = node_path(job.path)
        done = self._copy_objects(job.node, [one for one in pairs if one not in nodes], gate)
        self.target.nodes.sync(job.path)
        for one in sorted(nodes, key=lambda one: -one.target.count("/")):
            if one.target != top:
                more = self._copy_objects(job.node, [one], gate)
                done = Copied(done.objects + more.objects, done.nbytes + more.nbytes)
        self._check_sizes(job.path, [one for one in pairs if one.target != top])
        self.target.nodes.sync(job.path)
        data = self.source.nodes.get(node_path(job.node.path))
        if data is None or len(data) != sum(one.size for one in pairs if one.target == top):
            raise StaleValueError(f"{job.node.path}: was replaced or deleted while it was copied")

        def make(previous: Node | None, generation: int) -> bytes:  # noqa: ARG001
            if previous is not None:
                self._check_replaceable(job, previous)
            return data

        self.target.create_databases(split(job.path)[0])
        claim.commit(make)  # makes it visible
        claim.check()
        self.target.nodes.delete(set(self.target.nodes.list_objects(job.path)) - {one.target for one in pairs})
        return Copied(done.objects + 1, done.nbytes + len(data))


def _checks(node: Node) -> Iterator[Callable[[bytes], object]]:
    """Yield what checks each chunk or shard of a value, in the order of their paths."""
    for array in node.arrays.values():
        if array.shape:
            check = ObjectCheck(array)
            yield from (partial(check, place) for place in product(*map(range, array.grid)))


def _is_resumed(sizes: dict[str, int]) -> bool:
    return sum(sizes.values()) >= RESUMED_BYTES


def _mark(node: Node) -> str:
    """Say in the target what is copied; the generation that it has there follows."""
    return f"{node.id}/{node.generation}/"


def _of_generation(array: ArrayNode, path: str, name: str, generation: int) -> ArrayNode:
    return ArrayNode(f"{path}/{name}", {**array.metadata, "chunk_key_encoding": key_encoding(generation)})


def _metadata(job: CopyJob, replaced: Node | None, arrays: dict[str, ArrayNode]) -> dict[str, bytes]:
    """Return the metadata of arrays and groups of a copy, and that of the generation before, by path."""
    documents = {node_path(array.path): array.metadata for array in arrays.values()}
    for name, own in job.node.groups.items():
        if name:
            path = node_path(f"{job.path}/{name}")
            documents[path] = group_document(own)
    if replaced is not None and replaced.kind == VALUE:
        documents[previous_path(job.path)] = replaced.document
    return {path: dump(document) for path, document in documents.items()}


def _attributes_of_copy(node: Node, replaced: Node | None, generation: int) -> JSONDict:
    identifier = replaced.id if replaced is not None and replaced.kind == VALUE else new_id()
    own = {"zdb_id": identifier, "zdb_generation": generation, "zdb_copy_of": origin(node)}
    return {**node.attributes, **own}


def _top_document(node: Node, replaced: Node | None, arrays: dict[str, ArrayNode], generation: int) -> bytes:
    document = {**node.document, "attributes": _attributes_of_copy(node, replaced, generation)}
    consolidated = dict(node.document["consolidated_metadata"])
    below = {**consolidated["metadata"], **{name: array.metadata for name, array in arrays.items()}}
    document["consolidated_metadata"] = {**consolidated, "metadata": below}
    return dump(document)
