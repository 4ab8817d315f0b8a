"""Claims between real processes: who waits, who goes on, and what one that stood still may do afterwards."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pytest
from other_processes import CONTEXT, new_process

import zdb
from zdb.engine import heartbeat
from zdb.engine.claim_record import CLAIMS, claim_path
from zdb.engine.node import node_path
from zdb.engine.store import open_store
from zdb.errors import (
    ClaimLostError,
    ClaimsUnsupportedError,
    ClaimTimeoutError,
    KeyClaimedError,
    KeyConflictError,
    KeyNotFoundError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from places import Place

LONG = 120.0  # seconds that a test waits at most for what should come soon


@pytest.fixture
def lease(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Set the lease for this process and those that it starts."""

    def set_to(seconds: float) -> None:
        monkeypatch.setenv("ZDB_LEASE", str(seconds))
        zdb.config.refresh()

    yield set_to
    monkeypatch.undo()
    zdb.config.refresh()


@pytest.fixture
def started() -> Iterator[Any]:
    """Start processes that do not outlive the test."""
    processes: list[Any] = []

    def start(function: Any, *args: Any) -> Any:
        process = new_process(function, *args)
        process.start()
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.is_alive():
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
        process.join()


def held(place: Place) -> list[str]:
    """Records of claims that are there."""
    nodes = open_store(place.url, place.options)
    return [path for path in nodes.list_objects(CLAIMS) if path != node_path(CLAIMS)]


def whole(place: Place, key: str = "k") -> float:
    """Check that the value is whole, and return the number that it is made of."""
    db = place.open("r")
    assert db.verify().ok
    found = np.asarray(db[key])
    assert found.size
    assert np.all(found == found.flat[0])
    return float(found.flat[0])


def slow(block: np.ndarray[Any, Any], reached: Any, go_on: Any, block_info: Any = None) -> np.ndarray[Any, Any]:
    """Wait in the middle of the value."""
    if block_info[0]["chunk-location"][0] == 2:
        reached.set()
        go_on.wait(LONG)
    return block


def slow_value(number: float, reached: Any, go_on: Any) -> Any:
    return da.full((40, 50), number, chunks=(10, 50)).map_blocks(slow, reached, go_on, dtype="f8")


def write_slowly(place: Place, number: float, reached: Any, go_on: Any, result: Any) -> None:
    """Write a value that is held up in the middle, and report how it ended."""
    db = place.open("r+")
    try:
        with dask.config.set(scheduler="synchronous"):
            db["k"] = slow_value(number, reached, go_on)
    except zdb.ZdbError as error:
        result.put(type(error).__name__)
    else:
        result.put("written")


def write_often(place: Place, number: int, times: int, ready: Any) -> None:
    db = place.open("r+")
    ready.wait(LONG)
    for turn in range(times):
        db.set("k", np.full((8 + turn % 5, 30), number * 1000.0 + turn), chunks=(3, 30))


# One key, several writers


def test_the_files_of_a_folder_do_not_end_its_signs_of_life(place: Place) -> None:
    """Each is written under the claim of the folder."""
    with place.open()._engine.claim("folder") as claim:
        with claim.covering("folder/file"):
            assert heartbeat.holds(claim.token)
        assert heartbeat.holds(claim.token)
        claim.check(ask=True)
    assert not heartbeat.holds(claim.token)


def test_a_record_that_comes_late_holds_nobody_up(place: Place, lease: Any) -> None:
    """It was sent by this process, given up, sent again, and arrives when the claim was given back."""
    lease(1000)
    db = place.open()
    with db._engine.claim("k") as claim:
        record = db._engine.nodes.get(claim_path("k"))
        with pytest.raises(KeyClaimedError):
            db._engine.claim("k", blocking=False)
    assert record is not None
    db._engine.nodes.set(claim_path("k"), record)
    db["k"] = 1
    db._engine.nodes.set(claim_path("k"), record)
    with db._engine.claim("k", blocking=False) as other:
        assert other.generation > claim.generation  # what was handed out may be written still
    db["k"] = np.arange(3)
    assert db.verify().ok


