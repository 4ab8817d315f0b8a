"""What the modules of commands have in common: how one is added, what it returns, and the options of all."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

import zdb
from zdb.cli.arguments import storage_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb import Database

__all__ = ["CommandParser", "Commands", "Result", "common_options", "open_database"]


class Result(NamedTuple):
    """What a command prints: `text` for people, `document` for ``--json``, and how it ends."""

    text: str
    document: Any
    exit_code: int = 0


class CommandParser(argparse.ArgumentParser):
    """Parses the arguments of a command, whose options may stand between them; errors show the usage of the command."""

    _is_within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all arguments; what is unknown is an error."""
        if self._is_within:
            return super().parse_known_args(args, namespace)
        self._is_within = True  # argparse parses the options by this method, and then the rest
        try:
            is_group = self._subparsers is not None
            parse = super().parse_known_args if is_group else self.parse_known_intermixed_args
            found, unknown = parse(args, namespace)
        finally:
            self._is_within = False
        if unknown:
            from zdb.redact import redact_argv

            self.error(f"unrecognized arguments: {' '.join(redact_argv(unknown))}")
        return found, unknown


class Commands:
    """The commands of one level: those of ``zdb``, or those of a group such as ``zdb import``."""

    def __init__(self, parsers: Any, common: argparse.ArgumentParser) -> None:
        self._parsers = parsers
        self._common = common

    def add(
        self, name: str, summary: str, run: Callable[[argparse.Namespace], Result | None], *positionals: str
    ) -> argparse.ArgumentParser:
        """Add a command.

        Parameters
        ----------
        name, summary : str
        run : callable
            Gets the parsed options; returns what is printed, None if it printed itself.
        *positionals : str
            Names of the arguments, see ``POSITIONALS``; in brackets if they may be left out.
        """
        made: argparse.ArgumentParser = self._parsers.add_parser(
            name, help=summary, description=summary, parents=[self._common]
        )
        made.set_defaults(run=run)
        for argument in positionals:
            bare = argument.strip("[]")
            nargs = "?" if bare != argument else None
            made.add_argument(bare, metavar=bare.upper(), nargs=nargs, help=POSITIONALS[bare])
        return made

    def group(
        self,
        name: str,
        summary: str,
        title: str,
        metavar: str,
        run: Callable[[argparse.Namespace], Result | None] | None = None,
    ) -> Commands:
        """Add a group of commands, which follow its name; alone, the name does what `run` does, if that is given."""
        made = self._parsers.add_parser(name, help=summary, description=summary, parents=[self._common])
        if run is not None:
            made.set_defaults(run=run)
        return Commands(made.add_subparsers(title=title, metavar=metavar, required=run is None), self._common)


def open_database(options: argparse.Namespace, mode: Any) -> Database:
    """Open the database that the command line names."""
    return zdb.open(options.url, mode, options.storage_options, allow_pickle=options.allow_pickle)


def common_options() -> argparse.ArgumentParser:
    """Options that may stand before and after the name of the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("options of all commands")
    group.add_argument(
        "--storage-options",
        type=storage_options,
        metavar="JSON",
        help="options of the fsspec file system, as a JSON object or @FILE; never printed or recorded",
    )
    group.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    group.add_argument("--allow-pickle", action="store_true", help="read pickles, which can run code")
    group.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    return common


POSITIONALS = {
    "url": "a local folder, a .zip file, or a URL such as s3://bucket/results.zdb",
    "key": "key of a value or sub-database, such as soma/voltage",
    "file": "a file, or '-' for standard input or output",
    "old": "the key as it is",
    "new": "the key as it shall be",
    "pattern": "a name such as 'voltage*', or with '/' a whole key such as 'soma/*'",
    "root": "a folder, or a URL such as s3://bucket/results",
    "catalog": "a folder or URL with the records of databases",
    "id": "32 hexadecimal digits, as `zdb info` shows them",
    "destination": "a folder, a file, or a .zip file",
    "source": "a folder, a file, or a .zip file",
    "target": "where the database lies that is copied to",
    "newkey": "the key in the target, if it shall be another one",
    "folder": "folder with the results of simulations",
}
