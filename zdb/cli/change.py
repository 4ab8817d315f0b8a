"""Commands that change keys: rm, mv."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from zdb import errors
from zdb.cli.commands import Result, open_database
from zdb.cli.listing import database_at

if TYPE_CHECKING:
    import argparse

    from zdb.cli.commands import Commands

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    rm = commands.add("rm", "Remove keys.", _rm, "url")
    rm.add_argument("keys", metavar="KEY", nargs="+")
    rm.add_argument("--recursive", "-r", action="store_true", help="remove sub-databases with all that is in them")
    rm.add_argument("--force", "-f", action="store_true", help="pass over keys that do not exist")
    commands.add("mv", "Give a value or a sub-database another key.", _mv, "url", "old", "new")


def _rm(options: argparse.Namespace) -> Result:
    db = open_database(options, "r+")
    found = []
    for key in options.keys:
        try:
            db.info(key)
        except errors.KeyNotFoundError:
            if options.force:
                continue
            raise
        except errors.CorruptChunkError:
            found.append(key)
            continue
        if not options.recursive and database_at(db, key) is not None:
            raise errors.KeyConflictError(f"{key}: is a sub-database; --recursive removes it with all that is in it")
        found.append(key)
    for key in found:
        with contextlib.suppress(errors.KeyNotFoundError):  # it lay in a sub-database that was named before it
            del db[key]
    return Result("", {"removed": found})


def _mv(options: argparse.Namespace) -> Result:
    open_database(options, "r+").rename(options.old, options.new)
    return Result("", {"old": options.old, "new": options.new})
