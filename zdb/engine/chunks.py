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

from zdb.engine.direct_reading import DamagedChunkError, DirectReader
from zdb.engine.direct_writing import DirectWriter
from zdb.engine.durability import machine
from zdb.engine.indexing import as_positions, as_slices, pieces
from zdb.engine.local import LocalNodes
from zdb.engine.node import Node, node_path
from zdb.engine.nodes import translated
from zdb.engine.packing import Packing, said_by_codec
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

__all__ = ["WRITE_BYTES", "ArrayTarget", "SteadySource", "StoredArray", "ValueSource", "open_array", "zarr_array"]

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
    return zarr_array(node, StorePath(nodes.zarr_store(reading=reading), node.path))


def zarr_array(node: ArrayNode, place: StorePath) -> zarr.Array[Any]:
    """Make a zarr array from its metadata, with its chunks at a place."""
    metadata = ArrayV3Metadata.from_dict(node.metadata)
    with _pipeline_lock, zarr.config.set(_fastest_pipeline()):
        made = zarr.AsyncArray(metadata, place, config={"write_empty_chunks": True})
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


class SteadySource(ValueSource):
    """A value that nobody can replace: its claim is held, or it is not there yet."""

    def check_current(self, *, lost: bool = False) -> None:
        """It is current."""


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
        return {name: value for name, value in vars(self).items() if name not in ("_array", "_direct")}

    @cached_property
    def _array(self) -> zarr.Array[Any]:
        return open_array(self.source.nodes, self.node, reading=True)

    @cached_property
    def _direct(self) -> DirectReader | None:
        nodes, packing = self.source.nodes, Packing.of(self.node)
        return DirectReader(nodes, self.node, packing) if packing and isinstance(nodes, LocalNodes) else None

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray[Any, Any]:
        vectorized = isinstance(key, indexing.VectorizedIndexer)
        index, finish = (key.tuple, ()) if vectorized else as_slices(key.tuple, self.shape)
        try:
            found = self._read_twice(index, key)
        except MissingChunkError as error:
            self.source.check_current(lost=True)
            raise MissingChunkError(f"{self._described}: {error}; {_ADVICE}") from error
        except (ZdbError, MemoryError, BoundsCheckError):
            raise
        except Exception as error:
            named = error.path if isinstance(error, DamagedChunkError) else None
            damaged = named or self._first_damaged(index, vectorized=vectorized) or self.node.path
            self.source.check_current()
            reason = said_by_codec(error)
            raise CorruptChunkError(f"{self._described}: {damaged} cannot be decoded: {reason}; {_ADVICE}") from error
        if found.size:
            self.source.check_current()
        return np.asarray(found)[(*finish, ...)]

    def _read_twice(self, index: tuple[Any, ...], key: indexing.ExplicitIndexer) -> Any:
        try:
            return self._read(index, key)
        except MissingChunkError:  # or the value was renamed and is back
            self.source.check_current(lost=True)
        except (ZdbError, MemoryError, BoundsCheckError):
            raise
        except Exception:  # noqa: BLE001, S110 - a shard that grew between two requests for parts of it
            pass
        return self._read(index, key)

    def _read(self, index: tuple[Any, ...], key: indexing.ExplicitIndexer) -> Any:
        if isinstance(key, indexing.VectorizedIndexer):
            return self._array.vindex[index]
        found = self._direct.read(index) if self._direct else None
        if found is not None:
            return found
        return self._array.oindex[index] if isinstance(key, indexing.OuterIndexer) else self._array[index]

    @property
    def _described(self) -> str:
        return f"{self.source.path}: array {self.node.path[len(self.source.path) + 1 :]!r}"

    def _touched(self, index: tuple[Any, ...], *, vectorized: bool) -> Iterator[tuple[int, ...]]:
        """Places in the grid of the objects that an index reads from."""
        sizes = self.node.object_shape
        if vectorized:
            dense = np.broadcast_arrays(*as_positions(index, self.shape))
            places = [np.ravel(one) // size for one, size in zip(dense, sizes, strict=True)]
            yield from map(tuple, np.unique(np.stack(places), axis=1).T.tolist())
            return
        yield from product(
            *([piece.chunk for piece in pieces(*one)] for one in zip(index, self.shape, sizes, strict=True))
        )

    def _first_damaged(self, index: tuple[Any, ...], *, vectorized: bool) -> str | None:
        for place in self._touched(index, vectorized=vectorized):
            try:
                self._array[_object_region(place, self.node.object_shape)]
            except Exception:  # noqa: BLE001 - whatever a codec raises on damaged bytes
                return self.node.object_path(place)
        return None


_ADVICE = "restore it from a copy, or write the value again"


def _object_region(place: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the part of an array that lies in the object at a place of the grid."""
    return tuple(slice(n * size, (n + 1) * size) for n, size in zip(place, sizes, strict=True))


class ArrayTarget:
    """Where the data of one new array goes, by regions that begin and end at its objects.

    Small to pickle: each process opens the array for itself.
    """

    def __init__(self, nodes: NodeStore, node: ArrayNode, gate: Gate) -> None:
        self.nodes = nodes
        self.node = node
        self.gate = gate
        self.machine = machine()
        self.shape = node.shape
        self.ndim = len(node.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_array", "_direct")}

    def __dask_tokenize__(self) -> tuple[str, str, dict[str, Any]]:
        return (self.nodes.url, self.node.path, self.node.metadata)  # else dask pickles it

    @cached_property
    def _array(self) -> zarr.Array[Any]:
        return self._open()

    def _open(self) -> zarr.Array[Any]:
        return open_array(self.nodes, self.node, reading=False)

    @cached_property
    def _direct(self) -> DirectWriter | None:
        packing = Packing.of(self.node)
        return self._writer(self.nodes, packing) if packing and isinstance(self.nodes, LocalNodes) else None

    def _writer(self, nodes: LocalNodes, packing: Packing) -> DirectWriter:
        return DirectWriter(nodes, self.node, packing)

    def __setitem__(self, region: tuple[slice, ...], data: np.ndarray[Any, Any]) -> None:
        with self.gate, translated(self.nodes.url, self.node.path):
            if self._direct is not None and self._is_whole(region, data):
                self._direct.write(region, np.asarray(data))
            else:
                self._array[region] = data
            if machine() != self.machine:
                self.nodes.sync(self.node.path)  # the process that commits does not reach what this machine still holds

    def _is_whole(self, region: tuple[slice, ...], data: np.ndarray[Any, Any]) -> bool:
        """Whether the region is made of whole objects, and the data has its shape."""
        region += (slice(None),) * (self.ndim - len(region))
        taken = [range(*one.indices(size)) for one, size in zip(region, self.shape, strict=True)]
        fits = tuple(map(len, taken)) == data.shape and data.size
        return bool(fits) and all(
            one.step == 1 and one.start % part == 0 and (one.stop % part == 0 or one.stop == size)
            for one, size, part in zip(taken, self.shape, self.node.object_shape, strict=True)
        )

    def write(self, data: np.ndarray[Any, Any]) -> None:
        """Write a whole array that is in memory or memory-mapped, in regions of bounded size."""
        row_bytes = data.nbytes // max(1, data.shape[0])
        step = self.node.object_shape[0]
        step *= max(1, WRITE_BYTES // max(1, row_bytes * step))
        for start in range(0, data.shape[0], step):
            self[(slice(start, min(start + step, data.shape[0])),)] = data[start : start + step]
