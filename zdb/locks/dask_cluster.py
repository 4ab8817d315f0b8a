"""Locks of a dask cluster, kept by the scheduler of the current client or worker: ``dask:``."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from zdb.errors import LockLostError, LockUnavailableError
from zdb.locks.backend import Backend, Hold
from zdb.locks.owner import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zdb.locks.waiting import Patience

__all__ = ["DaskBackend"]

# Where the scheduler keeps token and owner.
METADATA = "zdb-locks"


class DaskBackend(Backend):
    """The scheduler of dask, which knows locks by name."""

    scheme = "dask"
    has_shared = False

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def connect(cls, url: str, lease: float, storage_options: Mapping[str, Any] | None) -> DaskBackend:  # noqa: ARG003
        backend = cls(url)
        backend.client()
        return backend

    def client(self) -> Any:
        """Return the current client, or that of the task that runs here."""
        # Where nobody imported it there is no client.
        worker = sys.modules.get("distributed.worker")
        try:
            if worker is None:
                raise ValueError("no client")
            return worker.get_client()
        except ValueError:
            reason = "there is no dask client in this process; make one: distributed.Client(address)"
            raise LockUnavailableError(f"{self.url}: {reason}") from None

    def hold(self, name: str, shared: bool) -> DaskHold:  # noqa: ARG002
        return DaskHold(self, name)

    def owners(self, name: str) -> list[Owner]:
        with _unavailable(self.url):
            if not self._semaphore(name).locked():
                return []
        return [Owner.parse(self.known(name).get("owner"))]

    def known(self, name: str) -> dict[str, Any]:
        """Return what the last holder noted."""
        with _unavailable(self.url):
            return dict(self.client().get_metadata([METADATA, name], default=None) or {})

    def note(self, name: str, token: int) -> None:
        with _unavailable(self.url):
            self.client().set_metadata([METADATA, name], {"token": token, "owner": Owner.here().dump()})

    def _semaphore(self, name: str) -> Any:
        import distributed

        self.client()
        return distributed.Lock(f"zdb:{name}")  # type: ignore[no-untyped-call]


class DaskHold(Hold):
    """One acquisition."""

    def __init__(self, backend: DaskBackend, name: str) -> None:
        super().__init__()
        self.backend = backend
        self.name = name
        with _unavailable(backend.url):
            self._lock = backend._semaphore(name)  # noqa: SLF001

    def acquire(self, patience: Patience) -> bool:
        with _unavailable(self.backend.url):
            if not self._lock.acquire(timeout=patience.left):
                return False
        try:
            self.token = int(self.backend.known(self.name).get("token", 0)) + 1
            self.backend.note(self.name, self.token)
        except BaseException:
            self._let_go()
            raise
        return True

    def check(self) -> None:
        try:
            token = self.backend.known(self.name).get("token")
        except LockUnavailableError as error:
            raise LockLostError(str(error)) from error
        if token != self.token:
            raise LockLostError(f"another has it since, with token {token}; the lease is that of dask")

    def release(self) -> None:
        try:
            self.check()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        with _unavailable(self.backend.url):
            self._lock.release()
        self.abandon()

    def abandon(self) -> None:
        refreshing = getattr(self._lock, "refresh_callback", None)
        if refreshing is not None:
            self._lock.loop.add_callback(refreshing.stop)


@contextlib.contextmanager
def _unavailable(url: str) -> Iterator[None]:
    """The client and the connections of dask raise errors of many kinds when the scheduler is gone."""
    try:
        yield
    except LockUnavailableError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise LockUnavailableError(f"{url} cannot be used: {str(error) or type(error).__name__}") from error
