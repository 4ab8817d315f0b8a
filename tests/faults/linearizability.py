"""Whether a history of several processes can be explained by operations that each happen in one moment.

A history is linearizable if there is an order of its operations that respects time (what had ended comes before what
began later) and in which each returns what it did return (Herlihy and Wing, "Linearizability: a correctness condition
for concurrent objects", TOPLAS 1990). The search is that of Wing and Gong ("Testing and verifying concurrent objects",
JPDC 1993) as Lowe made it fast ("Testing for linearizability", Concurrency and Computation 2017): operations are put in
order just in time, when one of them has returned, and states that were reached before are not searched again.

Keys that were renamed into each other are one object; all others are checked by themselves. To compute a value where
there is none takes two moments, in which it is written and read.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Operation", "Violation", "violation"]

ABSENT = None
State = tuple[Any, ...]  # the values of the keys of one object
Progress = frozenset[tuple[int, Any]]  # operations that have begun and happened, and what each of them moved away from


@dataclass(frozen=True)
class Operation:
    """What one process did with a key, and what came of it.

    Attributes
    ----------
    what : {"set", "get", "delete", "rename", "compute"}
    key : str
    argument : optional
        The value that is set, or computed where there is none; or the new key.
    outcome : optional
        The value that a get or compute returned, None if there was none; "done", "missing" or "exists" of the others;
        "lost" if it ended with ClaimLostError or KeyClaimedError and so had no effect;
        "killed" if that is not known and the operation may have had no effect.
    begun, ended : float
    process : int
    """

    what: str
    key: str
    argument: Any = None
    outcome: Any = "done"
    begun: float = 0.0
    ended: float = inf
    process: int = 0

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key, self.argument) if self.what == "rename" else (self.key,)

    @property
    def is_certain(self) -> bool:
        return bool(self.outcome != "killed")


class Violation(str):
    """Says which operation cannot be explained."""

    __slots__ = ()


def violation(history: Iterable[Operation], *, in_two_steps: bool = False) -> Violation | None:
    """Return what shows that a history is not linearizable, None if it is.

    Parameters
    ----------
    history : iterable of Operation
    in_two_steps : bool
        A rename makes the new key in one moment and removes the old one in a later one.
    """
    for operations in _objects(one for one in history if one.outcome != "lost"):
        found = _Search(operations, in_two_steps).run()
        if found is not None:
            return found
    return None


def _objects(history: Iterable[Operation]) -> Iterator[list[Operation]]:
    """Divide a history into those of objects that have nothing to do with each other."""
    history = list(history)
    object_of: dict[str, str] = {}
    for one in history:
        first, *others = (object_of.setdefault(key, key) for key in one.keys)
        for other in others:
            object_of = {key: first if found == other else found for key, found in object_of.items()}
    objects = defaultdict(list)
    for one in history:
        objects[object_of[one.key]].append(one)
    yield from objects.values()


class _Search:
    def __init__(self, operations: Sequence[Operation], in_two_steps: bool) -> None:
        self.operations = operations
        self.in_two_steps = in_two_steps
        keys = sorted({key for one in operations for key in one.keys})
        self.place = {key: number for number, key in enumerate(keys)}

    def run(self) -> Violation | None:
        events = [(one.begun, 0, n) for n, one in enumerate(self.operations)]
        events += [(one.ended, 1, n) for n, one in enumerate(self.operations) if one.ended < inf or one.is_certain]
        reached: set[tuple[State, Progress]] = {((ABSENT,) * len(self.place), frozenset())}
        running: set[int] = set()
        for _, is_end, number in sorted(events):
            if not is_end:
                running.add(number)
                continue
            before = reached
            reached = self._ended(number, running, before)
            if not reached:
                states = [dict(zip(self.place, state, strict=True)) for state, _ in before]
                others = [self.operations[n] for n in running if n != number]
                return Violation(f"{self.operations[number]}; before it: {states}; at the same time: {others}")
            running.remove(number)
        return None

    def _ended(
        self, number: int, running: set[int], reached: set[tuple[State, Progress]]
    ) -> set[tuple[State, Progress]]:
        """Return what the states can be when an operation has ended, in all orders of those that are running."""
        found = set()
        seen = set(reached)
        waiting = list(reached)
        is_certain = self.operations[number].is_certain
        while waiting:
            state, progress = waiting.pop()
            is_over = any(n == number and moved is ABSENT for n, moved in progress)
            if is_over or not is_certain:
                found.add((state, frozenset(one for one in progress if one[0] != number)))
            if is_over:
                continue
            for other in running:
                following = set(self._steps(other, state, progress)) - seen
                seen |= following
                waiting += following
        return found

    def _steps(self, number: int, state: State, progress: Progress) -> Iterator[tuple[State, Progress]]:
        """Let an operation happen, or one half of it; nothing if it has happened, or cannot with its outcome."""
        one = self.operations[number]
        key = self.place[one.key]
        begun = next((entry for entry in progress if entry[0] == number), None)
        if begun is not None:
            moved = begun[1]
            if moved is not ABSENT:
                is_there = state[key] == moved  # else another process has written the key meanwhile
                yield self._with(state, {key: ABSENT}) if is_there else state, progress - {begun} | {(number, ABSENT)}
            return
        if one.what == "compute" and state[key] is ABSENT:  # again if it is deleted before it is read
            yield self._with(state, {key: one.argument}), progress
            return
        after = self._apply(one, state)
        if after is None:
            return
        moved = ABSENT
        if one.what == "rename" and self.in_two_steps and after != state:
            moved = state[key]
            after = self._with(after, {key: moved})
        yield after, progress | {(number, moved)}

    def _apply(self, one: Operation, state: State) -> State | None:
        """Return the state after an operation in one moment, None if it cannot have its outcome then."""
        key, found = self.place[one.key], state[self.place[one.key]]
        if one.what in ("get", "compute"):
            return state if one.outcome in (found, "killed") else None
        if one.what == "set":
            return self._with(state, {key: one.argument})
        outcome = "missing" if found is ABSENT else "done"
        changes = {key: ABSENT}
        if one.what == "rename":
            new = self.place[one.argument]
            if one.outcome == "exists":  # also if the old key is not there, which may be looked at first or last
                return None if state[new] is ABSENT else state
            if state[new] is not ABSENT and outcome == "done":
                outcome = "exists"
            changes[new] = found
        if one.is_certain and one.outcome != outcome:
            return None
        return self._with(state, changes) if outcome == "done" else state

    @staticmethod
    def _with(state: State, changes: dict[int, Any]) -> State:
        return tuple(changes.get(place, value) for place, value in enumerate(state))
