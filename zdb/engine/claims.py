"""Claims: the right to write one key now, which ends with the process that holds it.

The protocol is described in ``docs/format.md``, "Claims". It is the same for all stores; they differ only in how they
replace an object that nobody else has replaced meanwhile (:meth:`zdb.engine.nodes.NodeStore.replace`).
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple

from zdb import config
from zdb.engine import heartbeat
from zdb.engine.claim import Claim, parsed
from zdb.engine.claim_record import CLAIMS, CLEAN, ClaimRecord, claim_path
from zdb.engine.node import Node, dump, group_document, next_generation, node_path
from zdb.engine.unclaimed import Unclaimed
from zdb.errors import ClaimTimeoutError, KeyClaimedError, KeyConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb.engine.nodes import NodeStore, Tag, Tagged

__all__ = ["Claim", "Claims", "Seen"]

# Seconds between two looks at a claim that another writer holds: at first, and at most.
WAITS = {False: (0.005, 0.1), True: (0.05, 1.0)}  # by whether the store is far away


class Seen(NamedTuple):
    """What lies at a path, with its tag, and the last generation that was handed out for it."""

    node: Node | None
    tag: Tag | None
    handed_out: int

    @property
    def next_generation(self) -> int:
        return next_generation(self.handed_out, self.node)


class Claims:
    """The claims of the keys of one store."""

    def __init__(self, nodes: NodeStore) -> None:
        self.nodes = nodes
        self._groups_exist = False
        self._seen: dict[str, tuple[bytes, float]] = {}  # claims that others hold, by key, and since when they are so

    def look(self, path: str) -> Seen:
        """Return what lies at a path, when nobody holds its claim; what cannot be read has a tag, but is no node.

        This is for writes of one object by :meth:`~zdb.engine.nodes.NodeStore.replace`, which need no claim themselves.

        Raises
        ------
        KeyClaimedError
            This thread holds the claim, or the key is being filled.
        """
        waiting = _Waiting(self.nodes, path, None, self._seen)
        while True:
            node, found = self.nodes.read_tagged_many([node_path(path), claim_path(path)])
            record = ClaimRecord.parse(found)
            if found is None or record is None or waiting.is_over(found, record):
                return Seen(*parsed(path, node, damaged=True), CLEAN if record is None else record.generation)
            waiting.wait(record)

    def state(self, path: str) -> ClaimRecord | None:
        """Return the record of the claim of a key, None if there is none."""
        return ClaimRecord.parse(self.nodes.read_tagged(claim_path(path)))

    def take(
        self,
        path: str,
        *,
        blocking: bool = True,
        timeout: float | None = None,
        hand_out: bool = True,
        resume: bool = False,
        damaged: bool = False,
    ) -> Claim:
        """Take the claim of a key; release it, or use it as a context manager.

        Parameters
        ----------
        path : str
        blocking : bool
            Wait while another writer holds the claim of the key or of a database above it.
        timeout : float, optional
            How many seconds to wait at most.
        hand_out : bool
            A generation is going to be written. If false, none is reserved.
        resume : bool
            Go on with a key that is being filled.
        damaged : bool
            Also if what lies at the key cannot be read; `previous` is None then.

        Raises
        ------
        CorruptChunkError
            What lies at the key cannot be read.
        KeyClaimedError, ClaimTimeoutError
            Another writer holds the claim, or this thread itself.
        """
        if config.get("claims") == "none":
            return Unclaimed(self.nodes, path, hand_out=hand_out, damaged=damaged)
        waiting = _Waiting(self.nodes, path, timeout if blocking else 0, self._seen)
        claim = self._take(path, waiting, hand_out=hand_out, resume=resume, damaged=damaged)
        assert claim is not None
        return claim

    def take_new(
        self, path: str, *, blocking: bool = True, timeout: float | None = None, hand_out: bool = False
    ) -> Claim | None:
        """Take the claim of a key at which nothing is; None if there is something, also after waiting."""
        if config.get("claims") == "none":
            return Unclaimed(self.nodes, path, hand_out=hand_out)
        waiting = _Waiting(self.nodes, path, timeout if blocking else 0, self._seen)
        return self._take(path, waiting, hand_out=hand_out, only_new=True)

    def _take(
        self,
        path: str,
        waiting: _Waiting,
        *,
        hand_out: bool,
        resume: bool = False,
        damaged: bool = False,
        only_new: bool = False,
    ) -> Claim | None:
        while True:
            node, found = self.nodes.read_tagged_many([node_path(path), claim_path(path)])
            if only_new and node is not None:
                return None
            record = ClaimRecord.parse(found)
            if found is not None and record is not None and not waiting.is_over(found, record, resume=resume):
                waiting.wait(record)
                continue
            live, _ = parsed(path, node, damaged=damaged)
            claim = Claim(self.nodes, path, record, live, hand_out=hand_out, damaged=damaged)
            self.make_groups()
            if not claim.take(None if found is None else found.tag):
                waiting.wait_a_little()
                continue
            try:
                above = claim.open()
                busy = next((one for one in above if not waiting.is_over(*one)), None)
                if busy is None:
                    return claim
            except BaseException:
                claim.release()
                raise
            claim.release()
            waiting.wait(busy[1])

    def below(self, path: str) -> list[tuple[Tagged, ClaimRecord]]:
        """Return the claims of keys below a path that are not free."""
        paths = [node_path(f"{CLAIMS}/{name}") for name in self.nodes.list_names(CLAIMS)]
        read = [(found, ClaimRecord.parse(found)) for found in self.nodes.read_tagged_many(paths)]
        held = [(found, record) for found, record in read if found and record and record.state != "free"]
        return [(found, record) for found, record in held if record.key.startswith(f"{path}/" if path else "")]

    def require_none_below(self, path: str) -> None:
        """Raise if another writer is at work below a path.

        Raises
        ------
        KeyConflictError
        """
        busy = [record for _, record in self.below(path) if record.is_at_work()]
        if busy:
            raise KeyConflictError(f"{path}: {busy[0]}, which lies below it; use another key")

    def wait_below(self, path: str, check: Callable[[], object]) -> None:
        """Wait until nobody writes below a path of which the claim is held, so that nobody begins to."""
        waiting = _Waiting(self.nodes, path, None, self._seen)
        while True:
            check()
            busy = [record for found, record in self.below(path) if not waiting.is_over(found, record)]
            if not busy:
                return
            waiting.wait(busy[0])

    def silent(self, held: list[tuple[Tagged, ClaimRecord]]) -> set[str]:
        """Return the keys of those claims that do not change for their lease; all are watched at once.

        They can be taken without waiting then.
        """
        waiting = _Waiting(self.nodes, "", None, self._seen)
        watched = {record.key: found.data for found, record in held}
        silent: set[str] = set()
        while watched:
            now = self.nodes.read_tagged_many([claim_path(key) for key in watched])
            for (key, before), found in zip(list(watched.items()), now, strict=True):
                record = ClaimRecord.parse(found)
                if found is None or record is None or found.data != before:
                    del watched[key]
                elif waiting.is_over(found, record):
                    silent.add(key)
                    del watched[key]
            if watched:
                waiting.wait_a_little()
        return silent

    def make_groups(self) -> None:
        """Make the groups in which the records lie."""
        if not self._groups_exist:
            for place in (CLAIMS.partition("/")[0], CLAIMS):
                empty = dump(group_document({}))
                if self.nodes.get(node_path(place)) is None:
                    self.nodes.create(node_path(place), empty)
            self._groups_exist = True


class _Waiting:
    """Waits for others, and notices by the clock of this process when one has given no sign of life for its lease."""

    def __init__(
        self, nodes: NodeStore, path: str, timeout: float | None, seen: dict[str, tuple[bytes, float]]
    ) -> None:
        self._path = path
        self._timeout = timeout
        self._end = None if timeout is None else heartbeat.now() + timeout
        self._pause, self._longest = WAITS[nodes.loses_answers]
        self._seen = seen

    def is_over(self, found: Tagged, record: ClaimRecord, *, resume: bool = False) -> bool:
        """Whether a claim may be taken over; that of a key that is being filled, only to go on with it."""
        if record.state == "free":
            return True
        is_over = record.state == "filling" or self._is_dead(found, record)
        if is_over and record.plan and not resume:
            raise KeyClaimedError(f"{record}; finish that, or discard it with db.discard({record.key!r})")
        return is_over

    def _is_dead(self, found: Tagged, record: ClaimRecord) -> bool:
        if record.is_abandoned():
            return True
        data, since = self._seen.get(record.key, (b"", 0.0))
        if data != found.data:
            self._seen[record.key] = (found.data, heartbeat.now())
            return False
        return heartbeat.now() - since > record.lease

    def wait(self, record: ClaimRecord) -> None:
        """Wait a while for the holder of a claim.

        Raises
        ------
        KeyClaimedError, ClaimTimeoutError
            It is this thread, or the time is over.
        """
        if heartbeat.holds(record.token, this_thread=True):
            raise KeyClaimedError(
                f"{self._path}: {record.key} is being written by this very thread, which would wait for itself; let "
                "that end before"
            )
        if self._end is not None and heartbeat.now() >= self._end:
            if not self._timeout:
                raise KeyClaimedError(str(record))
            raise ClaimTimeoutError(f"{record}, still after {self._timeout:g} s")
        self.wait_a_little()

    def wait_a_little(self) -> None:
        pause = self._pause * random.uniform(0.5, 1.5)  # noqa: S311
        if self._end is not None:
            pause = min(pause, max(0.0, self._end - heartbeat.now()))
        time.sleep(pause)
        self._pause = min(self._longest, self._pause * 1.5)
