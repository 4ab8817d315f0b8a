"""What every backend of locks does, against its real server."""

from __future__ import annotations

import gc
import getpass
import itertools
import os
import pickle
import platform
import signal
import threading
import uuid
from typing import TYPE_CHECKING

import pytest
from lock_kinds import LEASE, Holder, Kind, count_up

from zdb.errors import LockLostError, LockTimeoutError, LockUsageError

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path

pytestmark = pytest.mark.slow

PROCESSES, TIMES = 8, 100
# Longer than a lease lasts after its holder gave no more sign of life, on a busy machine too.
PATIENCE = 60


@pytest.fixture
def name() -> str:
    return f"run {uuid.uuid4().hex}/größe"


def test_processes_exclude_each_other_and_tokens_increase(
    kind: Kind, name: str, workers: ProcessPoolExecutor, tmp_path: Path
) -> None:
    (tmp_path / "number").write_text("0")
    tasks = [workers.submit(count_up, kind, name, TIMES, tmp_path) for _ in range(PROCESSES)]
    owned = [task.result(timeout=300) for task in tasks]
    assert (tmp_path / "number").read_text() == str(PROCESSES * TIMES)
    tokens = [int(line) for line in (tmp_path / "tokens").read_text().split()]
    assert len(tokens) == PROCESSES * TIMES
    assert all(before < after for before, after in itertools.pairwise(tokens))
    assert sorted(tokens) == sorted(token for tokens in owned for token in tokens)


def test_a_lock_is_renewed_and_ends_with_its_holder(kind: Kind, name: str) -> None:
    lock = kind.lock(name)
    with Holder(kind, name) as holder:
        assert not lock.acquire(timeout=1.5 * LEASE)
        assert holder.ask("check") is None
        holder.process.send_signal(signal.SIGKILL)
        assert lock.acquire(timeout=PATIENCE)
        assert (lock.token or 0) > holder.token
        lock.check()
        lock.release()


def test_a_stopped_holder_finds_out_that_its_lease_has_ended(kind: Kind, name: str) -> None:
    lock = kind.lock(name)
    with Holder(kind, name) as holder:
        holder.process.send_signal(signal.SIGSTOP)
        if not kind.has_lease:
            assert not lock.acquire(timeout=LEASE)
            holder.process.send_signal(signal.SIGCONT)
            assert holder.ask("check") is None
            assert holder.ask("release") is None
            assert lock.acquire(timeout=PATIENCE)
            lock.release()
            return
        assert lock.acquire(timeout=PATIENCE)
        holder.process.send_signal(signal.SIGCONT)
        assert holder.ask("check") == "LockLostError"
        assert holder.ask("owned") is False
        assert holder.ask("release") == "LockLostError"
        assert (lock.token or 0) > holder.token
        # What the late holder did took nothing away from the one that came after it.
        lock.check()
        if kind.name != "dask":  # its scheduler takes the late holder in again
            with pytest.raises(LockTimeoutError), kind.lock(name, timeout=0.1):
                pass
        lock.release()


def test_two_objects_in_one_process_exclude_each_other(kind: Kind, name: str) -> None:
    first, second = kind.lock(name), kind.lock(name)
    assert not first.locked()
    assert first.acquire()
    assert first.locked()
    assert second.locked()
    assert not second.acquire(blocking=False)
    assert not second.acquire(timeout=0.1)
    assert second.token is None
    first.release()
    assert second.acquire(timeout=PATIENCE)
    assert not first.owned()
    second.release()
    assert not second.locked()


