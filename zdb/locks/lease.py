"""Locks that a server keeps for the time of a lease, which the holder renews as long as it lives."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod

from zdb.errors import LockLostError, LockUnavailableError
from zdb.locks.backend import Hold
from zdb.locks.waiting import Delays, Patience, now, poll

__all__ = ["LeasedHold", "answer_seconds"]

RENEWALS = 3
RENEWALS_AFTER_FAILURE = 10
# How long a request may take, so that others follow before the lease ends; not less than a busy server takes.
SHORTEST_ANSWER_SECONDS = 5.0
logger = logging.getLogger("zdb.locks")


def answer_seconds(lease: float) -> float:
    """Return after how many seconds a request has failed."""
    return max(SHORTEST_ANSWER_SECONDS, lease / RENEWALS)


class LeasedHold(Hold):
    """One acquisition, which a thread renews three times per lease.

    When the holder cannot tell for certain that its lease goes on, because it was stopped or the server is silent, it
    takes the lock for lost as soon as the lease has ended by its own clock. The server ends it later, never earlier.
    """

    delays: Delays

    def __init__(self, lease: float) -> None:
        super().__init__()
        self.lease = lease
        self._end = 0.0
        self._lost = ""
        self._is_silent = False
        self._released = threading.Event()
        self._mutex = threading.Lock()

    @abstractmethod
    def _take(self) -> int | None:
        """Ask for the lock once; return the token, or None if somebody has it.

        It can be repeated when the answer was lost.
        """

    @abstractmethod
    def _renew(self) -> bool:
        """Begin a new lease; False if the server does not know of this acquisition any more."""

    @abstractmethod
    def _free(self) -> bool:
        """Give the lock back; False if the server does not know of this acquisition any more."""

    def acquire(self, patience: Patience) -> bool:
        return poll(self._attempt, patience, self.delays, tolerance=self.lease)

    def _attempt(self) -> bool:
        started = now()
        token = self._take()
        if token is None:
            return False
        self.token = token
        self._end = started + self.lease
        threading.Thread(target=self._keep, name="zdb.lock", daemon=True).start()
        return True

    def _keep(self) -> None:
        pause = self.lease / RENEWALS
        while not self._released.wait(pause) and not self._lost:
            failed = self._try_to_renew()
            pause = self.lease / (RENEWALS_AFTER_FAILURE if failed else RENEWALS)

    def _try_to_renew(self) -> str:
        """Begin a new lease, and return why that was not possible."""
        with self._mutex:
            if self._released.is_set() or self._lost:
                return self._lost
            started = now()
            try:
                known = self._renew()
            except LockUnavailableError as error:
                if not self._is_silent:
                    logger.warning("a lock whose lease ends in %.1f s is not renewed: %s", self._end - now(), error)
                self._is_silent = True
                return str(error)
            self._is_silent = False
            if known:
                self._end = started + self.lease
                return ""
            self._lost = "its lease had ended before it was renewed, or the server forgot it"
            return self._lost

    def check(self) -> None:
        if not self._lost and now() < self._end:
            return
        reason = self._try_to_renew()
        if now() >= self._end:
            self._lost = self._lost or f"its lease of {self.lease:g} s could not be renewed: {reason}"
        if self._lost:
            raise LockLostError(self._lost)

    def release(self) -> None:
        self._released.set()
        with self._mutex:
            if self._lost:
                raise LockLostError(self._lost)
            try:
                if self._free():
                    return
            except LockUnavailableError as error:
                if now() < self._end:  # the work was done in time, and the lease ends by itself
                    logger.warning("a lock could not be released, and ends in %.1f s: %s", self._end - now(), error)
                    return
                raise LockLostError(f"its lease of {self.lease:g} s could not be renewed: {error}") from error
            raise LockLostError("its lease had ended before it was released, or the server forgot it")

    def abandon(self) -> None:
        self._released.set()
