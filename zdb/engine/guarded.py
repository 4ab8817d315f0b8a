"""Writing objects that several processes may want to write, each as long as a guard allows it.

They last when :meth:`zdb.engine.nodes.NodeStore.sync` was called after it.

A process that was stopped may come back at any moment. So the guard is asked after the tag of an object was taken and
before the object is written on the condition that it still has this tag: who was stopped in between, and was replaced
by another meanwhile, finds the object changed and asks again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore, StorePath, WrapperStore

from zdb.engine.chunks import WRITE_BYTES, ArrayTarget, zarr_array
from zdb.engine.direct_writing import DirectWriter
from zdb.engine.gate import Gate
from zdb.engine.indexing import objects_of
from zdb.engine.layout import write_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    import zarr
    from zarr.core.buffer import Buffer

    from zdb.engine.local import LocalNodes
    from zdb.engine.node import ArrayNode
    from zdb.engine.nodes import Tag
    from zdb.engine.packing import Packing
    from zdb.engine.store import NodeStore

    Guard = Callable[[], None]

__all__ = ["GuardedTarget", "put_guarded", "update_guarded"]


def put_guarded(nodes: NodeStore, path: str, data: bytes, guard: Guard) -> None:
    """Write or replace an object, unless the guard raises."""
    tag: Tag | None = None
    while True:
        guard()
        if nodes.replace(path, data, tag, lasting=False) is not None:
            return
        tag = nodes.tag(path)


def update_guarded(nodes: NodeStore, path: str, change: Callable[[bytes | None], bytes], guard: Guard) -> None:
    """Make an object anew from what it is, so that of several processes that do so at once none undoes another."""
    while True:
        found = nodes.read_tagged(path)
        changed = change(None if found is None else found.data)
        guard()
        if nodes.replace(path, changed, None if found is None else found.tag, lasting=False) is not None:
            return


class _GuardedStore(WrapperStore[Any]):
    """Passes reads on, and writes objects by :func:`put_guarded`."""

    def __init__(self, nodes: NodeStore, guard: Guard) -> None:
        super().__init__(nodes.zarr_store(reading=False))
        self._nodes = nodes
        self._guard = guard

    async def set(self, key: str, value: Buffer) -> None:
        await asyncio.to_thread(put_guarded, self._nodes, key, value.to_bytes(), self._guard)

    def set_sync(self, key: str, value: Buffer) -> None:
        put_guarded(self._nodes, key, value.to_bytes(), self._guard)


class GuardedTarget(ArrayTarget):
    """Where the data of a part of an array goes, while others write other parts.

    Parameters
    ----------
    nodes : NodeStore
    node : ArrayNode
    guard : callable
        Raises when this process may not write any more.
    origin : tuple of int
        Where in the array the part begins.
    """

    def __init__(self, nodes: NodeStore, node: ArrayNode, guard: Guard, origin: tuple[int, ...]) -> None:
        super().__init__(nodes, node, Gate())
        self.guard = guard
        self.origin = origin

    def _open(self) -> zarr.Array[Any]:
        return zarr_array(self.node, StorePath(_GuardedStore(self.nodes, self.guard), self.node.path))

    def _writer(self, nodes: LocalNodes, packing: Packing) -> DirectWriter:
        return DirectWriter(nodes, self.node, packing, self._put)

    def _put(self, path: str, parts: Iterable[bytes]) -> None:
        put_guarded(self.nodes, path, b"".join(parts), self.guard)

    def write(self, data: np.ndarray[Any, Any]) -> None:
        """Write the whole part, which is in memory or memory-mapped, in regions of bounded size."""
        unit = self.node.object_shape[0]
        unit *= max(1, WRITE_BYTES // max(1, data.nbytes // data.shape[0] * unit))
        rest = tuple(slice(0, size) for size in data.shape[1:])
        start = 0
        while start < len(data):
            stop = min(len(data), (self.origin[0] + start) // unit * unit + unit - self.origin[0])
            self[(slice(start, stop), *rest)] = data[start:stop]
            start = stop

    def chunks_for(self, chunks: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        """Return chunks, near to those of a dask array, that end where objects end."""
        shape = tuple(map(sum, chunks))
        unit = write_unit(self.node.object_shape, tuple(map(max, chunks)), shape)
        return tuple(
            tuple(inside.stop - inside.start for _, (inside,) in objects_of((slice(start, start + size),), (step,)))
            for start, size, step in zip(self.origin, shape, unit, strict=True)
        )

    def __setitem__(self, region: tuple[slice, ...], data: np.ndarray[Any, Any]) -> None:
        """Write to a region of the part."""
        box = tuple(slice(start + one.start, start + one.stop) for start, one in zip(self.origin, region, strict=True))
        if self._is_whole(box, data):
            super().__setitem__(box, data)
            return
        with self.gate:
            for place, inside in objects_of(box, self.node.object_shape):
                taken = tuple(
                    slice(one.start - whole.start, one.stop - whole.start)
                    for one, whole in zip(inside, box, strict=True)
                )
                self._write_object(place, inside, data[taken])

    def _write_object(self, place: tuple[int, ...], box: tuple[slice, ...], data: np.ndarray[Any, Any]) -> None:
        path = self.node.object_path(place)
        if self._is_whole(box, data):
            put_guarded(self.nodes, path, self._changed(path, box, data, None), self.guard)
        else:
            update_guarded(self.nodes, path, lambda before: self._changed(path, box, data, before), self.guard)

    def _changed(self, path: str, box: tuple[slice, ...], data: np.ndarray[Any, Any], before: bytes | None) -> bytes:
        """Return an object with other data in a box, which lies in it."""
        kept: dict[str, Buffer] = {}
        if before is not None:
            kept[path] = default_buffer_prototype().buffer.from_bytes(before)
        zarr_array(self.node, StorePath(MemoryStore(kept), self.node.path))[box] = data
        return kept[path].to_bytes()