def test_threads_exclude_each_other(kind: Kind, name: str, tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    kind.connect()
    threads = [threading.Thread(target=count_up, args=(kind, name, 5, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (tmp_path / "number").read_text() == "20"


def test_one_object_excludes_threads_too_and_may_be_handed_over(kind: Kind, name: str) -> None:
    lock = kind.lock(name)
    assert lock.acquire()
    found = []
    thread = threading.Thread(target=lambda: found.append(lock.acquire(timeout=0.1)))
    thread.start()
    thread.join(PATIENCE)
    assert found == [False]
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join(PATIENCE)
    assert lock.acquire(blocking=False)
    lock.release()


def test_a_lock_is_not_reentrant(kind: Kind, name: str) -> None:
    lock = kind.lock(name)
    with lock:
        assert not lock.acquire(blocking=False)
        with pytest.raises(LockUsageError, match="this thread holds it already"):
            lock.acquire()
        with pytest.raises(LockUsageError, match="this thread holds it already"), kind.lock(name):
            pass
    with lock:
        pass


def test_a_lock_is_released_on_error(kind: Kind, name: str) -> None:
    lock = kind.lock(name)
    with pytest.raises(ZeroDivisionError), lock:
        _ = 1 / 0
    assert kind.lock(name).acquire(blocking=False)


def test_release_and_check_need_an_acquired_lock(kind: Kind, name: str) -> None:
    lock = kind.lock(name)
    for method in (lock.release, lock.check):
        with pytest.raises(LockUsageError, match="does not hold it"):
            method()
    with lock:
        lock.check()
    with pytest.raises(RuntimeError):
        lock.release()


def test_the_owner_is_shown(kind: Kind, name: str) -> None:
    lock = kind.lock(name, timeout=0.1)
    assert lock.owner is None
    with Holder(kind, name) as holder:
        owner = lock.owner
        assert owner is not None
        assert (owner.host, owner.pid, owner.user) == (platform.node(), holder.process.pid, getpass.getuser())
        with pytest.raises(LockTimeoutError, match=f"process {holder.process.pid}") as found, lock:
            pass
        assert isinstance(found.value, TimeoutError)
        assert holder.ask("release") is None
    assert lock.owner is None
    with lock:
        assert lock.owner.pid == os.getpid()
        assert f"token {lock.token}" in repr(lock)
    assert "not acquired" in repr(lock)


def test_readers_share_and_writers_do_not(kind: Kind, name: str) -> None:
    reader, writer = kind.lock(name, shared=True), kind.lock(name)
    if not kind.has_shared:
        with pytest.raises(LockUsageError, match="no shared locks"):
            reader.acquire()
        return
    with Holder(kind, name, shared=True) as other:
        assert reader.acquire(timeout=PATIENCE)
        assert reader.token is not None
        assert reader.token > other.token
        assert not writer.acquire(blocking=False)
        reader.release()
        assert not writer.acquire(timeout=0.1)
        # It is renewed as well.
        assert not writer.acquire(timeout=1.5 * LEASE)
        assert other.ask("release") is None
        with writer:
            assert not reader.acquire(blocking=False)
            assert not reader.acquire(timeout=0.1)
        assert reader.acquire(blocking=False)
        reader.release()
        assert not reader.locked()


def test_a_reader_that_is_killed_lets_writers_in(kind: Kind, name: str) -> None:
    if not kind.has_shared:
        pytest.skip("no shared locks")
    writer = kind.lock(name)
    with Holder(kind, name, shared=True) as reader:
        assert not writer.acquire(blocking=False)
        reader.process.kill()
        assert writer.acquire(timeout=PATIENCE)
        writer.release()


def test_it_can_be_sent_to_other_processes_until_it_is_acquired(kind: Kind, name: str) -> None:
    lock = kind.lock(name, timeout=5)
    copy = pickle.loads(pickle.dumps(lock))
    assert (copy.name, copy.timeout, copy.lease, copy.url) == (lock.name, 5, LEASE, lock.url)
    with lock:
        with pytest.raises(LockUsageError, match="cannot be sent"):
            pickle.dumps(lock)
        assert not copy.acquire(blocking=False)


def test_a_lock_that_nobody_can_release_any_more_is_free(kind: Kind, name: str) -> None:
    lock = kind.lock(name)
    assert lock.acquire()
    del lock
    gc.collect()  # errors of a server, which were handled, may still refer to it
    assert kind.lock(name).acquire(timeout=PATIENCE)


def test_lost_is_a_runtime_error() -> None:
    assert issubclass(LockLostError, RuntimeError)
