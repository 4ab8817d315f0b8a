"""Waiting for a lock: how long still, and how often to ask."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple

from zdb.errors import LockUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Delays", "Patience", "now", "poll"]

# Seconds that also count while the machine is asleep, which time.monotonic does not do on Linux.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Return seconds of a clock of this machine that is never set and never stands still."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Patience:
    """How long to wait; `seconds` is None for ever, 0 for one attempt."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else now() + seconds
        self.waits = seconds is None or seconds > 0

    @property
    def left(self) -> float | None:
        """Seconds until the end; None if there is no end."""
        return None if self._end is None else max(0.0, self._end - now())

    @property
    def is_over(self) -> bool:
        return self._end is not None and now() >= self._end

    def sleep(self, seconds: float) -> None:
        left = self.left
        time.sleep(seconds if left is None else min(seconds, left))


class Delays(NamedTuple):
    """Seconds between two attempts: the first time, and at most."""

    first: float
    longest: float


def poll(attempt: Callable[[], bool], patience: Patience, delays: Delays, tolerance: float) -> bool:
    """Repeat an attempt until it succeeds or the patience is over; tell whether it succeeded.

    A server that does not answer is asked again for `tolerance` seconds, so that its restart is survived.
    """
    delay = delays.first
    silent_since: float | None = None
    while True:
        try:
            if attempt():
                return True
            silent_since = None
        except LockUnavailableError:
            silent_since = now() if silent_since is None else silent_since
            if patience.is_over or now() - silent_since > tolerance:
                raise
        if patience.is_over:
            return False
        patience.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - so that those who wait do not ask in step
        delay = min(delay * 1.5, delays.longest)
