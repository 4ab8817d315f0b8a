"""Locks of a ZooKeeper ensemble: ``zookeeper://host:port,host:port/path``, by the recipes of kazoo.

A lock is held as long as the session of the process, whose timeout is the lease. Who waits stands in a queue.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from typing import TYPE_CHECKING, Any

from kazoo.client import KazooClient
from kazoo.exceptions import CancelledError, KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.recipe.lock import ReadLock, WriteLock
from kazoo.retry import KazooRetry

from zdb.errors import LockLostError, LockUnavailableError
from zdb.locks.backend import Backend, Hold, safe_name
from zdb.locks.owner import Owner
from zdb.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kazoo.protocol.states import ZnodeStat

    from zdb.locks.waiting import Patience

__all__ = ["ZooKeeperBackend"]

CONNECT_SECONDS = 5.0
ROOT = "/zdb/locks"
# What the recipes of kazoo name the nodes of those who want a lock: any text, the kind, and the place in the queue.
_CONTENDER = re.compile(r"__r?lock__(-?\d{10})$")


class ZooKeeperBackend(Backend):
    """An ensemble of ZooKeeper servers, with one session for all locks of this process."""

    scheme = "zookeeper"

    def __init__(self, url: str, hosts: str, root: str, lease: float) -> None:
        self.url = url
        self.lease = lease
        self.root = root
        self._hosts = hosts
        self._mutex = threading.Lock()
        self._client = self._start()

    @classmethod
    def connect(
        cls,
        url: str,
        lease: float,
        storage_options: Mapping[str, Any] | None,  # noqa: ARG003
    ) -> ZooKeeperBackend:
        hosts, _, path = url.removeprefix("zookeeper:").lstrip("/").partition("/")
        return cls(redact_url(url), hosts, f"/{path.strip('/')}" if path.strip("/") else ROOT, lease)

    def _start(self) -> KazooClient:
        # Without a connection for the time of the lease the session has ended, and so has the client.
        retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=1, deadline=self.lease, ignore_expire=False)
        with _unavailable(self.url):
            client = KazooClient(self._hosts, timeout=self.lease, connection_retry=retry, command_retry=retry.copy())
            try:
                client.start(timeout=min(CONNECT_SECONDS, self.lease))
            except BaseException:
                client.stop()
                client.close()
                raise
        return client

    @property
    def client(self) -> KazooClient:
        """The client of this process, which begins anew when it has given up."""
        with self._mutex:
            if self._client.client_state == "CLOSED":
                self._client.stop()
                self._client.close()
                self._client = self._start()
            return self._client

    def hold(self, name: str, shared: bool) -> ZooKeeperHold:
        return ZooKeeperHold(self, self.client, self.path(name), shared)

    def path(self, name: str) -> str:
        return f"{self.root}/{safe_name(name)}"

    def owners(self, name: str) -> list[Owner]:
        client = self.client
        with _unavailable(self.url):
            try:
                nodes = client.retry(client.get_children, self.path(name))
            except NoNodeError:
                return []
            queue = sorted(filter(_CONTENDER.search, nodes), key=lambda node: node[-10:])
            readers = next((number for number, node in enumerate(queue) if "__lock__" in node), len(queue))
            found = []
            for node in queue[: max(1, readers)]:
                with contextlib.suppress(NoNodeError):
                    found.append(Owner.parse(client.retry(client.get, f"{self.path(name)}/{node}")[0]))
        return found


class ZooKeeperHold(Hold):
    """One acquisition, a node that ends with the session."""

    def __init__(self, backend: ZooKeeperBackend, client: KazooClient, path: str, shared: bool) -> None:
        super().__init__()
        self.backend = backend
        self.client = client
        self.path = path
        recipe = _PatientReadLock if shared else _PatientWriteLock
        self._recipe = recipe(client, path, json.dumps(Owner.here().dump()))
        self._node = ""
        self._session = 0

    def acquire(self, patience: Patience) -> bool:
        with _unavailable(self.backend.url):
            while self._recipe.acquire_within(patience):
                self._node = f"{self.path}/{self._recipe.node}"
                status = self._status()
                if status is not None:
                    # Greater than the number of every change before, also if the path was removed meanwhile.
                    self.token = status.czxid
                    self._session = status.ephemeralOwner
                    return True
                self._recipe = type(self._recipe)(self.client, self.path, self._recipe.data.decode())
        return False

    def _status(self) -> ZnodeStat | None:
        """Ask for the node of this acquisition."""
        return self.client.retry(self.client.exists, self._node)

    def check(self) -> None:
        try:
            with _unavailable(self.backend.url):
                status = self._status()
        except LockUnavailableError as error:
            raise LockLostError(f"its session may have ended: {error}") from error
        if status is None or status.czxid != self.token:
            raise LockLostError("its session had ended")

    def release(self) -> None:
        try:
            with _unavailable(self.backend.url):
                self.client.retry(self.client.delete, self._node)
        except LockUnavailableError as error:
            raise LockLostError(f"its session may have ended before it was released: {error}") from error
        except NoNodeError as error:
            # In the same session it was this release, whose first answer was lost.
            if (self.client.client_id or (0,))[0] != self._session:
                raise LockLostError("its session had ended before it was released") from error

    def abandon(self) -> None:
        if self._node:
            self.client.delete_async(self._node)


class _Patient:
    """Lets a recipe of kazoo stop waiting when the patience is over, and leave the queue whatever happens."""

    def acquire_within(self: Any, patience: Patience) -> bool:
        left = patience.left
        over = threading.Timer(left, self.cancel) if left else None
        if over:
            over.daemon = True
            over.start()
        try:
            return bool(self.acquire(blocking=patience.waits))
        except BaseException as error:
            self._best_effort_cleanup()
            if isinstance(error, CancelledError) and self.client.connected:
                return False
            raise
        finally:
            if over:
                over.cancel()


class _PatientWriteLock(_Patient, WriteLock):  # type: ignore[misc]
    pass


class _PatientReadLock(_Patient, ReadLock):  # type: ignore[misc]
    pass


@contextlib.contextmanager
def _unavailable(url: str) -> Iterator[None]:
    try:
        yield
    except NoNodeError:
        raise
    except (KazooException, KazooTimeoutError, OSError, ValueError) as error:
        if isinstance(error, LockUnavailableError):
            raise
        raise LockUnavailableError(f"{url} cannot be used: {str(error) or type(error).__name__}") from error
