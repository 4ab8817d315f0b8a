"""The lock that users hold: :func:`lock`."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

from zdb.errors import LockLostError, LockTimeoutError, LockUsageError, ZdbError
from zdb.locks.choosing import candidates, choose
from zdb.locks.waiting import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from zdb.locks.backend import Backend, Hold
    from zdb.locks.owner import Owner

__all__ = ["Lock", "lock"]

LEASE = 30.0
logger = logging.getLogger("zdb.locks")


def lock(
    name: str,
    *,
    shared: bool = False,
    timeout: float | None = None,
    blocking: bool = True,
    url: str | Iterable[str] | None = None,
    lease: float = LEASE,
    storage_options: Mapping[str, Any] | None = None,
) -> Lock:
    """Return a lock that excludes all threads and processes, on all machines, that name it and reach its backend.

    Parameters
    ----------
    name : str
        Whoever gives the same name and backend gets the same lock. Any text.
    shared : bool
        A lock for reading: several have it at once, but none while one holds it exclusively.
    timeout : float, optional
        Seconds to wait, in ``with`` and :meth:`Lock.acquire`. By default, and if negative, as long as it takes.
    blocking : bool
        False: do not wait at all.
    url : str or iterable of str, optional
        Backends in order of preference, separated by commas: ``file:``, ``file:/shared/folder``,
        ``redis://host:6379/0``, ``zookeeper://host:2181,host:2181/path``, ``s3://bucket/prefix``, ``dask:``, ``none:``.
        By default the setting ``lock`` (:mod:`zdb.config`). The first that answers is used.
    lease : float
        Seconds after which a holder that gives no sign of life loses the lock, where a server keeps it. It is renewed
        three times as often, as long as the process lives. That of ``dask:`` is set in dask, and that of ``file:``
        has no end.
    storage_options : mapping, optional
        For ``s3://``: passed to s3fs, as in :func:`zdb.open`.

    Returns
    -------
    Lock
        Not acquired yet; it can be sent to other processes.

    Examples
    --------
    >>> with zdb.lock("results", timeout=60) as lock:
    ...     ...
    """
    return Lock(name, shared, timeout, blocking, candidates(url), lease, storage_options)


class Lock:
    """A lock, as :func:`lock` returns it; its methods are those of :class:`threading.Lock`.

    It is not reentrant: who holds it and asks again, with this object or another of the same name, waits as everybody
    does; where that would be for ever, :class:`~zdb.errors.LockUsageError` is raised.

    Attributes
    ----------
    name : str
    shared : bool
    timeout : float or None
    blocking : bool
    lease : float
    """

    def __init__(
        self,
        name: str,
        shared: bool,
        timeout: float | None,
        blocking: bool,
        urls: tuple[str, ...],
        lease: float,
        storage_options: Mapping[str, Any] | None,
    ) -> None:
        if not name:
            raise ValueError("the name of a lock must not be empty")
        if not lease > 0:
            raise ValueError(f"lease is a number of seconds above 0, not {lease!r}")
        self.name = name
        self.shared = shared
        self.timeout = timeout
        self.blocking = blocking
        self.lease = lease
        self._urls = urls
        self._options = storage_options
        self._chosen: tuple[int, Backend] | None = None
        self._holds: list[Hold] = []

    @property
    def _backend(self) -> Backend:
        process = os.getpid()
        if self._chosen is None or self._chosen[0] != process:
            backend, used = choose(self._urls, self.lease, self._options)
            self._urls = (used,)  # wherever this object goes, it is the same lock
            self._chosen = (process, backend)
        return self._chosen[1]

    @property
    def backend(self) -> str:
        """Which kind of backend is used: "file", "redis", "zookeeper", "s3", "dask" or "none"."""
        return self._backend.scheme

    @property
    def url(self) -> str:
        """Where the lock is kept, without credentials."""
        return self._backend.url

    @property
    def owner(self) -> Owner | None:
        """Who holds the lock now; one of them, if several share it; None if nobody does."""
        owners = self._backend.owners(self.name)
        return owners[0] if owners else None

    @property
    def token(self) -> int | None:
        """The fencing token of this acquisition, greater than those of all before; None if it is not acquired.

        A program that writes to a place of its own gives it along, and the place refuses a smaller one than it knows.
        """
        hold = self._own_hold()
        return hold.token if hold else None

    def locked(self) -> bool:
        """Whether anybody holds the lock."""
        return bool(self._backend.owners(self.name))

    def owned(self) -> bool:
        """Whether this object holds the lock, and did not lose it."""
        try:
            self.check()
        except (LockUsageError, LockLostError):
            return False
        return True

    def acquire(self, blocking: bool | None = None, timeout: float | None = None) -> bool:
        """Acquire the lock, and tell whether it was acquired in time.

        Parameters
        ----------
        blocking : bool, optional
            Whether to wait; by default as :func:`lock` was told.
        timeout : float, optional
            Seconds to wait; by default as :func:`lock` was told; if negative, as long as it takes.

        Raises
        ------
        LockUnavailableError
            No backend answers, or the one that is used stopped to.
        LockUsageError
            This thread holds it and would wait for itself for ever, or the backend has no shared locks.
        """
        blocking = self.blocking if blocking is None else blocking
        seconds = self.timeout if timeout is None else timeout
        if seconds is not None and seconds < 0:
            seconds = None
        patience = Patience(seconds if blocking else 0)
        backend = self._backend
        if self.shared and not backend.has_shared:
            raise LockUsageError(f"{backend.url} has no shared locks; use another backend, or shared=False")
        if patience.left is None and _held_by_this_thread(backend.url, self.name):
            raise LockUsageError(
                f"lock {self.name!r}: this thread holds it already, and would wait for itself for ever"
            )
        hold = backend.hold(self.name, self.shared)
        acquired = False
        try:
            acquired = hold.acquire(patience)
        finally:
            if not acquired:
                hold.abandon()
        if acquired:
            self._holds.append(hold)
            _register(backend.url, self.name, hold)
        return acquired

    def release(self) -> None:
        """Let others have the lock.

        Raises
        ------
        LockLostError
            It was lost before, so that another may have worked at the same time. It counts as released.
        LockUsageError
            It is not acquired.
        """
        hold = self._held()
        self._holds.remove(hold)
        _unregister(hold)
        with self._named():
            hold.release()

    def check(self) -> None:
        """Make sure that the lock is still held. Nothing is sent while that is certain.

        Raises
        ------
        LockLostError
            It was lost: the process was stopped for longer than the lease, or the server forgot it.
        LockUsageError
            It is not acquired.
        """
        with self._named():
            self._held().check()

    def _own_hold(self) -> Hold | None:
        """The acquisition of this thread, or else that of another thread of this process, which may be handed over."""
        holds = [hold for hold in self._holds if hold.process == os.getpid()]
        return next((hold for hold in holds if hold.thread == threading.get_ident()), next(iter(holds), None))

    def _held(self) -> Hold:
        hold = self._own_hold()
        if hold is None:
            reason = f"; process {self._holds[0].process} does, from which this one was forked" if self._holds else ""
            raise LockUsageError(f"lock {self.name!r}: this object does not hold it{reason}")
        return hold

    @contextlib.contextmanager
    def _named(self) -> Any:
        try:
            yield
        except LockLostError as error:
            raise LockLostError(f"lock {self.name!r} was lost: {error}") from error

    def __enter__(self) -> Self:
        if not self.acquire():
            owners = self._backend.owners(self.name)
            holder = str(owners[0]) if owners else "somebody who has just released it"
            waited = f"after {self.timeout:g} s" if self.blocking and self.timeout else "and was not waited for"
            raise LockTimeoutError(f"lock {self.name!r} ({self.url}) is held by {holder}, {waited}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.release()
        except ZdbError as problem:
            if error is None:
                raise
            logger.warning("%s", problem)  # the error of the work comes first

    def __reduce__(self) -> tuple[Callable[..., Lock], tuple[Any, ...]]:
        if self._own_hold():
            raise LockUsageError(f"lock {self.name!r} is acquired, and cannot be sent to another process or copied")
        options = (self.name, self.shared, self.timeout, self.blocking, self._urls, self.lease, self._options)
        return (Lock, options)

    def __del__(self) -> None:
        for hold in getattr(self, "_holds", ()):
            if hold.process == os.getpid():
                with contextlib.suppress(Exception):
                    hold.abandon()

    def __repr__(self) -> str:
        details = [repr(self.name)]
        if self.shared:
            details.append("shared=True")
        details.append(f"url={self.url!r}" if self._chosen else f"url={','.join(self._shown_urls())!r}")
        hold = self._own_hold()
        state = f"acquired, token {hold.token}" if hold else "not acquired"
        return f"<zdb.lock({', '.join(details)}): {state}>"

    def _shown_urls(self) -> list[str]:
        from zdb.redact import redact_url

        return [redact_url(url) for url in self._urls]


# What the threads of this process hold: (url, name) of each acquisition.
_holds: weakref.WeakKeyDictionary[Hold, tuple[str, str]] = weakref.WeakKeyDictionary()
_mutex = threading.Lock()


def _register(url: str, name: str, hold: Hold) -> None:
    with _mutex:
        _holds[hold] = (url, name)


def _unregister(hold: Hold) -> None:
    with _mutex:
        _holds.pop(hold, None)


def _held_by_this_thread(url: str, name: str) -> bool:
    with _mutex:
        mine = [place for hold, place in _holds.items() if hold.thread == threading.get_ident()]
    return (url, name) in mine
