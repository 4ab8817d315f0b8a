"""Listings of keys, as the ``zdb`` command prints them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from zdb.errors import KeyConflictError

if TYPE_CHECKING:
    from zdb import Database
    from zdb.exchange.listing import Row

__all__ = ["database_at", "long_listing", "names", "only_values"]


def database_at(db: Database, key: str | None) -> Database | None:
    """Return the database at a key, the given one if there is no key, None if there is a value."""
    if key is None:
        return db
    try:
        return db.database(key)
    except KeyConflictError:
        return None


def only_values(rows: list[Row]) -> list[Row]:
    """Leave out the rows of databases, and of groups of plain Zarr with keys in them."""
    has_keys = [after["level"] > row["level"] for row, after in pairwise(rows)] + [False]
    return [
        row for row, inside in zip(rows, has_keys[: len(rows)], strict=True) if row["kind"] != "database" and not inside
    ]


def names(rows: list[Row]) -> list[str]:
    """Return the keys, those of databases with a slash at the end."""
    return [row["key"] + "/" * (row["kind"] == "database") for row in rows]


def long_listing(rows: list[Row]) -> str:
    """Return a line for each key: format, type and shape, size, time of writing in UTC, and the key."""
    cells = [(*_cells(row), name) for row, name in zip(rows, names(rows), strict=True)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cells(row: Row) -> tuple[str, str, str, str]:
    from zdb.display import format_size

    if row["kind"] == "database":
        return ("database", "-", "-", "-")
    if row["kind"] == "unreadable":
        return ("unreadable", "-", "-", "-")
    shape = "" if row["shape"] is None else f"({', '.join(map(str, row['shape']))})"
    data = " ".join(filter(None, (row["dtype"] or row["type"].rpartition(".")[2], shape)))
    created = f"{row['created'][:19].replace('T', ' ')}Z" if row["created"] else "-"
    return (row["format"], data or "-", format_size(row["nbytes"]), created)
