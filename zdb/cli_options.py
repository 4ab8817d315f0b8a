"""The command line of ``zdb``: its commands and their options."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import zdb

__all__ = ["build_parser"]

GET_KINDS = ("npy", "csv", "parquet", "nc", "json")
PUT_KINDS = (*GET_KINDS, "file")
TREE_LINES = 1000


def _storage_options(text: str) -> dict[str, Any]:
    # No message may repeat the text: it holds secrets.
    try:
        found = json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"the file cannot be read: {error.strerror}") from None
    except ValueError:
        raise argparse.ArgumentTypeError("not valid JSON; put it in single quotes") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError('not a JSON object such as {"anon": true}')
    return found


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text}")
    return found


def _row_slice(text: str) -> slice:
    start, colon, stop = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return slice(*(int(bound) if bound else None for bound in (start, stop)))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not START:STOP, such as 0:100 or 100:") from None


def _column_list(text: str) -> list[str]:
    return text.split(",")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def _common_options() -> argparse.ArgumentParser:
    """Options that may stand before and after the name of the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("options of all commands")
    group.add_argument(
        "--storage-options",
        type=_storage_options,
        metavar="JSON",
        help="options of the fsspec file system, as a JSON object or @FILE; never printed or recorded",
    )
    group.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    group.add_argument("--allow-pickle", action="store_true", help="read pickles, which can run code")
    group.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    return common


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    common = _common_options()
    parser = argparse.ArgumentParser(
        prog="zdb", description="Look into a database of simulation results, and change it.", parents=[common]
    )
    parser.set_defaults(storage_options=None, json=False, allow_pickle=False, traceback=False)
    parser.add_argument("--version", action="version", version=f"zdb {zdb.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, summary: str, *positionals: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=summary, parents=[common])
        made.set_defaults(command=name)
        _add_positionals(made, *positionals)
        return made

    ls = command("ls", "List the keys in a database.", "url", "[key]")
    ls.add_argument("--long", "-l", action="store_true", help="show format, type, shape, size and time too")
    ls.add_argument("--recursive", "-r", action="store_true", help="list all values at any depth by their whole key")
    tree = command("tree", "Show the keys of a database as a tree.", "url", "[key]")
    tree.add_argument("--depth", type=_positive, metavar="N", help="show at most N levels")
    tree.add_argument(
        "--lines", type=_positive, metavar="N", default=TREE_LINES, help="show at most N keys (default: %(default)s)"
    )
    command("info", "Show what is known of a key without loading it.", "url", "[key]")
    command("provenance", "Show when, by whom and from which code a value was made.", "url", "key")
    _add_file_commands(command)
    rm = command("rm", "Remove keys.", "url")
    rm.add_argument("keys", metavar="KEY", nargs="+")
    rm.add_argument("--recursive", "-r", action="store_true", help="remove sub-databases with all that is in them")
    rm.add_argument("--force", "-f", action="store_true", help="pass over keys that do not exist")
    command("mv", "Give a value or a sub-database another key.", "url", "old", "new")

    importing = commands.add_parser("import", help="Import results of simulations.")
    kinds = importing.add_subparsers(title="what to import", metavar="WHAT", required=True)
    summary = "Import a folder of simulation results, see zdb.neuro.import_simrun."
    simrun = kinds.add_parser("simrun", help=summary, description=summary, parents=[common])
    simrun.set_defaults(command="import simrun")
    _add_positionals(simrun, "folder", "url", "[key]")
    simrun.add_argument("--overwrite", action="store_true", help="replace the keys of an earlier import")
    simrun.add_argument("--quiet", "-q", action="store_true", help="show no progress bar and no summary")
    command("formats", "List the formats that are installed.")
    return parser


def _add_file_commands(command: Any) -> None:
    get = command("get", "Write a value, or a part of it, to a file.", "url", "key", "file")
    get.add_argument("--columns", type=_column_list, metavar="A,B", help="only these columns or variables")
    get.add_argument("--rows", type=_row_slice, metavar="START:STOP", help="only these rows, counted from 0")
    get.add_argument("--as", dest="kind", choices=GET_KINDS, help="kind of file, instead of the one by its suffix")
    get.add_argument("--force", "-f", action="store_true", help="replace the file if it exists")
    put = command("put", "Write a file or a folder to a key.", "url", "key", "file")
    put.add_argument("--as", dest="kind", choices=PUT_KINDS, help="kind of file; 'file' keeps the file as it is")
    put.add_argument("--format", metavar="NAME", help="format of zdb, instead of the one for the type of the value")
    put.add_argument("--attrs", type=_json_object, metavar="JSON", help="remarks to keep with the value")
    put.add_argument("--no-overwrite", action="store_true", help="fail if there is a value at the key")


_POSITIONALS = {
    "url": "a local folder, a .zip file, or a URL such as s3://bucket/results.zdb",
    "key": "key of a value or sub-database, such as soma/voltage",
    "file": "a file, or '-' for standard input or output",
    "old": "the key as it is",
    "new": "the key as it shall be",
    "folder": "folder with the results of simulations",
}


def _add_positionals(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        bare = name.strip("[]")
        nargs = "?" if bare != name else None
        parser.add_argument(bare, metavar=bare.upper(), nargs=nargs, help=_POSITIONALS[bare])
