"""All keys of a database with what is known of them, from the top down."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zdb.database import Database

__all__ = ["Row", "list_keys"]

Row = dict[str, Any]


def list_keys(db: Database, above: str | None = None, depth: int | None = None, lines: int = sys.maxsize) -> list[Row]:
    """Return what is known of the keys in a database, from the top down.

    Parameters
    ----------
    db : Database
    above : str, optional
        Key of the database itself, to be put in front.
    depth : int, optional
        How many levels to list.
    lines : int
        How many keys to list at most.

    Returns
    -------
    list of dict
        :meth:`zdb.Info.to_dict` with the whole key, and its `level` from 1 on.
    """
    tree = db.tree(depth, lines)
    prefix = f"{above}/" if above else ""
    return [{**row, "key": f"{prefix}{key}"} for row, key in zip(tree.to_dict(), tree.keys(), strict=True)]
