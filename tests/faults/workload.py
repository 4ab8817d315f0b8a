"""What the writers of fault tests do: changes that follow from their numbers, noted before and after each was made."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from zdb.errors import ZdbError

if TYPE_CHECKING:
    from pathlib import Path

    from places import Place

    import zdb

__all__ = ["Change", "Note", "change", "notes", "write"]

KEYS = 5


class Change(NamedTuple):
    """One change: "set" with a value, "delete", or "rename" with the new key."""

    what: str
    key: str
    argument: Any = None

    def apply(self, db: zdb.Database) -> bool:
        """Make the change, and tell whether there was something to change."""
        if self.what == "set":
            db.set(self.key, self.argument, chunks=None if isinstance(self.argument, dict) else (500,))
        elif self.key not in db or (self.what == "rename" and self.argument in db):
            return False
        elif self.what == "delete":
            del db[self.key]
        else:
            db.rename(self.key, self.argument)
        return True


class Note(NamedTuple):
    """What became of a change: "done", "skipped", "failed" or "killed", and when; times of the monotonic clock."""

    number: int
    outcome: str
    begun: float
    ended: float
    error: str = ""


def change(writer: int, number: int) -> Change:
    """The n-th change of a writer, which has keys of its own."""
    key = f"writer_{writer}/key_{number % KEYS}"
    if number % 9 == 8:
        return Change("delete", key)
    if number % 11 == 10:
        return Change("rename", key, f"writer_{writer}/renamed/key_{number % 3}")
    return Change("set", key, value(writer, number))


def value(writer: int, number: int) -> Any:
    """A value of one of three kinds, all of which tells by whom and when it was written."""
    code = float(number * 100 + writer)
    if number % 3 == 0:
        return {"code": code}
    data = np.full(1500 + number % 600, code)
    return data if number % 3 == 1 else xr.Dataset({"a": ("x", data), "b": ("x", data + 0.5)})


def write(place: Place, writer: int, start: int, log: Path, stop: Any = None, options: Any = None) -> None:
    """Make changes from the `start`-th on until the process is killed or the event `stop` is set."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(number: int, outcome: str, error: str = "") -> None:
        os.write(file, f"{number}\t{outcome}\t{time.monotonic()}\t{error.encode('unicode_escape').decode()}\n".encode())

    db = None
    number = start
    while stop is None or not stop.is_set():
        one = change(writer, number)
        note(number, "begun")
        try:
            db = db or place.open(**(options or {}))
            note(number, "done" if one.apply(db) else "skipped")
        except ZdbError as error:
            note(number, "failed", f"{type(error).__name__}: {error}")
        number += 1


def notes(log: Path) -> list[Note]:
    """Read what a writer has noted; a change that was begun and not ended was interrupted by its death."""
    found: list[Note] = []
    for line in log.read_text().splitlines(keepends=True) if log.exists() else ():
        if not line.endswith("\n"):  # it is just being written
            break
        number, outcome, when, error = line.rstrip("\n").split("\t")
        if outcome == "begun":
            found.append(Note(int(number), "killed", float(when), float("inf")))
        else:
            found[-1] = Note(int(number), outcome, found[-1].begun, float(when), error)
    return found
