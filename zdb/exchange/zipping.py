"""A database as one zip file, which zdb, zarr and xarray read as it is."""

from __future__ import annotations

import math
import secrets
import warnings
import zipfile
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from zdb.engine.checksums import ObjectCheck
from zdb.engine.concurrency import concurrently
from zdb.engine.node import VALUE, Node, dump, node_path
from zdb.engine.provenance_records import RECORDS
from zdb.errors import CorruptChunkError, MissingChunkError, ZdbError
from zdb.maintenance.walking import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zdb.database import Database
    from zdb.transfer.report import TransferReport

    Check = Callable[[bytes], None]

__all__ = ["write_zip"]

RECORD_GROUPS = (RECORDS, f"{RECORDS}/environments", f"{RECORDS}/histories")
# So many nodes are held at a time, and a value that others replace meanwhile is read so often.
BATCH, ATTEMPTS = 1000, 10


def write_zip(db: Database, target: Path, report: TransferReport) -> None:
    """Write the objects of a database that are in use and the records of the provenance.

    The file appears when it is whole. Chunks are compressed already and are stored as they are.

    Raises
    ------
    MissingChunkError, CorruptChunkError
        A value is damaged.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_STORED) as file:
            writer = _Writer(db, file, report)
            nodes = writer.nodes()
            while batch := list(islice(nodes, BATCH)):
                writer.write(batch)
            for path, data in _records(db):
                file.writestr(path, data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


class _Object(NamedTuple):
    """Where an object lies, to which node it belongs, what checks it, and how large it can be."""

    path: str
    node: Node
    check: Check | None = None
    size: int = 0


class _Writer:
    """Puts nodes into a zip file: first their chunks, and then, if these belong to them, the metadata as it was."""

    def __init__(self, db: Database, file: zipfile.ZipFile, report: TransferReport) -> None:
        self._engine = db._engine  # noqa: SLF001
        self._root = db._path  # noqa: SLF001
        self._file = file
        self._report = report

    def nodes(self) -> Iterator[Node]:
        for path, node, error in walk(self._engine, self._root):
            if error:
                self._report.failed[self._name(path)] = error
            elif node is not None:
                yield node

    def write(self, nodes: list[Node]) -> None:
        """Write nodes; those that were replaced before all of them was read, as they are then."""
        for _ in range(ATTEMPTS):
            nodes = self._write(nodes)
            if not nodes:
                return
        for node in nodes:
            self._report.failed[self._name(node.path)] = "was replaced again and again while it was read"

    def _write(self, nodes: list[Node]) -> list[Node]:
        """Write nodes, and return what took the place of those that were replaced meanwhile."""
        wrong: dict[str, ZdbError] = {}
        objects = (one for node in nodes for one in self._objects(node))
        for one, read in concurrently(self._read, objects, weight=lambda one: one.size):
            if isinstance(read, bytes):
                self._put(self._name(one.path), read)
            else:
                wrong[one.node.path] = read
        now = self._look_again([node for node in nodes if node.kind == VALUE and node.arrays])
        again = []
        for node in nodes:
            current = now.get(node.path, node)
            if node.path not in wrong and current is not None and current.keeps_chunks_of(node):
                self._put_metadata(node)
            elif current is not None and current.document == node.document:
                raise wrong[node.path]
            elif current is not None and current.error:
                self._report.failed[self._name(node.path)] = current.error
            elif current is not None:
                again.append(current)
        return again

    def _look_again(self, nodes: list[Node]) -> dict[str, Node | None]:
        found = self._engine.nodes.get_many([node_path(node.path) for node in nodes])
        pairs = zip(nodes, found, strict=True)
        return {node.path: None if data is None else Node.read(node.path, data) for node, data in pairs}

    def _objects(self, node: Node) -> Iterator[_Object]:
        """Yield what is read for a node: chunks and shards, or all that lies in plain Zarr."""
        if node.kind == VALUE:
            for array in node.arrays.values():
                check = ObjectCheck(array)
                size = math.prod(array.object_shape) * array.nbytes // max(1, math.prod(array.shape))
                for place in array.places():
                    yield _Object(array.object_path(place), node, partial(check, place), size)
        elif not self._engine.is_database(node):
            yield from (_Object(path, node) for path in self._engine.nodes.list_objects(node.path))

    def _read(self, one: _Object) -> tuple[_Object, bytes | ZdbError]:
        data = self._engine.nodes.get(one.path)
        if data is None:
            return one, MissingChunkError(f"{one.path} is not in the store; see zdb verify")
        try:
            if one.check is not None:
                one.check(data)
        except ValueError as error:
            key = self._name(one.node.path)
            return one, CorruptChunkError(f"{key}: chunk {one.path} is damaged: {error}; see zdb verify")
        return one, data

    def _put_metadata(self, node: Node) -> None:
        documents = node.below_documents() if node.kind == VALUE else {}
        if node.kind == VALUE or self._engine.is_database(node):
            documents[node_path(node.path)] = node.document
        if node.kind == VALUE or not documents:
            self._report.copied.append(self._name(node.path))
        for path, document in documents.items():
            self._put(self._name(path), dump(document))

    def _put(self, name: str, data: bytes) -> None:
        with warnings.catch_warnings():
            # A value that was replaced meanwhile may have chunks of the same keys again; the last one counts.
            warnings.filterwarnings("ignore", "Duplicate name", UserWarning)
            self._file.writestr(name, data)
        self._report.objects += 1
        self._report.nbytes += len(data)

    def _name(self, path: str) -> str:
        return path[len(self._root) + 1 :] if self._root else path


def _records(db: Database) -> Iterator[tuple[str, bytes]]:
    """Yield all records of the provenance, and the groups in which they lie."""
    nodes = db._engine.nodes  # noqa: SLF001
    kept = [*RECORD_GROUPS, *(f"{group}/{name}" for group in RECORD_GROUPS[1:] for name in nodes.list_names(group))]
    paths = [node_path(one) for one in kept]
    yield from ((path, data) for path, data in zip(paths, nodes.get_many(paths), strict=True) if data is not None)
