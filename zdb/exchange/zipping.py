"""A database as one zip file, which zdb, zarr and xarray read as it is."""

from __future__ import annotations

import secrets
import zipfile
from typing import TYPE_CHECKING

from zdb.engine.concurrency import concurrently
from zdb.engine.node import DATABASE, FOREIGN, VALUE, node_path
from zdb.engine.plain import RECORDS
from zdb.errors import MissingChunkError
from zdb.maintenance.walking import walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zdb.database import Database
    from zdb.transfer.report import TransferReport

__all__ = ["write_zip"]

RECORD_GROUPS = (RECORDS, f"{RECORDS}/environments", f"{RECORDS}/histories")


def write_zip(db: Database, target: Path, report: TransferReport) -> None:
    """Write the objects of a database that are in use and the records of the provenance.

    The file appears when it is whole. Chunks are compressed already and are stored as they are.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_STORED) as file:
            for path, data in concurrently(lambda one: _read(db, one), _paths(db, report)):
                file.writestr(path, data)
                report.objects += 1
                report.nbytes += len(data)
            for path, data in _records(db):
                file.writestr(path, data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _paths(db: Database, report: TransferReport) -> Iterator[tuple[str, str]]:
    """Yield the paths of objects in the store, and what they are called in the file."""
    start = len(db._path) + 1 if db._path else 0  # noqa: SLF001
    for path, node, error in walk(db._engine, db._path):  # noqa: SLF001
        if error:
            report.failed[path] = error
        if node is None:
            continue
        if node.kind == DATABASE or (node.kind == FOREIGN and db._engine.is_database(node)):  # noqa: SLF001
            objects = iter([node_path(path)])
        else:
            report.copied.append(path[start:])
            nodes = db._engine.nodes  # noqa: SLF001
            objects = node.object_paths() if node.kind == VALUE else iter(nodes.list_objects(path))
        yield from ((one, one[start:]) for one in objects)


def _read(db: Database, paths: tuple[str, str]) -> tuple[str, bytes]:
    data = db._engine.nodes.get(paths[0])  # noqa: SLF001
    if data is None:
        raise MissingChunkError(f"{paths[0]} is not in the store; see zdb verify")
    return paths[1], data


def _records(db: Database) -> Iterator[tuple[str, bytes]]:
    """Yield all records of the provenance, and the groups in which they lie."""
    nodes = db._engine.nodes  # noqa: SLF001
    kept = [*RECORD_GROUPS, *(f"{group}/{name}" for group in RECORD_GROUPS[1:] for name in nodes.list_names(group))]
    paths = [node_path(one) for one in kept]
    yield from ((path, data) for path, data in zip(paths, nodes.get_many(paths), strict=True) if data is not None)
