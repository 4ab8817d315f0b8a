"""Commands that look after a database: verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdb.cli.commands import Result, open_database

if TYPE_CHECKING:
    import argparse

    from zdb.cli.commands import Commands

__all__ = ["add_commands"]

DAMAGED = 6


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    verify = commands.add("verify", "Check that all data is there and can be read.", _verify, "url", "[key]")
    verify.add_argument("--shallow", action="store_true", help="list the chunks and do not read them")
    verify.add_argument("--quiet", "-q", action="store_true", help="show no progress bar, and nothing if all is well")


def _verify(options: argparse.Namespace) -> Result:
    db = open_database(options, "r")
    report = db.verify(options.key, deep=not options.shallow, progress=not options.quiet)
    text = "" if report.ok and options.quiet else str(report)
    return Result(text, report.to_dict(), 0 if report.ok else DAMAGED)
