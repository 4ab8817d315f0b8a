"""Checking the stored objects of one array by their checksums, without decompressing them."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.engine.layout import INDEX_CODECS
from zdb.engine.packing import ABSENT, CRC_BYTES, checked

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb.engine.node import ArrayNode

__all__ = ["ObjectCheck"]

Place = tuple[int, ...]


class ObjectCheck:
    """Tells whether the bytes of an object are what was written.

    Where an array has other codecs than zdb chooses, the object is decoded.

    Parameters
    ----------
    array : ArrayNode
    """

    def __init__(self, array: ArrayNode) -> None:
        self._array = array
        self._check = self._choose()

    def __call__(self, place: Place, data: bytes) -> None:
        """Check the object at a place of the grid.

        Raises
        ------
        ValueError
            It is damaged, or lacks a chunk.
        """
        self._check(place, data)

    def _choose(self) -> Callable[[Place, bytes], None]:
        chain = self._array.metadata["codecs"]
        sharding = chain[0].get("configuration", {})
        if chain[-1]["name"] == "crc32c":
            return lambda place, data: _check_part(np.frombuffer(data, np.uint8), len(data))  # noqa: ARG005
        if (
            (len(chain), chain[0]["name"]) == (1, "sharding_indexed")
            and (sharding["index_codecs"], sharding["index_location"]) == (INDEX_CODECS, "end")
            and sharding["codecs"][-1]["name"] == "crc32c"
        ):
            return self._check_shard
        from zdb.engine.decoding import ArrayDecoder

        decoder = ArrayDecoder(self._array)

        def decode(place: Place, data: bytes) -> None:
            for chunk in decoder.decode(place, data):
                if isinstance(chunk, Exception):
                    raise ValueError(str(chunk)) from chunk

        return decode

    def _check_shard(self, place: Place, data: bytes) -> None:
        array = self._array
        grid = [whole // part for whole, part in zip(array.object_shape, array.inner_shape, strict=True)]
        size = 16 * math.prod(grid) + CRC_BYTES
        if len(data) < size:
            raise ValueError(f"the shard has {len(data)} bytes, fewer than its index")
        content = np.frombuffer(data, np.uint8)
        index = checked(content[-size:]).view("<u8").reshape(-1, 2).tolist()
        for within, (start, length) in zip(product(*map(range, grid)), index, strict=True):
            if start != ABSENT:
                _check_part(content[start : start + length], length)
            elif self._is_inside(place, within, grid):
                raise ValueError(f"chunk {within} of the shard is not in it")

    def _is_inside(self, place: Place, within: Place, grid: list[int]) -> bool:
        """Whether a chunk of a shard begins before the end of the array."""
        places = zip(place, within, grid, self._array.inner_shape, self._array.shape, strict=True)
        return all((p * n + i) * part < size for p, i, n, part, size in places)


def _check_part(data: np.ndarray[Any, Any], length: int) -> None:
    if data.size != length or length <= CRC_BYTES:
        raise ValueError(f"{data.size} bytes are too few")
    checked(data)
