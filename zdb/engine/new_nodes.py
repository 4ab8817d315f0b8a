"""The nodes that are all in one object, as they are made: databases and small values."""

from __future__ import annotations

import uuid
from typing import Any

from zdb.engine.node import DATABASE, FORMAT_VERSION, dump, group_document

__all__ = ["new_database", "new_id", "small_document"]

JSONDict = dict[str, Any]


def new_database() -> JSONDict:
    """Return the node of a database with an id of its own."""
    return group_document({"zdb_kind": DATABASE, "zdb_version": FORMAT_VERSION, "zdb_id": new_id()})


def small_document(attributes: JSONDict) -> bytes:
    """Return the node of a value without arrays."""
    nothing = {"kind": "inline", "must_understand": False, "metadata": {}}
    return dump({**group_document(attributes), "consolidated_metadata": nothing})


def new_id() -> str:
    return uuid.uuid4().hex
