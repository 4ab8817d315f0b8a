"""Writing chunks to the local disk without zarr, packed by several threads while others are written."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.engine.packing import ABSENT, Packing, processors, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zdb.engine.local import LocalNodes
    from zdb.engine.node import ArrayNode

__all__ = ["DirectWriter"]

Array = np.ndarray[Any, Any]


class DirectWriter:
    """Writes one array.

    Parameters
    ----------
    nodes : LocalNodes
    node : ArrayNode
    packing : Packing
    put : callable, optional
        Writes one object, which comes in parts, at a path; by default as any.
    """

    def __init__(
        self,
        nodes: LocalNodes,
        node: ArrayNode,
        packing: Packing,
        put: Callable[[str, Iterable[bytes]], None] | None = None,
    ) -> None:
        self.put = put or nodes.set_parts
        self.node = node
        self.packing = packing

    def write(self, region: tuple[slice, ...], data: Array) -> None:
        """Write whole objects of the array.

        Parameters
        ----------
        region : tuple of slice
            Where the data goes: begins at an object and ends at one, or with the array. Dimensions at the end that are
            left out are whole.
        data : numpy.ndarray
        """
        sizes = self.node.object_shape
        counts = [range(math.ceil(n / size)) for n, size in zip(data.shape, sizes, strict=True)]
        objects = [tuple(slice(n * s, (n + 1) * s) for n, s in zip(p, sizes, strict=True)) for p in product(*counts)]
        first = [(one.start or 0) // size for one, size in zip(region, sizes, strict=False)]
        first += [0] * (len(sizes) - len(first))
        threads = min(math.ceil(data.nbytes / self.packing.chunk_bytes), processors())
        with ThreadPoolExecutor(max(1, threads)) as pool:
            chunks = (chunk for one in objects for _, chunk in self._chunks(data[one]))
            packed = pool.map(self._pack, chunks) if threads > 1 else map(self._pack, chunks)
            try:
                for place, one in zip(product(*counts), objects, strict=True):
                    path = self.node.object_path(tuple(f + n for f, n in zip(first, place, strict=True)))
                    self.put(path, self._object([at for at, _ in self._chunks(data[one])], packed))
            finally:
                pool.shutdown(cancel_futures=True)  # when the disk fails, no more is packed

    def _chunks(self, data: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
        """Places and data of the inner chunks of an object."""
        sizes = self.packing.chunks
        for place in product(*(range(math.ceil(n / size)) for n, size in zip(data.shape, sizes, strict=True))):
            yield place, data[tuple(slice(n * size, (n + 1) * size) for n, size in zip(place, sizes, strict=True))]

    def _pack(self, chunk: Array) -> tuple[bytes, bytes]:
        whole = np.ascontiguousarray(chunk, self.packing.dtype)
        if chunk.shape != self.packing.chunks:
            whole = np.zeros(self.packing.chunks, self.packing.dtype)
            whole[tuple(map(slice, chunk.shape))] = chunk
        return sealed(self.packing.pack(whole))

    def _object(self, places: list[tuple[int, ...]], packed: Iterator[tuple[bytes, bytes]]) -> Iterable[bytes]:
        """Make the bytes of an object: its chunks, and where they are if it is a shard."""
        if not self.packing.grid:
            yield from next(packed)
            return
        index = np.full((*self.packing.grid, 2), ABSENT, "<u8")
        end = 0
        for place, parts in zip(places, packed, strict=False):
            yield from parts
            length = sum(map(len, parts))
            index[place] = end, length
            end += length
        yield from sealed(index.tobytes())
