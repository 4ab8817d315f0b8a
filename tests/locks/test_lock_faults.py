"""What locks do when their server restarts, refuses connections, or loses an answer."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from lock_kinds import LEASE, Kind
from lock_proxy import Proxy
from services import dask_scheduler as dask_service
from services import redis as redis_service
from services import zookeeper as zookeeper_service
from services.seaweedfs import SeaweedFS

import zdb
from zdb.errors import LockLostError, LockUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

PATIENCE = 60
# In the bytes of a request that takes or frees a lock.
REQUESTS = {"redis": b"EVALSHA", "zookeeper": b"lock__", "s3": b"PUT "}


def behind(kind: Kind) -> tuple[Kind, Proxy]:
    """The same backend, reached through a proxy."""
    place = kind.options["client_kwargs"]["endpoint_url"] if kind.name == "s3" else kind.url
    port = place.rpartition(":")[2].partition("/")[0]
    proxy = Proxy(int(port))
    changed = place.replace(port, str(proxy.port))
    if kind.name != "s3":
        return replace(kind, url=changed), proxy
    client = {**kind.options["client_kwargs"], "endpoint_url": changed}
    return replace(kind, options={**kind.options, "client_kwargs": client}), proxy


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


@pytest.fixture(params=["redis", "zookeeper", pytest.param("s3", marks=pytest.mark.s3)])
def reached(request: pytest.FixtureRequest) -> Iterator[tuple[Kind, Kind, Proxy]]:
    """A backend with a server, as it is and through a proxy."""
    server = request.getfixturevalue(request.param)
    kind = (
        Kind("s3", server.url("locks"), server.options) if request.param == "s3" else Kind(request.param, server["url"])
    )
    far, proxy = behind(kind)
    yield kind, far, proxy
    proxy.close()


def eventually_lost(lock: zdb.Lock) -> None:
    end = time.monotonic() + PATIENCE
    while lock.owned():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_lost_answer_does_no_harm(reached: tuple[Kind, Kind, Proxy], name: str) -> None:
    near, far, proxy = reached
    lock, other = far.lock(name), near.lock(name)
    with lock:  # connects, and makes what is made once
        first = lock.token
    proxy.lose = REQUESTS[near.name]
    assert lock.acquire(timeout=PATIENCE)
    assert proxy.lost == 1
    assert first is not None
    assert lock.token is not None
    assert lock.token > first
    assert not other.acquire(blocking=False)
    lock.check()
    proxy.lose = REQUESTS[near.name]
    lock.release()
    assert proxy.lost == 2
    assert other.acquire(timeout=PATIENCE)
    other.release()


def test_a_short_silence_is_survived(reached: tuple[Kind, Kind, Proxy], name: str) -> None:
    near, far, proxy = reached
    lock, other = far.lock(name), near.lock(name)
    with lock:
        proxy.refuse()
        time.sleep(LEASE / 10)
        proxy.pass_on()
        assert not other.acquire(timeout=1.5 * LEASE)
        lock.check()
    with other:
        pass


def test_a_silent_server_is_a_lost_lock(reached: tuple[Kind, Kind, Proxy], name: str) -> None:
    near, far, proxy = reached
    lock, other = far.lock(name), near.lock(name)
    assert lock.acquire()
    first = lock.token
    proxy.refuse()
    with pytest.raises(LockUnavailableError, match=near.name):
        far.lock(f"{name} 2").acquire(timeout=LEASE / 2)
    assert other.acquire(timeout=PATIENCE)
    with pytest.raises(LockLostError, match=name):
        lock.check()
    with pytest.raises(LockLostError, match=name):
        lock.release()
    proxy.pass_on()
    other.check()
    assert (other.token or 0) > (first or 0)
    assert not lock.acquire(timeout=0.1)
    other.release()
    assert lock.acquire(timeout=PATIENCE)
    lock.release()


def test_who_waits_learns_that_the_server_is_gone(reached: tuple[Kind, Kind, Proxy], name: str) -> None:
    near, far, proxy = reached
    errors: list[Exception] = []

    def wait() -> None:
        try:
            far.lock(name).acquire()
        except LockUnavailableError as error:
            errors.append(error)

    with far.lock(f"{name} warm"):
        pass
    with near.lock(name):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.2)
        proxy.refuse()
        waiting.join(PATIENCE)
    assert len(errors) == 1


def restarted(service: Any, folder: Path, info: dict[str, Any], server: Any, *options: str) -> Any:
    server.kill()
    server.wait()
    return service.start(folder, info["port"], *options)[1]


def test_redis_that_forgot_its_locks(tmp_path: Path, name: str) -> None:
    info, server = redis_service.start(tmp_path)
    try:
        kind = Kind("redis", info["url"])
        lock, other = kind.lock(name), kind.lock(name)
        assert lock.acquire()
        first = lock.token or 0
        server = restarted(redis_service, tmp_path, info, server)
        assert other.acquire(timeout=PATIENCE)
        eventually_lost(lock)
        with pytest.raises(LockLostError, match="forgot"):
            lock.release()
        assert (other.token or 0) > first
        other.release()
    finally:
        server.kill()
        server.wait()


def test_redis_that_kept_its_locks(tmp_path: Path, name: str) -> None:
    keeps = ("--appendonly", "yes", "--appendfsync", "always")
    info, server = redis_service.start(tmp_path, None, *keeps)
    try:
        kind = Kind("redis", info["url"])
        with kind.lock(name) as lock:
            server = restarted(redis_service, tmp_path, info, server, *keeps)
            assert not kind.lock(name).acquire(timeout=1.5 * LEASE)
            lock.check()
        assert kind.lock(name).acquire(blocking=False)
    finally:
        server.kill()
        server.wait()


def test_zookeeper_that_restarts(tmp_path: Path, name: str) -> None:
    info, server = zookeeper_service.start(tmp_path)
    try:
        kind = Kind("zookeeper", info["url"])
        # Java takes a while to start: the lease is longer than that.
        with zdb.lock(name, url=kind.url, lease=20) as lock:
            first = lock.token or 0
            server = restarted(zookeeper_service, tmp_path, info, server)
            lock.check()
            assert not kind.lock(name).acquire(timeout=0.1)
        with kind.lock(name) as lock:
            assert (lock.token or 0) > first
    finally:
        server.kill()
        server.wait()


@pytest.mark.s3
def test_a_bucket_whose_server_restarts(tmp_path: Path, name: str) -> None:
    seaweedfs = SeaweedFS(tmp_path)
    server = seaweedfs.launch()
    try:
        # SeaweedFS takes some seconds to start: the lease is longer than that.
        options = {"url": seaweedfs.server.url("locks"), "storage_options": seaweedfs.server.options, "lease": 60}
        with zdb.lock(name, **options) as lock:
            first = lock.token or 0
            server.kill()
            server.wait()
            server = seaweedfs.launch()
            lock.check()
            assert not zdb.lock(name, **options).acquire(blocking=False)
        with zdb.lock(name, **options) as lock:
            assert (lock.token or 0) == first + 1
    finally:
        server.kill()
        server.wait()


def test_a_scheduler_of_dask_that_is_gone(tmp_path: Path, name: str) -> None:
    import dask
    import distributed

    info, server = dask_service.start(tmp_path)
    try:
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s", "distributed.comm.retry.count": 0}),
            distributed.Client(info["address"], set_as_default=True),
        ):
            lock = zdb.lock(name, url="dask:", timeout=PATIENCE)
            assert lock.acquire()
            server.kill()
            server.wait()
            eventually_lost(lock)
            with pytest.raises(LockLostError, match=name):
                lock.release()
            with pytest.raises(LockUnavailableError, match="dask:"):
                zdb.lock(name, url="dask:").acquire(timeout=LEASE)
    finally:
        server.kill()
        server.wait()
