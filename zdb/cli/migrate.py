"""The command that makes a database of zdb of another program's: migrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdb.cli.arguments import positive
from zdb.cli.commands import Result

if TYPE_CHECKING:
    import argparse

    from zdb.cli.commands import Commands

__all__ = ["add_commands"]

INCOMPLETE = 6


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    migrate = commands.add("migrate", "Make a database of one of the In Silico Framework.", _migrate)
    migrate.add_argument("old", metavar="OLD", help="folder of an ISFDataBase or ModelDataBase; it is not changed")
    migrate.add_argument("new", metavar="NEW", help="folder or URL of the new database")
    migrate.add_argument("--workers", type=positive, metavar="N", help="processes that work at a time")
    migrate.add_argument("--quiet", "-q", action="store_true", help="show no progress bar")


def _migrate(options: argparse.Namespace) -> Result:
    from zdb.legacy import migrate

    report = migrate(
        options.old,
        options.new,
        options.storage_options,
        allow_pickle=True if options.allow_pickle else "safe",
        workers=options.workers,
        progress=not options.quiet,
    )
    return Result(str(report), report.to_dict(), 0 if report.ok else INCOMPLETE)
