"""Shards that grow: more chunks behind those that are there, so that who has read the old index still finds them."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.engine.guarded import GuardedTarget
from zdb.engine.layout import INDEX_CODECS
from zdb.engine.packing import ABSENT, CRC_BYTES, checked, sealed

if TYPE_CHECKING:
    from zdb.engine.guarded import Guard
    from zdb.engine.node import ArrayNode
    from zdb.engine.store import NodeStore

__all__ = ["GrowingTarget", "extended_shard"]

Array = np.ndarray[Any, Any]
# So much may be taken by chunks that do not count any more, besides as much as by those that do.
SPARE_BYTES = 4 << 20


def extended_shard(old: bytes, new: bytes, grid: tuple[int, ...]) -> bytes:
    """Return a shard with the chunks of two: those of `new` count, and come last.

    Chunks of `old` that do not count any more stay where they are, because readers may look for them; when they take
    more room than the others, all are put together anew.

    Parameters
    ----------
    old, new : bytes
    grid : tuple of int
        Chunks per shard along each dimension.
    """
    size = 16 * math.prod(grid) + CRC_BYTES
    old_index, new_index = (_index(one, grid) for one in (old, new))
    kept = old[:-size]
    index = old_index.copy()
    added = _placed(new, new_index, index, len(kept))
    end = len(kept) + sum(map(len, added))
    if end > 2 * int(index[..., 1][index[..., 0] != ABSENT].sum()) + SPARE_BYTES:
        kept, added = b"", _placed(b"".join([kept, *added]), index.copy(), index, 0)
    return b"".join([kept, *added, *sealed(index.tobytes())])


def _placed(shard: bytes, source: Array, index: Array, end: int) -> list[bytes]:
    """Return the chunks that `source` tells of, and set in `index` where they lie when they come from `end` on."""
    parts = []
    for place in product(*map(range, source.shape[:-1])):
        start, length = source[place].tolist()
        if start != ABSENT:
            parts.append(shard[start : start + length])
            index[place] = end, length
            end += length
    return parts


def _index(shard: bytes, grid: tuple[int, ...]) -> Array:
    size = 16 * math.prod(grid) + CRC_BYTES
    return checked(np.frombuffer(shard[-size:], np.uint8)).view("<u8").reshape(*grid, 2)


class GrowingTarget(GuardedTarget):
    """Where data goes that is added to an array, from the beginning of an inner chunk on.

    Parameters
    ----------
    nodes, node, guard, origin
        As for :class:`~zdb.engine.guarded.GuardedTarget`; `node` is the array with what is added.
    extent : tuple of int
        Shape of the array before.
    """

    def __init__(
        self, nodes: NodeStore, node: ArrayNode, guard: Guard, origin: tuple[int, ...], extent: tuple[int, ...]
    ) -> None:
        super().__init__(nodes, node, guard, origin)
        self.extent = extent

    def _is_whole(self, region: tuple[slice, ...], data: Array) -> bool:
        """Whether the region is made of whole objects that were not there before."""
        is_new = any(one.start >= size for one, size in zip(region, self.extent, strict=True))
        return is_new and super()._is_whole(region, data)

    def _changed(self, path: str, box: tuple[slice, ...], data: Array, before: bytes | None) -> bytes:
        first = self.node.metadata["codecs"][0]
        sharding = first.get("configuration", {})
        if before is None or first["name"] != "sharding_indexed" or sharding["index_codecs"] != INDEX_CODECS:
            return super()._changed(path, box, data, before)
        grid = tuple(n // c for n, c in zip(self.node.object_shape, sharding["chunk_shape"], strict=True))
        return extended_shard(before, super()._changed(path, box, data, None), grid)
