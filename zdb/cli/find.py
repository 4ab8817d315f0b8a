"""Commands that find keys: find, catalog find."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import zdb
from zdb.cli.arguments import column_list, json_object
from zdb.cli.commands import Result, open_database

if TYPE_CHECKING:
    import argparse

    import pandas as pd

    from zdb.cli.commands import Commands

__all__ = ["add_commands", "add_find", "catalog_find"]

# Options with a text, by the condition of zdb.Database.find.
TEXTS = {
    "kind": ("KIND", "value, database, foreign or unreadable"),
    "format": ("NAME", "format, such as table"),
    "type": ("NAME", "Python type"),
    "dtype": ("DTYPE", "dtype of the value or of one of its arrays"),
    "min_size": ("SIZE", "at least this size, such as 10MB"),
    "max_size": ("SIZE", "at most this size"),
    "since": ("TIME", "written at this time or later; ISO 8601, UTC"),
    "until": ("TIME", "written at this time or before"),
    "commit": ("SHA", "beginning of the git commit of the code that wrote it"),
    "user": ("NAME", "user who wrote it"),
    "hostname": ("NAME", "machine on which it was written"),
    "inputs": ("KEY", "a key that it was computed from"),
}


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    add_find(commands, "Find keys by their metadata.", _find, "url", "[pattern]")


def add_find(commands: Commands, summary: str, run: Any, *positionals: str) -> None:
    """Add a command ``find`` with an option for each condition."""
    find = commands.add("find", summary, run, *positionals)
    for name, (metavar, text) in TEXTS.items():
        find.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=text)
    find.add_argument("--dims", type=column_list, metavar="A,B", help="dimensions that the value has")
    find.add_argument("--attrs", type=json_object, metavar="JSON", help="attributes and what they equal")
    state = find.add_mutually_exclusive_group()
    state.add_argument("--dirty", action="store_true", default=None, help="code with changes that were not committed")
    state.add_argument("--clean", dest="dirty", action="store_false", help="code without such changes")
    find.add_argument("--long", "-l", action="store_true", help="show all that is known, as a table")


def _conditions(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say, as arguments of :meth:`zdb.Database.find`."""
    return {name: getattr(options, name) for name in (*TEXTS, "dims", "attrs", "dirty", "pattern")}


def _table(frame: pd.DataFrame, *, long: bool) -> Result:
    """Return what was found: a key on each line, or a table."""
    document = json.loads(frame.to_json(orient="records", date_format="iso"))
    if long:
        return Result("" if frame.empty else frame.to_string(index=False), document)
    names = frame["key"] if "url" not in frame else frame["url"] + "  " + frame["key"]
    return Result("\n".join(names), document)


def _find(options: argparse.Namespace) -> Result:
    return _table(open_database(options, "r").find(**_conditions(options)), long=options.long)


def catalog_find(options: argparse.Namespace) -> Result:
    """Run ``zdb catalog find``."""
    found = zdb.Catalog().find(storage_options=options.storage_options, **_conditions(options))
    return _table(found, long=options.long)
