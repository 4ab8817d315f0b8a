"""Commands that bring files in and out: get, put, export."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from zdb.cli.arguments import column_list, json_object, row_slice
from zdb.cli.commands import Result, open_database
from zdb.cli.transfer import transferred

if TYPE_CHECKING:
    import argparse

    from zdb.cli.commands import Commands

__all__ = ["add_commands"]

GET_KINDS = ("npy", "csv", "parquet", "nc", "json")
PUT_KINDS = (*GET_KINDS, "file")


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    get = commands.add("get", "Write a value, or a part of it, to a file.", _get, "url", "key", "file")
    get.add_argument("--columns", type=column_list, metavar="A,B", help="only these columns or variables")
    get.add_argument("--rows", type=row_slice, metavar="START:STOP", help="only these rows, counted from 0")
    get.add_argument("--as", dest="kind", choices=GET_KINDS, help="kind of file, instead of the one by its suffix")
    get.add_argument("--force", "-f", action="store_true", help="replace the file if it exists")
    put = commands.add("put", "Write a file or a folder to a key.", _put, "url", "key", "file")
    put.add_argument("--as", dest="kind", choices=PUT_KINDS, help="kind of file; 'file' keeps the file as it is")
    put.add_argument("--format", metavar="NAME", help="format of zdb, instead of the one for the type of the value")
    put.add_argument("--attrs", type=json_object, metavar="JSON", help="remarks to keep with the value")
    put.add_argument("--no-overwrite", action="store_true", help="fail if there is a value at the key")
    summary = "Write a database, or what is at a key, to files that other programs read."
    out = commands.add("export", summary, _export, "url", "destination", "[key]")
    out.add_argument("--force", "-f", action="store_true", help="write all values, and replace files that exist")
    out.add_argument("--quiet", "-q", action="store_true", help="show no progress bar and no summary")


def _get(options: argparse.Namespace) -> Result | None:
    from zdb.exchange.exporting import Part, export

    db = open_database(options, "r")
    part = Part(options.columns, options.rows)
    written = export(db, options.key, options.file, kind=options.kind, part=part, force=options.force)
    if options.file == "-":
        return None
    return Result("", {"key": options.key, "file": options.file, "bytes": written})


def _put(options: argparse.Namespace) -> Result:
    from zdb.exchange.loading import load

    kind = "file" if options.format == "file" else options.kind
    with load(options.file, kind) as value:
        db = open_database(options, "a")
        db.set(
            options.key,
            value,
            format=options.format,
            overwrite=not options.no_overwrite,
            attrs=options.attrs,
            progress=sys.stderr.isatty(),
        )
    return Result("", db.info(options.key).to_dict())


def _export(options: argparse.Namespace) -> Result:
    from zdb import export_files

    db = open_database(options, "r")
    show = not options.quiet
    report = export_files(db, options.destination, options.key, overwrite=options.force, progress=show)
    return transferred(options, report)
