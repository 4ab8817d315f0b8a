"""Commands that look after a database, and this machine: verify, repair, gc, clear-shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zdb
from zdb.cli.arguments import duration
from zdb.cli.commands import Result, open_database
from zdb.display import format_size
from zdb.maintenance.report import Repair, RepairReport
from zdb.opening import lost_below

if TYPE_CHECKING:
    import argparse

    from zdb.cli.commands import Commands

__all__ = ["add_commands"]

DAMAGED = 6
DAY = 86400.0


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    verify = commands.add("verify", "Check that all data is there and can be read.", _verify, "url", "[key]")
    verify.add_argument("--shallow", action="store_true", help="list the chunks and do not read them")
    verify.add_argument("--quiet", "-q", action="store_true", help="show no progress bar, and nothing if all is well")
    repair = commands.add("repair", "Repair what verify finds, and mark what is lost.", _repair, "url", "[key]")
    repair.add_argument("--yes", "-y", action="store_true", help="do it; by default, only say what would be done")
    repair.add_argument("--quiet", "-q", action="store_true", help="show no progress bar")
    gc = commands.add("gc", "Remove old generations and unfinished work.", _gc, "url", "[key]")
    gc.add_argument("--yes", "-y", action="store_true", help="do it; by default, only say what would be removed")
    gc.add_argument(
        "--grace", type=duration, default=DAY, metavar="TIME", help="leave what is younger, such as 12h (default: 1d)"
    )
    clear = commands.add("clear-shared", "Free the memory of shared arrays that no process uses.", _clear_shared)
    clear.add_argument(
        "--unused-for", type=duration, default=0, metavar="TIME", help="keep what was used since, such as 10min"
    )


def _verify(options: argparse.Namespace) -> Result:
    db = open_database(options, "r")
    report = db.verify(options.key, deep=not options.shallow, progress=not options.quiet)
    text = "" if report.ok and options.quiet else str(report)
    return Result(text, report.to_dict(), 0 if report.ok else DAMAGED)


def _repair(options: argparse.Namespace) -> Result:
    number = lost_below(options.url, options.storage_options)
    what = f"make the zarr.json of the database again, with a new id; {number} of its keys are there"
    rebuilt = [Repair("", "rebuild", what)] * bool(number)
    if number and not options.yes:
        report = RepairReport(options.url, True, rebuilt)
    else:
        if number:
            zdb.adopt(options.url, options.storage_options)
        db = open_database(options, "r+" if options.yes else "r")
        report = db.repair(options.key, dry_run=not options.yes, progress=not options.quiet)
        report.repairs[:0] = rebuilt
    return Result(str(report), report.to_dict(), 0 if report.ok else DAMAGED)


def _gc(options: argparse.Namespace) -> Result:
    db = open_database(options, "r+" if options.yes else "r")
    report = db.gc(options.key, dry_run=not options.yes, grace=options.grace)
    return Result(str(report), report.to_dict())


def _clear_shared(options: argparse.Namespace) -> Result:
    freed = zdb.clear_shared(options.unused_for)
    return Result(f"{format_size(freed)} freed", {"freed": freed})
