"""The record of a claim, as it lies in the store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from zdb.engine.holder import Holder
from zdb.engine.node import Node, dump, group_document, node_path
from zdb.errors import CorruptChunkError

if TYPE_CHECKING:
    from typing import Any

    from zdb.engine.nodes import Tagged

__all__ = ["CLAIMS", "CLEAN", "ClaimRecord", "at_work", "claim_path", "given_back"]

CLAIMS = "_zdb/claims"
CLEAN = -1  # as a generation: none was handed out that may be written still
State = Literal["held", "free", "filling"]
# Claims that this process has given back while the store failed, which may show them as held: what should be there, by
# token.
given_back: dict[str, ClaimRecord] = {}
# Tokens of the claims that this process takes, holds and gives back. A record with another one, which this process
# wrote, came late: its sender had given that request up and sent it again, and is through with the claim.
at_work: set[str] = set()


def claim_path(path: str) -> str:
    """Return the path of the object that holds the record of the claim of a key."""
    return node_path(f"{CLAIMS}/{hashlib.sha256(path.encode()).hexdigest()}")


@dataclass(frozen=True)
class ClaimRecord:
    """Who may write a key.

    Attributes
    ----------
    key : str
        The path of the key in the store.
    state : {"held", "free", "filling"}
        "filling": many processes write parts of the value; this does not end by itself.
    token : str
        One for each time that the claim was taken.
    generation : int
        The last generation that was handed out, whose chunks may still be written; -1 if there is none.
    beat : int
        Counts the signs of life.
    lease : float
        Seconds without a sign of life after which the claim is lost.
    since : str
        When it was taken, by the clock of the holder; for people.
    holder : Holder
    clean : bool
        When it was taken, nobody else could still be writing.
    plan : str
        Where the plan of a filling lies.
    emptied : bool
        What lay at the key was deleted. What is there without a node is left over, so no value has lost its node.
    """

    key: str
    state: State
    token: str
    generation: int
    beat: int
    lease: float
    since: str
    holder: Holder
    clean: bool = True
    plan: str = ""
    emptied: bool = False

    @classmethod
    def parse(cls, found: Tagged | None) -> ClaimRecord | None:
        """Read a record, one that this process gave back as it should be; None if there is none that can be read."""
        if found is None:
            return None
        try:
            own: dict[str, Any] = Node.parse(CLAIMS, found.data).attributes
            record = cls(
                str(own["key"]),
                own["state"],
                str(own["token"]),
                int(own["generation"]),
                int(own["beat"]),
                float(own["lease"]),
                str(own["since"]),
                Holder.parse(own),
                bool(own.get("clean", False)),
                str(own.get("plan", "")),
                bool(own.get("emptied", False)),
            )
        except (CorruptChunkError, KeyError, TypeError, ValueError):
            return None
        return given_back.get(record.token, record)

    def dump(self) -> bytes:
        own = {name: value for name, value in vars(self).items() if name != "holder"}
        attributes = {**own, **self.holder.attributes()}
        return dump(group_document(attributes))

    def is_at_work(self) -> bool:
        """Whether somebody writes or fills the key, as far as this can be seen from here."""
        return self.state != "free" and (bool(self.plan) or not self.is_abandoned())

    def is_abandoned(self) -> bool:
        """Whether the holder has ended, or is this process, which is through with the claim."""
        is_own = self.holder == Holder.this_process()
        return self.token not in at_work if is_own else self.holder.is_dead()

    @property
    def explains_leftovers(self) -> bool:
        """Whether what lies at the key without a node was begun and not finished, or deleted."""
        return self.state != "free" or self.generation != CLEAN or self.emptied

    def is_spent(self, live: Node | None) -> bool:
        """Whether nobody needs the record: nobody is at work, nor could still write what was handed out."""
        if self.is_at_work() or self.state == "filling":
            return False
        is_over = self.generation <= (CLEAN if live is None else live.generation)
        return is_over or (self.state == "held" and self.clean)

    def __str__(self) -> str:
        doing = "being filled" if self.state == "filling" else "being written"
        return f"{self.key}: is {doing} since {self.since} by {self.holder}"
