"""How the inner chunks of an array lie in its objects, for the codecs that :mod:`zdb.engine.layout` chooses by itself.

Chunks are packed and unpacked in memory of the caller, by functions that let other threads run meanwhile.
"""

from __future__ import annotations

import math
import os
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs import blosc, zstd

from zdb.engine.layout import INDEX_CODECS

if TYPE_CHECKING:
    from zdb.engine.node import ArrayNode

__all__ = ["ABSENT", "CRC_BYTES", "Packing", "checked", "processors", "said_by_codec", "sealed"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

CRC_BYTES = 4
# In the index of a shard, for a chunk that is not there.
ABSENT = 2**64 - 1
WRONG_CHECKSUM = "the checksum (CRC-32C) is wrong"
_MOST_THREADS = 16
_OPTIONS = {
    "": set(),
    "blosc": {"cname", "clevel", "shuffle", "typesize", "blocksize"},
    "zstd": {"level", "checksum"},
}
_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}


@dataclass(frozen=True)
class Packing:
    """The codecs of one array.

    Attributes
    ----------
    dtype : numpy.dtype
    chunks : tuple of int
        Shape of an inner chunk.
    grid : tuple of int or None
        Inner chunks per shard along each dimension; None without shards.
    compressor : str
        "blosc", "zstd", or "" for none.
    options : dict
        Of the compressor, as in ``zarr.json``.
    """

    dtype: np.dtype[Any]
    chunks: Shape
    grid: Shape | None
    compressor: str
    options: dict[str, Any]

    @classmethod
    def of(cls, node: ArrayNode) -> Packing | None:
        """Return the packing of an array, None if it is of another kind."""
        chain, chunks, grid = node.metadata["codecs"], node.object_shape, None
        if chain[0]["name"] == "sharding_indexed":
            sharding = chain[0]["configuration"]
            if len(chain) > 1 or sharding["index_codecs"] != INDEX_CODECS or sharding["index_location"] != "end":
                return None
            chunks, chain = tuple(sharding["chunk_shape"]), sharding["codecs"]
            grid = tuple(whole // part for whole, part in zip(node.object_shape, chunks, strict=True))
        names = [codec["name"] for codec in chain]
        swapped = chain[0].get("configuration", {}).get("endian", "little") != sys.byteorder
        if len(chain) not in (2, 3) or names[0] != "bytes" or names[-1] != "crc32c":
            return None
        if node.dtype == "string" or not node.shape or (swapped and np.dtype(node.dtype).itemsize > 1):
            return None
        compressor, options = (names[1], chain[1].get("configuration", {})) if len(chain) == 3 else ("", {})
        if set(options) != _OPTIONS.get(compressor):
            return None
        return cls(np.dtype(node.dtype), chunks, grid, compressor, options)

    @property
    def chunk_bytes(self) -> int:
        """Size of a chunk in memory."""
        return math.prod(self.chunks) * self.dtype.itemsize

    def pack(self, chunk: Array) -> bytes:
        """Compress a chunk that is contiguous and whole, without its checksum."""
        data, options = _bytes_of(chunk), self.options
        packed: bytes = data.tobytes() if not self.compressor else b""
        if self.compressor == "blosc":
            shuffle, size = _SHUFFLES[options["shuffle"]], options["typesize"]
            name = options["cname"].encode()
            packed = blosc.compress(data, name, options["clevel"], shuffle, options["blocksize"], size)
        elif self.compressor == "zstd":
            packed = zstd.compress(data, options["level"], options["checksum"])
        return packed

    def unpack(self, data: Array, target: Array) -> None:
        """Decompress into `target`, which is contiguous and a whole chunk.

        Raises
        ------
        Exception
            Whatever the codec raises for data that are damaged.
        """
        room = _bytes_of(target)
        if self.compressor == "blosc":
            nbytes, _, size = struct.unpack("<3I", data[4:16].tobytes())
            if nbytes != room.size or size != data.size:
                raise ValueError(f"blosc holds {nbytes} bytes in {size}, not {room.size} in {data.size}")
            blosc.decompress(data, room)
        elif self.compressor == "zstd":
            zstd.decompress(data, room)
        else:
            room[:] = data


def _bytes_of(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)


def sealed(data: bytes) -> tuple[bytes, bytes]:
    """Return data and the CRC-32C that is written behind it."""
    return data, google_crc32c.value(data).to_bytes(CRC_BYTES, "little")


def checked(data: Array) -> Array:
    """Return data without the CRC-32C at its end.

    Raises
    ------
    ValueError
        The checksum is wrong.
    """
    content = data[:-CRC_BYTES]
    if google_crc32c.value(content) != int.from_bytes(data[-CRC_BYTES:].tobytes(), "little"):
        raise ValueError(WRONG_CHECKSUM)
    return content


def said_by_codec(error: Exception) -> str:
    """Say what a codec found wrong; zarr tells of a checksum in bytes."""
    return WRONG_CHECKSUM if "checksum do not match" in str(error) else str(error)


def processors() -> int:
    """Number of threads that are worth it for packing and unpacking."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_THREADS)
