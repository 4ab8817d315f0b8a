"""Signs of life: one thread renews all claims that this process holds for long."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from zdb.errors import ZdbError

__all__ = ["add", "discard", "holds", "now"]

# Of a lease, after which the claim is renewed, and after which that is tried again.
RENEWED_AFTER = 1 / 3
TRIED_AFTER = 1 / 10
RENEWALS_AT_ONCE = 8


def now() -> float:
    """Return the seconds of a clock that also runs while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Claim(Protocol):
    """What has to be renewed."""

    token: str
    lease: float

    def renew(self) -> bool:
        """Give a sign of life, and tell whether the claim is still held."""


@dataclass
class _Beat:
    """A claim, when it is to be renewed, and the thread that took it."""

    claim: Claim
    due: float
    thread: int


class _Heart:
    def __init__(self) -> None:
        self._beats: dict[str, _Beat] = {}  # by token
        self._changed = threading.Condition()
        self._next = float("inf")
        self._thread: threading.Thread | None = None

    def add(self, claim: Claim) -> None:
        due = now() + claim.lease * RENEWED_AFTER
        with self._changed:
            self._beats[claim.token] = _Beat(claim, due, threading.get_ident())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="zdb-heartbeat", daemon=True)
                self._thread.start()
            if due < self._next:
                self._next = due
                self._changed.notify()

    def discard(self, claim: Claim) -> None:
        with self._changed:
            self._beats.pop(claim.token, None)

    def holds(self, token: str, *, this_thread: bool = False) -> bool:
        with self._changed:
            found = self._beats.get(token)
        return found is not None and (not this_thread or found.thread == threading.get_ident())

    def _run(self) -> None:
        with ThreadPoolExecutor(RENEWALS_AT_ONCE, thread_name_prefix="zdb-heartbeat") as pool:
            while True:
                for beat in self._late():
                    try:
                        pool.submit(self._renew, beat)
                    except RuntimeError:  # the interpreter ends
                        return

    def _late(self) -> list[_Beat]:
        """Wait until claims are to be renewed, and return them."""
        with self._changed:
            self._next = min((beat.due for beat in self._beats.values()), default=float("inf"))
            wait = self._next - now()
            if wait > 0:
                self._changed.wait(min(wait, threading.TIMEOUT_MAX))
                return []
            late = [beat for beat in self._beats.values() if beat.due <= now()]
            for beat in late:
                beat.due = now() + beat.claim.lease * TRIED_AFTER
            return late

    def _renew(self, beat: _Beat) -> None:
        with contextlib.suppress(ZdbError):  # the store does not answer; that is tried again
            if beat.claim.renew():
                with self._changed:
                    beat.due = now() + beat.claim.lease * RENEWED_AFTER


_heart = _Heart()


def _after_fork() -> None:
    global _heart
    _heart = _Heart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def add(claim: Claim) -> None:
    """Renew a claim from time to time, until it is discarded."""
    _heart.add(claim)


def discard(claim: Claim) -> None:
    """Give no more signs of life for a claim."""
    _heart.discard(claim)


def holds(token: str, *, this_thread: bool = False) -> bool:
    """Whether this process holds the claim with this token, or this thread took it."""
    return _heart.holds(token, this_thread=this_thread)
