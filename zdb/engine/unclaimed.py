"""What takes the place of claims where one process writes at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zdb.engine.claim import Claim
from zdb.engine.held_record import HeldRecord
from zdb.errors import ClaimsUnsupportedError

if TYPE_CHECKING:
    from zdb.engine.claim_record import ClaimRecord
    from zdb.engine.nodes import NodeStore

__all__ = ["Unclaimed"]


class Unclaimed(Claim):
    """What takes the place of a claim where the setting `claims` is "none"."""

    def __init__(self, nodes: NodeStore, path: str, *, hand_out: bool, damaged: bool = False) -> None:
        super().__init__(nodes, path, hand_out=hand_out, damaged=damaged)
        self._held = _NoRecord(nodes, self._held.current, self.fence)
        self.fence.renewed_at(float("inf"))
        self.open()

    def leave_filling(self, plan: str) -> None:  # noqa: ARG002
        raise ClaimsUnsupportedError(f"{self.path}: it takes claims to fill a key (the setting 'claims')")


class _NoRecord(HeldRecord):
    """Is always held, and written nowhere."""

    def update(self, **changes: Any) -> bool:  # noqa: ARG002
        return True

    def give_back(self, record: ClaimRecord) -> None:  # noqa: ARG002
        return
