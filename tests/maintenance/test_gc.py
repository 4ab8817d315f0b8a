"""``gc`` removes what nobody needs, and nothing else, also while others write."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from maintenance.holding import holding
from maintenance.samples import fill
from other_processes import CONTEXT, new_process

import zdb
from zdb.cli import main
from zdb.engine import claims, heartbeat
from zdb.engine.claim_record import ClaimRecord, claim_path
from zdb.engine.folder_lock import LOCK_FOLDER, locked_folders
from zdb.engine.spool import Spool
from zdb.errors import KeyConflictError, ReadOnlyError
from zdb.maintenance.garbage import GarbageCollection

if TYPE_CHECKING:
    from places import Place

    from zdb import Database

DAY = 86400
LONG = 120.0  # seconds


def age(db: Database, path: str = "", days: float = 2) -> None:
    """Make all files below a path older."""
    before = time.time() - days * DAY
    for one in [Path(db.url, path), *Path(db.url, path).rglob("*")]:
        os.utime(one, (before, before))


def garbage(db: Database, **options: Any) -> list[tuple[str, str, int]]:
    return [(one.kind, one.path, one.objects) for one in db.gc(**options).garbage]


def values(db: Database) -> dict[str, Any]:
    return {key: db.dataset(key).load() for key in db.keys(recursive=True)}


def test_nothing_is_removed_by_default(db: Database) -> None:
    fill(db)
    db._engine.nodes.set("begun/data/c/0", b"x")
    age(db)
    before = db._engine.nodes.list_objects("")
    report = db.gc()
    assert {one.kind for one in report.garbage} == {"old generation", "unfinished"}
    assert report.nbytes > 0
    assert db._engine.nodes.list_objects("") == before


def test_all_garbage_is_removed(place: Place) -> None:
    db = place.open()
    fill(db)
    nodes = db._engine.nodes
    nodes.set("begun/data/c/0", b"x")
    nodes.set("run/traces/data/c.9.9", b"of the next generation")
    nodes.set("parameters/data/c/0", b"of an array that it was")
    Spool(nodes).write(0, b"a part")
    nodes.set("_zdb/environments/" + "0" * 64 + "/zarr.json", b"{}")
    before = values(db)
    report = db.gc(dry_run=False, grace=0)
    assert {one.kind for one in report.garbage} >= {"unfinished", "spool"}
    needed = {path for key in before for path in db._engine.node(key).object_paths()}  # type: ignore[union-attr]
    left = set(nodes.list_objects("")) - needed
    assert {path for path in left if not path.startswith("_zdb/")} <= {
        "zarr.json",
        "run/zarr.json",
        "run/deep/zarr.json",
    }
    assert not nodes.list_objects("_zdb/spool")
    assert db.verify().ok
    after = values(db)
    assert after.keys() == before.keys()
    for key, value in before.items():
        xr.testing.assert_identical(after[key], value)
    assert db.gc(grace=0).garbage == []


def test_empty_folders_of_a_writer_that_died_are_removed(db: Database) -> None:
    (Path(db.url) / "begun" / "data" / "c").mkdir(parents=True)
    assert db.verify().unfinished == ["begun"]
    db.gc()
    db.gc(dry_run=False)
    assert db.verify().unfinished == ["begun"]
    age(db, "begun")
    db.gc()
    assert db.verify().unfinished == ["begun"]
    db.gc(dry_run=False)
    assert db.verify().unfinished == []
    assert not (Path(db.url) / "begun").exists()


def test_what_is_young_stays(db: Database) -> None:
    db.set("a", np.arange(10), chunks=(5,))
    db.set("a", np.arange(20), chunks=(5,))
    db._engine.nodes.set("begun/data/c/0", b"x")
    age(db)
    kinds = {"old generation", "unfinished"}
    assert {one[0] for one in garbage(db)} == kinds
    db._engine.nodes.set("begun/data/c/1", b"x")  # its writer is at work
    assert {one[0] for one in garbage(db)} == {"old generation"}
    db._engine.nodes.set("a/data/c.0", b"x")
    assert garbage(db) == []
    assert db.gc().young == 2
    assert {one[0] for one in garbage(db, grace=0)} == kinds
    age(db)
    age(db, "a/zarr.json", 0.5)  # it was replaced half a day ago
    assert not [one for one in garbage(db) if one[0] == "old generation"]
    assert [one for one in garbage(db, grace=timedelta(hours=6)) if one[0] == "old generation"]


def test_a_reader_keeps_its_generation_until_the_grace_is_over(db: Database) -> None:
    db["a"] = xr.Dataset({"v": ("x", np.arange(5))})
    opened = db["a"]
    db["a"] = xr.Dataset({"v": ("x", np.arange(6))})
    assert db.gc(dry_run=False).garbage == []
    np.testing.assert_array_equal(opened["v"].values, np.arange(5))


def test_records_that_nobody_refers_to(db: Database) -> None:
    db["a"] = 1
    used = db._engine.nodes.list_names("_zdb/environments")
    db._engine.records.write("environments/" + "1" * 64, {"python": "3"})
    age(db)
    assert [one[:2] for one in garbage(db, dry_run=False)] == [("record", "_zdb/environments/" + "1" * 64)]
    assert db._engine.nodes.list_names("_zdb/environments") == used
    assert db.verify().ok
    del db["a"]
    assert [one[0] for one in garbage(db)] == ["record"]
    zdb.open(db.url)["a"] = 1  # a writer renews what it uses
    assert garbage(db) == []
    assert db.verify().ok


def test_a_record_that_is_referred_to_meanwhile_comes_back(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    db["a"] = 1
    attributes = dict(db._engine.node("a").attributes)  # type: ignore[union-attr]
    del db["a"]
    age(db)
    delete = db._engine.nodes.delete

    def write_before(paths: Any) -> None:
        paths = list(paths)
        if any("environments" in path for path in paths):
            db._engine.publish_small("b", lambda *_: attributes)
        delete(paths)

    monkeypatch.setattr(db._engine.nodes, "delete", write_before)
    db.gc(dry_run=False)
    assert db.verify().ok


def test_what_a_killed_process_left_on_disk(db: Database) -> None:
    db["sub/a"] = 1
    root = Path(db.url)
    (root / "sub" / ".deleted.b.token.1.2").mkdir()
    (root / "sub" / ".deleted.b.token.1.2" / "zarr.json").write_text("{}")
    (root / ".zarr.json.token.1.3").write_text("{}")
    (root / "sub" / "a" / ".zarr.json.token.1.4").write_text("{}")
    age(db)
    # The folder was renamed just now, whatever its files say.
    assert [one[:2] for one in garbage(db)] == [("old generation", "sub/a"), ("temporary", ".zarr.json.token.1.3")]
    found = garbage(db, grace=0, dry_run=False)
    assert [one[0] for one in found] == ["old generation", "temporary", "temporary"]
    assert not [path for path in root.rglob(".*") if path.is_file()]
    assert not (root / "sub" / ".deleted.b.token.1.2").exists()
    assert db["sub/a"] == 1


@pytest.mark.usefixtures("only_files_are_locked")
def test_files_for_locking_stay(db: Database) -> None:
    """Where folders cannot be locked, as on NFS: who holds a lock on a file that is gone keeps nobody out."""
    db["sub/a"] = np.arange(3)
    with locked_folders(db.url, [f"{db.url}/sub/a"], create=False) as is_locked:
        assert is_locked
        held = {path: path.stat().st_ino for path in Path(db.url, LOCK_FOLDER).iterdir()}
        assert held
        age(db)
        for grace in (DAY, 0):
            assert not [one for one in db.gc(dry_run=False, grace=grace).garbage if LOCK_FOLDER in one.path]
        assert {path: path.stat().st_ino for path in held} == held


def elsewhere(db: Database, key: str, lease: float = 0.5) -> ClaimRecord:
    """Leave what a writer on another machine leaves that crashes while it writes a key."""
    claim = db._engine.claim(key)
    record = db._engine.claims.state(key)
    assert record is not None
    claim.fence.lose()
    claim.release()
    holder = dataclasses.replace(record.holder, boot="another")
    crashed = dataclasses.replace(record, holder=holder, lease=lease)
    db._engine.nodes.set(claim_path(key), crashed.dump())
    return crashed


def test_claims_of_processes_that_crashed_elsewhere(place: Place) -> None:
    db = place.open()
    db["written"] = np.arange(3)
    for key in ("begun", "s/begun", "written"):
        elsewhere(db, key)
        db._engine.nodes.set(f"{key}/data/2", b"x")  # a chunk of another generation
    assert garbage(db, grace=3600) == []
    report = db.gc(grace=0)
    assert report.busy == []
    assert {one.path for one in report.garbage if one.kind == "unfinished"} >= {"begun"}
    found = db.gc(grace=0, dry_run=False)
    assert found.busy == []
    assert not db._engine.nodes.list_objects("begun")
    assert not db._engine.nodes.get("written/data/2")
    assert all(record.state == "free" for record in map(db._engine.claims.state, ("begun", "s/begun")) if record)
    np.testing.assert_array_equal(db["written"], np.arange(3))
    for key in ("begun", "s/begun", "written"):
        db[key] = np.arange(5)
        np.testing.assert_array_equal(db[key], np.arange(5))
    assert db.verify().ok


def test_claims_elsewhere_are_collected_when_they_are_silent_for_the_grace_period(db: Database) -> None:
    for key in ("a", "b"):
        db._engine.nodes.set(f"{key}/data/c/0", b"x")
        elsewhere(db, key)
    age(db)
    os.utime(Path(db.url, claim_path("b")))  # it gave a sign of life
    report = db.gc(dry_run=False)
    assert [one.path for one in report.garbage if one.kind == "unfinished"] == ["a"]
    assert report.busy == ["b"]
    state = db._engine.claims.state("b")
    assert state is not None
    assert state.state == "held"


def test_a_claim_elsewhere_that_beats_is_left(place: Place) -> None:
    db = place.open()
    db._engine.nodes.set("k/data/c/0", b"x")
    record = elsewhere(db, "k", lease=LONG)
    beaten, stop = threading.Event(), threading.Event()

    def beat() -> None:
        number = 0
        while not stop.wait(0.05):
            number += 1
            db._engine.nodes.set(claim_path("k"), dataclasses.replace(record, beat=number).dump())
            beaten.set()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        assert beaten.wait(LONG)
        report = place.open().gc(grace=0, dry_run=False)  # which need not watch for the lease
    finally:
        stop.set()
        thread.join()
    assert report.busy == ["k"]
    assert db._engine.nodes.get("k/data/c/0") == b"x"


def test_all_claims_elsewhere_are_watched_at_once(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        elsewhere(db, f"k{number}", lease=LONG)
    clock = [heartbeat.now()]
    begun = clock[0]
    monkeypatch.setattr(heartbeat, "now", lambda: clock[0])
    sleep = SimpleNamespace(sleep=lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setattr(claims, "time", sleep)
    watched = db._engine.claims.silent(db._engine.claims.below(""))
    assert watched == {f"k{number}" for number in range(4)}
    assert LONG < clock[0] - begun < 1.5 * LONG
    for key in watched:
        db._engine.claim(key, blocking=False, hand_out=False).release()


def test_a_part_of_a_database(db: Database) -> None:
    db._engine.nodes.set("begun/data/c/0", b"x")
    sub = db.database("sub", create=True)
    db._engine.nodes.set("sub/begun/data/c/0", b"x")
    assert garbage(sub, grace=0) == [("unfinished", "sub/begun", 1)]
    with pytest.raises(ReadOnlyError):
        zdb.open(db.url, "r").gc(dry_run=False)
    assert len(zdb.open(db.url, "r").gc(grace=0).garbage) == 2


def test_values_below_a_prefix_without_a_node_stay(db: Database) -> None:
    db["sub/a"] = 1
    Path(db.url, "sub", "zarr.json").unlink()
    assert garbage(db, grace=0, dry_run=False) == []
    assert Path(db.url, "sub", "a", "zarr.json").exists()


def write_and_be_killed(place: Place, number: int, ready: Any) -> None:
    db = place.open("r+")
    value = number * 1000
    ready.set()
    while True:
        value += 1
        lazy = da.full((20, 5), value, chunks=(2, 5))
        db.set(f"writer{number}/a", lazy, chunks=(2, 5))
        db[f"writer{number}/small"] = value
        np.testing.assert_array_equal(db[f"writer{number}/a"], np.full((20, 5), value))


@pytest.mark.parametrize("store", ["local", pytest.param("s3", marks=pytest.mark.s3)])
def test_writers_are_not_disturbed(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from places import new_place

    place = new_place(store, tmp_path, request)
    db = place.open()
    ready = [CONTEXT.Event() for _ in range(2)]
    writers = [new_process(write_and_be_killed, place, number, event) for number, event in enumerate(ready)]
    for writer in writers:
        writer.start()
    try:
        assert all(event.wait(180) for event in ready)
        for _ in range(8):
            assert all(writer.is_alive() for writer in writers)
            db.gc(dry_run=False, grace=60)
            report = db.verify()
            assert report.problems == []
            time.sleep(0.2)
        assert all(writer.is_alive() for writer in writers)
    finally:
        for writer in writers:
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
    assert db.verify().ok
    found = values(db)
    db.gc(dry_run=False, grace=0)
    needed = {path for key in found for path in db._engine.node(key).object_paths()}  # type: ignore[union-attr]
    nodes = db._engine.nodes
    orphans = [path for number in range(2) for path in nodes.list_objects(f"writer{number}") if path not in needed]
    assert set(orphans) <= {f"writer{number}/zarr.json" for number in range(2)}
    assert db.verify().ok
    for key, value in values(db).items():
        xr.testing.assert_identical(value, found[key])


def test_the_command(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    db.set("a", np.arange(10), chunks=(5,))
    db.set("a", np.arange(20), chunks=(5,))
    assert main(["gc", db.url]) == 0
    assert "left, where something is younger than 86400 s" in capsys.readouterr().out
    assert main(["gc", db.url, "--grace", "0s", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["dry_run"] is True
    assert printed["garbage"][0]["kind"] == "old generation"
    assert main(["gc", db.url, "--grace", "0s", "--yes"]) == 0
    assert "removed" in capsys.readouterr().out
    assert main(["gc", db.url, "--grace", "0s"]) == 0
    assert "0 objects, 0 B to remove" in capsys.readouterr().out
    assert list(db.gc().to_frame().columns) == ["kind", "path", "objects", "nbytes"]
    with pytest.raises(SystemExit):
        main(["gc", db.url, "--grace", "soon"])


def test_the_garbage_of_one_key(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        for key in ("sub/a", "sub/b", "c"):
            db[key] = np.arange(number, 10)
    assert {one.path for one in db.gc("sub/a", grace=0).garbage} == {"sub/a"}
    assert main(["gc", db.url, "sub/a", "--grace", "0", "--yes"]) == 0
    assert "old generation: sub/a" in capsys.readouterr().out
    assert {one.path for one in db.gc("sub", grace=0).garbage} == {"sub/b"}
    assert {one.path for one in db.database("sub").gc("b", grace=0).garbage} == {"sub/b"}
    assert {one.path for one in db.gc(grace=0).garbage} >= {"sub/b", "c"}
    assert main(["gc", db.url, "no"]) == 3
    assert db.verify().ok


def test_keys_that_are_written_are_left(shared_place: Place) -> None:
    db = shared_place.open()
    for number in range(2):
        db.set("a", np.full(10, number), chunks=(5,))
        db.set("b", np.full(10, number), chunks=(5,))
    with holding(shared_place, "a", "new/deep/value") as writers:
        db._engine.nodes.set("new/deep/value/data/c/9", b"x")
        for planned in (db.gc(grace=0), db.gc(grace=0, dry_run=False)):
            assert planned.busy == ["a", "new/deep/value"]
            assert "left, as they are being written or filled: a, new/deep/value" in str(planned)
            assert [one.path for one in planned.garbage if one.kind != "record"] == ["b"]
        for writer in writers:
            writer.finish()
    for key in ("a", "new/deep/value"):
        np.testing.assert_array_equal(db[key], np.ones(20))
    assert db.verify().ok
    assert db.gc(grace=0, dry_run=False).busy == []
    assert db._engine.nodes.get("new/deep/value/data/c/9") is None
    assert db.verify().ok


def test_a_claim_that_is_taken_after_the_look_is_respected(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        db.set("a", np.full(10, number), chunks=(5,))
    db._engine.nodes.set("begun/data/c/0", b"x")
    db._engine.nodes.set("above/a/data/c/0", b"x")
    claims: list[Any] = []
    look = GarbageCollection._piles

    def take_before(self: Any, path: str, node: Any) -> Any:
        piles = look(self, path, node)
        if not any(f"{claim.path}/".startswith(f"{path}/") for claim in claims):
            claims.append(db._engine.claim("above/a" if path == "above" else path))
        return piles

    monkeypatch.setattr(GarbageCollection, "_piles", take_before)
    report = db.gc(grace=0, dry_run=False)
    assert report.busy == ["a", "above", "begun"]
    assert report.garbage == []
    for claim in claims:
        claim.release()
    monkeypatch.undo()
    assert {one[1] for one in garbage(db, grace=0, dry_run=False)} == {"a", "above", "begun"}


def test_records_of_claims(shared_place: Place) -> None:
    db = shared_place.open()
    db["a"] = np.arange(5)
    nodes, claims = db._engine.nodes, db._engine.claims
    for key in ("failed", "late"):
        with db._engine.claim(key) as claim:
            claim.give_up(settled=False)  # chunks of generation 0 may come yet
    db["late"] = np.arange(5)
    record = claims.state("failed")
    assert record is not None
    nodes.set(claim_path("old"), dataclasses.replace(record, key="old", generation=-1).dump())
    with holding(shared_place, "killed", "alive") as (killed, alive):
        killed.kill()
        report = db.gc(grace=3600, dry_run=False)
        assert claims.state("old") is not None  # it is young
        db.gc(grace=0, dry_run=False)
        left = {key: getattr(claims.state(key), "state", None) for key in ("failed", "late", "old", "killed", "alive")}
        assert (left["failed"], left["alive"]) == ("free", "held")
        if nodes.removes_conditionally:
            assert [one.kind for one in report.garbage] == ["claim"]
            assert left == {"failed": "free", "late": None, "old": None, "killed": None, "alive": "held"}
        alive.finish()
    np.testing.assert_array_equal(db["alive"], np.ones(20))
    db["killed"] = np.arange(3)
    assert db.verify().ok


def test_a_record_of_a_claim_that_is_taken_meanwhile_stays(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with db._engine.claim("a") as claim:
        claim.give_up(settled=False)
    record = db._engine.claims.state("a")
    assert record is not None
    db._engine.nodes.set(claim_path("a"), dataclasses.replace(record, generation=-1).dump())
    taken: list[Any] = []
    is_spent = ClaimRecord.is_spent

    def take(self: ClaimRecord, live: Any) -> bool:
        answer = is_spent(self, live)
        taken.append(db._engine.claim("a"))
        return answer

    monkeypatch.setattr(ClaimRecord, "is_spent", take)
    assert db.gc(grace=0, dry_run=False).garbage == []
    taken[0].check(ask=True)
    taken[0].release()


def begin_a_filling(place: Place, key: str) -> None:
    db = place.open("r+")
    db.create(key, np.empty((50, 8)), chunks=(10, 8))
    db.write_region(key, np.ones((10, 8)), {"dim_0": slice(0, 10)})


@pytest.mark.parametrize("key", ["v", "no/database/yet"])
def test_fillings_are_spared_until_they_are_discarded(shared_place: Place, key: str) -> None:
    db = shared_place.open()
    process = new_process(begin_a_filling, shared_place, key)
    process.start()
    process.join()
    assert process.exitcode == 0  # who began it is no more
    nodes = db._engine.nodes
    before = nodes.list_objects("")
    report = db.gc(grace=0, dry_run=False)
    assert report.busy == [key]
    assert report.garbage == []
    repairs = db.repair(dry_run=False)
    assert repairs.repairs == []
    assert nodes.list_objects("") == before
    if "/" in key:
        with pytest.raises(KeyConflictError, match="is being filled"):
            db["no"] = np.arange(3)
    assert set(before) <= set(nodes.list_objects(""))
    for start in range(10, 50, 10):
        db.write_region(key, np.ones((10, 8)), {"dim_0": slice(start, start + 10)})
    db.finish(key)
    np.testing.assert_array_equal(db[key], np.ones((50, 8)))
    assert db.verify().ok
    db.create(key, np.empty((50, 8)), chunks=(10, 8), overwrite=True)
    db.write_region(key, np.ones((10, 8)), {"dim_0": slice(0, 10)})
    (plan,) = {one.split("/")[3] for one in nodes.list_objects("_zdb/fills")} - {"zarr.json"}
    kept = {one: nodes.get(one) for one in nodes.list_objects("_zdb/fills") if plan in one}
    late = next(iter({*nodes.list_objects(key)} - {*db._engine.node(key).object_paths()}))  # type: ignore[union-attr]
    db.discard(key)
    for path, data in {**kept, late: b"x"}.items():
        nodes.set(path, data or b"")  # what a job has sent before and arrives now
    db.gc(grace=0, dry_run=False)
    assert nodes.list_objects("_zdb/fills") == []
    assert nodes.get(late) is None
    np.testing.assert_array_equal(db[key], np.ones((50, 8)))
    assert db.verify().ok
