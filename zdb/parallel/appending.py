"""Adding to a value along one dimension: new objects behind the old extent, and then the node that shows them.

What lies beyond the extent that a reader knows does not exist for it. So a reader sees the old extent or the new one,
and what a writer that died has left beyond the old one is overwritten by the next.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.engine.computing import store
from zdb.engine.node import VALUE, Node, dump
from zdb.engine.shards import GrowingTarget
from zdb.engine.writer import LayoutOptions, below_documents
from zdb.errors import KeyConflictError, KeyNotFoundError, WriteError
from zdb.formats import registry
from zdb.formats.dtypes import is_lazy
from zdb.parallel.growth import growth_of
from zdb.parallel.tables import with_rows
from zdb.provenance import capture

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from zdb.engine.node import ArrayNode
    from zdb.engine.plain import PlainEngine
    from zdb.parallel.growth import Growth

__all__ = ["append", "provenance"]


def append(engine: PlainEngine, path: str, part: Any, dim: Any) -> None:
    """Add to a value; errors as in :meth:`zdb.Database.append`."""
    node = engine.node(path)
    if node is not None and node.format == "table":
        _append_rows(engine, path, part)
        return
    with engine.claim(path, hand_out=False) as claim:
        grown = _append_in_place(engine, _value(path, claim.previous), part, dim, claim.fence.check)
        if grown is not None:
            before, document = _value(path, claim.previous), dump(grown.document)

            def make(previous: Node | None, generation: int) -> bytes:  # noqa: ARG001
                if previous is None or previous.document != before.document:
                    raise WriteError(
                        f"{path}: was replaced while something was added to it; the new value stays as it is"
                    )
                return document

            claim.commit(make)


def _append_rows(engine: PlainEngine, path: str, part: Any) -> None:
    started = time.perf_counter()
    chosen = registry.by_name("table")
    with engine.claim(path) as claim:
        node = _value(path, claim.previous)
        if node.format != "table":
            raise KeyConflictError(f"{path}: was replaced by a value of format {node.format!r} meanwhile")
        table = with_rows(engine, node, part)

        def seal(previous: Node | None, generation: int) -> dict[str, Any]:
            own = engine.value_attributes(chosen.name, chosen.version, previous, generation)
            appends = int(node.attributes.get("zdb_appends", 0)) + 1
            kept = {name: node.attributes[name] for name in ("zdb_attrs",) if name in node.attributes}
            return {**own, **kept, "zdb_appends": appends, **provenance(engine, started)}

        partitioned = chosen.partitioned(table)
        if partitioned is not None:
            engine.publish_parts(claim, partitioned, seal, LayoutOptions())
        else:
            engine.publish(claim, chosen.encode(table), seal, LayoutOptions())


def _value(path: str, node: Node | None) -> Node:
    if node is None:
        raise KeyNotFoundError(f"{path}: was deleted meanwhile")
    if node.kind != VALUE:
        raise KeyConflictError(f"{path}: is no value of zdb")
    return node


def _append_in_place(
    engine: PlainEngine, node: Node, part: Any, dim: str | None, guard: Callable[[], None]
) -> Node | None:
    """Write what a part adds to a value, and return the node that shows it; None if it adds nothing."""
    started = time.perf_counter()
    stored: Any = engine.open_value(node)
    growth = growth_of(node, stored, part, dim)
    if not growth.size:
        return None
    grown = _grown(node, growth)
    lazy_from, lazy_to = [], []
    for name, (axis, data) in growth.added.items():
        array = node.arrays[name]
        start = array.shape[axis] // _inner(array)[axis] * _inner(array)[axis]
        origin = tuple(start if i == axis else 0 for i in range(data.ndim))
        # The last chunk, if it is not full, is written again with more in it.
        data = _joined(_before(stored, name, axis, start), data, axis)
        if 0 in data.shape:
            continue
        target = GrowingTarget(engine.nodes, grown.arrays[name], guard, origin, array.shape)
        if is_lazy(data):
            lazy_from.append(data.rechunk(target.chunks_for(data.chunks)))
            lazy_to.append(target)
        else:
            target.write(data)
    if lazy_from:
        store(node.path, lazy_from, lazy_to)
    guard()
    for path, document in below_documents(grown).items():
        engine.nodes.stage(path, dump(document))
    engine.nodes.sync(node.path)
    grown.document["attributes"] |= provenance(engine, started)
    return grown


def provenance(engine: PlainEngine, started: float) -> dict[str, Any]:
    """Return the provenance of this process as attributes, with its records written."""
    captured = capture(round(time.perf_counter() - started, 6))
    for place, record in captured.records.items():
        engine.set_record(place, record)
    return captured.attributes


def _grown(node: Node, growth: Growth) -> Node:
    document = copy.deepcopy(node.document)
    below = document["consolidated_metadata"]["metadata"]
    for name, (axis, _) in growth.added.items():
        below[name]["shape"][axis] += growth.size
    appends = int(node.attributes.get("zdb_appends", 0)) + 1
    document["attributes"] |= {**growth.attributes, "zdb_appends": appends}
    return Node(node.path, document)


def _inner(array: ArrayNode) -> tuple[int, ...]:
    """Shape of the smallest part of an array that is encoded by itself."""
    first = array.metadata["codecs"][0]
    if first["name"] == "sharding_indexed":
        return tuple(first["configuration"]["chunk_shape"])
    return array.object_shape


def _before(stored: xr.Dataset, name: str, axis: int, start: int) -> np.ndarray[Any, Any]:
    variable = stored.variables[name]
    found = variable[(slice(None),) * axis + (slice(start, None),)].values
    return np.asarray(found)


def _joined(before: np.ndarray[Any, Any], data: Any, axis: int) -> Any:
    if not before.shape[axis]:
        return data
    if is_lazy(data):
        import dask.array

        return dask.array.concatenate([dask.array.from_array(before), data], axis=axis)  # type: ignore[no-untyped-call]
    return np.concatenate([before, data], axis=axis)
