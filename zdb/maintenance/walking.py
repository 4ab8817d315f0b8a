"""All nodes of a database one after the other, whole or not."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from zdb.engine.node import DATABASE, FOREIGN, Node, node_path
from zdb.engine.provenance_records import RECORDS
from zdb.errors import CorruptChunkError
from zdb.keys import join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zdb.engine.plain import PlainEngine

__all__ = ["Found", "parsed", "walk"]

# So many nodes are read at a time.
BATCH = 1000


class Found(NamedTuple):
    """What lies at a path; `node` is None if there is none, or `error` says why it cannot be read."""

    path: str
    node: Node | None
    error: str = ""


def walk(engine: PlainEngine, path: str) -> Iterator[Found]:
    """Yield what lies at a path and below it; prefixes without a node too, but nothing inside of values.

    Memory does not grow with the number of nodes.
    """
    found = parsed(path, engine.nodes.get(node_path(path)))
    yield found
    if found.node is not None and _has_keys(engine, found.node):
        yield from _walk_below(engine, path)


def _walk_below(engine: PlainEngine, path: str) -> Iterator[Found]:
    names = engine.nodes.list_names(path)
    visible = iter([join(path, name) for name in names if not name.startswith(".") and (path or name != RECORDS)])
    while paths := list(islice(visible, BATCH)):
        for one, data in zip(paths, engine.nodes.get_many([node_path(p) for p in paths]), strict=True):
            found = parsed(one, data)
            yield found
            if found.node is not None and _has_keys(engine, found.node):
                yield from _walk_below(engine, one)


def parsed(path: str, data: bytes | None) -> Found:
    """Return what was read at a path."""
    if data is None:
        return Found(path, None)
    try:
        return Found(path, Node.parse(path, data))
    except CorruptChunkError as error:
        return Found(path, None, str(error))


def _has_keys(engine: PlainEngine, node: Node) -> bool:
    if node.kind == FOREIGN:
        return engine.is_database(node)
    return node.kind == DATABASE
