"""Commands that import files and results of simulations: import files, import simrun."""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zdb.cli.commands import Result, open_database
from zdb.cli.transfer import transferred
from zdb.errors import DatabaseNotFoundError
from zdb.exchange.importing import inside
from zdb.opening import discard_empty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zdb import Database
    from zdb.cli.commands import Commands

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    kinds = commands.group("import", "Import files, or results of simulations.", "what to import", "WHAT")
    summary = "Read a folder, a file or a .zip file that zdb export wrote, or any other."
    files = kinds.add("files", summary, _import_files, "source", "url", "[key]")
    files.add_argument("--overwrite", action="store_true", help="read all files, and replace what is there")
    files.add_argument("--quiet", "-q", action="store_true", help="show no progress bar and no summary")
    summary = "Import a folder of simulation results, see zdb.neuro.import_simrun."
    simrun = kinds.add("simrun", summary, _import_simrun, "folder", "url", "[key]")
    simrun.add_argument("--overwrite", action="store_true", help="replace the keys of an earlier import")
    simrun.add_argument(
        "--relocate",
        action="append",
        default=[],
        type=_relocation,
        metavar="OLD=NEW",
        help="where a file or folder is now that parameter files refer to as OLD; may be repeated",
    )
    simrun.add_argument(
        "--missing", choices=["error", "report"], default="error", help="leave references to missing files as they are"
    )
    simrun.add_argument(
        "--mode", choices=["copy", "link"], default="copy", help="copy the data, or keep it in the raw files"
    )
    simrun.add_argument(
        "--on-error", choices=["error", "report"], default="error", help="leave out bad files and report them"
    )
    simrun.add_argument("--quiet", "-q", action="store_true", help="show no progress bar and no summary")


def _relocation(text: str) -> tuple[str, str]:
    old, separator, new = text.partition("=")
    if not (old and separator and new):
        raise argparse.ArgumentTypeError(f"{text!r} should be OLD=NEW")
    return old, new


@contextmanager
def _target(options: argparse.Namespace) -> Iterator[Database]:
    """Open the database, or make it; what was made is removed again if the import fails and nothing is in it."""
    try:
        db, is_new = open_database(options, "r+"), False
    except DatabaseNotFoundError:
        db, is_new = open_database(options, "a"), True
    try:
        yield db
    except BaseException:
        if is_new:
            discard_empty(db)
        raise


def _import_files(options: argparse.Namespace) -> Result:
    from zdb import config, import_files

    if not Path(options.source).exists():
        raise FileNotFoundError(2, "there is no such file or folder", options.source)
    show = not options.quiet
    with _target(options) as db, config.set({"progress": show and sys.stderr.isatty()}):
        report = import_files(options.source, db, options.key, overwrite=options.overwrite, progress=show)
    return transferred(options, report)


def _import_simrun(options: argparse.Namespace) -> Result:
    from zdb.neuro import import_simrun

    if not Path(options.folder).is_dir():
        raise FileNotFoundError(2, "there is no such folder", options.folder)
    with _target(options) as db, inside(db, options.key) as target:
        report = import_simrun(
            target,
            options.folder,
            overwrite=options.overwrite,
            relocate=dict(options.relocate),
            missing=options.missing,
            mode=options.mode,
            on_error=options.on_error,
            progress=not options.quiet,
        )
    for line in str(report).splitlines()[1:]:
        print(f"zdb: warning: {line}", file=sys.stderr)
    document = {
        "url": target.url,
        "runs": report.runs,
        "trials": report.trials,
        "new_runs": list(report.new_runs),
        "unfinished": list(report.unfinished),
        "problems": [{"path": bad.path, "message": bad.message} for bad in report.problems],
        "missing": [{"path": file.path, "referenced_by": list(file.referenced_by)} for file in report.missing],
        "notes": list(report.notes),
        "keys": list(target),
    }
    text = f"{report.trials} trials of {report.runs} runs are in {target.url}, {len(report.new_runs)} runs are new"
    return Result("" if options.quiet else text, document)
