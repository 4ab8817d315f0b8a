"""The metadata of a copy: what of it is that of the value, and by what the two are known to be the same."""

from __future__ import annotations

from typing import Any

from zdb.engine.new_nodes import new_id
from zdb.engine.node import VALUE, ArrayNode, Node, dump, group_document, key_encoding, node_path, previous_path

__all__ = ["attributes_of_copy", "copied_arrays", "is_copy", "metadata_below", "origin", "top_document"]

JSONDict = dict[str, Any]


def origin(node: Node) -> str:
    """Return which generation of which value a value is, or is a copy of."""
    return str(node.attributes.get("zdb_copy_of", f"{node.id}/{node.generation}"))


def is_copy(node: Node, of: Node) -> bool:
    """Whether a value is the same as another one that it, or a copy of it, was copied from, as that is now."""
    same_time = node.attributes.get("zdb_created") == of.attributes.get("zdb_created")
    return node.kind == VALUE and same_time and origin(node) == origin(of) and "zdb_lost" not in node.attributes


def copied_arrays(node: Node, path: str, generation: int) -> dict[str, ArrayNode]:
    """Return the arrays of a copy at a path, by name."""
    encoding = key_encoding(generation)
    return {
        name: ArrayNode(f"{path}/{name}", {**array.metadata, "chunk_key_encoding": encoding})
        for name, array in node.arrays.items()
    }


def metadata_below(node: Node, path: str, replaced: Node | None, arrays: dict[str, ArrayNode]) -> dict[str, bytes]:
    """Return the metadata of arrays and groups of a copy, and that of the generation before, by path."""
    documents = {node_path(array.path): array.metadata for array in arrays.values()}
    documents |= {node_path(f"{path}/{name}"): group_document(own) for name, own in node.groups.items() if name}
    if replaced is not None and replaced.kind == VALUE:
        documents[previous_path(path)] = replaced.document
    return {place: dump(document) for place, document in documents.items()}


def attributes_of_copy(node: Node, replaced: Node | None, generation: int) -> JSONDict:
    """Return the attributes of a copy, which has its id and its generations in the target."""
    identifier = replaced.id if replaced is not None and replaced.kind == VALUE else new_id()
    own = {"zdb_id": identifier, "zdb_generation": generation, "zdb_copy_of": origin(node)}
    return {**node.attributes, **own}


def top_document(node: Node, replaced: Node | None, arrays: dict[str, ArrayNode], generation: int) -> bytes:
    """Return the node of a copy, which makes it visible."""
    document = {**node.document, "attributes": attributes_of_copy(node, replaced, generation)}
    consolidated = dict(node.document["consolidated_metadata"])
    below = {**consolidated["metadata"], **{name: array.metadata for name, array in arrays.items()}}
    document["consolidated_metadata"] = {**consolidated, "metadata": below}
    return dump(document)
