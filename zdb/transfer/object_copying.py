"""Copying the objects of a node: read from the source, checked, and written under keys that no reader looks at."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from zdb.engine.checksums import ObjectCheck
from zdb.engine.concurrency import Budget, concurrently
from zdb.errors import CorruptChunkError, MissingChunkError, StaleValueError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from zdb.engine.gate import Gate
    from zdb.engine.node import Node
    from zdb.engine.plain import PlainEngine

__all__ = ["Copied", "ObjectCopier", "ObjectJob", "checks"]


class ObjectJob(NamedTuple):
    """One object to copy; `check` raises if its bytes are damaged."""

    source: str
    target: str
    size: int
    check: Callable[[bytes], object] | None = None


class Copied(NamedTuple):
    """What was written."""

    objects: int = 0
    nbytes: int = 0


@dataclass
class ObjectCopier:
    """Copies objects from one store to another.

    Parameters
    ----------
    source, target : PlainEngine
    advance : callable
        Told how many bytes have been copied.
    """

    source: PlainEngine
    target: PlainEngine
    advance: Callable[[int], object]
    _budget: Budget = field(default_factory=Budget)

    def chunk_sizes(self, node: Node) -> dict[str, int]:
        """Return the sizes of the chunks of a value in the source, by path.

        Raises
        ------
        MissingChunkError, CorruptChunkError
            A chunk is not there, or empty.
        StaleValueError
            So it is because the value was replaced or deleted.
        """
        paths = [path for array in node.arrays.values() for path in array.object_paths()]
        listed = {one.path: one.size for one in self.source.nodes.list_status(node.path)} if paths else {}
        for path in paths:
            if path not in listed:
                self.require_current(node)
                raise MissingChunkError(f"{node.path}: chunk {path} is not in the store; see zdb verify")
            if not listed[path]:
                raise CorruptChunkError(f"{node.path}: chunk {path} is empty; see zdb verify")
        return {path: listed[path] for path in paths}

    def copy(self, node: Node, jobs: list[ObjectJob], gate: Gate) -> Copied:
        """Copy objects of a node.

        Raises
        ------
        CorruptChunkError
            One is damaged.
        StaleValueError
            The node was replaced or deleted.
        """

        def copy(job: ObjectJob) -> int:
            data = self.source.nodes.get(job.source)
            if data is None or len(data) != job.size:
                raise StaleValueError(f"{job.source}: was replaced or deleted while it was copied")
            self._check(node, job, data)
            with gate:
                self.target.nodes.stage(job.target, data)
            self.advance(len(data))
            return len(data)

        if len(jobs) == 1:
            return Copied(1, copy(jobs[0]))
        written = list(concurrently(copy, jobs, weight=lambda job: job.size, budget=self._budget))
        return Copied(len(written), sum(written))

    def _check(self, node: Node, job: ObjectJob, data: bytes) -> None:
        """Raise unless the bytes of an object are those that were written."""
        try:
            if job.check is not None:
                job.check(data)
        except ValueError as error:
            self.require_current(node)
            raise CorruptChunkError(f"{node.path}: chunk {job.source} is damaged: {error}; see zdb verify") from error

    def require_sizes(self, path: str, expected: Mapping[str, int]) -> None:
        """Raise unless the objects at a path of the target have these sizes.

        Raises
        ------
        StorageError
        """
        listed = {one.path: one.size for one in self.target.nodes.list_status(path)}
        wrong = [one for one, size in expected.items() if listed.get(one) != size]
        if wrong:
            raise StorageError(
                f"{self.target.nodes.url}: {wrong[0]} has {listed.get(wrong[0], 'no')} bytes after it was copied; "
                "the key is as it was before"
            )

    def require_current(self, node: Node) -> None:
        """Raise unless what was copied belongs to this generation, see :class:`zdb.engine.chunks.ValueSource`.

        Raises
        ------
        StaleValueError
        """
        now = self.source.node(node.path)
        if now is None or not now.keeps_chunks_of(node):
            raise StaleValueError(f"{node.path}: was replaced or deleted while it was copied")


def checks(node: Node) -> Iterator[Callable[[bytes], object]]:
    """Yield what checks each chunk or shard of a value, in the order of their paths."""
    for array in node.arrays.values():
        check = ObjectCheck(array)
        yield from (partial(check, place) for place in array.places())
