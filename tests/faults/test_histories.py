"""Processes that set, read, delete, rename and compute the same keys: one order of all that explains what they see."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import uuid
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from faults.checking import orphans
from faults.histories import SHARES, look, operations, work
from faults.linearizability import Operation, violation
from faults.rounds import rounds
from other_processes import CONTEXT, new_process
from places import Place, new_place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPERATIONS = {"local": rounds(600, 12_000), "s3": rounds(150, 2_000)}  # at least
EACH = {"local": 60, "s3": 20}  # operations of each process in a round
PROCESSES = 4
LEASE = 1.0
STORES = ["local", pytest.param("s3", marks=pytest.mark.s3)]
LONG = 180
# What happens to one of the processes in a round.
NOTHING, KILL, STOP, KILL_TWICE = range(4)


class Process:
    """One that works, and its log."""

    def __init__(self, place: Place, folder: Path, number: int, count: int) -> None:
        self.number = number
        self.log = folder / f"{uuid.uuid4().hex}.log"
        self.ready, self.leave = CONTEXT.Event(), CONTEXT.Event()
        self.died = inf
        arguments = (place, number, count, LEASE, self.log, self.ready, self.leave)
        self.process: Any = new_process(work, *arguments)
        self.process.start()

    def wait_for(self, count: int) -> None:
        """Wait until so many operations were begun."""
        end = time.monotonic() + LONG
        while not self.log.exists() or self.log.read_text().count("begun") < count:
            assert self.process.is_alive(), self.process.exitcode
            assert time.monotonic() < end
            time.sleep(0.002)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        assert self.process.exitcode == -signal.SIGKILL

    def stop_past_the_lease(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        time.sleep(2 * LEASE)
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        self.leave.set()
        self.process.join(LONG)
        assert self.process.exitcode == 0, self.process.exitcode


def one_round(place: Place, folder: Path, number: int, each: int, moments: random.Random) -> list[Operation]:
    """Let processes work on a new database, disturb one of them, and return what all did and saw."""
    db = place.open()
    first = number * 100
    processes = [Process(place, folder, first + n, each) for n in range(PROCESSES)]
    for one in processes:
        assert one.ready.wait(LONG)
    what = (KILL, NOTHING, KILL_TWICE, STOP)[number % 4]
    dead = []
    for _ in range({KILL: 1, KILL_TWICE: 2}.get(what, 0)):
        victim = processes.pop(moments.randrange(len(processes)))
        victim.wait_for(moments.randrange(1, each // 3))
        time.sleep(moments.uniform(0, 0.01))
        victim.kill()
        if "://" not in place.url:  # what was on its way to a server may still arrive
            victim.died = time.monotonic()
        dead.append(victim)
        processes.append(Process(place, folder, first + PROCESSES + len(dead), each // 2))
    if what == STOP:
        victim = moments.choice(processes)
        victim.wait_for(moments.randrange(1, each // 2))
        time.sleep(moments.uniform(0, 0.01))
        victim.stop_past_the_lease()
    for one in processes:
        one.end()
    history = [done for one in processes + dead for done in operations(one.log, one.number, one.died)]
    history += look(place)
    report = db.verify()
    assert report.ok, str(report)
    db.gc(dry_run=False, grace=0)
    assert orphans(db) == set()
    return history + look(place)


@pytest.mark.parametrize("store", STORES)
def test_histories_are_linearizable(
    store: str, tmp_path: Path, request: pytest.FixtureRequest, count: Callable[[str, int], None]
) -> None:
    moments = random.Random(1)
    done: list[Operation] = []
    number = 0
    while len(done) < OPERATIONS[store]:
        place = new_place(store, tmp_path, request)
        history = one_round(place, tmp_path, number, EACH[store], moments)
        found = violation(history, in_two_steps=store == "s3")
        if found is not None:
            (tmp_path / "history.json").write_text(json.dumps([vars(one) for one in history]))
        assert found is None, f"round {number}, {tmp_path}: {found}"
        done += history
        number += 1
    for what in SHARES:
        assert any(one.what == what and one.outcome not in ("missing", "killed", "lost") for one in done)
    count(f"operations of {PROCESSES} processes on the same keys, {store}", len(done))


# What the search finds


def history(*lines: str) -> list[Operation]:
    """Make a history from lines such as "0-3 set a 1" or "1-2 get a = 1"."""
    found = []
    for process, line in enumerate(lines):
        made, _, outcome = line.partition(" = ")
        times, what, key, *argument = made.split()
        begun, _, ended = times.partition("-")
        given: Any = argument[0] if argument else None
        if what in ("set", "compute"):
            given = int(given)
        result: Any = outcome or "done"
        if what in ("get", "compute") and outcome != "killed":
            result = None if outcome == "none" else int(outcome)
        found.append(Operation(what, key, given, result, float(begun), float(ended or inf), process))
    return found


@pytest.mark.parametrize(
    "lines",
    [
        ("0-9 set a 1", "0-9 set a 2", "10-11 get a = 1"),
        ("0-1 set a 1", "2-9 set a 2", "3-4 get a = 2", "5-6 get a = 2"),
        ("0-1 set a 1", "2-9 delete a", "3-4 get a = 1", "5-6 get a = none"),
        ("0-1 set a 1", "2-9 delete a", "2-9 delete a = missing"),
        ("0-1 set a 1", "2- set a 2 = killed", "3-4 get a = 1", "5-6 get a = 2"),
        ("0-1 set a 1", "2-3 set a 2 = killed", "4-5 get a = 1"),
        ("0-1 set a 1", "2-5 rename a b", "3-4 get a = 1", "6-7 get b = 1", "8-9 get a = none"),
        ("0-1 set a 1", "2-9 rename a b", "2-9 rename a b = missing", "2-9 set b 2", "10-11 get b = 2"),
        ("0-9 compute a 1 = 2", "0-9 compute a 2 = 2", "10-11 get a = 2"),
        ("0-9 compute a 1 = 2", "3-4 set a 2", "5-6 set a 3"),
        ("0-9 compute a 1 = 1", "1-2 get a = 1", "3-4 delete a", "5-6 get a = none"),
        ("0-1 set a 1", "2-3 rename b a = missing", "4-5 set b 1", "6-7 rename b a = exists"),
    ],
)
def test_what_has_an_explanation(lines: tuple[str, ...]) -> None:
    assert violation(history(*lines)) is None
    assert violation(history(*lines), in_two_steps=True) is None


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("0-1 set a 1", "2-3 set a 2", "4-5 get a = 1"), id="a lost update"),
        pytest.param(("0-1 set a 1", "2-9 set a 2", "3-4 get a = 2", "5-6 get a = 1"), id="a stale read"),
        pytest.param(("0-1 set a 1", "2-3 delete a", "4-5 get a = 1"), id="a value that is back after its deletion"),
        pytest.param(
            ("0-1 set a 1", "2-3 set a 2 = killed", "4-5 get a = 1", "6-7 get a = 2"), id="written by the dead"
        ),
        pytest.param(("0-1 set a 1", "2- set a 2 = killed", "3-4 get a = 2", "5-6 get a = 1"), id="a write undone"),
        pytest.param(("0-1 set a 1", "2-9 delete a", "2-9 delete a"), id="one value deleted twice"),
        pytest.param(("0-1 set a 1", "2-3 rename a b", "4-5 get a = 1"), id="an old name that stays"),
        pytest.param(("0-1 set a 1", "2-5 rename a b", "6-7 get b = none"), id="a value lost by a rename"),
        pytest.param(("0-1 set b 2", "0-1 set a 1", "2-3 rename a b"), id="a rename over a value"),
        pytest.param(("0-9 compute a 1 = 1", "0-9 compute a 2 = 2"), id="computed twice"),
        pytest.param(("0-1 set a 1", "2-3 compute a 2 = 2"), id="computed although it was there"),
        pytest.param(("0-1 set c 1", "2-3 get c = 7"), id="a value that nobody wrote"),
    ],
)
def test_violations_are_found(lines: tuple[str, ...]) -> None:
    assert violation(history(*lines)) is not None
    assert violation(history(*lines), in_two_steps=True) is not None


def test_a_rename_in_two_steps() -> None:
    seen = history("0-1 set a 1", "2-9 rename a b", "3-4 get b = 1", "5-6 get a = 1", "10-11 get a = none")
    assert violation(seen) is not None
    assert violation(seen, in_two_steps=True) is None
    back = [*seen, *history("12-13 get a = 1")]
    assert violation(back, in_two_steps=True) is not None


def test_a_read_that_was_changed_is_found_in_a_real_history(tmp_path: Path) -> None:
    seen = one_round(Place(str(tmp_path / "results.zdb")), tmp_path, 1, 60, random.Random(2))
    assert violation(seen) is None
    written = [one for one in seen if one.what == "set" and one.key == "c"]
    planted = 0
    for number, read in enumerate(seen):
        if read.what != "get" or read.key != "c":
            continue
        last = max((one.begun for one in written if one.ended < read.begun), default=-inf)
        replaced = [one.argument for one in written if one.ended < last]
        for outcome in (-1, *replaced[-1:]):
            changed = [*seen]
            changed[number] = replace(read, outcome=outcome)
            assert violation(changed) is not None
            planted += outcome != -1
    assert planted > 10
