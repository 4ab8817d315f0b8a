"""A database as one zip file, which zdb, zarr and xarray read as it is."""

from __future__ import annotations

import secrets
import zipfile
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from zdb.engine.checksums import ObjectCheck
from zdb.engine.concurrency import concurrently
from zdb.engine.node import DATABASE, FOREIGN, VALUE, node_path
from zdb.engine.provenance_records import RECORDS
from zdb.errors import CorruptChunkError, MissingChunkError
from zdb.maintenance.walking import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zdb.database import Database
    from zdb.engine.node import Node
    from zdb.transfer.report import TransferReport

    Check = Callable[[bytes], None]

__all__ = ["write_zip"]

RECORD_GROUPS = (RECORDS, f"{RECORDS}/environments", f"{RECORDS}/histories")


class _Object(NamedTuple):
    """Where an object lies in the store and in the file, the key of its value, and what checks it, if anything."""

    path: str
    name: str
    key: str
    check: Check | None


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
            for path, data in concurrently(lambda one: _read(db, one), _objects(db, report)):
                file.writestr(path, data)
                report.objects += 1
                report.nbytes += len(data)
            for path, data in _records(db):
                file.writestr(path, data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _objects(db: Database, report: TransferReport) -> Iterator[_Object]:
    start = len(db._path) + 1 if db._path else 0  # noqa: SLF001
    for path, node, error in walk(db._engine, db._path):  # noqa: SLF001
        if error:
            report.failed[path] = error
        if node is None:
            continue
        if node.kind == DATABASE or (node.kind == FOREIGN and db._engine.is_database(node)):  # noqa: SLF001
            objects: Iterator[tuple[str, Check | None]] = iter([(node_path(path), None)])
        else:
            report.copied.append(path[start:])
            nodes = db._engine.nodes  # noqa: SLF001
            objects = _of_value(node) if node.kind == VALUE else ((one, None) for one in nodes.list_objects(path))
        yield from (_Object(one, one[start:], path[start:], check) for one, check in objects)


def _of_value(node: Node) -> Iterator[tuple[str, Check | None]]:
    """Yield the paths of all objects, and what checks those that are chunks or shards."""
    yield from ((path, None) for path in node.metadata_paths())
    for array in node.arrays.values():
        check = ObjectCheck(array)
        yield from ((array.object_path(place), partial(check, place)) for place in array.places())


def _read(db: Database, one: _Object) -> tuple[str, bytes]:
    data = db._engine.nodes.get(one.path)  # noqa: SLF001
    if data is None:
        raise MissingChunkError(f"{one.path} is not in the store; see zdb verify")
    try:
        if one.check is not None:
            one.check(data)
    except ValueError as error:
        raise CorruptChunkError(f"{one.key}: chunk {one.path} is damaged: {error}; see zdb verify") from error
    return one.name, data


def _records(db: Database) -> Iterator[tuple[str, bytes]]:
    """Yield all records of the provenance, and the groups in which they lie."""
    nodes = db._engine.nodes  # noqa: SLF001
    kept = [*RECORD_GROUPS, *(f"{group}/{name}" for group in RECORD_GROUPS[1:] for name in nodes.list_names(group))]
    paths = [node_path(one) for one in kept]
    yield from ((path, data) for path, data in zip(paths, nodes.get_many(paths), strict=True) if data is not None)
