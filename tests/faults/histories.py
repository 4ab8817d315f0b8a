"""Processes that work on the same keys, and the history of what they did and saw."""

from __future__ import annotations

import json
import os
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from faults.linearizability import Operation

import zdb
from zdb.errors import ClaimLostError, KeyClaimedError, KeyExistsError, KeyNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from places import Place

__all__ = ["KEYS", "look", "operations", "value", "work"]

KEYS = ["a", "b", "c"]
RENAMED = ["a", "b"]
# How often each operation comes.
SHARES = {"set": 8, "get": 9, "delete": 3, "rename": 3, "compute": 2}
NUMBERS = 100_000  # of operations of a process


def value(code: int) -> Any:
    """The value with a number: every other one is small, the others have several chunks."""
    return {"code": code} if code % 2 else np.full(90 + code % 7, float(code))


def code_of(found: Any) -> int | str | None:
    """The number of a value that was read, which has to be whole."""
    if found is None:
        return None
    code = int(found["code"] if isinstance(found, dict) else found[0])
    wanted = value(code)
    is_whole = type(found) is type(wanted) and np.array_equal(found, wanted)
    return code if is_whole else f"not whole: {found!r}"


def apply(db: zdb.Database, what: str, key: str, argument: Any) -> Any:
    """Make an operation and return its outcome."""
    try:
        if what == "get":
            return code_of(db.get(key))
        if what == "set":
            made = value(argument)
            db.set(key, made, chunks=None if isinstance(made, dict) else (30,))
        elif what == "compute":
            return code_of(db.compute(key, value, argument))
        elif what == "delete":
            del db[key]
        else:
            db.rename(key, argument)
    except KeyNotFoundError:
        return "missing"
    except KeyExistsError:
        return "exists"
    except (ClaimLostError, KeyClaimedError):
        return "lost"
    return "done"


def work(place: Place, process: int, count: int, lease: float, log: Path, ready: Any, leave: Any) -> None:
    """Make operations at random, each noted before and after, and stay until told to leave."""
    moments = random.Random(process)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(**noted: Any) -> None:
        os.write(file, f"{json.dumps(noted)}\n".encode())

    with zdb.config.set({"lease": lease}):
        db = place.open("r+")
        ready.set()
        for number in range(count):
            what, key = moments.choices(list(SHARES), SHARES.values())[0], moments.choice(KEYS)
            argument: Any = process * NUMBERS + number
            if what == "rename":
                key, argument = moments.sample(RENAMED, 2)
            note(what=what, key=key, argument=argument, begun=time.monotonic())
            outcome = apply(db, what, key, argument)
            note(outcome=outcome, ended=time.monotonic())
    leave.wait()


def operations(log: Path, process: int, died: float) -> list[Operation]:
    """Read what a process has noted.

    Parameters
    ----------
    log : Path
    process : int
    died : float
        When what it was doing then can have no effect any more.
    """
    found: list[Operation] = []
    for line in log.read_text().splitlines() if log.exists() else ():
        noted = json.loads(line)
        if "what" in noted:
            found.append(Operation(**noted, outcome="killed", ended=died, process=process))
        else:
            found[-1] = Operation(**{**vars(found[-1]), **noted})
    return found


def look(place: Place) -> list[Operation]:
    """Read all keys."""
    found = []
    db = place.open("r")
    for key in KEYS:
        begun = time.monotonic()
        outcome = apply(db, "get", key, None)
        found.append(Operation("get", key, None, outcome, begun, time.monotonic(), -1))
    return found
