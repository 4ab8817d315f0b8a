"""Whether a claim is still held: asked before each write of what belongs to it, in any process that writes for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zdb.engine import heartbeat
from zdb.engine.claim_record import ClaimRecord
from zdb.errors import ClaimLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb.engine.nodes import NodeStore

__all__ = ["Fence"]


class Fence:
    """Lets a writer through while its claim is held.

    Small to pickle. Where it was made, it knows the last sign of life; in other processes it looks at the record once
    in a third of the lease.
    """

    def __init__(self, nodes: NodeStore, place: str, token: str, lease: float, key: str) -> None:
        self.nodes = nodes
        self.place = place
        self.token = token
        self.lease = lease
        self.key = key
        self.is_lost = False
        self.renew: Callable[[], bool] | None = None
        self._until = 0.0
        self._process = os.getpid()

    def __reduce__(self) -> tuple[Callable[..., Fence], tuple[NodeStore, str, str, float, str]]:
        return (_shared, (self.nodes, self.place, self.token, self.lease, self.key))

    def renewed_at(self, when: float) -> None:
        """Say when the last sign of life was given."""
        self._until = when + self.lease

    def lose(self) -> None:
        """Let nothing through any more."""
        self.is_lost = True

    def check(self, *, ask: bool = False) -> None:
        """Raise unless the claim is still held.

        Raises
        ------
        ClaimLostError
        """
        if not self.is_lost and heartbeat.now() < self._until and not ask:
            return
        if not self._is_held():
            raise ClaimLostError(
                f"{self.key}: this writer gave no sign of life for {self.lease:g} s, and another one has gone on in "
                "its place; nothing of this write is visible. Write it again if it is still wanted; the setting "
                "'lease' (ZDB_LEASE) gives more time"
            )

    def _is_held(self) -> bool:
        if self.is_lost:
            return False
        if self.renew is not None and self._process == os.getpid():
            return self.renew()
        started = heartbeat.now()
        record = ClaimRecord.parse(self.nodes.read_tagged(self.place))
        if record is None or record.token != self.token or record.state != "held":
            self.lose()
            return False
        self._until = started + self.lease / 3
        return True


_fences: dict[str, Fence] = {}  # of other processes, by token
_KEPT = 1000


def _shared(nodes: NodeStore, place: str, token: str, lease: float, key: str) -> Fence:
    if token not in _fences:
        while len(_fences) >= _KEPT:
            _fences.pop(next(iter(_fences)), None)
        _fences[token] = Fence(nodes, place, token, lease, key)
    return _fences[token]
