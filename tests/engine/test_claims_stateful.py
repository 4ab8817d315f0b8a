"""Writers of the same keys in all orders of their requests, with a network that loses answers and a clock that runs.

The writers are those of the library, on a simulated bucket. Only what lies beneath is replaced: the clock, the threads,
and the store. Late deletions of leftovers are left out, as are chunks that come later than three generations, see
``docs/reliability.md``, "What remains".
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from simulation import FATES, Actor, Lock, SimulatedNodes, actor, pause

from zdb.engine import claims as claims_module
from zdb.engine import heartbeat, held_record, writer
from zdb.engine.claim_record import CLAIMS, ClaimRecord
from zdb.engine.holder import Holder
from zdb.engine.node import Node, node_path
from zdb.engine.nodes import Tagged
from zdb.engine.options import LayoutOptions
from zdb.engine.plain import PlainEngine
from zdb.errors import ClaimLostError, KeyClaimedError, KeyExistsError, KeyNotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zdb.engine.gate import Gate
    from zdb.engine.held_record import HeldRecord
    from zdb.engine.node import ArrayNode

KEYS = ["k", "l"]
CHUNKS = 3
WRITERS = 4  # at the same time
LEASE = 30.0


class World:
    """What the writers see instead of the clock, the heartbeat and the processes of this machine."""

    def __init__(self) -> None:
        self.time = 0.0
        self.claims: dict[str, tuple[HeldRecord, Actor | None]] = {}
        self.seen_dead: set[int] = set()

    def add(self, held: HeldRecord) -> None:
        self.claims[held.token] = (held, actor())

    def discard(self, held: HeldRecord) -> None:
        self.claims.pop(held.token, None)

    def holds(self, token: str, *, this_thread: bool = False) -> bool:
        return token in self.claims and (not this_thread or self.claims[token][1] is actor())

    def holder(self) -> Holder:
        one = actor()
        return Holder("host", "user", "boot", "namespace", -1 if one is None else one.number, "")


@contextlib.contextmanager
def simulated(world: World) -> Iterator[None]:
    """Let claims and writers use a world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeat, "now", lambda: world.time)
        for name in ("add", "discard", "holds"):
            patch.setattr(heartbeat, name, getattr(world, name))
        patch.setattr(Holder, "this_process", staticmethod(world.holder))
        patch.setattr(Holder, "is_dead", lambda self: self.pid in world.seen_dead)
        patch.setattr(claims_module, "time", SimpleNamespace(sleep=pause))
        patch.setattr(held_record, "threading", SimpleNamespace(RLock=Lock))
        patch.setattr(writer, "ThreadPoolExecutor", Inline)
        patch.setattr(writer, "_write_chunks", write_chunks)
        yield


class Inline:
    """Does at once what a pool of threads would do."""

    def __init__(self, workers: int) -> None: ...

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[[Any], Any], given: Iterable[Any]) -> list[Any]:
        return list(map(function, given))


def write_chunks(
    nodes: SimulatedNodes,
    path: str,
    sources: Iterable[tuple[ArrayNode, xr.Variable]],
    gate: Gate,
) -> None:
    """Write chunks that say by whom they were written."""
    for node, variable in sources:
        for place in node.object_paths():
            with gate:
                nodes.set(place, b"%d" % variable.values[0])


class ClaimMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.nodes = SimulatedNodes()
        self.nodes.before_write = self.before_write
        self.actors: list[Actor] = []
        self.numbers = 0
        self.taken: dict[str, list[str]] = {key: [] for key in KEYS}  # tokens, in the order of the takes
        self.committed = dict.fromkeys(KEYS, -1)  # place of the last token that has committed
        self.patches = contextlib.ExitStack()
        self.patches.enter_context(simulated(self.world))
        PlainEngine(self.nodes).create_database("")
        PlainEngine(self.nodes).claims.make_groups()

    # What writers do

    @property
    def running(self) -> list[Actor]:
        return [one for one in self.actors if not one.is_over]

    @property
    def has_room(self) -> bool:
        return len(self.running) < WRITERS

    def start(self, function: Callable[[PlainEngine, int], object]) -> None:
        self.numbers += 1
        number = self.numbers
        self.actors.append(Actor(number, lambda: function(PlainEngine(self.nodes), number)))

    @precondition(lambda self: self.has_room)
    @rule(key=st.sampled_from(KEYS))
    def set_array(self, key: str) -> None:
        def run(engine: PlainEngine, number: int) -> None:
            data = xr.Dataset({"data": ("x", np.full(CHUNKS * 10, number))})
            with engine.claim(key) as claim:
                engine.publish(claim, data, self.seal(engine, number), LayoutOptions(chunks=(10,)))

        self.start(run)

    @precondition(lambda self: self.has_room)
    @rule(key=st.sampled_from(KEYS))
    def set_small(self, key: str) -> None:
        self.start(lambda engine, number: engine.publish_small(key, self.seal(engine, number)))

    @precondition(lambda self: self.has_room)
    @rule(key=st.sampled_from(KEYS))
    def delete(self, key: str) -> None:
        self.start(lambda engine, number: engine.delete(key))

    @precondition(lambda self: self.has_room)
    @rule(keys=st.permutations(KEYS))
    def rename(self, keys: list[str]) -> None:
        self.start(lambda engine, number: engine.move(*keys))

    def seal(self, engine: PlainEngine, number: int) -> writer.Seal:
        def attributes(previous: Node | None, generation: int) -> dict[str, Any]:
            return {**engine.value_attributes("array", 1, previous, generation), "number": number}

        return attributes

    # What happens to them

    @precondition(lambda self: self.running)
    @rule(data=st.data(), steps=st.integers(1, 12), fate=st.sampled_from(["done"] * 6 + FATES))
    def go_on(self, data: st.DataObject, steps: int, fate: str) -> None:
        one = data.draw(st.sampled_from(self.running))
        for _ in range(steps):
            if not one.is_over:
                one.step()
        if not one.is_over:
            one.step(fate)
        self.check_ended(one)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), is_sent=st.booleans(), is_seen=st.booleans())
    def crash(self, data: st.DataObject, is_sent: bool, is_seen: bool) -> None:
        one = data.draw(st.sampled_from(self.running))
        one.crash("late" if is_sent else "failed")
        if is_seen:
            self.world.seen_dead.add(one.number)
        self.check_ended(one)

    @precondition(lambda self: self.world.claims)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        beating = [held for held, owner in self.world.claims.values() if owner is None or not owner.is_dead]
        if beating:
            held = data.draw(st.sampled_from(beating))
            if not held._lock.depth:  # type: ignore[attr-defined]
                held.renew()

    @rule(seconds=st.sampled_from([1.0, 11.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.time += seconds

    @precondition(lambda self: self.nodes.under_way)
    @rule(data=st.data())
    def something_arrives(self, data: st.DataObject) -> None:
        self.nodes.arrive(data.draw(st.integers(0, len(self.nodes.under_way) - 1)))

    # What has to be true

    def check_ended(self, one: Actor) -> None:
        expected = (ClaimLostError, StorageError, KeyClaimedError, KeyExistsError, KeyNotFoundError)
        if one.error is not None and not isinstance(one.error, expected):
            raise one.error

    def live(self, key: str) -> Node | None:
        data = self.nodes.objects.get(node_path(key))
        return None if data is None else Node.parse(key, data)

    def before_write(self, path: str, data: bytes | None) -> None:
        key, _, below = path.partition("/")
        if path.startswith(f"{CLAIMS}/") and data is not None:
            record = ClaimRecord.parse(Tagged(data, ""))
            if record is not None and record.token not in self.taken[record.key]:
                self.taken[record.key].append(record.token)
        elif key in KEYS and below == "zarr.json":
            return
        elif key in KEYS:
            live = self.live(key)
            chunks = [] if live is None else [one for array in live.arrays.values() for one in array.object_paths()]
            assert path not in chunks, f"{path} belongs to the live value"

    @invariant()
    def values_are_whole(self) -> None:
        for key in KEYS:
            live = self.live(key)
            for array in {} if live is None else live.arrays.values():
                for path in array.object_paths():
                    assert self.nodes.objects.get(path) == b"%d" % live.attributes["number"], path

    @invariant()
    def one_may_commit(self) -> None:
        for key in KEYS:
            may = [
                held
                for held, owner in self.world.claims.values()
                if held.current.key == key
                and not (owner is not None and owner.is_dead)
                and not held._fence.is_lost
                and self.world.time < held._fence._until
            ]
            assert len(may) <= 1, may

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            for one in self.running:
                one.crash("failed")
            self.patches.close()

    def end(self) -> None:
        """All that runs comes to its end, and then the keys can be written by anybody."""
        for key in KEYS:
            self.set_array(key)
        for _ in range(3000):
            if not self.running:
                break
            for one in self.running:
                one.step()
                self.check_ended(one)
                self.values_are_whole()
            self.world.time += 1
        assert not self.running
        for one in self.actors[-len(KEYS) :]:
            assert one.error is None, one.error
        held = [ClaimRecord.parse(Tagged(d, "")) for p, d in self.nodes.objects.items() if p.startswith(f"{CLAIMS}/")]
        assert [one for one in held if one is not None and one.state != "free"] == []


def test_writers_in_all_orders() -> None:
    run_state_machine_as_test(ClaimMachine, settings=settings(max_examples=200, stateful_step_count=60))  # type: ignore[no-untyped-call]


@pytest.fixture
def machine() -> Iterator[ClaimMachine]:
    """The same without Hypothesis, for orders that it seldom finds."""
    made = ClaimMachine()
    yield made
    made.teardown()


def start_until(machine: ClaimMachine, path: str) -> Actor:
    """Begin to write an array, and stop before a request for a path."""
    machine.set_array("k")
    begun = machine.actors[-1]
    while begun.waits_for != path:
        begun.step()
    return begun


def finish(machine: ClaimMachine, one: Actor, seconds: float = 0) -> None:
    while not one.is_over:
        one.step()
        machine.world.time += seconds
        machine.values_are_whole()


def test_a_chunk_of_a_failed_write_that_comes_late(machine: ClaimMachine) -> None:
    first = start_until(machine, "k/data/c/0")
    first.step("late")
    finish(machine, first)
    assert isinstance(first.error, StorageError)
    machine.set_array("k")
    finish(machine, machine.actors[1])
    assert machine.actors[1].error is None
    machine.nodes.arrive(0)
    machine.values_are_whole()


def test_a_writer_that_stood_still_goes_on_when_another_is_done(machine: ClaimMachine) -> None:
    first = start_until(machine, "k/data/c/1")
    machine.set_array("k")
    finish(machine, machine.actors[1], seconds=1)
    finish(machine, first)  # the chunk that it was about to write, and no more
    assert isinstance(first.error, ClaimLostError)
    live = machine.live("k")
    assert live is not None
    assert live.attributes["number"] == 2


def test_a_writer_that_stood_still_goes_on_among_the_chunks_of_another(machine: ClaimMachine) -> None:
    first = start_until(machine, "k/data/c/1")
    machine.set_array("k")
    second = machine.actors[1]
    while not second.waits_for.startswith("k/data/"):
        second.step()
        machine.world.time += 1
    second.step()
    finish(machine, first)
    assert isinstance(first.error, ClaimLostError)
    finish(machine, second)
    assert second.error is None
    live = machine.live("k")
    assert live is not None
    assert live.attributes["number"] == 2


def start_until_commit(machine: ClaimMachine) -> Actor:
    begun = start_until(machine, "k/data/zarr.json")
    while begun.waits_for != "k/zarr.json":
        begun.step()
    return begun


def test_a_writer_that_stood_still_commits_before_its_successor(machine: ClaimMachine) -> None:
    first = start_until_commit(machine)
    machine.set_array("k")
    second = machine.actors[1]
    while not second.waits_for.startswith("k/data/"):
        second.step()
        machine.world.time += 1
    first.step()
    machine.values_are_whole()
    assert machine.live("k") is not None
    finish(machine, second)
    assert second.error is None
    live = machine.live("k")
    assert live is not None
    assert live.attributes["number"] == 2


def test_a_writer_that_stood_still_does_not_commit_over_its_successor(machine: ClaimMachine) -> None:
    first = start_until_commit(machine)
    machine.set_array("k")
    finish(machine, machine.actors[1], seconds=1)
    finish(machine, first)
    assert isinstance(first.error, ClaimLostError)
    live = machine.live("k")
    assert live is not None
    assert live.attributes["number"] == 2


def test_a_small_value_that_is_written_while_another_writer_begins(machine: ClaimMachine) -> None:
    machine.set_small("k")
    small = machine.actors[0]
    for _ in range(3):  # it has looked at the key and at its claim
        small.step()
    machine.set_array("k")
    other = machine.actors[1]
    while other.waits_for != "k":  # it is going to look for leftovers
        other.step()
    finish(machine, small)
    assert small.error is None
    while not other.waits_for.startswith("k/data/"):
        other.step()
    live = machine.live("k")
    assert live is not None
    assert live.attributes["number"] == 1
    finish(machine, other)
    assert other.error is None
