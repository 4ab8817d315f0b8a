"""Copying between databases: readers of the target see whole values, and a copy can be interrupted anywhere."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from maintenance.holding import holding
from maintenance.samples import damage, fill
from other_processes import CONTEXT, new_process
from transfer.comparing import assert_same

import zdb
from zdb.cli import main
from zdb.errors import KeyConflictError, KeyExistsError, KeyNotFoundError, ReadOnlyError
from zdb.transfer import copying

if TYPE_CHECKING:
    from pathlib import Path

    from places import Place

    from zdb import Database


@pytest.mark.parametrize(
    "store", ["local", "memory", *(pytest.param(s3, marks=pytest.mark.s3) for s3 in ("s3", "moto"))]
)
def test_a_database_is_copied_as_it_is(
    place: Place, store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from places import new_place

    db = place.open()
    fill(db)
    target = new_place(store, tmp_path, request).open()
    report = db.copy_to(target)
    assert report.ok
    assert sorted(report.copied) == sorted(db.keys(recursive=True))
    assert_same(db, target)
    again = db.copy_to(target)
    assert (again.copied, again.objects, again.unchanged) == ([], 0, len(report.copied))


def test_only_what_changed_is_copied(db: Database, tmp_path: Path) -> None:
    fill(db)
    target = zdb.open(tmp_path / "copy.zdb")
    db.sync_to(target)
    db["parameters"] = {"dt": 0.1}
    db.set("run/traces", np.ones((7, 3)), chunks=(5, 3))
    db["new/value"] = 1
    del db["file"]
    planned = db.sync_to(target, dry_run=True)
    assert planned.copied == ["new/value", "parameters", "run/traces"]
    assert target["parameters"] == {"dt": 0.025}
    assert db.sync_to(target).copied == planned.copied
    assert "file" in target
    assert db.sync_to(target, delete=True, dry_run=True).deleted == ["file"]
    assert db.sync_to(target, delete=True).deleted == ["file"]
    assert_same(db, target)


def test_what_was_changed_in_the_target_is_copied_again(db: Database, tmp_path: Path) -> None:
    db["a"] = np.arange(3)
    target = zdb.open(tmp_path / "copy.zdb")
    db.sync_to(target)
    target["a"] = np.arange(5)
    with pytest.raises(KeyExistsError, match="a: exists in"):
        db.copy_to(target)
    assert db.sync_to(target).copied == ["a"]
    assert_same(db, target)
    assert target.sync_to(db).copied == []  # and back there is nothing to do
    assert target.info("a").generation == 2


def test_a_key_is_copied_to_another_key_and_to_the_same_database(db: Database, tmp_path: Path) -> None:
    fill(db)
    db.copy_to(db, "run/traces", "traces")
    np.testing.assert_array_equal(db["traces"], db["run/traces"])
    assert db.provenance("traces") == db.provenance("run/traces")
    db.copy_to(db.database("copies", create=True), "run")
    assert db.database("copies/run").keys(recursive=True) == db.database("run").keys(recursive=True)
    assert db.verify().ok
    with pytest.raises(KeyConflictError, match="one lies in the other"):
        db.copy_to(db, "run", "run/below")
    with pytest.raises(KeyNotFoundError):
        db.copy_to(zdb.open(tmp_path / "copy.zdb"), "no")


def test_values_and_databases_do_not_replace_each_other(db: Database, tmp_path: Path) -> None:
    target = zdb.open(tmp_path / "copy.zdb")
    db["a/b"] = 1
    target["a"] = 2
    with pytest.raises(KeyConflictError, match="a: is a value in"):
        db.sync_to(target)
    with pytest.raises(KeyConflictError, match="is a sub-database in"):
        target.sync_to(db)
    with pytest.raises(KeyConflictError):
        db.copy_to(target, "a/b", "a/c")
    with pytest.raises(ReadOnlyError):
        db.sync_to(zdb.open(tmp_path / "copy.zdb", "r"))
    assert target["a"] == 2


def test_a_damaged_value_is_not_copied(db: Database, tmp_path: Path) -> None:
    db.set("a", np.arange(10), chunks=(5,))
    db["b"] = 1
    target = zdb.open(tmp_path / "copy.zdb")
    db.sync_to(target)
    db.set("a", np.arange(20), chunks=(5,))
    db._engine.nodes.delete(["a/data/1"])
    report = db.sync_to(target, delete=True)
    assert list(report.failed) == ["a"]
    assert "a/data/1" in report.failed["a"]
    np.testing.assert_array_equal(target["a"], np.arange(10))


@pytest.mark.parametrize("how", ["cut", "flip"])
@pytest.mark.parametrize("path", ["a/data/1.0", "sharded/data/0.0", "words/data/0", "file/content/0"])
def test_a_value_whose_bytes_changed_is_not_copied(db: Database, tmp_path: Path, path: str, how: str) -> None:
    target = zdb.open(tmp_path / "copy.zdb")
    for number in range(2):
        db.set("a", np.full((40, 10), number), chunks=(5, 10))
        db.set("sharded", np.full((40, 10), number), chunks=(5, 10), shards=(20, 10))
        db["words"] = np.array(["one", str(number)], dtype=object)
        db["file"] = b"content" * (number + 1)
        if not number:
            db.sync_to(target)
    key = path.split("/")[0]
    before = target[key]
    for where in (0.2, 0.95):  # in a shard, of a chunk and of the index
        whole = db._engine.nodes.get(path)
        damage(db, path, how, where)
        report = db.sync_to(target, delete=True)
        assert list(report.failed) == [key]
        assert path in report.failed[key]
        if key != "file":
            np.testing.assert_array_equal(target[key], before)
        assert target.verify().ok
        db._engine.nodes.set(path, whole)
    assert db.sync_to(target).ok
    assert_same(db, target)


def test_what_lost_its_node_is_not_deleted_from_the_target(db: Database, tmp_path: Path) -> None:
    db["a"] = np.arange(3)
    db["sub/b"] = 1
    target = zdb.open(tmp_path / "copy.zdb")
    db.sync_to(target)
    db._engine.nodes.delete(["a/zarr.json", "sub/zarr.json"])
    db._engine.nodes.set("begun/data/c/0", b"x")
    report = db.sync_to(target, delete=True)
    assert list(report.failed) == ["a", "sub"]
    assert "lost its node" in report.failed["a"]
    assert target.keys(recursive=True) == ["a", "sub/b"]


def test_a_reader_of_the_target_keeps_its_generation(db: Database, tmp_path: Path) -> None:
    target = zdb.open(tmp_path / "copy.zdb")
    for number in range(6):
        db.set("a", xr.Dataset({"x": ("t", np.full(20, number))}), chunks=(5,))
        if number:
            opened = target["a"]
            db.sync_to(target)
            np.testing.assert_array_equal(opened["x"].values, np.full(20, number - 1))
        else:
            db.sync_to(target)
    assert target.verify().ok


def test_plain_zarr_is_copied(db: Database, tmp_path: Path) -> None:
    import zarr

    db.database("plain", create=True)
    group = zarr.create_group(f"{db.url}/plain/group")
    group.create_array("x", data=np.arange(5), dimension_names=["t"])
    target = zdb.open(tmp_path / "copy.zdb")
    assert db.sync_to(target).copied == ["plain/group"]
    xr.testing.assert_identical(target["plain/group"].load(), db["plain/group"].load())
    assert db.sync_to(target).copied == []
    group["x"][0] = 7
    group.create_array("y", data=np.arange(5), dimension_names=["t"])
    assert db.sync_to(target).copied == ["plain/group"]
    xr.testing.assert_identical(target["plain/group"].load(), db["plain/group"].load())


def test_a_zip_file_is_copied(db: Database, tmp_path: Path) -> None:
    fill(db)
    shutil.make_archive(str(tmp_path / "packed"), "zip", db.url)
    target = zdb.open(tmp_path / "copy.zdb")
    zdb.open(tmp_path / "packed.zip", "r").copy_to(target)
    assert_same(db, target)


class Sync(RuleBasedStateMachine):
    """Two databases that change, and syncs between them, against two dicts."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.source, self.target = zdb.open(self.folder / "a.zdb"), zdb.open(self.folder / "b.zdb")
        self.has: dict[str, int] = {}
        self.had: dict[str, int] = {}
        self.number = 0

    keys = st.sampled_from(["a", "b", "c/a", "c/b"])

    def write(self, db: Database, model: dict[str, int], key: str, small: bool) -> None:
        self.number += 1
        db.set(key, self.number if small else np.full(6, self.number), **({} if small else {"chunks": (2,)}))
        model[key] = self.number

    @rule(key=keys, small=st.booleans())
    def change_source(self, key: str, small: bool) -> None:
        self.write(self.source, self.has, key, small)

    @rule(key=keys, small=st.booleans())
    def change_target(self, key: str, small: bool) -> None:
        self.write(self.target, self.had, key, small)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        if self.has.pop(key, None) is not None:
            del self.source[key]

    @rule(delete=st.booleans())
    def sync(self, delete: bool) -> None:
        changed = {key for key, number in self.has.items() if self.had.get(key) != number}
        report = self.source.sync_to(self.target, delete=delete)
        assert set(report.copied) == changed
        gone = {key for key in self.had if key not in self.has}
        self.had = {key: n for key, n in self.had.items() if not (delete and key in gone)} | self.has

    @rule()
    def copy(self) -> None:
        if any(self.had.get(key, number) != number for key, number in self.has.items()):
            with pytest.raises(KeyExistsError):
                self.source.copy_to(self.target)
            self.source.sync_to(self.target)
        else:
            self.source.copy_to(self.target)
        self.had |= self.has

    @invariant()
    def agree(self) -> None:
        for db, model in ((self.source, self.has), (self.target, self.had)):
            assert set(db.keys(recursive=True)) == set(model)
            for key, number in model.items():
                assert np.all(db[key] == number)

    def teardown(self) -> None:
        assert self.source.verify().ok
        assert self.target.verify().ok


