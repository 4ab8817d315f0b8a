"""How arrays are cut and compressed: one formula for chunks, shards and codecs.

*Inner chunks* of about 1 MiB are what a reader has to decode for one element; they keep the last dimension whole while
a row fits, so that one trial is one chunk. *Shards* of about 64 MiB are the objects in the store. An array below 1 MiB
is one chunk without a shard. Both sizes count uncompressed bytes. Where data arrives in blocks, both are made a little
smaller if they then divide the blocks, so that no block is cut in two for writing.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from zdb.errors import UnsupportedValueError

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = [
    "CHUNK_BYTES",
    "INDEX_CODECS",
    "SHARD_BYTES",
    "WHOLE",
    "Layout",
    "choose_codecs",
    "choose_layout",
    "choose_parted_layout",
    "grow",
    "write_unit",
]

CHUNK_BYTES = 1 << 20
SHARD_BYTES = 64 << 20
# Strings have no fixed size; this stands for one when chunks are cut.
STRING_BYTES = 32
# An array of more has no index of shards, which has one dimension more: numpy makes arrays of up to 64.
MOST_SHARDED_DIMS = 63
# In chunks and shards that a user gives: all of this dimension.
WHOLE = -1

Shape = tuple[int, ...]
JSONDict = dict[str, Any]

INDEX_CODECS: list[JSONDict] = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]


class Layout(NamedTuple):
    """Chunk and shard shape of one array; `shards` is None for an array without shards."""

    chunks: Shape
    shards: Shape | None

    @property
    def objects(self) -> Shape:
        """Shape of what lies in one object of the store, the smallest part that one writer may write."""
        return self.shards or self.chunks


def choose_layout(
    shape: Shape,
    dtype: np.dtype[Any],
    *,
    parts: Shape | None = None,
    chunks: Shape | Literal["balanced"] | None = None,
    shards: Shape | None = None,
) -> Layout:
    """Choose the chunk and shard shape of an array.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    parts : tuple of int, optional
        Size of the blocks in which the data arrives (dask chunks); shards are cut to fit them.
    chunks : tuple of int or "balanced", optional
        Use this inner chunk shape; "balanced" makes chunks as square as possible, for reading along every dimension.
    shards : tuple of int, optional
        Use this shard shape, a multiple of the chunks. In both, -1 stands for the whole dimension.

    Raises
    ------
    UnsupportedValueError
        `chunks` or `shards` do not fit the shape.
    """
    itemsize = _itemsize(dtype)
    nbytes = math.prod(shape) * itemsize
    region = grow(parts, shape, SHARD_BYTES // itemsize) if parts else shape
    if chunks == "balanced":
        inner = _square(region, CHUNK_BYTES // itemsize)
    elif chunks is not None:
        inner = _checked("chunks", chunks, shape, (1,) * len(shape))
    else:
        inner = _fill(region, CHUNK_BYTES // itemsize)
    if parts and chunks in (None, "balanced"):
        inner = tuple(map(_dividing, region, inner))
    if shards is not None:
        if len(shape) > MOST_SHARDED_DIMS:
            raise UnsupportedValueError(
                f"shards are for arrays of up to {MOST_SHARDED_DIMS} dimensions; leave them out"
            )
        outer = _checked("shards", shards, shape, inner)
        if any(s % c for s, c in zip(outer, inner, strict=True)):
            raise UnsupportedValueError(f"shards {outer} are not a multiple of chunks {inner}")
        return Layout(inner, outer)
    if nbytes <= CHUNK_BYTES or dtype.kind == "T" or len(shape) > MOST_SHARDED_DIMS:
        return Layout(inner, None)
    budget = SHARD_BYTES // (math.prod(inner) * itemsize)
    available = _divide_up(region, inner)
    counts = _fill(available, max(1, budget))
    if parts:
        counts = tuple(map(_dividing, available, counts))
    outer = tuple(c * n for c, n in zip(inner, counts, strict=True))
    return Layout(inner, outer)


def choose_parted_layout(
    shape: Shape,
    dtype: np.dtype[Any],
    parts: Shape,
    *,
    chunks: Shape | Literal["balanced"] | None = None,
    shards: Shape | None = None,
) -> Layout:
    """Choose the layout of an array whose parts are written by different writers: no object belongs to two of them.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    parts : tuple of int
        Size of a part along each dimension; one that is not divided has that of the array.
    chunks, shards
        As for :func:`choose_layout`; `shards` are taken as they are.

    Raises
    ------
    UnsupportedValueError
        `chunks` or `shards` do not fit the shape or the parts.
    """
    if shards is not None:
        if chunks is None:
            whole = _checked("shards", shards, shape, (1,) * len(shape))
            most = _fill(whole, CHUNK_BYTES // _itemsize(dtype))
            chunks = tuple(_divisor(size, one, needed=True) for size, one in zip(whole, most, strict=True))
        return choose_layout(shape, dtype, chunks=chunks, shards=shards)
    if chunks is not None:
        inner = choose_layout(parts, dtype, chunks=chunks).chunks
    else:
        inner = _fill(parts, CHUNK_BYTES // _itemsize(dtype))
    divided = [part < size for part, size in zip(parts, shape, strict=True)]
    if chunks in (None, "balanced"):
        inner = tuple(map(_divisor, parts, inner, divided))
    elif any(one and part % c for one, part, c in zip(divided, parts, inner, strict=True)):
        raise UnsupportedValueError(f"chunks {inner} do not divide the parts {parts} that are written one by one")
    small = math.prod(parts) * _itemsize(dtype) <= CHUNK_BYTES
    if dtype.kind == "T" or small or len(shape) > MOST_SHARDED_DIMS:
        return Layout(inner, None)
    available = _divide_up(parts, inner)
    counts = _fill(available, max(1, SHARD_BYTES // (math.prod(inner) * _itemsize(dtype))))
    counts = tuple(map(_divisor, available, counts, divided))
    return Layout(inner, tuple(c * n for c, n in zip(inner, counts, strict=True)))


def _itemsize(dtype: np.dtype[Any]) -> int:
    return STRING_BYTES if dtype.kind == "T" else dtype.itemsize


def _divisor(whole: int, most: int, needed: bool) -> int:
    """Return the largest size up to `most` that divides `whole`, if that is needed."""
    return next(size for size in range(most, 0, -1) if whole % size == 0) if needed else most


def write_unit(objects: Shape, parts: Shape, shape: Shape) -> Shape:
    """Return the multiple of the stored objects that comes nearest to the blocks in which the data arrives."""
    return tuple(
        min(max(1, round(part / size)) * size, max(1, math.ceil(whole / size)) * size)
        for size, part, whole in zip(objects, parts, shape, strict=True)
    )


def choose_codecs(dtype: np.dtype[Any], layout: Layout, codec: Any = None) -> list[JSONDict]:
    """Return the codec chain of an array, as it stands in ``zarr.json``.

    Floating point numbers take blosc-lz4 with byte shuffle, as fast as no codec on reading; integers blosc-zstd with
    bit shuffle; bytes and strings zstd, because shuffling does not help them. Every chunk carries a CRC-32C.

    Parameters
    ----------
    dtype : numpy.dtype
    layout : Layout
    codec : optional
        Use this compressor instead: a zarr codec, its dict, or None for the policy; False for no compression.
    """
    if dtype.kind == "T":
        serializer: JSONDict = {"name": "vlen-utf8", "configuration": {}}
    elif dtype.itemsize == 1:
        serializer = {"name": "bytes"}
    else:
        serializer = {"name": "bytes", "configuration": {"endian": "little"}}
    chain = [serializer, *_compressors(dtype, codec), {"name": "crc32c"}]
    if layout.shards is None:
        return chain
    sharding = {
        "chunk_shape": list(layout.chunks),
        "codecs": chain,
        "index_codecs": INDEX_CODECS,
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": sharding}]


def _compressors(dtype: np.dtype[Any], codec: Any) -> list[JSONDict]:
    if codec is False:
        return []
    if codec is not None:
        wanted = codec if isinstance(codec, (list, tuple)) else [codec]
        if not all(isinstance(one, dict) or hasattr(one, "to_dict") for one in wanted):
            raise UnsupportedValueError(
                f"codec={codec!r} is no codec of zarr; give one such as zarr.codecs.BloscCodec(), its dict, or False"
            )
        return [one if isinstance(one, dict) else one.to_dict() for one in wanted]
    if dtype.kind in "fc":
        return [_blosc("lz4", 5, "shuffle", dtype.itemsize // (2 if dtype.kind == "c" else 1))]
    if dtype.kind in "iu" and dtype not in (np.int8, np.uint8):
        return [_blosc("zstd", 3, "bitshuffle", dtype.itemsize)]
    return [{"name": "zstd", "configuration": {"level": 3, "checksum": False}}]


def _blosc(name: str, level: int, shuffle: str, typesize: int) -> JSONDict:
    configuration = {
        "cname": name,
        "clevel": level,
        "shuffle": shuffle,
        "typesize": typesize,
        "blocksize": 0,
    }
    return {"name": "blosc", "configuration": configuration}


def _checked(name: str, wanted: Sequence[int], shape: Shape, unit: Shape) -> Shape:
    """Return a wanted shape, of which whole dimensions end at a multiple of the unit."""
    try:
        made = tuple(map(operator.index, wanted))
    except TypeError:
        made = ()
    if len(made) == len(shape):
        whole = tuple(n * size for n, size in zip(_divide_up(shape, unit), unit, strict=True))
        made = tuple(all_of if size == WHOLE else size for size, all_of in zip(made, whole, strict=True))
    if len(made) != len(shape) or min(made, default=1) < 1:
        raise UnsupportedValueError(
            f"{name}={wanted!r} does not fit an array of shape {shape}: give {len(shape)} positive integers"
        )
    return made


def _fill(shape: Shape, budget: int) -> Shape:
    """Take as much of each dimension as the budget of elements allows, from the last one to the first."""
    taken = []
    for size in reversed(shape):
        taken.append(max(1, min(size, budget)))
        budget //= taken[-1]
    return tuple(reversed(taken))


def _square(shape: Shape, budget: int) -> Shape:
    """Share the budget of elements evenly among the dimensions; what a short one leaves goes to the others."""
    taken = [1] * len(shape)
    order = sorted(range(len(shape)), key=lambda i: shape[i])
    for position, i in enumerate(order):
        even = math.floor(budget ** (1 / (len(order) - position)) + 1e-9)
        taken[i] = max(1, min(shape[i], even))
        budget //= taken[i]
    return tuple(taken)


def grow(parts: Shape, shape: Shape, budget: int) -> Shape:
    """Join small blocks to about one shard, along the last dimension first."""
    counts = _fill(_divide_up(shape, parts), max(1, budget // max(1, math.prod(parts))))
    return tuple(min(p * n, s) for p, n, s in zip(parts, counts, shape, strict=True))


def _dividing(whole: int, most: int) -> int:
    """Return the largest size up to `most` and above half of it that divides `whole`; `most` if none does."""
    sizes = np.arange(most, most // 2, -1)
    found = sizes[whole % sizes == 0]
    return int(found[0]) if found.size else most


def _divide_up(shape: Shape, parts: Shape) -> Shape:
    return tuple(max(1, math.ceil(s / p)) for s, p in zip(shape, parts, strict=True))
