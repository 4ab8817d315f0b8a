"""Looking at one value: what its metadata promises, and what a listing shows of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zdb.display import format_count
from zdb.engine.claim_record import ClaimRecord, claim_path
from zdb.engine.node import NONSENSE, ArrayNode, Node, group_document, key_encoding, node_path
from zdb.errors import CorruptChunkError
from zdb.keys import split
from zdb.maintenance.report import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zdb.engine.plain import PlainEngine
    from zdb.engine.store import NodeStore

__all__ = ["Inspection", "inspect", "rebuilt", "was_begun", "without_node"]

JSONDict = dict[str, Any]


@dataclass
class Inspection:
    """What is known of a value before its chunks are read."""

    node: Node
    sizes: dict[str, int] = field(default_factory=dict)  # of its objects, as listed
    problems: list[Problem] = field(default_factory=list)

    def report(self, kind: str, path: str, message: str) -> None:
        self.problems.append(Problem(self.node.path, kind, path, message))

    @property
    def arrays(self) -> list[ArrayNode]:
        return [array for array in self.node.arrays.values() if array.shape]

    def objects(self, array: ArrayNode) -> Iterator[tuple[tuple[int, ...], str, int]]:
        """Yield place, path and size of the objects of an array; the size is 0 for those that are not there."""
        for place in array.places():
            path = array.object_path(place)
            yield place, path, self.sizes.get(path, 0)


def inspect(nodes: NodeStore, node: Node, *, deep: bool) -> Inspection:
    """Check the metadata of a value.

    Parameters
    ----------
    nodes : NodeStore
    node : Node
        A value.
    deep : bool
        Read the metadata of the arrays too; otherwise only see by the listing that it is there.
    """
    found = Inspection(node)
    try:
        _check_attributes(found)
        if not node.has_consolidated:
            found.report("consolidated metadata", node_path(node.path), "has no consolidated metadata")
            found.node = rebuilt(nodes, node)
        else:
            _check_consolidated(nodes, found)
        _check_number(found)
        node = found.node
        children = [*node.arrays, *filter(None, node.groups)]
        if not children and node.format == "json":
            return found
        found.sizes = {one.path: one.size for one in nodes.list_status(node.path)}
        _check_children(nodes, found, children, deep=deep)
        for array in node.arrays.values():
            array.check()
            _check_array(found, array)
    except NONSENSE as error:
        found.report("value", node_path(node.path), f"its metadata makes no sense: {type(error).__name__}: {error}")
        found.node = Node(node.path, {**node.document, "consolidated_metadata": {"metadata": {}}})
    return found


def rebuilt(nodes: NodeStore, node: Node, *, any_generation: bool = False) -> Node:
    """Return a value with consolidated metadata made from the metadata of its own arrays and groups.

    Arrays of another generation, which are a step ahead or behind, are left out unless `any_generation` is true.
    """
    paths = [p for p in nodes.list_objects(node.path) if p.endswith("/zarr.json") and p != node_path(node.path)]
    metadata = {}
    for path, data in zip(paths, nodes.get_many(paths), strict=True):
        document = _document(path, data)
        if document is None:
            continue
        if any_generation or document["node_type"] == "group" or _is_of_generation(document, node.generation):
            metadata[path[len(node.path) + 1 : -len("/zarr.json")]] = document
    consolidated = {"kind": "inline", "must_understand": False, "metadata": metadata}
    return Node(node.path, {**node.document, "consolidated_metadata": consolidated})


def without_node(engine: PlainEngine, path: str) -> Node | None:
    """Return the arrays at a path, as plain Zarr, if a value was there that lost its node.

    What a writer has begun looks alike: chunks come first, then the metadata of the arrays, then the node. But its
    claim says so, also when it was killed.

    Returns
    -------
    Node or None
        None if there are no arrays, some are not whole, or a writer has begun there.
    """
    nodes = engine.nodes
    sizes = {one.path: one.size for one in nodes.list_status(path)}
    found = rebuilt(nodes, Node(path, group_document({})), any_generation=True)
    try:
        is_whole = all(sizes.get(one) for array in found.arrays.values() for one in array.object_paths())
    except NONSENSE:
        return None
    if (
        not found.arrays
        or not is_whole
        or was_begun(engine, *(split(array.path)[0] for array in found.arrays.values()))
    ):
        return None
    # Who committed after the listing has given the claim back since then.
    return found if nodes.get(node_path(path)) is None else None


def was_begun(engine: PlainEngine, *paths: str) -> bool:
    """Whether a claim tells that a key, or one above it, was begun and not finished, or that it was deleted."""
    keys: set[str] = set()
    for path in paths:
        while path and path not in keys:
            keys.add(path)
            path = split(path)[0]
    places = [claim_path(key) for key in sorted(keys)]
    found = [one for one in engine.nodes.read_tagged_many(places) if one is not None]
    records = [ClaimRecord.parse(one) for one in found]
    return any(one is None or one.explains_leftovers for one in records)


def _check_attributes(found: Inspection) -> None:
    node = found.node
    for name in ("zdb_id", "zdb_format", "zdb_format_version", "zdb_generation", "zdb_version"):
        if name not in node.attributes:
            found.report("value", node_path(node.path), f"has no attribute {name}")
    if "zdb_lost" in node.attributes:
        found.report("lost", node_path(node.path), f"was marked by a repair: {node.attributes['zdb_lost']}")
    if node.format == "json":
        try:
            json.loads(node.attributes["zdb_value"])
        except (KeyError, ValueError, TypeError) as error:
            found.report("value", node_path(node.path), f"zdb_value is no JSON: {error}")


def _check_consolidated(nodes: NodeStore, found: Inspection) -> None:
    """Take the metadata of the arrays themselves where those in the node make no sense, if all of them are there."""
    node = found.node
    try:
        for array in node.arrays.values():
            array.check()
    except NONSENSE as error:
        whole = rebuilt(nodes, node)
        if not _names_in(node) <= _names_in(whole):
            raise
        message = f"its consolidated metadata makes no sense: {type(error).__name__}: {error}"
        found.report("consolidated metadata", node_path(node.path), message)
        found.node = whole


def _names_in(node: Node) -> set[str]:
    """Names of what the consolidated metadata has."""
    return set(node.document["consolidated_metadata"]["metadata"])


def _check_children(nodes: NodeStore, found: Inspection, children: list[str], *, deep: bool) -> None:
    node = found.node
    paths = [node_path(f"{node.path}/{name}") for name in children]
    documents = nodes.get_many(paths) if deep else []
    absent = set() if deep else set(nodes.missing([path for path in paths if path not in found.sizes]))
    for name, path, data in zip(children, paths, documents or [b""] * len(paths), strict=True):
        if data is None or path in absent:
            found.report("array metadata", path, "is not in the store")
        elif deep:
            _check_document(found, name, path, data)


def _check_document(found: Inspection, name: str, path: str, data: bytes) -> None:
    document = _document(path, data)
    if document is None:
        found.report("array metadata", path, "is not valid Zarr metadata")
        return
    array = found.node.arrays.get(name)
    if array is None or document == array.metadata:
        return
    # While a value is replaced, the metadata of its arrays is a step ahead, or two after a writer that died.
    generation = found.node.generation
    is_ahead = document["node_type"] == "array" and (
        any(_is_of_generation(document, generation + steps) for steps in (1, 2)) or _has_grown(document, array)
    )
    if not is_ahead:
        found.report("array metadata", path, "differs from the consolidated metadata of the value")


def _check_number(found: Inspection) -> None:
    """See that no array is missing in the consolidated metadata; what was left by others beside them does not count."""
    expected, number = found.node.attributes.get("zdb_arrays"), len(found.node.arrays)
    if expected not in (None, number):
        message = f"has {format_count(number, 'array')}, and was written with {expected}"
        found.report("consolidated metadata", node_path(found.node.path), message)


def _check_array(found: Inspection, array: ArrayNode) -> None:
    if array.shape and not _is_of_generation(array.metadata, found.node.generation):
        path = node_path(array.path)
        found.report("array metadata", path, f"has not the chunk keys of generation {found.node.generation}")


def _is_of_generation(document: JSONDict, generation: int) -> bool:
    return bool(document.get("chunk_key_encoding") == key_encoding(generation))


def _has_grown(document: JSONDict, array: ArrayNode) -> bool:
    """Whether the metadata of an array differs only by its being longer, as while something is added to a value."""
    shape = document.get("shape") or []
    is_longer = len(shape) == len(array.shape) and all(new >= old for new, old in zip(shape, array.shape, strict=True))
    return is_longer and {**document, "shape": list(array.shape)} == array.metadata


def _document(path: str, data: bytes | None) -> JSONDict | None:
    try:
        return None if data is None else Node.parse(path, data).document
    except CorruptChunkError:
        return None
