"""What stands behind a lock: the interface of all backends."""

from __future__ import annotations

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zdb.locks.owner import Owner
    from zdb.locks.waiting import Patience

__all__ = ["Backend", "Hold", "safe_name"]

LONGEST_NAME = 150


def safe_name(name: str) -> str:
    """Return the name of a lock as one that any file system, bucket and ZooKeeper takes; no two get the same."""
    quoted = quote(name, safe=" ").replace(" ", "+")
    if quoted.startswith("."):
        quoted = f"%2E{quoted[1:]}"
    if len(quoted) <= LONGEST_NAME:
        return quoted
    return f"{quoted[: LONGEST_NAME - 65]}~{hashlib.sha256(name.encode()).hexdigest()}"


class Hold(ABC):
    """One acquisition of a lock, from the first attempt to the release.

    Attributes
    ----------
    token : int
        The fencing token, once it is acquired: greater than those of all acquisitions before.
    process, thread : int
        Who acquired it.
    """

    token: int

    def __init__(self) -> None:
        self.process = os.getpid()
        self.thread = threading.get_ident()

    @abstractmethod
    def acquire(self, patience: Patience) -> bool:
        """Acquire it; tell whether it was before the patience is over.

        Raises
        ------
        LockUnavailableError
            The backend does not answer.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise LockLostError if it was lost."""

    @abstractmethod
    def release(self) -> None:
        """Let others have it.

        Raises
        ------
        LockLostError
            It was lost before.
        """

    def abandon(self) -> None:  # noqa: B027 - where nothing goes on by itself, nothing is to be stopped
        """Let it end by itself, and wait for nothing: nobody can release it any more."""


class Backend(ABC):
    """Files or a server that keep locks; it is shared by all locks of a process that name its URL.

    Attributes
    ----------
    scheme : str
    url : str
        Without credentials.
    has_shared : bool
        Whether it has locks that several readers hold at once.
    """

    scheme: ClassVar[str]
    has_shared: ClassVar[bool] = True
    url: str

    @classmethod
    @abstractmethod
    def connect(cls, url: str, lease: float, storage_options: Mapping[str, Any] | None) -> Backend:
        """Reach what the URL names.

        Raises
        ------
        LockUnavailableError
            It cannot be reached; the message says why.
        """

    @abstractmethod
    def hold(self, name: str, shared: bool) -> Hold:
        """Return an acquisition of a lock that was not tried yet."""

    @abstractmethod
    def owners(self, name: str) -> list[Owner]:
        """Return who holds a lock: nobody, one, or several who share it."""
