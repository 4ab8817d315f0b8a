"""Commands that find databases: catalog ls, search, merge, forget, heal, renew; and the settings."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import zdb
from zdb.cli.commands import Result
from zdb.cli.find import add_find, catalog_find

if TYPE_CHECKING:
    import argparse

    import pandas as pd

    from zdb.cli.commands import Commands

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    title = "what to do with the catalog; without one, ls"
    group = commands.group("catalog", "Find databases by their id.", title, "ACTION", _ls)
    group.add("ls", "List the databases that the catalog knows.", _ls)
    search = group.add("search", "Register all databases below a folder or URL.", _search, "root")
    search.add_argument("--quiet", "-q", action="store_true", help="show no progress")
    add_find(group, "Find keys in all databases of the catalog.", catalog_find, "[pattern]")
    group.add("merge", "Take over the records of another catalog.", _merge, "catalog")
    group.add("forget", "Remove a database from the catalog; the database stays.", _forget, "id")
    heal = group.add("heal", "Look at every registered place, and tell what moved, vanished or was copied.", _heal)
    heal.add_argument("roots", metavar="ROOT", nargs="*", help="folder or URL to search for what moved")
    heal.add_argument("--forget", action="store_true", help="remove what is nowhere to be found")
    group.add("renew", "Give a copy of a database an id of its own.", _renew, "url")
    commands.add("config", "Show the settings, and where each one comes from.", _config)


def _ls(_: argparse.Namespace) -> Result:
    return _table(zdb.catalog())


def _search(options: argparse.Namespace) -> Result:
    shown = sys.stderr.isatty() and not options.quiet
    return _table(zdb.Catalog().search(options.root, options.storage_options, progress=shown))


def _merge(options: argparse.Namespace) -> Result:
    taken = zdb.Catalog().merge(zdb.Catalog(options.catalog, options.storage_options))
    return Result(f"{taken} records are new or newer", {"taken": taken})


def _forget(options: argparse.Namespace) -> Result:
    zdb.Catalog().forget(options.id)
    return Result("", {"forgotten": options.id})


def _heal(options: argparse.Namespace) -> Result:
    return _table(zdb.Catalog().heal(options.roots, options.storage_options, forget=options.forget))


def _renew(options: argparse.Namespace) -> Result:
    fresh = zdb.Catalog().renew(options.url, options.storage_options)
    return Result(fresh, {"url": options.url, "id": fresh})


def _config(_: argparse.Namespace) -> Result:
    sources = zdb.config.sources()
    rows: list[dict[str, Any]] = [
        {"setting": name, "value": zdb.config.get(name), "from": sources[name], "description": setting.description}
        for name, setting in zdb.config.SETTINGS.items()
    ]
    lines = [f"{row['setting']}: {row['value']}  ({row['from']})\n    {row['description']}" for row in rows]
    return Result("\n".join(lines), rows)


def _table(frame: pd.DataFrame) -> Result:
    text = "" if frame.empty else frame.to_string(index=False)
    return Result(text, json.loads(frame.to_json(orient="records", date_format="iso")))
