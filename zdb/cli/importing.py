"""Commands that import results of simulations: import simrun."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zdb.cli.commands import Result, open_database

if TYPE_CHECKING:
    import argparse

    from zdb.cli.commands import Commands

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    kinds = commands.group("import", "Import results of simulations.", "what to import", "WHAT")
    summary = "Import a folder of simulation results, see zdb.neuro.import_simrun."
    simrun = kinds.add("simrun", summary, _import_simrun, "folder", "url", "[key]")
    simrun.add_argument("--overwrite", action="store_true", help="replace the keys of an earlier import")
    simrun.add_argument("--quiet", "-q", action="store_true", help="show no progress bar and no summary")


def _import_simrun(options: argparse.Namespace) -> Result:
    from zdb.neuro import import_simrun

    if not Path(options.folder).is_dir():
        raise FileNotFoundError(2, "there is no such folder", options.folder)
    db = open_database(options, "a")
    target = db if options.key is None else db.database(options.key, create=True)
    found = import_simrun(target, options.folder, overwrite=options.overwrite, progress=not options.quiet)
    for folder in found.unfinished:
        print(f"zdb: warning: {folder}: left out, this run has not ended", file=sys.stderr)
    document = {
        "url": target.url,
        "runs": len(found.runs),
        "trials": len(found.trial_index),
        "unfinished": list(found.unfinished),
        "keys": list(target),
    }
    text = f"{document['trials']} trials of {document['runs']} runs are in {target.url}"
    return Result("" if options.quiet else text, document)
