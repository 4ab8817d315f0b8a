"""Reading chunks from the local disk without zarr, by several threads.

A chunk is read into a buffer that stays in the cache of the processor, checked, and decoded where it belongs in the
result. zarr reads everything else: other stores, codecs and data types.
"""

from __future__ import annotations

import math
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zdb.engine.indexing import Piece, pieces
from zdb.engine.nodes import translated
from zdb.engine.packing import ABSENT, CRC_BYTES, Packing, checked, processors
from zdb.errors import MissingChunkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zdb.engine.local import LocalNodes
    from zdb.engine.node import ArrayNode

__all__ = ["DamagedChunkError", "DirectReader"]

Array = np.ndarray[Any, Any]
Index = tuple[Any, ...]

# What one thread takes at a time when it reads, in uncompressed bytes.
BATCH_BYTES = 4 << 20


class DamagedChunkError(ValueError):
    """The bytes of a chunk are not what was written.

    Attributes
    ----------
    path : str
        The object in the store.
    """

    def __init__(self, path: str, reason: object) -> None:
        super().__init__(reason)
        self.path = path


class Part(NamedTuple):
    """What an index takes of one inner chunk: its place in its object, where in it, where in the result."""

    place: tuple[int, ...]
    inside: Index
    outside: Index


class DirectReader:
    """Reads one array."""

    def __init__(self, nodes: LocalNodes, node: ArrayNode, packing: Packing) -> None:
        self.nodes = nodes
        self.node = node
        self.packing = packing
        self.grid = packing.grid or (1,) * len(node.shape)

    def read(self, index: Index) -> Array | None:
        """Read a part of the array.

        Parameters
        ----------
        index : tuple
            For each dimension a slice that runs forward, or for one of them an array of integers.

        Returns
        -------
        numpy.ndarray or None
            None for another kind of index, or one that is out of bounds.

        Raises
        ------
        MissingChunkError
            A chunk is not there.
        DamagedChunkError
            A chunk cannot be decoded.
        StorageError
            The disk failed.
        """
        shape = self.node.shape
        arrays = [(one, size) for one, size in zip(index, shape, strict=True) if not isinstance(one, slice)]
        if len(arrays) > 1 or any(one.size and (one.min() < -size or one.max() >= size) for one, size in arrays):
            return None
        taken = [pieces(*one) for one in zip(index, shape, self.packing.chunks, strict=True)]
        sizes = [
            len(range(*one.indices(size))) if isinstance(one, slice) else one.size
            for one, size in zip(index, shape, strict=True)
        ]
        result = np.empty(sizes, self.packing.dtype)
        self._read_all(deque(self._batches(taken)), result)
        return result

    def _batches(self, taken: list[list[Piece]]) -> Iterator[tuple[str, list[Part]]]:
        """Divide the work into chunks of one object, about as many as one thread should take at a time."""
        together = max(1, BATCH_BYTES // self.packing.chunk_bytes)
        grouped: list[dict[int, list[Piece]]] = []
        for along, count in zip(taken, self.grid, strict=True):
            grouped.append({})
            for piece in along:
                grouped[-1].setdefault(piece.chunk // count, []).append(piece)
        for place in product(*grouped):
            path = self.node.object_path(place)
            parts = map(self._part, product(*(groups[n] for groups, n in zip(grouped, place, strict=True))))
            while batch := list(islice(parts, together)):
                yield path, batch

    def _part(self, chosen: tuple[Piece, ...]) -> Part:
        place = tuple(piece.chunk % count for piece, count in zip(chosen, self.grid, strict=True))
        return Part(place, tuple(piece.inside for piece in chosen), tuple(piece.outside for piece in chosen))

    def _read_all(self, batches: deque[tuple[str, list[Part]]], result: Array) -> None:
        def work() -> None:
            encoded, decoded = _Buffer(), np.empty(self.packing.chunks, self.packing.dtype)
            try:
                while batch := _taken_from(batches):
                    self._read_batch(*batch, result, encoded, decoded)
            finally:
                batches.clear()  # when this thread fails, the others stop

        threads = min(len(batches), processors())
        if threads < 2:
            work()
            return
        with ThreadPoolExecutor(threads) as pool:
            try:
                for done in [pool.submit(work) for _ in range(threads)]:
                    done.result()
            finally:
                batches.clear()

    def _read_batch(self, path: str, parts: list[Part], result: Array, encoded: _Buffer, decoded: Array) -> None:
        try:
            with open(f"{self.nodes.root}/{path}", "rb", buffering=0) as file:  # noqa: PTH123
                size = os.fstat(file.fileno()).st_size
                index = self._read_index(file, size) if self.packing.grid else None
                for part in parts:
                    start, length = (0, size) if index is None else index[part.place].tolist()
                    if start == ABSENT:
                        raise MissingChunkError(f"chunk {path} is not in the store: part {part.place} of it is missing")
                    if length <= CRC_BYTES or start + length > size:
                        raise ValueError(f"{size} bytes are too few")
                    self._place(checked(encoded.fill(file, start, length)), part, result, decoded)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingChunkError(f"chunk {path} is not in the store") from error
        except MissingChunkError:
            raise
        except OSError:
            with translated(self.nodes.url, path, "read"):
                raise
        except Exception as error:
            raise DamagedChunkError(path, error) from error

    def _read_index(self, file: Any, size: int) -> Array:
        length = 16 * math.prod(self.grid) + CRC_BYTES
        if length > size:
            raise ValueError(f"{size} bytes are too few")
        return checked(_Buffer().fill(file, size - length, length)).view("<u8").reshape(*self.grid, 2)

    def _place(self, data: Array, part: Part, result: Array, decoded: Array) -> None:
        """Decode a chunk where it belongs, or beside it if only some of it is wanted."""
        if all(isinstance(one, slice) and one.step in (1, None) for one in (*part.inside, *part.outside)):
            target = result[part.outside]
            if target.shape == self.packing.chunks and target.flags.c_contiguous:
                self.packing.unpack(data, target)
                return
        self.packing.unpack(data, decoded)
        result[part.outside] = decoded[part.inside]


def _taken_from(batches: deque[tuple[str, list[Part]]]) -> tuple[str, list[Part]] | None:
    try:
        return batches.popleft()
    except IndexError:
        return None


class _Buffer:
    """Memory that is used for one chunk after the other."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def fill(self, file: Any, start: int, length: int) -> Array:
        if self._bytes.size < length:
            self._bytes = np.empty(length, np.uint8)
        room = self._bytes[:length]
        file.seek(start)
        filled = 0
        while filled < length:
            count = file.readinto(room[filled:])
            if not count:
                raise ValueError(f"it ends after {start + filled} bytes")
            filled += count
        return room
