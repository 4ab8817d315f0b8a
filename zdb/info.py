"""What is known of a key without loading it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from zdb.engine.node import FOREIGN, NONSENSE, UNREADABLE, VALUE
from zdb.errors import CorruptChunkError

if TYPE_CHECKING:
    from zdb.engine.node import ArrayNode, Node

__all__ = ["ArrayInfo", "Info"]


@dataclass(frozen=True)
class ArrayInfo:
    """One stored array of a value.

    Attributes
    ----------
    dims, shape, dtype
        As in xarray; `dtype` is the Zarr data type.
    chunks : tuple of int
        Shape of the smallest part that is read.
    shards : tuple of int or None
        Shape of what lies in one object, where chunks are grouped.
    codecs : tuple of str
        Names of the codecs.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    codecs: tuple[str, ...]

    @classmethod
    def of(cls, array: ArrayNode) -> ArrayInfo:
        """Read it from the metadata of an array."""
        codecs = array.metadata["codecs"]
        chunks, shards = array.object_shape, None
        if codecs[0]["name"] == "sharding_indexed":
            chunks, shards = tuple(codecs[0]["configuration"]["chunk_shape"]), chunks
            codecs = codecs[0]["configuration"]["codecs"]
        names = tuple(codec["name"] for codec in codecs)
        return cls(array.dims, array.shape, array.dtype, chunks, shards, names)


@dataclass(frozen=True)
class Info:
    """What is known of a key without loading it.

    Attributes
    ----------
    key : str
    kind : str
        "database", "value", "foreign" (plain Zarr that zdb did not write) or "unreadable" (damaged metadata).
    format, type, dtype : str
        Format, Python type and dtype of the value; empty where there is none.
    shape : tuple of int or None
    nbytes : int
        Uncompressed size of the stored arrays in bytes.
    created : datetime or None
        When this value was written, in UTC.
    id : str
    generation : int
        How often the value was replaced.
    attrs : dict
        What the user gave as ``attrs=``.
    arrays : dict of str to ArrayInfo
    """

    key: str
    kind: str
    format: str = ""
    type: str = ""
    dtype: str = ""
    shape: tuple[int, ...] | None = None
    nbytes: int = 0
    created: datetime | None = None
    id: str = ""
    generation: int = 0
    attrs: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, ArrayInfo] = field(default_factory=dict)

    @classmethod
    def of(cls, key: str, node: Node) -> Info:
        """Read it from the metadata of a node.

        Raises
        ------
        CorruptChunkError
            The metadata cannot be read, or makes no sense.
        """
        try:
            return cls._of(key, node)
        except NONSENSE as error:
            raise CorruptChunkError(
                f"the metadata of {node.path or 'the database'} makes no sense: {type(error).__name__}: {error}; "
                "let zdb repair, or db.repair(dry_run=False), rescue what is there, write the key again, or delete it"
            ) from error

    @classmethod
    def listed(cls, key: str, node: Node) -> Info:
        """Read it from the metadata of one node of many; one that cannot be read is of the kind "unreadable"."""
        try:
            return cls.of(key, node)
        except CorruptChunkError:
            return cls(key, UNREADABLE)

    @classmethod
    def _of(cls, key: str, node: Node) -> Info:
        if node.error:
            raise CorruptChunkError(node.error)
        attributes = node.attributes
        shape = attributes.get("zdb_shape")
        arrays = _arrays_of(node)
        dtype = str(attributes.get("zdb_dtype", ""))
        sizes = tuple(json.loads(shape)) if shape else None
        if node.kind == FOREIGN and len(arrays) == 1:
            (only,) = arrays.values()
            dtype, sizes = only.dtype, only.shape
        return cls(
            key=key,
            kind=node.kind,
            format=node.format or ("" if node.kind == "database" else "zarr"),
            type=str(attributes.get("zdb_type", "")),
            dtype=dtype,
            shape=sizes,
            nbytes=node.nbytes or len(str(attributes.get("zdb_value", ""))),
            created=created(node),
            id=node.id,
            generation=node.generation,
            attrs=json.loads(attributes.get("zdb_attrs", "{}")),
            arrays=arrays,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        made = asdict(self)
        made["created"] = self.created.isoformat() if self.created else None
        return made

    def __str__(self) -> str:
        rows = {name: value for name, value in self.to_dict().items() if name != "arrays"}
        rows |= {
            f"  {name}": f"{array.dtype} {_sizes(array)} chunks {array.chunks}"
            + (f" shards {array.shards}" if array.shards else "")
            + f" {' '.join(array.codecs)}"
            for name, array in self.arrays.items()
        }
        shown = {name: value for name, value in rows.items() if value not in (None, "", {})}
        width = max(map(len, shown))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in shown.items())

    __repr__ = __str__


def created(node: Node) -> datetime | None:
    """When a value was written, if its attributes say so."""
    text = node.attributes.get("zdb_created")
    if node.kind != VALUE or not text:
        return None
    return datetime.fromisoformat(str(text)).astimezone(UTC)


def _arrays_of(node: Node) -> dict[str, ArrayInfo]:
    try:
        return {name: ArrayInfo.of(array) for name, array in node.described_arrays.items()}
    except (LookupError, TypeError):
        if node.kind == FOREIGN:  # such as an array with chunks of several sizes
            return {}
        raise


def _sizes(array: ArrayNode | ArrayInfo) -> str:
    inside = ", ".join(f"{d}: {n}" for d, n in zip(array.dims, array.shape, strict=True))
    return f"({inside})"
