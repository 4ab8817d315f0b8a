"""Commands that look at a database: ls, tree, info, provenance, formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdb.cli.arguments import positive
from zdb.cli.commands import Result, open_database
from zdb.cli.listing import database_at, long_listing, names, only_values
from zdb.exchange.listing import list_keys

if TYPE_CHECKING:
    import argparse

    from zdb.cli.commands import Commands

__all__ = ["add_commands"]

TREE_LINES = 1000


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    ls = commands.add("ls", "List the keys in a database.", _ls, "url", "[key]")
    ls.add_argument("--long", "-l", action="store_true", help="show format, type, shape, size and time too")
    ls.add_argument("--recursive", "-r", action="store_true", help="list all values at any depth by their whole key")
    tree = commands.add("tree", "Show the keys of a database as a tree.", _tree, "url", "[key]")
    tree.add_argument("--depth", type=positive, metavar="N", help="show at most N levels")
    tree.add_argument(
        "--lines", type=positive, metavar="N", default=TREE_LINES, help="show at most N keys (default: %(default)s)"
    )
    commands.add("info", "Show what is known of a key without loading it.", _info, "url", "[key]")
    summary = "Show when, by whom and from which code a value was made."
    commands.add("provenance", summary, _provenance, "url", "key")
    commands.add("formats", "List the formats that are installed.", _formats)


def _ls(options: argparse.Namespace) -> Result:
    db = open_database(options, "r")
    inner = database_at(db, options.key)
    if inner is None:
        rows = [db.info(options.key).to_dict()]
    elif options.recursive:
        rows = only_values(list_keys(inner, options.key))
    else:
        rows = list_keys(inner, depth=1)
    if not options.long:
        return Result("\n".join(names(rows)), names(rows))
    for row in rows:
        row.pop("level", None)
    return Result(long_listing(rows), rows)


def _tree(options: argparse.Namespace) -> Result:
    db = open_database(options, "r")
    inner = db if options.key is None else db.database(options.key)
    if options.json:
        return Result("", list_keys(inner, options.key, options.depth, options.lines))
    return Result(str(inner.tree(options.depth, options.lines)), None)


def _info(options: argparse.Namespace) -> Result:
    db = open_database(options, "r")
    info = db.info(options.key)
    document = {"url": db.url, **info.to_dict()}
    inner = database_at(db, options.key) if info.kind != "value" else None
    if inner is None:
        return Result(str(info), document)
    document["keys"] = len(inner)
    shown = {"url": inner.url, "kind": info.kind, "id": info.id, "keys": len(inner)}
    return Result("\n".join(f"{name:<4}  {value}" for name, value in shown.items() if value != ""), document)


def _provenance(options: argparse.Namespace) -> Result:
    found = open_database(options, "r").provenance(options.key)
    return Result(repr(found), found.to_dict())


def _formats(_: argparse.Namespace) -> Result:
    from zdb.formats import registry

    known = registry.names()
    return Result("\n".join(known), known)
