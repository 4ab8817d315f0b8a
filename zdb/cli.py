"""The ``zdb`` command. ``docs/cli.md`` describes it for users.

Nothing heavy is imported before it is needed: listing a local database takes no longer than starting Python.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import zdb
from zdb import errors
from zdb.cli_listing import database_at, list_keys, long_listing, names, only_values
from zdb.cli_options import build_parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from zdb import Database

__all__ = ["main"]

ERROR, NOT_FOUND, NO_PERMISSION, EXISTS = 1, 3, 4, 5
INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 and the number of the signal, as in a shell

# The first that fits counts.
EXIT_CODES: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
    ((errors.KeyNotFoundError, errors.DatabaseNotFoundError), NOT_FOUND),
    ((PermissionError,), NO_PERMISSION),
    ((errors.KeyExistsError,), EXISTS),
    ((Exception,), ERROR),
)


class Result(NamedTuple):
    """What a command prints: `text` for people, `document` for ``--json``."""

    text: str
    document: Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Of the command line, without the name of the program.

    Returns
    -------
    int
        The exit code, see ``docs/cli.md``.
    """
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        from zdb.redact import redact_argv

        parser.error(f"unrecognized arguments: {' '.join(redact_argv(unknown))}")
    try:
        result: Result | None = COMMANDS[options.command](options)
        if result is not None:
            _print(json.dumps(result.document, indent=2, allow_nan=False) if options.json else result.text)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer must not be written once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (errors.ZdbError, OSError) as error:
        if options.traceback:
            raise
        print(f"zdb: error: {_message(error)}", file=sys.stderr)
        return next(code for classes, code in EXIT_CODES if isinstance(error, classes))
    return 0


def _print(text: str) -> None:
    if not text:
        return
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, errors.ZdbError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    advice = " (the option --allow-pickle)" if isinstance(error, errors.PickleRefusedError) else ""
    return (str(error) or type(error).__name__) + advice


def _open(options: argparse.Namespace, mode: Any) -> Database:
    return zdb.open(options.url, mode, options.storage_options, allow_pickle=options.allow_pickle)


# Looking at a database


def _ls(options: argparse.Namespace) -> Result:
    db = _open(options, "r")
    inner = database_at(db, options.key)
    if inner is None:
        rows = [db.info(options.key).to_dict()]
    elif options.recursive:
        rows = only_values(list_keys(inner, options.key))
    else:
        rows = list_keys(inner, depth=1)
    if not options.long:
        return Result("\n".join(names(rows)), names(rows))
    for row in rows:
        row.pop("level", None)
    return Result(long_listing(rows), rows)


def _tree(options: argparse.Namespace) -> Result:
    db = _open(options, "r")
    inner = db if options.key is None else db.database(options.key)
    if options.json:
        return Result("", list_keys(inner, options.key, options.depth, options.lines))
    return Result(str(inner.tree(options.depth, options.lines)), None)


def _info(options: argparse.Namespace) -> Result:
    db = _open(options, "r")
    info = db.info(options.key)
    document = {"url": db.url, **info.to_dict()}
    inner = database_at(db, options.key) if info.kind != "value" else None
    if inner is None:
        return Result(str(info), document)
    document["keys"] = len(inner)
    shown = {"url": inner.url, "kind": info.kind, "id": info.id, "keys": len(inner)}
    return Result("\n".join(f"{name:<4}  {value}" for name, value in shown.items() if value != ""), document)


def _provenance(options: argparse.Namespace) -> Result:
    found = _open(options, "r").provenance(options.key)
    return Result(repr(found), found.to_dict())


def _formats(_: argparse.Namespace) -> Result:
    from zdb.formats import registry

    known = registry.names()
    return Result("\n".join(known), known)


# Files


def _get(options: argparse.Namespace) -> Result | None:
    from zdb.cli_export import Part, export

    db = _open(options, "r")
    part = Part(options.columns, options.rows)
    written = export(db, options.key, options.file, kind=options.kind, part=part, force=options.force)
    if options.file == "-":
        return None
    return Result("", {"key": options.key, "file": options.file, "bytes": written})


def _put(options: argparse.Namespace) -> Result:
    from zdb.cli_load import load

    kind = "file" if options.format == "file" else options.kind
    with load(options.file, kind) as value:
        db = _open(options, "a")
        db.set(
            options.key,
            value,
            format=options.format,
            overwrite=not options.no_overwrite,
            attrs=options.attrs,
        )
    return Result("", db.info(options.key).to_dict())


# Changing keys


def _rm(options: argparse.Namespace) -> Result:
    db = _open(options, "r+")
    found = []
    for key in options.keys:
        try:
            db.info(key)
        except errors.KeyNotFoundError:
            if options.force:
                continue
            raise
        if not options.recursive and database_at(db, key) is not None:
            raise errors.KeyConflictError(f"{key}: is a sub-database; --recursive removes it with all that is in it")
        found.append(key)
    for key in found:
        if key in db:  # it may lie in a sub-database that was named before it
            del db[key]
    return Result("", {"removed": found})


def _mv(options: argparse.Namespace) -> Result:
    _open(options, "r+").rename(options.old, options.new)
    return Result("", {"old": options.old, "new": options.new})


def _import_simrun(options: argparse.Namespace) -> Result:
    from zdb.neuro import import_simrun

    if not Path(options.folder).is_dir():
        raise FileNotFoundError(2, "there is no such folder", options.folder)
    db = _open(options, "a")
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


COMMANDS: dict[str, Callable[[argparse.Namespace], Result | None]] = {
    "ls": _ls,
    "tree": _tree,
    "info": _info,
    "provenance": _provenance,
    "get": _get,
    "put": _put,
    "rm": _rm,
    "mv": _mv,
    "import simrun": _import_simrun,
    "formats": _formats,
}


if __name__ == "__main__":
    sys.exit(main())