def test_two_processes_write_one_key_at_the_same_time(shared_place: Place, started: Any) -> None:
    db = shared_place.open()
    db["k"] = np.zeros((8, 30))
    ready = CONTEXT.Barrier(3)
    times = 100 if "://" not in shared_place.url else 15
    writers = [started(write_often, shared_place, number, times, ready) for number in (1, 2)]
    ready.wait(LONG)
    seen = set()
    while any(writer.is_alive() for writer in writers):
        found = db["k"]
        assert np.all(found == found.flat[0])
        seen.add(float(found.flat[0]))
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(seen) > 3
    assert whole(shared_place) in (1000.0 + times - 1, 2000.0 + times - 1)
    assert db.info("k").generation == 2 * times
    assert not held(shared_place)


def test_small_values_and_arrays_of_several_writers(shared_place: Place, started: Any) -> None:
    """A small value takes no claim, and yet no write is lost: the generations are counted without a gap in order."""
    db = shared_place.open()
    db["k"] = 0
    ready = CONTEXT.Barrier(3)
    writers = [started(write_often, shared_place, number, 10, ready) for number in (1, 2)]
    ready.wait(LONG)
    last = -1
    while any(writer.is_alive() for writer in writers):
        db["k"] = 7
        now = db.info("k").generation
        assert now > last
        last = now
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert db.verify().ok


def test_a_writer_that_was_killed_is_not_waited_for(shared_place: Place, started: Any, lease: Any) -> None:
    """On the same machine, its end is seen at once: the lease here is longer than any test may run."""
    lease(100_000)
    db = shared_place.open()
    db["k"] = np.zeros((8, 30))
    reached, go_on, result = CONTEXT.Event(), CONTEXT.Event(), CONTEXT.Queue()
    writer = started(write_slowly, shared_place, 1.0, reached, go_on, result)
    assert reached.wait(LONG)
    with pytest.raises(KeyClaimedError, match=f"k: is being written since .* by process {writer.pid} of "):
        db._engine.claim("k", blocking=False)
    with pytest.raises(ClaimTimeoutError, match=r"still after 0\.2 s"):
        db._engine.claim("k", timeout=0.2)
    writer.kill()
    writer.join()
    db["k"] = np.full((9, 30), 2.0)
    assert whole(shared_place) == 2.0
    assert not held(shared_place)
    assert db.gc(dry_run=True, grace=0).garbage == [one for one in db.gc(grace=0).garbage if one.kind != "unfinished"]


def test_a_writer_that_stood_still_does_no_harm(shared_place: Place, started: Any, lease: Any) -> None:
    lease(1.0)
    db = shared_place.open()
    db["k"] = np.zeros((40, 50))
    reached, go_on, result = CONTEXT.Event(), CONTEXT.Event(), CONTEXT.Queue()
    writer = started(write_slowly, shared_place, 1.0, reached, go_on, result)
    assert reached.wait(LONG)
    os.kill(writer.pid, signal.SIGSTOP)
    db["k"] = np.full((40, 50), 2.0)  # when the lease is over
    nodes = open_store(shared_place.url, shared_place.options)
    before = {path: nodes.get(path) for path in nodes.list_objects("")}
    os.kill(writer.pid, signal.SIGCONT)
    go_on.set()
    assert result.get(timeout=LONG) == "ClaimLostError"
    writer.join()
    assert {path: nodes.get(path) for path in nodes.list_objects("")} == before
    assert whole(shared_place) == 2.0
    db["k"] = np.full((40, 50), 3.0)
    assert whole(shared_place) == 3.0


def test_a_slow_writer_gives_signs_of_life(shared_place: Place, started: Any, lease: Any) -> None:
    lease(1.5)
    db = shared_place.open()
    reached, go_on, result = CONTEXT.Event(), CONTEXT.Event(), CONTEXT.Queue()
    started(write_slowly, shared_place, 1.0, reached, go_on, result)
    assert reached.wait(LONG)
    with pytest.raises(ClaimTimeoutError):
        db._engine.claim("k", timeout=5)
    go_on.set()
    db["k"] = np.full((9, 30), 2.0)
    assert result.get(timeout=LONG) == "written"
    assert whole(shared_place) == 2.0