def test_syncs_against_a_model(tmp_path: Path) -> None:
    class Machine(Sync):
        folder = tmp_path / "sync"

    limits = settings(max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Machine, settings=limits)


def sync_once(source: Place, target: Place, ready: Any) -> None:
    copying.RESUMED_BYTES = 1
    one, other = source.open("r"), target.open("r+")
    ready.set()
    one.sync_to(other)


@pytest.mark.parametrize(("store", "kills"), [("local", 5), pytest.param("s3", 2, marks=pytest.mark.s3)])
def test_a_killed_sync_is_taken_up(
    store: str, kills: int, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from places import Place, new_place

    monkeypatch.setattr(copying, "RESUMED_BYTES", 1)
    source, target = Place(str(tmp_path / "source.zdb")), new_place(store, tmp_path, request)
    db, copy = source.open(), target.open()
    for number in range(3):
        db.set(f"k{number}", np.zeros((40, 10)), chunks=(1, 10))
    db.copy_to(copy)
    moments = random.Random(1)
    for version in range(1, kills + 1):
        for number in range(3):
            db.set(f"k{number}", np.full((40 + version, 10), version), chunks=(1, 10))
        ready = CONTEXT.Event()
        process = new_process(sync_once, source, target, ready)
        process.start()
        assert ready.wait(180)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()  # which may have ended by itself
        process.join()
        for number in range(3):
            found = target.open("r")[f"k{number}"]
            assert np.unique(found).size == 1
            assert found.shape[0] == 40 + int(found.flat[0])
        assert copy.verify().ok
        left = db.sync_to(copy)
        assert left.objects <= 3 * (40 + version + 3)
        assert_same(db, copy)


def test_what_an_interrupted_copy_brought_is_not_copied_again(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "RESUMED_BYTES", 1)
    db.set("a", np.arange(1000), chunks=(10,))
    target = zdb.open(tmp_path / "copy.zdb")
    nodes = target._engine.nodes
    written = nodes.stage
    one_at_a_time = threading.Lock()

    def fail_at_the_fiftieth(path: str, data: bytes) -> None:
        with one_at_a_time:
            if len(nodes.list_objects("a")) > 50:
                raise zdb.errors.StorageError("no connection")
            written(path, data)

    monkeypatch.setattr(nodes, "stage", fail_at_the_fiftieth)
    with pytest.raises(zdb.errors.StorageError, match="no connection"):
        db.sync_to(target)
    assert "a" not in target
    monkeypatch.setattr(nodes, "stage", written)
    report = db.sync_to(target)
    assert 40 < report.objects < 60
    assert_same(db, target)
    assert not [path for path in nodes.list_objects("a") if copying.MARKER in path]


def test_the_commands(db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db["a"] = np.arange(3)
    db["b/c"] = 1
    target = str(tmp_path / "copy.zdb")
    assert main(["cp", db.url, target, "b", "d", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert zdb.open(target, "r").keys(recursive=True) == ["d/c"]
    assert main(["sync", db.url, target, "--delete", "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["copied"], planned["deleted"]) == (["a", "b/c"], ["d"])
    assert main(["sync", db.url, target, "--delete"]) == 0
    assert "2 copied, 0 unchanged, 1 deleted, 0 failed" in capsys.readouterr().out
    db["a"] = 2
    assert main(["cp", db.url, target]) == 5
    db._engine.nodes.set("b/c/zarr.json", b"{")
    assert main(["sync", db.url, target]) == 6
    assert main(["cp", db.url, str(tmp_path / "other.zdb"), "no"]) == 3
    assert not (tmp_path / "other.zdb").exists()


def write_often(place: Place, ready: Any) -> None:
    db = place.open("r+")
    ready.set()
    for number in range(1_000_000):
        db.set("a", np.full((30, 10), -1 - number), chunks=(1, 10))
        db["small"] = -1 - number
        time.sleep(0.2)  # claims are not handed over in turn


@pytest.mark.parametrize("store", ["local", pytest.param("s3", marks=pytest.mark.s3)])
def test_copies_and_a_writer_of_the_same_keys(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from places import Place, new_place

    source, target = Place(str(tmp_path / "source.zdb")), new_place(store, tmp_path, request)
    db, copy = source.open(), target.open()
    ready = CONTEXT.Event()
    writer = new_process(write_often, target, ready)
    writer.start()
    try:
        assert ready.wait(180)
        for number in range(12 if store == "local" else 4):
            db.set("a", np.full((20, 10), number), chunks=(1, 10))
            db["small"] = number
            report = db.sync_to(copy)
            assert report.ok
            assert sorted(report.copied) == ["a", "small"]
            found = copy["a"]
            assert np.unique(found).size == 1
            assert found.shape == ((30, 10) if found[0, 0] < 0 else (20, 10))
        assert writer.is_alive()
    finally:
        writer.kill()
        writer.join()
    assert copy.verify().ok
    db.sync_to(copy)
    assert_same(db, copy)


def test_a_copy_waits_for_a_writer(shared_place: Place, tmp_path: Path) -> None:
    db, copy = zdb.open(tmp_path / "source.zdb"), shared_place.open()
    db.set("a", np.arange(30), chunks=(5,))
    db["b"] = 1
    with holding(shared_place, "a") as (writer,):
        failures: list[Exception] = []

        def copy_without_overwriting() -> None:
            try:
                db.copy_to(copy)
            except KeyExistsError as error:
                failures.append(error)

        thread = threading.Thread(target=copy_without_overwriting)
        thread.start()
        while "b" not in copy:
            time.sleep(0.01)
        assert "a" not in copy
        writer.finish()
        thread.join()
    assert "a: exists in" in str(failures[0])
    np.testing.assert_array_equal(copy["a"], np.ones(20))
    db.sync_to(copy)
    assert_same(db, copy)
    assert copy.gc(grace=0, dry_run=False).busy == []
    assert_same(db, copy)


@pytest.mark.parametrize("command", ["copy", "sync"])
def test_keys_that_jobs_fill_in_the_target_are_skipped(place: Place, tmp_path: Path, command: str) -> None:
    db, copy = zdb.open(tmp_path / "source.zdb"), place.open()
    for key in ("a", "filled", "small", "s/k", "z"):
        db[key] = 1 if key == "small" else np.arange(3)
    copy["old"] = 1
    for key in ("filled", "small", "s"):
        copy.create(key, np.empty((4, 2)), chunks=(2, 2))

    def transfer() -> Any:
        return db.copy_to(copy) if command == "copy" else db.sync_to(copy, delete=True)

    report = transfer()
    assert sorted(report.copied) == ["a", "z"]
    assert sorted(report.skipped) == ["filled", "s", "s/k", "small"]
    assert "filled: is being filled since" in report.skipped["filled"]
    assert not report.ok
    assert report.deleted == []
    assert report.to_dict()["skipped"] == report.skipped
    assert "0 failed, 4 skipped" in str(report)
    for key in ("filled", "small", "s"):
        copy.discard(key)
    report = transfer()
    assert sorted(report.copied) == ["filled", "s/k", "small"]
    assert report.ok
    if command == "sync":
        assert_same(db, copy)


def test_what_jobs_fill_is_not_deleted_from_the_target(db: Database, tmp_path: Path) -> None:
    db["a"] = 1
    copy = zdb.open(tmp_path / "copy.zdb")
    copy["filled"] = 2
    copy["old"] = 1
    copy.create("filled", np.empty((4, 2)), chunks=(2, 2), overwrite=True)
    assert main(["sync", db.url, copy.url, "--delete"]) == 6
    assert sorted(copy) == ["a", "filled"]
    report = db.sync_to(copy, delete=True)
    assert list(report.skipped) == ["filled"]
    copy.discard("filled")
    assert main(["sync", db.url, copy.url, "--delete"]) == 0
    assert sorted(copy) == ["a"]


def test_two_copies_at_once_make_one(db: Database, tmp_path: Path) -> None:
    for number in range(6):
        db.set(f"k{number}", np.full((40, 10), number), chunks=(1, 10))
    target = zdb.open(tmp_path / "copy.zdb")
    threads = [threading.Thread(target=db.copy_to, args=(zdb.open(target.url),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same(db, target)


def test_what_lies_below_a_damaged_node_is_not_copied_over(db: Database, tmp_path: Path) -> None:
    db["a"] = np.arange(3)
    db["b"] = 1
    target = zdb.open(tmp_path / "copy.zdb")
    target["a/deep"] = np.arange(5)
    target["b"] = 2
    for key in ("a", "b"):
        target._engine.nodes.set(f"{key}/zarr.json", b"{")
    with pytest.raises(KeyConflictError, match=r"a: .* below it lies a/deep"):
        db.sync_to(target)
    np.testing.assert_array_equal(target["a/deep"], np.arange(5))
    db.sync_to(target, "b")
    assert target["b"] == 1
