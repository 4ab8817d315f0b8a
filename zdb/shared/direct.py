"""Arrays that lie in one file of the local disk as they are in memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.engine.chunks import ValueSource
from zdb.engine.local import LocalNodes
from zdb.engine.packing import CRC_BYTES, Packing, checked
from zdb.errors import CorruptChunkError, MissingChunkError, NotMappableError

if TYPE_CHECKING:
    from zdb.engine.node import ArrayNode, Node
    from zdb.engine.store import NodeStore

__all__ = ["map_file"]

HOW = "write it by db.set(key, value, codec=False, chunks=value.shape), or use db.shared(key)"


def map_file(nodes: NodeStore, node: Node, name: str, dtype: np.dtype[Any]) -> np.memmap[Any, Any]:
    """Map the file of an array.

    Parameters
    ----------
    nodes : NodeStore
    node : Node
        The value.
    name : str
        The stored array.
    dtype : numpy.dtype
        What the format makes of the stored numbers.

    Raises
    ------
    NotMappableError
        It does not lie in one file as it is; the message says how to write it so.
    MissingChunkError, CorruptChunkError
        The file is lost or was cut.
    StaleValueError
        The value was replaced meanwhile.
    """
    array = node.arrays.get(name)
    packing = None if array is None else Packing.of(array)
    if not isinstance(nodes, LocalNodes):
        raise NotMappableError(f"{node.path}: the database does not lie on a local disk; use db.shared(key)")
    if array is not None and (not array.shape or 0 in array.shape):
        raise NotMappableError(f"{node.path}: an array of shape {array.shape} has no chunk to map; read it by db[key]")
    if array is None or packing is None or packing.compressor:
        raise NotMappableError(f"{node.path}: the array is compressed, or not stored as numbers; {HOW}")
    if math.prod(array.grid) != 1 or packing.chunks != array.shape:
        raise NotMappableError(f"{node.path}: the array is stored in several chunks; {HOW}")
    if not _is_as_stored(packing.dtype, dtype):
        raise NotMappableError(f"{node.path}: values of dtype {dtype} are stored in another way; use db.shared(key)")
    made = _map(f"{nodes.root}/{array.object_path((0,) * len(array.shape))}", array, packing)
    ValueSource(nodes, node).check_current()
    mapped: np.memmap[Any, Any] = made.view(dtype)  # type: ignore[assignment]
    return mapped


def _map(path: str, array: ArrayNode, packing: Packing) -> np.memmap[Any, Any]:
    index_bytes = 16 + CRC_BYTES if packing.grid else 0  # that of a shard of one chunk
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            size = file.seek(0, 2) - index_bytes
            offset = 0
            if packing.grid and size > 0:
                file.seek(size)
                offset = int(checked(np.frombuffer(file.read(), np.uint8)).view("<u8")[0])
            if size != offset + packing.chunk_bytes + CRC_BYTES:
                raise ValueError(f"it has {size + index_bytes} bytes")
            return np.memmap(file, packing.dtype, "r", offset, array.shape)
    except FileNotFoundError as error:
        raise MissingChunkError(f"{array.path}: its chunk is not in the store; see db.verify()") from error
    except ValueError as error:
        raise CorruptChunkError(f"{array.path}: its chunk is damaged: {error}; see db.verify()") from error


def _is_as_stored(stored: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    counts = dtype.kind in "mM" and stored == np.int64  # times are stored as the counts that numpy holds
    return stored == dtype or (counts and dtype.isnative)