def write_other(place: Place, key: str) -> None:
    place.open("r+")[key] = np.arange(6.0)


def test_different_keys_do_not_wait_for_each_other(shared_place: Place, started: Any) -> None:
    db = shared_place.open()
    with db._engine.claim("k"), db._engine.claim("s/k"):
        writers = [started(write_other, shared_place, key) for key in ("other", "s/other", "kk")]
        for writer in writers:
            writer.join(LONG)
        assert [writer.exitcode for writer in writers] == [0, 0, 0]


def create_below(place: Place, number: int, ready: Any) -> None:
    db = place.open("r+")
    ready.wait(LONG)
    db[f"a/b/c/n{number}"] = np.arange(3) if number % 2 else number
    db.database(f"a/d/e{number}", create=True)


def test_many_processes_create_the_same_databases(shared_place: Place, started: Any) -> None:
    shared_place.open()
    ready = CONTEXT.Barrier(6)
    writers = [started(create_below, shared_place, number, ready) for number in range(6)]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 6
    db = shared_place.open("r")
    assert sorted(db["a/b/c"]) == [f"n{number}" for number in range(6)]
    assert sorted(db["a/d"]) == [f"e{number}" for number in range(6)]
    assert db.verify().ok


# What lies above and below


def test_deleting_a_database_waits_for_what_is_being_written_in_it(
    shared_place: Place, started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = shared_place.open()
    db["s/old"] = np.arange(4)
    claim = db._engine.claim("s/new")
    deleted = threading.Event()

    def delete() -> None:
        del db["s"]
        deleted.set()

    thread = threading.Thread(target=delete)
    thread.start()
    engine = shared_place.open()._engine
    while engine.claims.state("s") is None:
        time.sleep(0.01)
    with pytest.raises(KeyClaimedError, match="s: is being written"):
        engine.claim("s/third", blocking=False)  # nobody begins any more
    assert not deleted.is_set()
    claim.release()
    thread.join(LONG)
    assert deleted.is_set()
    assert list(db) == []
    shared_place.open()["s/third"] = np.arange(3)
    assert db.verify().ok


def test_a_value_in_a_database_that_was_deleted_meanwhile_brings_it_back(shared_place: Place) -> None:
    db, other = shared_place.open(), shared_place.open()
    db["s/t/k"] = 1
    del other["s"]
    db["s/t/l"] = 2
    assert other.keys(recursive=True) == ["s/t/l"]
    del other["s/t"]
    other["s/t"] = 3
    with pytest.raises(KeyConflictError):
        db["s/t/l"] = 2
    assert other.keys(recursive=True) == ["s/t"]
    assert db.verify().ok


def test_a_small_value_written_while_its_database_is_deleted(
    shared_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, other = shared_place.open(), shared_place.open()
    db["s/k"] = 1
    replace = db._engine.nodes.replace

    def late(path: str, data: bytes, tag: Any, **options: Any) -> Any:
        if path == "s/l/zarr.json":
            monkeypatch.undo()
            del other["s"]
        return replace(path, data, tag, **options)

    monkeypatch.setattr(db._engine.nodes, "replace", late)
    db["s/l"] = 2
    assert shared_place.open("r").keys(recursive=True) == ["s/l"]
    assert db.verify().ok


def test_of_two_that_delete_one_key_one_finds_it(place: Place) -> None:
    db = place.open()
    db["k"] = np.arange(3)
    found = []

    def delete() -> None:
        try:
            del db["k"]
        except KeyNotFoundError:
            found.append(False)
        else:
            found.append(True)

    threads = [threading.Thread(target=delete) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False, True]
    assert "k" not in db


@pytest.mark.parametrize("change", ["rename", "folder"])
def test_what_a_writer_that_was_given_up_may_yet_commit_stays(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """It stands still just before its commit, and another process has taken over its claim, and has given it back."""
    db, other = place.open(), place.open()
    db["old"] = np.arange(4)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x")
    replace = db._engine.nodes.replace
    changes: dict[str, Any] = {
        "rename": lambda: other.rename("old", "new"),
        "folder": lambda: other.set("new", tmp_path / "folder"),
    }

    def late(path: str, data: bytes, tag: Any, **options: Any) -> Any:
        if path == "new/zarr.json":
            monkeypatch.undo()
            record = other._engine.claims.state("new")
            assert record is not None
            other._engine.nodes.set(claim_path("new"), dataclasses.replace(record, state="free", token="").dump())
            with pytest.raises(KeyClaimedError, match=r"new: .* may yet finish what it wrote"):
                changes[change]()
        return replace(path, data, tag, **options)

    monkeypatch.setattr(db._engine.nodes, "replace", late)
    db["new"] = np.arange(9)
    np.testing.assert_array_equal(other["new"], np.arange(9))
    np.testing.assert_array_equal(other["old"], np.arange(4))
    assert other.verify().ok
    del other["new"]
    other.rename("old", "new")  # it has committed, so nothing is in the way
    np.testing.assert_array_equal(other["new"], np.arange(4))


@pytest.mark.parametrize("store", ["memory", pytest.param("s3", marks=pytest.mark.s3)])
def test_a_rename_that_failed_can_be_tried_again(
    store: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from places import new_place

    db = new_place(store, tmp_path, request).open()
    db.set("s/old", np.arange(4), chunks=(2,))
    nodes: Any = db._engine.nodes
    copy = nodes._copy

    async def fail_at_the_node(source: str, target: str) -> None:
        if source.endswith("data/zarr.json"):
            raise OSError("no connection")
        await copy(source, target)

    for old, new in (("s/old", "t/new"), ("s", "u")):
        with monkeypatch.context() as patch:
            patch.setattr(nodes, "_copy", fail_at_the_node)
            with pytest.raises(StorageError, match="no connection"):
                db.rename(old, new)
        assert not nodes.list_objects(new)
        db.rename(old, new)
        db.rename(new, old)
        np.testing.assert_array_equal(db["s/old"], np.arange(4))
    assert db.verify().ok


# Within one process


def test_a_thread_does_not_wait_for_itself(place: Place) -> None:
    db = place.open()
    with db._engine.claim("k"):
        for value in (np.arange(3), 1):
            with pytest.raises(KeyClaimedError, match="by this very thread"):
                db["k"] = value
        with pytest.raises(KeyClaimedError, match="by this very thread"):
            db["k/below"] = np.arange(3)
    db["k"] = np.arange(3)
    assert np.array_equal(db["k"], np.arange(3))


def test_threads_wait_for_each_other(place: Place) -> None:
    db = place.open()

    def write(number: int) -> None:
        for _ in range(5):
            db["k"] = np.full(10, number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(db["k"].tolist())) == 1
    assert db.info("k").generation == 19


def test_a_failed_write_leaves_no_claim(place: Place) -> None:
    db = place.open()
    db["k"] = np.arange(3)

    def fail(block: Any) -> Any:
        raise ValueError("no")

    with pytest.raises(zdb.errors.WriteError):
        db["k"] = da.zeros(10, chunks=5).map_blocks(fail, dtype="f8")
    db["k"] = np.arange(4)
    assert db.info("k").generation == 1
    assert not held(place)


@pytest.mark.parametrize("when", ["given back", "taken"])
def test_a_process_does_not_wait_for_a_claim_of_its_own_that_the_store_kept(
    place: Place, lease: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The lease is longer than any test may run."""
    lease(100_000)
    db = place.open()
    db["k"] = np.arange(3)
    nodes: Any = db._engine.nodes
    replace = nodes.replace

    def fail(path: str, data: bytes, tag: Any, **options: Any) -> Any:
        is_taken = when == "taken" and path == claim_path("k")
        if is_taken:
            replace(path, data, tag, **options)
        if is_taken or (path == claim_path("k") and b'"state":"free"' in data):
            raise StorageError("no connection")
        return replace(path, data, tag, **options)

    def fail_to_remove(path: str, tag: Any) -> Any:
        raise StorageError("no connection")

    with monkeypatch.context() as patch:
        patch.setattr(nodes, "replace", fail)
        patch.setattr(nodes, "remove", fail_to_remove)
        if when == "taken":
            with pytest.raises(StorageError):
                db["k"] = np.arange(4)
        else:
            db["k"] = np.arange(4)
    assert held(place)
    db._engine.claim("k", blocking=False, hand_out=False).release()
    for number in range(5, 9):
        db["k"] = np.arange(number)
        db["k"] = number
        np.testing.assert_array_equal(db["k"], number)
    assert db.verify().ok
    db.gc(grace=0, dry_run=False)
    assert not held(place)


def test_a_claim_that_was_lost_lets_nothing_through(place: Place) -> None:
    db = place.open()
    claim = db._engine.claim("k")
    nodes = db._engine.nodes
    nodes.delete([claim_path("k")])
    with pytest.raises(ClaimLostError, match="another one has gone on"):
        claim.check(ask=True)
    with pytest.raises(ClaimLostError):
        claim.commit(lambda *_: b"{}")
    with db._engine.claim("k"):
        claim.release()  # is not the other's
        assert db._engine.claims.state("k") is not None


def test_a_key_that_is_being_filled(place: Place) -> None:
    db = place.open()
    db["k"] = 1
    with db._engine.claim("k") as claim:
        claim.leave_filling("_zdb/fills/1")
    for refused in (
        lambda: db.set("k", np.arange(3)),
        lambda: db.set("k", 1),
        lambda: db.__delitem__("k"),
        lambda: db.set("k/below", np.arange(3)),
        lambda: db.rename("k", "l"),
    ):
        with pytest.raises(KeyClaimedError, match=r"k: is being filled since .*discard"):
            refused()
    with db._engine.claims.take("k", resume=True) as resumed:
        assert (resumed.plan, resumed.generation, resumed.is_clean) == ("_zdb/fills/1", 1, True)
    with pytest.raises(KeyClaimedError, match="being filled"):  # who had it neither finished it nor gave it up
        db["k"] = 1
    with db._engine.claims.take("k", resume=True) as resumed:
        resumed.give_up(settled=True)
    db["k"] = np.arange(3)


# Stores


def test_claims_can_be_switched_off(place: Place) -> None:
    db = place.open()
    with zdb.config.set({"claims": "none"}):
        for value in (np.arange(3), 5, np.arange(4)):
            db["s/k"] = value
        db.rename("s", "t")
        assert np.array_equal(db["t/k"], np.arange(4))
        del db["t"]
    assert held(place) == []


@pytest.mark.usefixtures("only_files_are_locked")
def test_a_file_system_that_locks_only_files(tmp_path: Path) -> None:
    """As NFS does."""
    db = zdb.open(tmp_path / "x.zdb")
    db["a"] = 1
    db["s/k"] = np.arange(3)
    db["s/k"] = np.arange(4)
    db.rename("s", "t")
    del db["a"]
    assert db.keys(recursive=True) == ["t/k"]
    assert db.verify().ok


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ClaimsUnsupportedError, match="ZDB_CLAIMS=none"):
        zdb.open(tmp_path / "x.zdb")
    with zdb.config.set({"claims": "none"}):
        db = zdb.open(tmp_path / "y.zdb")
        db["k"] = np.arange(3)
        db["k"] = 5
        del db["k"]


@pytest.mark.s3
@pytest.mark.parametrize("more", [0, 100_000])  # bytes; the size of large objects is looked at first
def test_an_answer_that_was_lost(s3: Any, more: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client library tries again, and is refused because of its own write."""
    nodes = open_store(s3.url(f"lost-answers-{more}.zdb"), s3.options)
    rest = bytes(more)
    assert nodes.create("zarr.json", b"root")
    call = nodes.store.fs._call_s3

    async def twice(method: str, **options: Any) -> Any:
        if method in ("put_object", "delete_object"):
            await call(method, **options)
        return await call(method, **options)

    monkeypatch.setattr(nodes.store.fs, "_call_s3", twice)
    tag = nodes.replace("k", b"mine" + rest, None)
    assert tag is not None
    newer = nodes.replace("k", b"newer" + rest, tag)
    assert newer is not None
    for other in (b"other", b"longer"):
        assert nodes.replace("k", other + rest, tag) is None
    assert nodes.get("k") == b"newer" + rest
    assert not nodes.remove("k", tag)
    assert nodes.remove("k", newer)
    assert nodes.get("k") is None
