"""One claim: what its holder does under it, and what the record says meanwhile."""

from __future__ import annotations

import copy
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from zdb import config
from zdb.engine.claim_record import CLEAN, ClaimRecord, claim_path, given_back
from zdb.engine.fence import Fence
from zdb.engine.held_record import HeldRecord
from zdb.engine.holder import Holder
from zdb.engine.node import VALUE, Node, dump, have_same_keys, next_generation, node_path, same_keys_after
from zdb.errors import CorruptChunkError, ZdbError
from zdb.keys import split

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from zdb.engine.nodes import NodeStore, Tag, Tagged

__all__ = ["Claim", "parsed"]


class Claim:
    """The right to write a key, held by this process until it is released.

    Attributes
    ----------
    path : str
    token : str
    generation : int
        The one to write.
    previous : Node or None
        What lies at the path, as it was when the claim was taken or, after a commit was refused, is now. None too for
        what cannot be read, if the claim may be taken for that.
    is_clean : bool
        Nobody else can still be writing, so what is there beside `previous` is left over.
    in_doubt : bool
        The commit got no answer, so it may be carried out, also later.
    fence : Fence
        Tells in any process whether the claim is still held.
    plan : str
        Of a key that is being filled.
    """

    def __init__(
        self,
        nodes: NodeStore,
        path: str,
        before: ClaimRecord | None = None,
        live: Node | None = None,
        *,
        hand_out: bool = True,
        damaged: bool = False,
    ) -> None:
        self.path = path
        self.token = uuid.uuid4().hex
        self.lease = float(config.get("lease"))
        self.previous: Node | None = None
        self.in_doubt = False
        self._nodes = nodes
        self._tag: Tag | None = None
        self._may_be_damaged = damaged
        self._handed_out = CLEAN if before is None else before.generation
        self._is_resumed = before is not None and bool(before.plan)
        self._hands_out = hand_out and not self._is_resumed
        self.is_clean = before is None or _left_clean(before, live)
        self.generation = next_generation(self._handed_out, live) if self._hands_out else self._handed_out
        self.plan = before.plan if before is not None and self._is_resumed else ""
        # What is to be remembered when the claim is released.
        self._pending = CLEAN if self.is_clean else self._handed_out
        self._is_emptied = before is not None and before.emptied
        record = ClaimRecord(
            path,
            "held",
            self.token,
            self.generation,
            beat=0,
            lease=self.lease,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            holder=Holder.this_process(),
            clean=self.is_clean,
            plan=self.plan,
            emptied=self._is_emptied,
        )
        self._is_left = self._is_resumed  # to be filled by many processes, unless it is finished or given up
        self._is_released = False
        self.fence = Fence(self._nodes, claim_path(path), self.token, self.lease, path)
        self._held = HeldRecord(nodes, record, self.fence)

    @property
    def is_damaged(self) -> bool:
        """Whether what lies at the path cannot be read."""
        return self.previous is None and self._tag is not None

    # Used by Claims.take

    def take(self, tag: Tag | None) -> bool:
        """Write the record over what has this tag, and tell whether that went well."""
        try:
            return self._held.take(tag)
        except ZdbError:
            given_back[self.token] = self._as_given_back()
            raise

    def open(self) -> list[tuple[Tagged, ClaimRecord]]:
        """Look at what lies at the path now, and return the records of the claims above it."""
        above = map(claim_path, _above(self.path))
        node, *records = self._nodes.read_tagged_many([node_path(self.path), *above])
        self.previous, self._tag = parsed(self.path, node, damaged=self._may_be_damaged)
        self._is_emptied = self._is_emptied and (self._tag is None or _is_small(self.previous))
        generation = next_generation(self._handed_out, self.previous) if self._hands_out else self.generation
        if generation != self.generation:  # another value was written before the claim was taken
            self.generation = generation
            self._require(self._held.update(generation=generation))
        read = [(found, ClaimRecord.parse(found)) for found in records]
        return [(found, record) for found, record in read if found and record]

    def check(self, *, ask: bool = False) -> None:
        """Raise unless the claim is still held.

        Parameters
        ----------
        ask : bool
            Look at the record even if there was a sign of life within the lease.

        Raises
        ------
        ClaimLostError
        """
        self.fence.check(ask=ask)

    def _require(self, is_held: bool) -> None:
        if not is_held:
            self.fence.lose()
            self.fence.check()

    # What is done under the claim

    def commit(self, make: Callable[[Node | None, int], bytes], *, is_small: bool = False) -> None:
        """Put the node of the value, which makes it visible.

        Parameters
        ----------
        make : callable
            Makes the node from what it replaces and the generation. It is called again when a small value, which needs
            no claim, was written meanwhile.
        is_small : bool
            The node is all there is of the value.

        Raises
        ------
        ClaimLostError
            Another writer has taken over; nothing was changed.
        """
        while True:
            data = make(self.previous, self.generation)
            self.check()
            self.in_doubt = self._nodes.loses_answers
            written = self._nodes.replace(node_path(self.path), data, self._tag)
            self.in_doubt = False
            if written is not None:
                self._pending = CLEAN
                self._is_left = False
                self._is_emptied = self._is_emptied and is_small
                return
            self.check(ask=True)
            self.look_again()

    def put(self, changed: Node) -> bool:
        """Put another node in the place of `previous`, and tell whether nobody else has done so meanwhile.

        Raises
        ------
        ClaimLostError
            Another writer has taken over; nothing was changed.
        """
        self.check()
        written = self._nodes.replace(node_path(self.path), dump(changed.document), self._tag)
        if written is None:
            return False
        self.previous, self._tag = changed, written
        return True

    def go_on_with(self, generation: int) -> bool:
        """Write a generation that was handed out before; False if its chunks are in use or may yet be written."""
        live = CLEAN if self.previous is None else self.previous.generation
        is_free = self.is_clean and live < generation and not (self.previous and have_same_keys(generation, live))
        if is_free:
            self.generation = generation
        return is_free

    def look_again(self) -> None:
        """Look at what lies at the path now."""
        found = self._nodes.read_tagged(node_path(self.path))
        self.previous, self._tag = parsed(self.path, found, damaged=self._may_be_damaged)
        if self.previous is not None and self.previous.generation >= self.generation:
            self.generation = same_keys_after(self.generation, self.previous.generation)

    def remove(self, *, is_database: bool) -> bool:
        """Remove what lies at the path, read or damaged, with all below it; tell whether that was still there."""
        assert self._tag is not None
        self.check()
        is_removed = self._nodes.remove_node(self.path, self._tag, is_database=is_database)
        if is_removed:
            self._is_emptied = self._may_leave_something()
        return is_removed

    def _may_leave_something(self) -> bool:
        """Whether something may stay where `previous` was: unseen by a listing of some time ago, or on its way."""
        is_first = self.previous is not None and _is_small(self.previous) and not self.previous.generation
        return self._nodes.loses_answers and (self._is_emptied or not is_first)

    def move(self, target: Claim) -> bool:
        """Move `previous` with all below it to the path of another claim, and tell whether that was possible."""
        assert self._tag is not None
        check = partial(self._check_with, target)
        check()
        if self._nodes.loses_answers and self.previous is not None and self.previous.arrays:  # copies may come late
            target._hand_out_keys_of(self.previous.generation)
        try:
            moved = self._nodes.move_node(self.path, target.path, self._tag, check)
        except BaseException:
            target.give_up(settled=False)
            raise
        if moved:
            self._is_emptied = self._may_leave_something()
            target._is_emptied = target._is_emptied and _is_small(self.previous)
        return moved

    def _check_with(self, target: Claim) -> None:
        self.check()
        target.check()

    def _hand_out_keys_of(self, generation: int) -> None:
        """Say that chunks with the keys of a generation are going to be written."""
        self.generation = same_keys_after(generation, self.generation)
        self._require(self._held.update(generation=self.generation))

    def covering(self, path: str) -> Claim:
        """Return the same claim for a new key below the path, which nobody else writes; only this one releases it."""
        made = copy.copy(self)
        made._cover(path)  # noqa: SLF001 - of the same class
        return made

    def _cover(self, path: str) -> None:
        self.path, self.previous, self._tag, self._is_released = path, None, None, True

    # Its end

    def give_up(self, *, settled: bool) -> None:
        """Say that nothing is going to be committed, and whether all writing of chunks has certainly ended."""
        self._is_left = False
        self._pending = self._pending if settled and self.is_clean else self.generation

    def leave_filling(self, plan: str) -> None:
        """Leave the key as one that is being filled by many processes, which does not end by itself.

        Parameters
        ----------
        plan : str
            Where the plan lies.
        """
        self.plan, self._is_left = plan, True
        self._require(self._held.leave(state="filling", plan=plan, generation=self.generation))

    def release(self) -> None:
        """Let others write the key, or fill it again if that was neither finished nor given up.

        If the store fails, this process may do so, and others when the lease is over.
        """
        if not self._is_released:
            self._is_released = True
            self._held.give_back(self._as_given_back())

    def _as_given_back(self) -> ClaimRecord:
        current = replace(self._held.current, emptied=self._is_emptied)
        if self._is_left:
            return replace(current, state="filling", generation=self.generation, plan=self.plan)
        return replace(current, state="free", generation=self._pending, plan="")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def _left_clean(before: ClaimRecord, live: Node | None) -> bool:
    """Whether those who had the claim before have certainly ended what they did."""
    if before.state == "free":
        return before.generation <= (CLEAN if live is None else live.generation)
    return before.state == "filling" or (before.clean and before.holder.is_dead())


def _is_small(node: Node | None) -> bool:
    """Whether a value is one object, which is put over what was left there."""
    return node is not None and node.kind == VALUE and not node.arrays and len(node.groups) == 1


def parsed(path: str, found: Tagged | None, *, damaged: bool = False) -> tuple[Node | None, Tag | None]:
    """Return a node that was read, None for one that cannot be if it may be damaged; and its tag."""
    if found is None:
        return None, None
    try:
        return Node.parse(path, found.data), found.tag
    except CorruptChunkError:
        if not damaged:
            raise
        return None, found.tag


def _above(path: str) -> list[str]:
    """Paths of the databases above a key, without the root."""
    found = []
    while path := split(path)[0]:
        found.append(path)
    return found
