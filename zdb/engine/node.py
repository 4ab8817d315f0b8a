"""Nodes: what stands in one ``zarr.json``, and the key encodings that keep two generations of chunks apart."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from zdb.errors import CorruptChunkError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DATABASE",
    "FOREIGN",
    "FORMAT_VERSION",
    "NONSENSE",
    "UNREADABLE",
    "VALUE",
    "ArrayNode",
    "Node",
    "dump",
    "group_document",
    "have_same_keys",
    "is_chunk_of",
    "key_encoding",
    "next_generation",
    "node_path",
    "previous_path",
    "same_keys_after",
]

FORMAT_VERSION = 1
DATABASE, VALUE, FOREIGN = "database", "value", "foreign"
UNREADABLE = "unreadable"
JSONDict = dict[str, Any]
# What the use of metadata that are JSON, and make no sense, raises.
NONSENSE = (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError)

# Generations take these encodings in turn. The chunk keys of three in a row differ for arrays of one and more
# dimensions. The fourth encoding of Zarr, "v2" with "/", is left out: it gives the keys of
# "v2" with "." in one dimension.
_ENCODINGS = (("default", "/"), ("v2", "."), ("default", "."))
_CHUNK_NAMES = (re.compile(r"c(/\d+)+"), re.compile(r"\d+(\.\d+)*"), re.compile(r"c(\.\d+)+"))


def node_path(path: str) -> str:
    """Return the path of the object that holds the metadata of a node."""
    return f"{path}/zarr.json" if path else "zarr.json"


def previous_path(path: str) -> str:
    """Return the path of the object that holds the metadata of the generation before, whose chunks are still there."""
    return f"{path}/.previous.json"


def key_encoding(generation: int) -> JSONDict:
    """Return the chunk key encoding of a generation, as it stands in ``zarr.json``."""
    name, separator = _ENCODINGS[generation % len(_ENCODINGS)]
    return {"name": name, "configuration": {"separator": separator}}


def is_chunk_of(generation: int, name: str) -> bool:
    """Whether an object of this name in an array is a chunk of this generation, or of one with the same chunk keys."""
    return _CHUNK_NAMES[generation % len(_ENCODINGS)].fullmatch(name) is not None


def have_same_keys(one: int, other: int) -> bool:
    """Whether the chunks of two generations have the same keys."""
    return (one - other) % len(_ENCODINGS) == 0


def next_generation(handed_out: int, live: Node | None) -> int:
    """Return a generation after those that were handed out, whose chunk keys differ from those of the live one."""
    following = max(handed_out, -1 if live is None else live.generation) + 1
    if live is not None and have_same_keys(following, live.generation):
        following += 1
    return following


def same_keys_after(generation: int, other: int) -> int:
    """Return the least generation with the chunk keys of `generation` that is not below it and above `other`."""
    step = len(_ENCODINGS)
    return generation + step * max(0, (other - generation) // step + 1)


def dump(document: JSONDict) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def group_document(attributes: JSONDict) -> JSONDict:
    """Return the metadata of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


