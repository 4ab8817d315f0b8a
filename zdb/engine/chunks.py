"""The chunks of one array: zarr arrays made from known metadata, lazy reading, and writing by regions."""

from __future__ import annotations

import threading
from functools import cache, cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing
from zarr.core.metadata import ArrayV3Metadata
from zarr.errors import BoundsCheckError
from zarr.storage import StorePath

from zdb.engine.node import Node, node_path
from zdb.engine.nodes import translated
from zdb.errors import (
    CorruptChunkError,
    MissingChunkError,
    StaleValueError,
    ZdbError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zdb.engine.gate import Gate
    from zdb.engine.node import ArrayNode
    from zdb.engine.store import NodeStore

__all__ = ["ArrayTarget", "StoredArray", "ValueSource", "open_array"]

# Regions of about this many bytes are written at a time, so that memory does not grow with the array.
WRITE_BYTES = 256 << 20

_pipeline_lock = threading.Lock()


@cache
def _fastest_pipeline() -> dict[str, str]:
    """Setting that chooses zarr's fused codec pipeline where there is one (zarr >= 3.4); the bytes are the same."""
    has_fused = hasattr(zarr.core.codec_pipeline, "FusedCodecPipeline")
    return {"codec_pipeline.path": "zarr.core.codec_pipeline.FusedCodecPipeline"} if has_fused else {}


def open_array(nodes: NodeStore, node: ArrayNode, *, reading: bool) -> zarr.Array[Any]:
    """Make a zarr array from its metadata, without a request to the store."""
    path = StorePath(nodes.zarr_store(reading=reading), node.path)
    metadata = ArrayV3Metadata.from_dict(node.metadata)
    with _pipeline_lock, zarr.config.set(_fastest_pipeline()):
        made = zarr.AsyncArray(metadata, path, config={"write_empty_chunks": True})
    return zarr.Array(made)


class ValueSource:
    """One generation of one value, which its lazy arrays read from and which can be replaced meanwhile."""

    def __init__(self, nodes: NodeStore, node: Node) -> None:
        self.nodes = nodes
        self.path = node.path
        self.id = node.id
        self.generation = node.generation
        self._fingerprint: object = None

    def check_current(self, *, lost: bool = False) -> None:
        """Raise unless the chunks that were just read belong to this generation.

        The chunks of a generation stay until the one after the next is written, so both this one and the next may be
        current; the keys are used again by the third.

        Parameters
        ----------
        lost : bool
            A chunk was not there: it was collected, if the value has been replaced, and only otherwise is it missing.

        Raises
        ------
        StaleValueError
            The value was replaced more than once, or deleted.
        """
        path = node_path(self.path)
        fingerprint = self.nodes.fingerprint(path)
        if fingerprint is not None and fingerprint == self._fingerprint and not lost:
            return
        data = self.nodes.get(path)
        if data is not None:
            now = Node.parse(self.path, data)
            if now.id == self.id and 0 <= now.generation - self.generation <= (0 if lost else 1):
                self._fingerprint = fingerprint
                return
        raise StaleValueError(f"{self.path}: the value was replaced or deleted since it was opened; read the key again")


class StoredArray(BackendArray):
    """An array in the store, read by xarray when it is indexed.

    Raises
    ------
    MissingChunkError, CorruptChunkError
        A chunk is lost or damaged; the error names it.
    StaleValueError
        The value was replaced and the chunks of this generation are gone.
    """

    def __init__(self, source: ValueSource, node: ArrayNode) -> None:
        self.source = source
        self.node = node
        self.shape = node.shape
        self.dtype: Any = np.dtypes.StringDType() if node.dtype == "string" else np.dtype(node.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_array"}

    @cached_property
    def _array(self) -> zarr.Array[Any]:
        return open_array(self.source.nodes, self.node, reading=True)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray[Any, Any]:
        vectorized = isinstance(key, indexing.VectorizedIndexer)
        index, finish = (key.tuple, ()) if vectorized else _as_slices(key.tuple, self.shape)
        try:
            if vectorized:
                found = self._array.vindex[index]
            elif isinstance(key, indexing.OuterIndexer):
                found = self._array.oindex[index]
            else:
                found = self._array[index]
        except MissingChunkError as error:
            self.source.check_current(lost=True)
            raise MissingChunkError(f"{self._described}: {error}; {_ADVICE}") from error
        except (ZdbError, MemoryError, BoundsCheckError):
            raise
        except Exception as error:
            damaged = self._first_damaged(index, vectorized=vectorized) or self.node.path
            self.source.check_current()
            raise CorruptChunkError(f"{self._described}: {damaged} cannot be decoded: {error}; {_ADVICE}") from error
        self.source.check_current()
        return np.asarray(found)[(*finish, ...)]

    @property
    def _described(self) -> str:
        return f"{self.source.path}: array {self.node.path[len(self.source.path) + 1 :]!r}"

    def _touched(self, index: tuple[Any, ...], *, vectorized: bool) -> Iterator[tuple[int, ...]]:
        """Places in the grid of the objects that an index reads from."""
        sizes = self.node.object_shape
        if vectorized:
            dense = np.broadcast_arrays(*_as_positions(index, self.shape))
            places = [np.ravel(one) // size for one, size in zip(dense, sizes, strict=True)]
            yield from map(tuple, np.unique(np.stack(places), axis=1).T.tolist())
            return
        yield from product(*(_parts(one, size, part) for one, size, part in zip(index, self.shape, sizes, strict=True)))

    def _first_damaged(self, index: tuple[Any, ...], *, vectorized: bool) -> str | None:
        for place in self._touched(index, vectorized=vectorized):
            try:
                self._array[_object_region(place, self.node.object_shape)]
            except Exception:  # noqa: BLE001 - whatever a codec raises on damaged bytes
                return self.node.object_path(place)
        return None


_ADVICE = "restore it from a copy, or write the value again"


def _as_slices(index: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Turn integers, and slices that run backwards, into slices that every pipeline takes.

    Also return the index that makes of the result what was asked for.
    """
    taken: list[Any] = []
    finish: list[Any] = []
    for one, size in zip(index, shape, strict=True):
        if isinstance(one, slice):
            positions = range(*one.indices(size))
            backwards = positions.step < 0
            positions = positions[::-1] if backwards else positions
            taken.append(slice(positions[0], positions[-1] + 1, positions.step) if positions else slice(0, 0))
            finish.append(slice(None, None, -1 if backwards else None))
        elif np.ndim(one):
            taken.append(one)
            finish.append(slice(None))
        else:
            position = range(size)[one]  # raises IndexError
            taken.append(slice(position, position + 1))
            finish.append(0)
    return tuple(taken), tuple(finish)


def _object_region(place: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the part of an array that lies in the object at a place of the grid."""
    return tuple(slice(n * size, (n + 1) * size) for n, size in zip(place, sizes, strict=True))


def _parts(index: Any, size: int, part: int) -> list[int]:
    """Numbers of the parts of a dimension that an integer, slice or integer array touches."""
    if isinstance(index, slice):
        taken = range(*index.indices(size))
        if not taken:
            return []
        if abs(taken.step) <= part:
            low, high = sorted((taken[0], taken[-1]))
            return list(range(low // part, high // part + 1))
        return sorted({i // part for i in taken})
    positions = np.atleast_1d(np.asarray(index))
    return sorted(set((np.where(positions < 0, positions + size, positions) // part).tolist()))


def _as_positions(index: tuple[Any, ...], shape: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    """Turn the slices among the indices of a vectorised read into integer arrays that broadcast after the others."""
    arrays = [np.asarray(one) for one in index if not isinstance(one, slice)]
    slices = [one for one in index if isinstance(one, slice)]
    ndim = max((a.ndim for a in arrays), default=0) + len(slices)
    made, position = [], ndim - len(slices)
    for one, size in zip(index, shape, strict=True):
        if isinstance(one, slice):
            axis = np.arange(*one.indices(size))
            made.append(axis.reshape([-1 if i == position else 1 for i in range(ndim)]))
            position += 1
        else:
            array = np.asarray(one)
            array = np.where(array < 0, array + size, array)
            made.append(array.reshape(array.shape + (1,) * len(slices)))
    return made


class ArrayTarget:
    """Where the data of one new array goes, by regions that begin and end at its objects.

    Small to pickle: each process opens the array for itself.
    """

    def __init__(self, nodes: NodeStore, node: ArrayNode, gate: Gate) -> None:
        self.nodes = nodes
        self.node = node
        self.gate = gate
        self.shape = node.shape
        self.ndim = len(node.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_array"}

    @cached_property
    def _array(self) -> zarr.Array[Any]:
        return open_array(self.nodes, self.node, reading=False)

    def __setitem__(self, region: tuple[slice, ...], data: np.ndarray[Any, Any]) -> None:
        with self.gate, translated(self.nodes.url, self.node.path):
            self._array[region] = data

    def write(self, data: np.ndarray[Any, Any]) -> None:
        """Write a whole array that is in memory or memory-mapped, in regions of bounded size."""
        row_bytes = data.nbytes // max(1, data.shape[0])
        step = self.node.object_shape[0]
        step *= max(1, WRITE_BYTES // max(1, row_bytes * step))
        for start in range(0, data.shape[0], step):
            self[(slice(start, min(start + step, data.shape[0])),)] = data[start : start + step]
