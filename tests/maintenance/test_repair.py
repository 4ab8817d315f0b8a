"""``repair`` makes whole what can be made whole, and marks what is lost."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from maintenance.holding import holding
from maintenance.samples import damage, damages, fill, objects_in_use
from places import new_place

import zdb
from zdb.cli import main
from zdb.engine.conditional import S3Nodes
from zdb.engine.node import Node, dump, node_path
from zdb.environment import canonical_hash
from zdb.errors import CorruptChunkError, KeyNotFoundError, MissingChunkError, ReadOnlyError
from zdb.maintenance.verifying import Verification
from zdb.process import NotebookHistory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from places import Place

    from zdb import Database


def actions(db: Database, **options: Any) -> list[tuple[str, str]]:
    return [(one.key, one.action) for one in db.repair(**options).repairs]


def snapshot(db: Database) -> dict[str, bytes | None]:
    nodes = db._engine.nodes
    return {path: nodes.get(path) for path in nodes.list_objects("")}


def document(db: Database, key: str) -> dict[str, Any]:
    return Node.parse(key, db._engine.nodes.get(node_path(key)) or b"").document


def test_a_whole_database_is_left_alone(place: Place) -> None:
    db = place.open()
    fill(db)
    before = snapshot(db)
    report = db.repair(dry_run=False)
    assert report.ok
    assert report.repairs == []
    assert snapshot(db) == before


def test_the_generation_before_is_brought_back(place: Place) -> None:
    db = place.open()
    first = xr.Dataset({"v": (("x", "y"), np.arange(12.0).reshape(3, 4))}, attrs={"unit": "mV"})
    db.set("a", first, chunks=(1, 4), attrs={"note": "first"})
    provenance = db.provenance("a")
    opened = db["a"]
    db.set("a", xr.Dataset({"w": ("x", np.arange(10))}), chunks=(5,))
    second = db["a"]
    damage(db, "a/w/1", "lose", 0)
    (planned,) = db.repair().repairs
    assert planned[:2] == ("a", "restore")
    with pytest.raises(MissingChunkError):
        db["a"].load()
    assert db.repair(dry_run=False).ok
    xr.testing.assert_identical(db["a"].load(), first)
    assert db.provenance("a") == provenance
    assert db.info("a").attrs == {"note": "first"}
    assert db.info("a").generation == 3
    assert db.verify().ok
    for stale in (opened, second):
        with pytest.raises(zdb.errors.ZdbError):
            stale.load()
    for number in range(4):  # and writing goes on as ever
        db.set("a", first + number, chunks=(1, 4))
        xr.testing.assert_identical(db["a"].load(), first + number)
        assert db.verify().ok


def test_what_is_lost_is_marked_and_named(place: Place) -> None:
    db = place.open()
    db.set("a", np.arange(100.0), chunks=(10,))
    damage(db, "a/data/c/3", "lose", 0)
    damage(db, "a/data/c/5", "flip", 0.5)
    report = db.repair(dry_run=False)
    assert [(one.key, one.action) for one in report.repairs] == [("a", "mark")]
    assert not report.ok
    assert report.lost == ["a"]
    with pytest.raises(MissingChunkError, match=r"a: is damaged, array 'data' lacks 2 of 10 .*\(c/3, c/5\)"):
        db["a"]
    np.testing.assert_array_equal(db.get("a", rows=slice(0, 30)), np.arange(30.0))
    with pytest.raises(MissingChunkError):
        db.get("a", rows=slice(25, 35))
    assert ("a", "lost") in [(one.key, one.kind) for one in db.verify().problems]
    assert actions(db, dry_run=False) == [("a", "none")]
    db["a"] = np.arange(3)
    np.testing.assert_array_equal(db["a"], np.arange(3))
    assert db.verify().ok


def test_a_mark_is_taken_off_when_all_is_there_again(db: Database) -> None:
    db.set("a", np.arange(100.0), chunks=(10,))
    chunk = db._engine.nodes.get("a/data/c/3") or b""
    damage(db, "a/data/c/3", "lose", 0)
    db.repair(dry_run=False)
    db._engine.nodes.set("a/data/c/3", chunk)
    assert actions(db, dry_run=False) == [("a", "unmark")]
    np.testing.assert_array_equal(db["a"], np.arange(100.0))
    assert db.verify().ok


def test_the_generation_before_is_not_brought_back_if_it_is_damaged_too(db: Database) -> None:
    db.set("a", np.arange(10), chunks=(5,))
    db.set("a", np.arange(20), chunks=(5,))
    damage(db, "a/data/c/1", "flip", 0.5)
    damage(db, "a/data/1", "lose", 0)
    assert actions(db) == [("a", "mark")]
    db.set("b", np.arange(10), chunks=(5,))
    db["b"] = 1
    db.set("b", np.arange(10), chunks=(5,))
    damage(db, "b/data/c.1", "lose", 0)
    assert actions(db, key="b", dry_run=False) == [("b", "restore")]
    assert db["b"] == 1


def hand_out(db: Database, key: str) -> None:
    """Have a generation handed out that may still be written."""
    with db._engine.claim(key) as claim:
        claim.give_up(settled=False)


def test_a_generation_further_back_is_brought_back(place: Place) -> None:
    db = place.open()
    db.set("a", np.arange(10), chunks=(5,))
    hand_out(db, "a")
    db.set("a", np.arange(20), chunks=(5,))
    assert db.info("a").generation == 2
    damage(db, "a/data/c.1", "lose", 0)
    assert actions(db) == [("a", "restore")]
    assert db.repair(dry_run=False).ok
    np.testing.assert_array_equal(db["a"], np.arange(10))
    assert db.info("a").generation == 3
    assert db.verify().ok
    db.set("a", np.arange(30), chunks=(5,))
    np.testing.assert_array_equal(db["a"], np.arange(30))
    assert db.verify().ok


def test_a_generation_that_may_yet_be_overwritten_is_not_brought_back(db: Database) -> None:
    db.set("a", np.arange(10), chunks=(5,))
    hand_out(db, "a")
    db.set("a", np.arange(20), chunks=(5,))
    hand_out(db, "a")  # generation 3, which has the chunk keys of generation 0
    damage(db, "a/data/c.1", "lose", 0)
    assert actions(db, dry_run=False) == [("a", "mark")]
    np.testing.assert_array_equal(db.get("a", rows=slice(0, 5)), np.arange(5))


def test_a_key_that_is_written_is_left(shared_place: Place) -> None:
    db = shared_place.open()
    for key in ("a", "b"):
        db.set(key, np.arange(10), chunks=(5,))
        damage(db, f"{key}/data/c/1", "lose", 0)
    with holding(shared_place, "a") as (writer,):
        for dry_run in (True, False):
            assert actions(db, dry_run=dry_run) == [("a", "none"), ("b", "mark")]
        assert "is being written" in db.repair().repairs[0].message
        writer.finish()
    np.testing.assert_array_equal(db["a"], np.ones(20))
    assert db.verify().damaged == ["b"]


def test_what_changes_after_the_look_is_looked_at_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("array", "taken"):
        db.set(key, np.arange(10), chunks=(5,))
        damage(db, f"{key}/data/c/1", "lose", 0)
    db["small"] = 1
    db._engine.nodes.set("small/zarr.json", b"{")
    verify = Verification.run
    claims: list[Any] = []

    def write_after(self: Verification) -> Any:
        found = verify(self)
        db.set("array", np.arange(20), chunks=(5,))
        db._engine.nodes.delete(["small/zarr.json"])
        db["small"] = 2
        claims.append(db._engine.claim("taken"))
        return found

    monkeypatch.setattr(Verification, "run", write_after)
    before = document(db, "taken")
    assert [(one.key, one.action) for one in db.repair(dry_run=False).repairs] == [("taken", "none")]
    assert document(db, "taken") == before
    np.testing.assert_array_equal(db["array"], np.arange(20))
    assert db["small"] == 2
    claims[0].release()


def test_a_small_value_that_comes_before_the_commit_stays(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    db.set("a", np.arange(10), chunks=(5,))
    damage(db, "a/data/c/1", "lose", 0)
    nodes = db._engine.nodes
    replace = nodes.replace

    def write_before(path: str, data: bytes, tag: Any, **options: Any) -> Any:
        if path == "a/zarr.json":
            nodes.set(path, small)
        return replace(path, data, tag, **options)

    db["b"] = 1
    small = nodes.get("b/zarr.json") or b""
    monkeypatch.setattr(nodes, "replace", write_before)
    db.repair(dry_run=False)
    monkeypatch.undo()
    assert nodes.get("a/zarr.json") == small
    assert db["a"] == 1


def test_metadata_is_rebuilt_from_the_arrays_and_the_other_way_round(db: Database) -> None:
    fill(db)
    values = {key: db.dataset(key).load() for key in ("run/traces", "spikes", "file")}
    nodes = db._engine.nodes
    nodes.delete(["run/traces/data/zarr.json", "forest/below/zarr.json"])
    nodes.set("run/sharded/data/zarr.json", b"{")
    for key in ("spikes", "file"):
        broken = document(db, key)
        del broken["consolidated_metadata"]
        nodes.set(node_path(key), dump(broken))
    assert not db.verify().ok
    report = db.repair(dry_run=False)
    assert sorted((one.key, one.action) for one in report.repairs) == [
        ("file", "rebuild"),
        ("forest", "rewrite"),
        ("run/sharded", "rewrite"),
        ("run/traces", "rewrite"),
        ("spikes", "rebuild"),
    ]
    assert report.ok
    assert db.verify().ok
    for key, value in values.items():
        xr.testing.assert_identical(db.dataset(key).load(), value)
    assert bytes(db["file"]) == b"content of a file"


@pytest.mark.parametrize("kept", [None, {}, {"metadata": None}, {"metqdata": {}}, {"metadata": {}}, []])
def test_consolidated_metadata_without_the_arrays(db: Database, tmp_path: Path, kept: Any) -> None:
    db["r"] = [np.arange(3.0), np.arange(2.0)]
    changed = {**document(db, "r"), "consolidated_metadata": kept}
    db._engine.nodes.set("r/zarr.json", dump(changed))
    assert {(one.key, one.kind) for one in db.verify().problems} == {("r", "consolidated metadata")}
    with pytest.raises(CorruptChunkError, match="zdb repair"):
        _ = db["r"]
    if kept != {"metadata": {}}:
        target = zdb.open(tmp_path / "copy.zdb")
        assert list(db.sync_to(target).failed) == ["r"]
        assert "r" not in target
    assert db.repair(dry_run=False).ok
    np.testing.assert_array_equal(db["r"][1], np.arange(2.0))
    assert db.verify().ok


def test_a_value_without_one_of_its_arrays(db: Database) -> None:
    db["r"] = [np.arange(3.0), np.arange(2.0)]
    changed = document(db, "r")
    del changed["consolidated_metadata"]["metadata"]["row_size"]
    db._engine.nodes.set("r/zarr.json", dump(changed))
    with pytest.raises(CorruptChunkError, match="the metadata lack 'row_size'"):
        _ = db["r"]
    assert db.repair(dry_run=False).ok
    np.testing.assert_array_equal(db["r"][1], np.arange(2.0))


def test_nodes_that_cannot_be_read(db: Database) -> None:
    db["deep/a"] = 1
    db["deep/b/c"] = 2
    db["array"] = np.arange(5)
    db["small"] = 3
    nodes = db._engine.nodes
    nodes.delete(["deep/zarr.json"])
    nodes.set("array/zarr.json", b"{")
    nodes.set("small/zarr.json", b"{")
    assert actions(db, dry_run=False) == [("array", "rescue"), ("deep", "rebuild"), ("small", "none")]
    assert db["deep/b/c"] == 2
    np.testing.assert_array_equal(db["array"]["data"].values, np.arange(5))
    assert db.verify().damaged == ["small"]


def test_a_value_that_lost_its_node(place: Place) -> None:
    db = place.open()
    db.set("a", np.arange(6), chunks=(2,))
    db.set("a", np.arange(8), chunks=(2,))
    db._engine.nodes.delete(["a/zarr.json"])
    before = snapshot(db)
    assert actions(db) == [("a", "rescue")]
    assert db.gc(grace=0, dry_run=False).garbage == []
    assert before.items() <= snapshot(db).items()
    assert actions(db, dry_run=False) == [("a", "rescue")]
    np.testing.assert_array_equal(db["a"]["data"].values, np.arange(8))
    assert db.verify().ok
    assert db.repair().repairs == []


@pytest.mark.parametrize("how", ["lose", "cut", "flip"])
@pytest.mark.parametrize("folder", ["environments", "histories"])
def test_a_damaged_record_is_left_to_writers(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, how: str
) -> None:
    history = {"cells": ["1 + 1"]}
    monkeypatch.setattr(NotebookHistory, "current", lambda _: (canonical_hash(history), history))
    db["a"] = np.arange(5)
    db["b"] = np.arange(5)
    nodes = db._engine.nodes
    (record,) = (one for one in nodes.list_objects(f"_zdb/{folder}") if one.count("/") == 3)
    content = nodes.get(record)
    where = (content or b"").index(b"1 + 1" if folder == "histories" else b"python") / len(content or b"")
    damage(db, record, how, where + 0.001)
    damage(db, "a/data/c/0", "cut", 0.5)
    report = db.repair(dry_run=False)
    assert [(one.key, one.action) for one in report.repairs] == [(record.rpartition("/")[0], "none"), ("a", "mark")]
    assert "a writer with the same environment" in report.repairs[0].message
    db.gc(dry_run=False, grace=0)
    assert db.provenance("b").created
    target = zdb.open(tmp_path / "copy.zdb")
    assert list(db.sync_to(target).failed) == ["a"]
    assert {one.kind for one in target.verify().problems} == {"record"}
    zdb.open(db.url)["a"] = 1
    assert nodes.get(record) == content
    assert db.verify().ok


def test_ids_and_a_root_that_hides_keys(db: Database) -> None:
    db["a"] = 1
    db.consolidate()
    shutil.copytree(f"{db.url}/a", f"{db.url}/b")
    fresh = zdb.open(db.url)
    assert sorted(actions(fresh)) == [("", "rewrite"), ("b", "rename")]
    assert fresh.repair(dry_run=False).ok
    assert fresh.verify().ok
    assert fresh.info("a").id != fresh.info("b").id


def test_a_key_that_was_never_finished_is_dropped_when_it_is_old(db: Database) -> None:
    import os

    db._engine.nodes.set("begun/data/c/0", b"x")
    assert actions(db) == []
    os.utime(f"{db.url}/begun/data/c/0", (0, 0))
    assert actions(db) == [("begun", "drop")]
    assert db.repair(dry_run=False).ok
    assert db._engine.nodes.list_objects("begun") == []


@settings(max_examples=20)
@given(data=st.data())
def test_after_a_repair_everything_is_whole_or_marked(fresh: Callable[[], Database], data: Any) -> None:
    db = fresh()
    before = {key: db.dataset(key).load() for key in db.keys(recursive=True)}
    in_use = objects_in_use(db)
    hurt = data.draw(st.lists(st.sampled_from(sorted(in_use)), max_size=4, unique=True))
    for path in hurt:
        damage(db, path, data.draw(st.sampled_from(damages(path))), data.draw(st.floats(0, 0.99)))
    snapshot_before = snapshot(db)
    planned = db.repair()
    assert snapshot(db) == snapshot_before
    report = db.repair(dry_run=False)
    assert [one[:2] for one in report.repairs] == [one[:2] for one in planned.repairs]
    assert {one.key for one in report.repairs} == {in_use[path] for path in hurt}
    assert set(db.verify().damaged) == set(report.lost)
    restored = {one.key for one in report.repairs if one.action == "restore"}
    for key, value in before.items():
        if key not in {*report.lost, *restored}:
            xr.testing.assert_identical(db.dataset(key).load(), value)


def test_errors(db: Database) -> None:
    db["a"] = 1
    with pytest.raises(KeyNotFoundError):
        db.repair("b")
    reader = zdb.open(db.url, "r")
    assert reader.repair().repairs == []
    with pytest.raises(ReadOnlyError):
        reader.repair(dry_run=False)


def test_the_command(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    db.set("a", np.arange(100), chunks=(10,))
    assert main(["repair", db.url]) == 0
    assert "0 repairs to do" in capsys.readouterr().out
    damage(db, "a/data/c/3", "flip", 0.5)
    assert main(["repair", db.url]) == 6
    assert "1 repair would be done" in capsys.readouterr().out
    assert main(["repair", db.url, "a", "--yes", "--json"]) == 6
    printed = json.loads(capsys.readouterr().out)
    assert printed["lost"] == ["a"]
    assert printed["repairs"][0]["action"] == "mark"
    assert list(db.repair().to_frame().columns) == ["key", "action", "message"]
    damage(db, "a/data/zarr.json", "lose", 0)
    db["a"] = 1
    assert main(["repair", db.url, "--yes"]) == 0


@pytest.mark.s3
def test_a_rename_in_a_bucket_that_was_cut_off(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves both keys, as docs/reliability.md says."""
    db = new_place("s3", tmp_path, request).open()
    db["old"] = np.arange(3)

    remove = S3Nodes.remove

    def cut_off(nodes: S3Nodes, path: str, tag: Any) -> bool:
        if path == "old/zarr.json":
            raise SystemExit
        return remove(nodes, path, tag)

    with monkeypatch.context() as patch:
        patch.setattr(S3Nodes, "remove", cut_off)
        with pytest.raises(SystemExit):
            db.rename("old", "new")
    assert list(db) == ["new", "old"]
    assert [one.kind for one in db.verify().problems] == ["id"]
    assert db.repair(dry_run=False).ok
    assert db.verify().ok
    assert db.info("old").id != db.info("new").id
    for key in ("old", "new"):
        np.testing.assert_array_equal(db[key], np.arange(3))
