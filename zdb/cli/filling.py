"""Commands for values that many jobs fill: progress, finish, discard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdb.cli.commands import Result, open_database

if TYPE_CHECKING:
    import argparse

    from zdb.cli.commands import Commands

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    commands.add("progress", "Show how far the filling of a value by jobs has come.", _progress, "url", "key")
    commands.add("finish", "Make a value visible that jobs have filled.", _finish, "url", "key")
    commands.add("discard", "Give up a value that jobs fill.", _discard, "url", "key")


def _progress(options: argparse.Namespace) -> Result:
    progress = open_database(options, "r").progress(options.key)
    return Result(str(progress), progress.to_dict())


def _finish(options: argparse.Namespace) -> Result:
    open_database(options, "r+").finish(options.key)
    return Result("", {"finished": options.key})


def _discard(options: argparse.Namespace) -> Result:
    open_database(options, "r+").discard(options.key)
    return Result("", {"discarded": options.key})