@dataclass(frozen=True)
class ArrayNode:
    """The metadata of one array: what is needed to know which objects it has, without zarr."""

    path: str
    metadata: JSONDict

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.metadata["shape"])

    @property
    def dims(self) -> tuple[str, ...]:
        names = self.metadata.get("dimension_names") or [None] * len(self.shape)
        return tuple(name or f"dim_{i}" for i, name in enumerate(names))

    @property
    def dtype(self) -> str:
        declared = self.metadata["data_type"]
        return declared if isinstance(declared, str) else str(declared["name"])

    @property
    def object_shape(self) -> tuple[int, ...]:
        """Shape of the part of the array that lies in one object."""
        return tuple(self.metadata["chunk_grid"]["configuration"]["chunk_shape"])

    @property
    def inner_shape(self) -> tuple[int, ...]:
        """Shape of the smallest part that is encoded by itself: of a chunk within a shard, if there are shards."""
        first = self.metadata["codecs"][0]
        if first["name"] == "sharding_indexed":
            return tuple(first["configuration"]["chunk_shape"])
        return self.object_shape

    @property
    def compressors(self) -> list[JSONDict]:
        """The codecs between the one that makes bytes and the one that adds a checksum."""
        chain = self.metadata["codecs"]
        if chain[0]["name"] == "sharding_indexed":
            chain = chain[0]["configuration"]["codecs"]
        return [one for one in chain[1:] if one["name"] != "crc32c"]

    @cached_property
    def nbytes(self) -> int:
        sizes = {"bool": 1, "string": 16, "complex64": 8, "complex128": 16}  # strings as numpy counts them
        itemsize = sizes.get(self.dtype)
        if itemsize is None:
            itemsize = int("".join(filter(str.isdigit, self.dtype)) or 0) // 8
        return math.prod(self.shape) * itemsize

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of objects along each dimension; all zero where there are none."""
        return tuple(math.ceil(size / part) for size, part in zip(self.shape, self.object_shape, strict=True))

    def object_path(self, index: tuple[int, ...]) -> str:
        """Return the path of the object at this place of the grid."""
        encoding = self.metadata["chunk_key_encoding"]
        default = encoding["name"] == "default"
        separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
        parts = [*(["c"] if default else []), *map(str, index)]
        return f"{self.path}/{separator.join(parts)}"

    def check(self) -> None:
        """Raise one of `NONSENSE` if the metadata make no sense."""
        for name in ("dims", "inner_shape", "compressors", "grid", "nbytes"):
            getattr(self, name)
        self.object_path((0,) * len(self.shape))

    def places(self) -> Iterator[tuple[int, ...]]:
        """Places of all objects in the grid. An array without dimensions has none: its value is its fill value."""
        if self.shape:
            yield from product(*map(range, self.grid))

    def object_paths(self) -> Iterator[str]:
        """Paths of all objects of the array."""
        yield from map(self.object_path, self.places())


@dataclass(frozen=True)
class Node:
    """One parsed ``zarr.json``: a database, a value, or something of plain Zarr that zdb did not write.

    `error` says why it cannot be read, if :meth:`read` found that; then it is of none of these kinds.
    """

    path: str
    document: JSONDict
    error: str = ""

    @classmethod
    def parse(cls, path: str, data: bytes) -> Node:
        try:
            document = json.loads(data)
            if document["zarr_format"] != 3 or document["node_type"] not in ("group", "array"):
                raise ValueError("it is not Zarr version 3")
            if not isinstance(document.get("attributes") or {}, dict):
                raise TypeError("the attributes are no object")
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptChunkError(f"{node_path(path)} is not valid Zarr metadata: {error}") from error
        return cls(path, document)

    @classmethod
    def read(cls, path: str, data: bytes) -> Node:
        """Parse one of many, of which one that cannot be read is not to hide the others."""
        try:
            return cls.parse(path, data)
        except CorruptChunkError as error:
            return cls(path, {}, str(error))

    @cached_property
    def attributes(self) -> JSONDict:
        return self.document.get("attributes") or {}

    @property
    def kind(self) -> str:
        return UNREADABLE if self.error else str(self.attributes.get("zdb_kind", FOREIGN))

    @property
    def id(self) -> str:
        return str(self.attributes.get("zdb_id", ""))

    @property
    def version(self) -> int:
        return int(self.attributes.get("zdb_version", FORMAT_VERSION))

    @property
    def generation(self) -> int:
        return int(self.attributes.get("zdb_generation", 0))

    @property
    def format(self) -> str:
        return str(self.attributes.get("zdb_format", ""))

    @cached_property
    def _children(self) -> dict[str, JSONDict]:
        consolidated = self.document.get("consolidated_metadata") or {}
        return consolidated.get("metadata") or {}

    def check(self) -> None:
        """Raise one of `NONSENSE` if the metadata of a value make no sense."""
        if not self.has_consolidated:
            raise ValueError("there is no consolidated metadata")
        for array in self.arrays.values():
            array.check()

    @property
    def has_consolidated(self) -> bool:
        """Whether there is consolidated metadata, as all values have."""
        return isinstance((self.document.get("consolidated_metadata") or {}).get("metadata"), dict)

    @cached_property
    def arrays(self) -> dict[str, ArrayNode]:
        """The arrays of a value by name, ``group/name`` for those in nested groups."""
        return {
            name: ArrayNode(f"{self.path}/{name}", child)
            for name, child in self._children.items()
            if child["node_type"] == "array"
        }

    @cached_property
    def groups(self) -> dict[str, JSONDict]:
        """Attributes of the groups of a value by name, the value itself as ``""``."""
        nested = {
            name: child.get("attributes") or {}
            for name, child in self._children.items()
            if child["node_type"] == "group"
        }
        return {"": self.attributes, **nested}

    def keeps_chunks_of(self, before: Node) -> bool:
        """Whether this is a value as it was before, or its next generation, beside which those chunks stay."""
        return self.id == before.id and self.generation in (before.generation, before.generation + 1)

    def below_documents(self) -> dict[str, JSONDict]:
        """Return the metadata of the arrays and groups in a value by the paths of their objects."""
        groups = {node_path(f"{self.path}/{name}"): group_document(own) for name, own in self.groups.items() if name}
        return groups | {node_path(array.path): array.metadata for array in self.arrays.values()}

    def metadata_paths(self) -> Iterator[str]:
        """Paths of the metadata of a value, and of its arrays and groups."""
        yield node_path(self.path)
        yield from (node_path(f"{self.path}/{name}") for name in [*self.arrays, *self.groups] if name)

    def object_paths(self) -> Iterator[str]:
        """Paths of all objects of a value: its metadata, and all chunks."""
        yield from self.metadata_paths()
        for array in self.arrays.values():
            yield from array.object_paths()

    @cached_property
    def described_arrays(self) -> dict[str, ArrayNode]:
        """The arrays, or this node by its name if it is one itself, as it can be in plain Zarr."""
        if self.document.get("node_type") != "array":
            return self.arrays
        return {self.path.rpartition("/")[2]: ArrayNode(self.path, self.document)}

    @property
    def nbytes(self) -> int:
        """Uncompressed size of all arrays in bytes, 16 for a string."""
        return sum(array.nbytes for array in self.described_arrays.values())
