"""The ``zdb`` command. ``docs/cli.md`` describes it for users.

Nothing heavy is imported before it is needed: listing a local database takes no longer than starting Python.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

import zdb
from zdb import errors
from zdb.cli import (
    catalog,
    change,
    files,
    filling,
    find,
    importing,
    look,
    maintain,
    migrate,
    transfer,
)
from zdb.cli.commands import CommandParser, Commands, common_options
from zdb.cli.wording import in_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zdb.cli.commands import Result

__all__ = ["build_parser", "main"]

# Each has a function ``add_commands``; the help shows the commands in this order.
MODULES = (
    look,
    find,
    files,
    change,
    filling,
    importing,
    catalog,
    maintain,
    transfer,
    migrate,
)

ERROR, NOT_FOUND, NO_PERMISSION, EXISTS = 1, 3, 4, 5
INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 and the number of the signal, as in a shell

# The first that fits counts.
EXIT_CODES: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
    ((errors.KeyNotFoundError, errors.DatabaseNotFoundError), NOT_FOUND),
    ((PermissionError,), NO_PERMISSION),
    ((errors.KeyExistsError,), EXISTS),
    ((Exception,), ERROR),
)


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="zdb", description="Look into a database of simulation results, and change it.", parents=[common_options()]
    )
    # Parsers share the options of their parents: these defaults would be set anew by each command.
    common = common_options()
    parser.set_defaults(storage_options=None, json=False, allow_pickle=False, traceback=False)
    parser.add_argument("--version", action="version", version=f"zdb {zdb.__version__}")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)
    commands = Commands(parsers, common)
    for module in MODULES:
        module.add_commands(commands)
    return parser


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
        result: Result | None = options.run(options)
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
        print(f"zdb: error: {_message(error, options)}", file=sys.stderr)
        return next(code for classes, code in EXIT_CODES if isinstance(error, classes))
    return result.exit_code if result else 0


def _print(text: str) -> None:
    if not text:
        return
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def _message(error: Exception, options: argparse.Namespace) -> str:
    if isinstance(error, OSError) and not isinstance(error, errors.ZdbError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return in_options(str(error), options) or type(error).__name__
