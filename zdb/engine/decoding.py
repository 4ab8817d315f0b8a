"""Decoding one stored object of an array chunk by chunk, to tell which of its chunks are damaged."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath

from zdb.engine.packing import ABSENT, CRC_BYTES, said_by_codec
from zdb.engine.strict import RaisingStore
from zdb.errors import CorruptChunkError, MissingChunkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarr.core.buffer import Buffer

    from zdb.engine.node import ArrayNode

__all__ = ["ArrayDecoder"]

_PLAIN: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "attributes": {},
    "storage_transformers": [],
}


class ArrayDecoder:
    """Decodes the objects of one array from their bytes.

    Shards are taken apart: the chunks in a shard are those of an array without shards, and are decoded as such.

    Parameters
    ----------
    array : ArrayNode
    """

    def __init__(self, array: ArrayNode) -> None:
        self.array = array
        codecs = array.metadata["codecs"]
        self._is_sharded = codecs[0]["name"] == "sharding_indexed"
        configuration = codecs[0]["configuration"] if self._is_sharded else {}
        self._chunk_shape = tuple(configuration.get("chunk_shape", array.object_shape))
        self._index_at_end = configuration.get("index_location", "end") == "end"
        pairs = zip(array.object_shape, self._chunk_shape, strict=True)
        self._per_object = tuple(size // part for size, part in pairs)
        metadata = {
            **array.metadata,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self._chunk_shape)}},
            "chunk_key_encoding": _PLAIN["chunk_key_encoding"],
            "codecs": configuration.get("codecs", codecs),
        }
        self._array, self._chunks = _in_memory(metadata)
        self._index_codecs = configuration.get("index_codecs", [])

    def decode(self, place: tuple[int, ...], data: bytes) -> Iterator[np.ndarray[Any, Any] | Exception]:
        """Yield the chunks of the object at a place of the grid, in order, and an error for each that is lost.

        Parameters
        ----------
        place : tuple of int
        data : bytes
            All of the object.

        Yields
        ------
        numpy.ndarray, MissingChunkError or CorruptChunkError
        """
        try:
            chunks = self._take_apart(data) if self._is_sharded else [memoryview(data)]
        except ValueError as error:
            yield CorruptChunkError(str(error))
            return
        inside = product(*map(range, self._per_object))
        for within, chunk in zip(inside, chunks, strict=True):
            index = tuple(p * n + i for p, n, i in zip(place, self._per_object, within, strict=True))
            starts = [i * part for i, part in zip(index, self._chunk_shape, strict=True)]
            if any(start >= size for start, size in zip(starts, self.array.shape, strict=True)):
                continue  # beyond the end of the array
            named = f"chunk {within} of the shard " if self._is_sharded else ""
            if chunk is None:
                yield MissingChunkError(f"{named}is not in it".strip())
            elif not chunk:
                yield CorruptChunkError(f"{named}is empty".strip())
            else:
                yield self._decode_chunk(index, starts, chunk, named)

    def _decode_chunk(
        self, index: tuple[int, ...], starts: list[int], chunk: memoryview, named: str
    ) -> np.ndarray[Any, Any] | Exception:
        region = tuple(slice(start, start + part) for start, part in zip(starts, self._chunk_shape, strict=True))
        key = "/".join(["c", *map(str, index)])
        self._chunks[key] = _buffer(chunk)
        try:
            found: np.ndarray[Any, Any] = self._array[region]  # type: ignore[assignment]
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a codec raises on damaged bytes
            return CorruptChunkError(f"{named}cannot be decoded: {said_by_codec(error)}")
        finally:
            del self._chunks[key]
        return found

    def _take_apart(self, data: bytes) -> list[memoryview | None]:
        """Return the bytes of each chunk in a shard, None for those that are absent."""
        view = memoryview(data)
        checksums = sum(codec["name"] == "crc32c" for codec in self._index_codecs)
        size = 16 * math.prod(self._per_object) + CRC_BYTES * checksums
        if len(view) < size:
            raise ValueError(f"the shard has {len(view)} bytes, fewer than its index")
        index = self._decode_index(view[-size:] if self._index_at_end else view[:size])
        found: list[memoryview | None] = []
        for offset, length in index.reshape(-1, 2).tolist():
            if offset == length == ABSENT:
                found.append(None)
            elif offset + length > len(view):
                raise ValueError("the index of the shard points beyond its end")
            else:
                found.append(view[offset : offset + length])
        return found

    def _decode_index(self, data: memoryview) -> np.ndarray[Any, Any]:
        shape = [*self._per_object, 2]
        metadata = {
            **_PLAIN,
            "shape": shape,
            "data_type": "uint64",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
            "fill_value": ABSENT,
            "codecs": self._index_codecs,
        }
        array, chunks = _in_memory(metadata)
        chunks["/".join(["c", *("0" for _ in shape)])] = _buffer(data)
        try:
            return np.asarray(array[...])
        except ValueError as error:
            raise ValueError(f"the index of the shard cannot be decoded: {said_by_codec(error)}") from error


def _buffer(data: memoryview) -> Buffer:
    return default_buffer_prototype().buffer.from_bytes(data)


def _in_memory(metadata: dict[str, Any]) -> tuple[zarr.Array[Any], dict[str, Buffer]]:
    """Make an array that reads its chunks from a dict, which is returned too."""
    chunks: dict[str, Buffer] = {}
    place = StorePath(RaisingStore(MemoryStore(chunks)), "")
    return zarr.Array(zarr.AsyncArray(ArrayV3Metadata.from_dict(metadata), place)), chunks
