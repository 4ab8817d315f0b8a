"""Copying one value under its claim: nothing is decoded, and readers of the target never see a part of it.

The order of writing is that of ``docs/format.md``, "Writing", under the claim of the key in the target. The generation
of a copy is counted in the target, so that its chunks lie beside those of the value that it replaces; the bytes of the
chunks do not depend on it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.engine.gate import Gate
from zdb.engine.new_nodes import small_document
from zdb.engine.node import VALUE, ArrayNode, Node, is_chunk_of, node_path
from zdb.environment import canonical_hash
from zdb.errors import ClaimLostError, KeyConflictError, KeyExistsError, StaleValueError
from zdb.keys import split
from zdb.transfer.copies import attributes_of_copy, copied_arrays, is_copy, metadata_below, top_document
from zdb.transfer.object_copying import Copied, ObjectCopier, ObjectJob, checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zdb.engine.claim import Claim
    from zdb.engine.plain import PlainEngine

__all__ = ["Copier", "CopyJob"]

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
    _records: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._objects = ObjectCopier(self.source, self.target, self.advance)

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
            attributes = attributes_of_copy(job.node, previous, generation)
            size = len(small_document(attributes))
            return attributes

        self.target.publish_small(job.path, seal)
        return Copied(1, size)

    def _copy_value(self, job: CopyJob, claim: Claim, gate: Gate) -> Copied:
        sizes = self._objects.chunk_sizes(job.node)
        self.expect(sum(sizes.values()))
        chunks, left, arrays = self._prepare(job, claim, sizes)
        done = self._objects.copy(job.node, left, gate)
        metadata = metadata_below(job.node, job.path, claim.previous, arrays)
        for path, data in metadata.items():
            with gate:
                self.target.nodes.stage(path, data)
        if chunks:
            self.target.nodes.sync(job.path)
            expected = {one.target: one.size for one in chunks} | {path: len(data) for path, data in metadata.items()}
            self._objects.require_sizes(job.path, expected)
        self._copy_records(job.node)
        size = 0

        def make(previous: Node | None, generation: int) -> bytes:
            nonlocal size
            if previous is not None:
                self._check_replaceable(job, previous)
            self.target.create_databases(split(job.path)[0])
            if chunks:
                self._objects.require_current(job.node)
            document = top_document(job.node, previous, arrays, generation)
            size = len(document)
            return document

        claim.commit(make)
        if _is_resumed(sizes):
            with contextlib.suppress(ClaimLostError):
                claim.check()
                self.target.nodes.delete([f"{job.path}/{MARKER}"])
        return Copied(done.objects + len(metadata) + 1, done.nbytes + size + sum(map(len, metadata.values())))

    def _prepare(
        self, job: CopyJob, claim: Claim, sizes: dict[str, int]
    ) -> tuple[list[ObjectJob], list[ObjectJob], dict[str, ArrayNode]]:
        """Make room in the target.

        Returns
        -------
        chunks, left : list
            Those of the copy, and those that an interrupted copy has not brought yet.
        arrays : dict
            The arrays of the copy.
        """
        kept = set() if claim.previous is None else set(claim.previous.object_paths())
        status = self.target.nodes.list_status(job.path) if sizes else []
        listed = {one.path: one.size for one in status if one.path not in kept}
        is_resumed = self._go_on(job, claim, listed)
        generation = claim.generation
        arrays = copied_arrays(job.node, job.path, generation)
        targets = [path for array in arrays.values() for path in array.object_paths()]
        chunks = [
            ObjectJob(path, target, size, check)
            for (path, size), target, check in zip(sizes.items(), targets, checks(job.node), strict=True)
        ]
        there = {one.target for one in chunks if listed.get(one.target) == one.size} if is_resumed else set()
        self._clear(job, claim, arrays, listed.keys() - there)
        if _is_resumed(sizes):
            self.target.nodes.stage(f"{job.path}/{MARKER}", f"{_mark(job.node)}{generation}".encode())
        self.advance(sum(one.size for one in chunks if one.target in there))
        return chunks, [one for one in chunks if one.target not in there], arrays

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

    def _copy_foreign(self, job: CopyJob, claim: Claim, gate: Gate) -> Copied:
        listed = self.source.nodes.list_status(job.node.path)
        start = len(job.node.path)
        objects = [ObjectJob(one.path, job.path + one.path[start:], one.size) for one in listed]
        self.expect(sum(one.size for one in objects))
        nodes = [one for one in objects if one.target.endswith("/zarr.json")]
        top = node_path(job.path)
        done = self._objects.copy(job.node, [one for one in objects if one not in nodes], gate)
        self.target.nodes.sync(job.path)
        for one in sorted(nodes, key=lambda one: -one.target.count("/")):
            if one.target != top:
                more = self._objects.copy(job.node, [one], gate)
                done = Copied(done.objects + more.objects, done.nbytes + more.nbytes)
        self._objects.require_sizes(job.path, {one.target: one.size for one in objects if one.target != top})
        self.target.nodes.sync(job.path)
        data = self.source.nodes.get(node_path(job.node.path))
        if data is None or len(data) != sum(one.size for one in objects if one.target == top):
            raise StaleValueError(f"{job.node.path}: was replaced or deleted while it was copied")

        def make(previous: Node | None, generation: int) -> bytes:  # noqa: ARG001
            if previous is not None:
                self._check_replaceable(job, previous)
            return data

        self.target.create_databases(split(job.path)[0])
        claim.commit(make)  # makes it visible
        claim.check()
        self.target.nodes.delete(set(self.target.nodes.list_objects(job.path)) - {one.target for one in objects})
        return Copied(done.objects + 1, done.nbytes + len(data))


def _is_resumed(sizes: dict[str, int]) -> bool:
    return sum(sizes.values()) >= RESUMED_BYTES


def _mark(node: Node) -> str:
    """Say in the target what is copied; the generation that it has there follows."""
    return f"{node.id}/{node.generation}/"
