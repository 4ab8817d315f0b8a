"""Databases of other programs, which installed packages open for reading."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, Protocol

from zdb.errors import ReadOnlyError

__all__ = ["Opener", "opener_of"]

ENTRY_POINT_GROUP = "zdb.openers"


class Opener(Protocol):
    """Opens the databases of one program; a class without arguments, named by an entry point of "zdb.openers".

    Attributes
    ----------
    what : str
        What it opens, for errors: "a database of ...".
    migrated_by : str
        The command that makes a database of zdb of one.
    """

    what: str
    migrated_by: str

    def recognises(self, url: str) -> bool:
        """Whether such a database lies at a URL, at which there is something that is not zdb's."""
        ...

    def open(self, url: str, allow_pickle: bool | Literal["safe"]) -> Any:
        """Open it; what comes back has the methods of :class:`zdb.Database` that read.

        Its files are :class:`pathlib.Path`, of format "file"; ``folder`` is made by :meth:`zdb.Folder.of_paths`, and
        ``place`` returns the folder in which a key lies.
        """
        ...


def opener_of(url: str, mode: str) -> Opener | None:
    """Return what opens the database of another program at a URL; None if no installed package knows it.

    Raises
    ------
    ReadOnlyError
        It was to be opened for writing.
    """
    opener = next((opener for opener in _installed() if opener.recognises(url)), None)
    if opener is not None and mode != "r":
        raise ReadOnlyError(
            f"{url}: is {opener.what}, which zdb only reads; open it with mode='r', or make a database of zdb of it by "
            f"`{opener.migrated_by}`"
        )
    return opener


@cache
def _installed() -> list[Opener]:
    from importlib.metadata import entry_points

    return [point.load()() for point in entry_points(group=ENTRY_POINT_GROUP)]
