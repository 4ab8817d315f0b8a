"""The record of a claim that this process holds: written anew at each sign of life, and given back at the end."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zdb.engine import heartbeat
from zdb.engine.claim_record import ClaimRecord, at_work, claim_path, given_back
from zdb.errors import ZdbError

if TYPE_CHECKING:
    from zdb.engine.fence import Fence
    from zdb.engine.nodes import NodeStore, Tag

__all__ = ["HeldRecord"]

ATTEMPTS = 3  # to write the record when answers are lost


class HeldRecord:
    """A record that nobody but this process changes while the fence lets it through.

    Parameters
    ----------
    nodes : NodeStore
    record : ClaimRecord
        As it is to be written by :meth:`take`.
    fence : Fence
        Is told each sign of life, and when the claim was lost.
    """

    def __init__(self, nodes: NodeStore, record: ClaimRecord, fence: Fence) -> None:
        self.current = record
        self.token, self.lease = record.token, record.lease
        self._nodes = nodes
        self._fence = fence
        self._place = claim_path(record.key)
        self._tag: Tag | None = None
        self._process = os.getpid()
        self._lock = threading.RLock()
        fence.renew = self.renew

    def take(self, tag: Tag | None) -> bool:
        """Write the record over what has this tag, and tell whether that went well; signs of life begin."""
        at_work.add(self.token)
        taken = False
        try:
            taken = self._write(self.current, tag)
        finally:
            if not taken:
                at_work.discard(self.token)
        if taken:
            heartbeat.add(self)
        return taken

    def update(self, **changes: Any) -> bool:
        """Write the record anew, and tell whether the claim was still held."""
        with self._lock:
            for _ in range(ATTEMPTS):
                tag = self._current_tag()
                if tag is None:
                    self._fence.lose()
                    return False
                if self._write(replace(self.current, beat=self.current.beat + 1, **changes), tag):
                    return True
                self._tag = None
        return False

    def renew(self) -> bool:
        """Give a sign of life, and tell whether the claim is still held.

        Raises
        ------
        StorageError
            The store does not answer.
        """
        with self._lock:
            if self._fence.is_lost or os.getpid() != self._process:
                return False
            try:
                return self.update()
            except ZdbError:
                self._tag = None
                raise

    def leave(self, **changes: Any) -> bool:
        """Write the record for the last time, and tell whether the claim was still held."""
        heartbeat.discard(self)
        with self._lock:
            is_held = self.update(**changes)
            self._end()
        return is_held

    def give_back(self, record: ClaimRecord) -> None:
        """Let others write the key. If the store fails, this process may, and others when the lease is over.

        Parameters
        ----------
        record : ClaimRecord
            Takes the place of this one; if it says nothing that others need to know, the object is removed.
        """
        heartbeat.discard(self)
        with self._lock:
            if self._process != os.getpid():
                return
            try:
                self._give_back(record)
            except ZdbError:
                given_back[record.token] = record
            self._end()
            self._fence.lose()

    def _give_back(self, record: ClaimRecord) -> None:
        is_needless = not record.explains_leftovers and self._nodes.removes_conditionally
        for _ in range(ATTEMPTS):
            tag = None if self._fence.is_lost else self._current_tag()
            if tag is None:
                return
            if is_needless:
                if self._nodes.remove(self._place, tag):
                    return
            elif self._nodes.replace(self._place, record.dump(), tag, lasting=False) is not None:
                return
            self._tag = None

    def _end(self) -> None:
        self._process = -1
        at_work.discard(self.token)

    def _write(self, record: ClaimRecord, tag: Tag | None) -> bool:
        started = heartbeat.now()
        written = self._nodes.replace(self._place, record.dump(), tag, lasting=False)
        if written is None:
            return False
        self.current, self._tag = record, written
        self._fence.renewed_at(started)
        return True

    def _current_tag(self) -> Tag | None:
        """Return the tag of the record, None if it is that of another writer."""
        if self._tag is None:  # an answer was lost
            found = self._nodes.read_tagged(self._place)
            record = ClaimRecord.parse(found)
            if found is None or record is None or record.token != self.token:
                return None
            self.current, self._tag = record, found.tag
        return self._tag
