"""Commands that copy between databases: cp, sync."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zdb
from zdb.cli.arguments import storage_options
from zdb.cli.commands import Result, open_database
from zdb.cli.wording import in_options

if TYPE_CHECKING:
    import argparse

    from zdb import Database
    from zdb.cli.commands import Commands

__all__ = ["add_commands", "transferred"]

DAMAGED = 6


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    places = ("url", "target", "[key]", "[newkey]")
    cp = commands.add("cp", "Copy a database, or a key of it, to another database.", _cp, *places)
    cp.add_argument("--overwrite", action="store_true", help="replace values that are in the target")
    sync = commands.add("sync", "Copy what is new or was replaced to another database.", _sync, *places)
    sync.add_argument("--delete", action="store_true", help="delete from the target what is not in the source")
    sync.add_argument("--dry-run", "-n", action="store_true", help="change nothing, and say what would be done")
    for command in (cp, sync):
        command.add_argument("--quiet", "-q", action="store_true", help="show no progress bar and no summary")
        command.add_argument(
            "--target-options",
            type=storage_options,
            metavar="JSON",
            help="options of the file system of the target; by default those of --storage-options",
        )


def _cp(options: argparse.Namespace) -> Result:
    source, target = _ends(options, "a")
    report = source.copy_to(
        target, options.key, options.newkey, overwrite=options.overwrite, progress=not options.quiet
    )
    return transferred(options, report)


def _sync(options: argparse.Namespace) -> Result:
    source, target = _ends(options, "r" if options.dry_run else "a")
    report = source.sync_to(
        target, options.key, options.newkey, delete=options.delete, dry_run=options.dry_run, progress=not options.quiet
    )
    return transferred(options, report)


def _ends(options: argparse.Namespace, mode: Any) -> tuple[Database, Database]:
    source = open_database(options, "r")
    if options.key is not None:
        source.info(options.key)  # before the target is made
    own = options.storage_options if options.target_options is None else options.target_options
    return source, zdb.open(options.target, mode, own)


def transferred(options: argparse.Namespace, report: zdb.TransferReport) -> Result:
    """Return what a command prints that copies, and its exit code."""
    text = "" if options.quiet and report.ok else in_options(str(report), options)
    return Result(text, report.to_dict(), 0 if report.ok else DAMAGED)
