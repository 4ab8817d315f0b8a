"""Adding to a value along one dimension: new objects behind the old extent, and then the node that shows them.

What lies beyond the extent that a reader knows does not exist for it. So a reader sees the old extent or the new one,
and what a writer that died has left beyond the old one is overwritten by the next.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from zdb.engine.computing import store
from zdb.engine.concurrency import concurrently
from zdb.engine.layout import Layout
from zdb.engine.node import DATABASE, VALUE, Node, dump, node_path
from zdb.engine.options import LayoutOptions
from zdb.engine.reader import open_steady
from zdb.engine.shards import GrowingTarget
from zdb.engine.store import LocalNodes
from zdb.errors import KeyConflictError, KeyNotFoundError, PartMismatchError, UnsupportedValueError, WriteError
from zdb.formats import registry
from zdb.formats.dtypes import is_lazy
from zdb.parallel.growing_layout import is_cut_along, layout_along, may_be_cut, with_layout_of
from zdb.parallel.growth import growth_of
from zdb.parallel.ragged_growth import checked_rows, growth_of_rows, with_ragged_rows
from zdb.parallel.table_growth import WithLayout, check_rows, growth_of_table, with_rows
from zdb.provenance import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import xarray as xr

    from zdb.engine.claim import Claim
    from zdb.engine.guarded import Guard
    from zdb.engine.plain import PlainEngine
    from zdb.engine.store import NodeStore
    from zdb.engine.writer import Seal
    from zdb.parallel.growth import Growth

__all__ = ["append", "provenance"]

CONCURRENT_ARRAYS = 8
T = TypeVar("T")


def append(engine: PlainEngine, path: str, part: Any, dim: Any, seen: Node) -> None:
    """Add to a value that was like this when it was seen; errors as in :meth:`zdb.Database.append`."""
    if seen.format == "table":
        _append_to_table(engine, path, part, dim)
    elif seen.format == "ragged":
        _append_to_ragged(engine, path, part, dim)
    else:
        _append_to_arrays(engine, path, part, dim, anew=may_be_cut(seen))


def _append_to_arrays(engine: PlainEngine, path: str, part: Any, dim: Any, *, anew: bool) -> None:
    started = time.perf_counter()
    with engine.claim(path, hand_out=anew) as claim:
        node = _value(path, claim.previous)
        stored: Any = open_steady(engine.nodes, node)
        growth = growth_of(node, stored, part, dim)
        axes = {name: axis for name, (axis, _) in growth.added.items()}
        if anew and growth.size and is_cut_along(node, axes):
            encoded = _with_growth(node, stored, growth)
            engine.publish(claim, encoded, _seal(engine, node, started), LayoutOptions())
        else:
            _grow(engine, claim, node, stored, growth)


def _append_to_table(engine: PlainEngine, path: str, part: Any, dim: Any) -> None:
    started = time.perf_counter()
    chosen = registry.by_name("table")
    with engine.claim(path) as claim:
        node = _value(path, claim.previous, "table")
        stored: Any = open_steady(engine.nodes, node)
        check_rows(node, stored, part, dim)
        partitioned: Any = None
        encoded: Any = None
        try:
            growth = growth_of_table(node, stored, part)
            if growth is None:
                table = with_rows(node, stored, part)
                partitioned = chosen.partitioned(table)
                encoded = None if partitioned else chosen.encode(table)
        except UnsupportedValueError as error:
            raise PartMismatchError(f"{path}: the part: {error}") from error
        if growth is not None:
            _grow(engine, claim, node, stored, growth)
        elif partitioned is not None:
            engine.publish_parts(claim, WithLayout(node, partitioned), _seal(engine, node, started), LayoutOptions())
        else:
            engine.publish(claim, with_layout_of(node, encoded), _seal(engine, node, started), LayoutOptions())


def _append_to_ragged(engine: PlainEngine, path: str, part: Any, dim: Any) -> None:
    started = time.perf_counter()
    with engine.claim(path) as claim:
        node = _value(path, claim.previous, "ragged")
        stored: Any = open_steady(engine.nodes, node)
        try:
            rows = checked_rows(node, stored, part, dim)
            growth = growth_of_rows(node, stored, rows)
            encoded = None if growth else with_ragged_rows(node, stored, rows)
        except UnsupportedValueError as error:
            raise PartMismatchError(f"{path}: the part: {error}") from error
        if growth is not None:
            _grow(engine, claim, node, stored, growth)
        elif encoded is not None:
            engine.publish(claim, encoded, _seal(engine, node, started), LayoutOptions())


def _seal(engine: PlainEngine, node: Node, started: float) -> Seal:
    """Attributes of a value that is written anew with what was added to it."""
    chosen = registry.by_name(node.format)

    def seal(previous: Node | None, generation: int) -> dict[str, Any]:
        own = engine.value_attributes(chosen.name, chosen.version, previous, generation)
        appends = int(node.attributes.get("zdb_appends", 0)) + 1
        kept = {name: node.attributes[name] for name in ("zdb_attrs",) if name in node.attributes}
        return {**own, **kept, "zdb_appends": appends, **provenance(engine, started)}

    return seal


def _value(path: str, node: Node | None, wanted: str = "") -> Node:
    if node is None:
        raise KeyNotFoundError(f"{path}: was deleted meanwhile")
    if node.kind != VALUE:
        what = "is a database; add to a value in it" if node.kind == DATABASE else "was not written as a value of zdb"
        raise KeyConflictError(f"{path}: {what}")
    if wanted and node.format != wanted:
        raise KeyConflictError(f"{path}: was replaced by a value of format {node.format!r} meanwhile")
    return node


def _grow(engine: PlainEngine, claim: Claim, node: Node, stored: Any, growth: Growth) -> None:
    """Write what is added to a value behind its arrays, and then the node that shows it."""
    if not growth.size:
        return
    started = time.perf_counter()
    grown = _grown(node, growth)
    _write(engine.nodes, claim.fence.check, node, grown, stored, growth)
    claim.fence.check()
    changed = {node_path(grown.arrays[name].path) for name in {*growth.added, *growth.array_attributes}}
    documents = {path: dump(below) for path, below in grown.below_documents().items() if path in changed}
    _all(engine.nodes, lambda one: engine.nodes.stage(*one), documents.items())
    engine.nodes.sync(node.path)
    grown.document["attributes"] |= provenance(engine, started)
    before, document = _value(node.path, claim.previous), dump(grown.document)

    def make(previous: Node | None, generation: int) -> bytes:  # noqa: ARG001
        if previous is None or previous.document != before.document:
            raise WriteError(f"{node.path}: was replaced while something was added to it; the new value stays as it is")
        return document

    claim.commit(make)
    # This was the same generation: what one that was given up has sent may yet arrive, and meet the next.
    claim.give_up(settled=True)


def _write(nodes: NodeStore, guard: Guard, node: Node, grown: Node, stored: Any, growth: Growth) -> None:
    eager, lazy_from, lazy_to = [], [], []

    def target_at(name: str, axis: int, start: int) -> GrowingTarget:
        array = node.arrays[name]
        origin = tuple(start if i == axis else 0 for i in range(len(array.shape)))
        return GrowingTarget(nodes, grown.arrays[name], guard, origin, array.shape)

    for name, (axis, data) in growth.added.items():
        if 0 in data.shape:
            continue
        array = node.arrays[name]
        start = array.shape[axis] // array.inner_shape[axis] * array.inner_shape[axis]
        if is_lazy(data):
            joined, target = _joined(_before(stored, name, axis, start), data, axis), target_at(name, axis, start)
            lazy_from.append(joined.rechunk(target.chunks_for(joined.chunks)))
            lazy_to.append(target)
        else:
            eager.append((name, axis, start, data))

    def write(one: tuple[str, int, int, Any]) -> None:
        name, axis, start, data = one
        array = node.arrays[name]
        before = _before(stored, name, axis, start)
        # The last chunk, if it is not full, is written again with more in it; what does not get into its object is not
        # copied for that, as it may be a file that does not fit into memory.
        size, length = array.shape[axis], array.object_shape[axis]
        number = (size // length + 1) * length - size if before.shape[axis] else 0
        first, rest = (data[(slice(None),) * axis + (part,)] for part in (slice(number), slice(number, None)))
        for place, part in ((start, _joined(before, first, axis)), (size + number, rest)):
            if part.shape[axis]:
                target_at(name, axis, place).write(part)

    _all(nodes, write, eager)
    if lazy_from:
        store(node.path, lazy_from, lazy_to)


def _all(nodes: NodeStore, function: Callable[[T], object], items: Iterable[T]) -> None:
    """Call a function for each item: at once where each call waits for a server."""
    if isinstance(nodes, LocalNodes):
        for item in items:
            function(item)
    else:
        for _ in concurrently(function, items, CONCURRENT_ARRAYS):
            pass


def provenance(engine: PlainEngine, started: float) -> dict[str, Any]:
    """Return the provenance of this process as attributes, with its records written."""
    captured = capture(round(time.perf_counter() - started, 6))
    for place, record in captured.records.items():
        engine.records.write(place, record)
    return captured.attributes


def _with_growth(node: Node, stored: xr.Dataset, growth: Growth) -> xr.Dataset:
    """Return a small value with what is added to it, to be written anew with chunks that suit one that grows."""
    import xarray as xr

    variables = {}
    for name, variable in stored.variables.items():
        before, data = node.arrays[str(name)], variable.values
        layout = Layout(before.inner_shape, before.object_shape if before.inner_shape != before.object_shape else None)
        if str(name) in growth.added:
            axis, more = growth.added[str(name)]
            layout = layout_along(before, axis, data.dtype.itemsize)
            data = _joined(data, more, axis)
        encoding = {"zdb_layout": layout, "zdb_codec": before.compressors}
        variables[name] = xr.Variable(variable.dims, data, variable.attrs, encoding)
    coords = xr.Coordinates({name: variables.pop(name) for name in stored.coords}, indexes={})
    return xr.Dataset(variables, coords, {**stored.attrs, **growth.attributes})


def _grown(node: Node, growth: Growth) -> Node:
    document = copy.deepcopy(node.document)
    below = document["consolidated_metadata"]["metadata"]
    for name, (axis, data) in growth.added.items():
        below[name]["shape"][axis] += data.shape[axis]
    for name, attributes in growth.array_attributes.items():
        below[name]["attributes"] = attributes
    appends = int(node.attributes.get("zdb_appends", 0)) + 1
    document["attributes"] |= {**growth.attributes, "zdb_appends": appends}
    return Node(node.path, document)


def _before(stored: xr.Dataset, name: str, axis: int, start: int) -> np.ndarray[Any, Any]:
    variable = stored.variables[name]
    found = variable[(slice(None),) * axis + (slice(start, None),)].values
    return np.asarray(found)


def _joined(before: np.ndarray[Any, Any], data: Any, axis: int) -> Any:
    if not before.shape[axis]:
        return data
    if is_lazy(data):
        import dask.array

        return dask.array.concatenate([dask.array.from_array(before, chunks=-1), data], axis=axis)  # type: ignore[no-untyped-call]
    return np.concatenate([before, data], axis=axis)
