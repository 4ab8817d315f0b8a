"""``verify`` finds what is damaged, and nothing else."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from maintenance.samples import damage, damages, fill, objects_in_use
from other_processes import CONTEXT, new_process

from zdb.cli import main
from zdb.engine.claim import Claim
from zdb.engine.node import Node, dump, node_path
from zdb.errors import CorruptChunkError, KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from places import Place

    from zdb import Database


def kinds(db: Database, **options: Any) -> list[tuple[str, str]]:
    return [(one.key, one.kind) for one in db.verify(**options).problems]


def edit(db: Database, key: str, **attributes: Any) -> None:
    """Change attributes of a node; those that are None are taken away."""
    data = db._engine.nodes.get(node_path(key))
    assert data is not None
    document = Node.parse(key, data).document
    changed = {**document["attributes"], **attributes}
    document["attributes"] = {name: value for name, value in changed.items() if value is not None}
    db._engine.nodes.set(node_path(key), dump(document))


@pytest.mark.parametrize("deep", [True, False])
def test_a_whole_database_has_no_problems(place: Place, deep: bool) -> None:
    db = place.open()
    fill(db)
    report = place.open("r").verify(deep=deep)
    assert report.ok
    assert report.problems == []
    assert report.databases == 3
    assert report.values == len(db.keys(recursive=True)) == 10
    assert report.objects == sum(not path.endswith("zarr.json") for path in objects_in_use(db))
    assert report.nbytes > 0
    assert report.unfinished == []


@settings(max_examples=30)
@given(data=st.data())
def test_exactly_the_damaged_keys_are_found(fresh: Callable[[], Database], data: Any) -> None:
    db = fresh()
    in_use = objects_in_use(db)
    paths = data.draw(st.lists(st.sampled_from(sorted(in_use)), max_size=4, unique=True))
    expected, lost = set(), set()
    for path in paths:
        how = data.draw(st.sampled_from(damages(path)))
        damage(db, path, how, data.draw(st.floats(0, 1, exclude_max=True)))
        expected.add(in_use[path])
        if how == "lose":
            lost.add(path)
    for name in data.draw(st.lists(st.sampled_from(["run/left/data/c/0", "run/traces/data/9.9", "run/.tmp"]))):
        db._engine.nodes.set(name, b"left by a writer that died")
    report = db.verify()
    assert set(report.damaged) == expected
    assert set(paths) <= {problem.path for problem in report.problems}
    assert lost <= {problem.path for problem in db.verify(deep=False).problems}
    key = data.draw(st.sampled_from(sorted(set(in_use.values()))))
    assert db.verify(key).ok == (key not in expected)


@pytest.mark.parametrize("how", ["lose", "cut", "flip"])
def test_damage_is_found_in_every_store(place: Place, how: str) -> None:
    db = place.open()
    db.set("a", np.arange(100.0), chunks=(10,))
    db.set("b", np.arange(100.0), chunks=(10,), shards=(50,))
    db["c"] = 1
    damage(db, "b/data/c/1", how, 0.7)
    report = db.verify()
    assert report.damaged == ["b"]
    (problem,) = report.problems
    assert problem.path == "b/data/c/1"
    if how == "flip":
        assert problem.message.endswith("the checksum (CRC-32C) is wrong")
        with pytest.raises(CorruptChunkError, match=r"b/data/c/1 cannot .* the checksum \(CRC-32C\) is wrong;"):
            np.asarray(db["b"])
    assert report.objects == 12


def test_a_chunk_that_is_not_in_its_shard_is_found(db: Database) -> None:
    db.set("a", np.arange(100.0), chunks=(10,), shards=(50,))
    path = "a/data/c/0"
    data = bytearray(db._engine.nodes.get(path) or b"")
    index = len(data) - 4 - 16 * 5
    data[index + 32 : index + 48] = b"\xff" * 16
    import google_crc32c

    data[-4:] = google_crc32c.value(bytes(data[index:-4])).to_bytes(4, "little")
    db._engine.nodes.set(path, bytes(data))
    (problem,) = db.verify().problems
    assert problem[:3] == ("a", "missing chunk", path)
    assert "chunk (2,) of the shard is not in it" in problem.message


def test_a_file_that_does_not_match_its_checksum(db: Database) -> None:
    db["f"] = b"content"
    db["e"] = b""
    edit(db, "f", zdb_sha256="0" * 64)
    edit(db, "e", zdb_sha256="0" * 64)
    assert kinds(db) == [("e", "checksum"), ("f", "checksum")]
    assert kinds(db, deep=False) == []


def test_metadata_of_arrays(db: Database) -> None:
    fill(db)
    nodes = db._engine.nodes
    own = Node.parse("", nodes.get("run/traces/data/zarr.json") or b"").document
    nodes.set("run/traces/data/zarr.json", dump({**own, "shape": [1, 1]}))
    top = Node.parse("", nodes.get("spikes/zarr.json") or b"").document
    del top["consolidated_metadata"]["metadata"]["row_size"]
    nodes.set("spikes/zarr.json", dump(top))
    top = Node.parse("", nodes.get("file/zarr.json") or b"").document
    del top["consolidated_metadata"]
    nodes.set("file/zarr.json", dump(top))
    top = Node.parse("", nodes.get("words/zarr.json") or b"").document
    top["consolidated_metadata"]["metadata"]["data"]["codecs"] = [{"name": "no such codec"}]
    nodes.set("words/zarr.json", dump(top))
    assert kinds(db) == [
        ("file", "consolidated metadata"),
        ("run/traces", "array metadata"),
        ("spikes", "consolidated metadata"),
        ("words", "array metadata"),
        ("words", "value"),
    ]


def test_an_array_that_an_older_generation_left_is_no_damage(db: Database) -> None:
    db["a"] = xr.Dataset({"old": ("x", [1, 2]), "same": ("x", [1, 2])})
    left = {path: db._engine.nodes.get(path) or b"" for path in ("a/old/zarr.json", "a/old/c/0")}
    for number in range(3):
        db["a"] = xr.Dataset({"same": ("x", [number])})
    for path, data in left.items():
        db._engine.nodes.set(path, data)
    assert db.verify().ok
    edit(db, "a", zdb_arrays=2)
    (problem,) = db.verify(deep=False).problems
    assert problem[:3] == ("a", "consolidated metadata", "a/zarr.json")
    assert problem.message == "has 1 array, and was written with 2"


def test_metadata_that_is_a_step_ahead_is_no_damage(db: Database) -> None:
    db.set("a", np.arange(10), chunks=(5,))
    before = db._engine.nodes.get("a/zarr.json") or b""
    db.set("a", np.arange(20), chunks=(5,))
    db._engine.nodes.set("a/zarr.json", before)  # as if the writer had died before the commit
    assert db.verify().ok


@pytest.mark.parametrize("value", [1, xr.Dataset({"other": ("x", [1, 2])})], ids=["small", "arrays"])
def test_metadata_that_came_late_below_another_value_is_left_over(place: Place, value: Any) -> None:
    db = place.open()
    nodes = db._engine.nodes
    db["k"] = np.arange(3)
    late = nodes.get("k/data/zarr.json")
    assert late is not None
    for _ in range(3):  # then the keys of chunks are the same again
        db["k"] = value
        nodes.set("k/data/zarr.json", late)
        assert db.verify().ok
        assert db.repair().repairs == []
    db.gc(dry_run=False, grace=0)
    assert "k/data/zarr.json" not in nodes.list_objects("k")


def test_nodes_names_and_ids(db: Database, tmp_path: Path) -> None:
    root = tmp_path / "results.zdb"
    db["a"] = 1
    db["b"] = 2
    db["gone/value"] = 3
    db["cut"] = 4
    db["newer"] = 5
    shutil.copytree(root / "a", root / "A")
    shutil.copytree(root / "a", root / "a name")
    edit(db, "b", zdb_id=None, zdb_value="{")
    edit(db, "newer", zdb_version=99)
    (root / "cut" / "zarr.json").write_text("{")
    (root / "gone" / "zarr.json").unlink()
    assert kinds(db) == [
        ("a", "id"),
        ("a", "name"),
        ("a name", "id"),
        ("a name", "name"),
        ("b", "id"),
        ("b", "value"),
        ("b", "value"),
        ("cut", "node"),
        ("gone", "node"),
        ("newer", "node"),
    ]


def test_a_value_that_lost_its_node(place: Place) -> None:
    db = place.open()
    fill(db)
    db.create("filled", da.zeros((4, 3), chunks=(2, 3)))
    db.write_region("filled", np.ones((4, 3)), {})
    nodes = db._engine.nodes
    keys = ["file", "forest", "run/traces", "scalar", "words"]
    nodes.delete([node_path(key) for key in keys])
    for report in (db.verify(), db.verify(deep=False)):
        assert report.damaged == keys
        assert {problem.kind for problem in report.problems} == {"node"}
        assert report.unfinished == ["filled"]
    assert "its array data is whole" in str(db.verify("scalar"))
    nodes.delete(["words/data/zarr.json", *(path for path in nodes.list_objects("file") if "content/" in path)])
    assert db.verify().damaged == ["forest", "run/traces", "scalar"]


def write_and_stop_before_the_commit(place: Place, ready: Any) -> None:
    db = place.open("r+")
    commit = Claim.commit

    def stop(self: Claim, make: Any) -> None:
        if self.path == "new/deep":
            ready.set()
            time.sleep(600)
        commit(self, make)

    Claim.commit = stop  # type: ignore[method-assign]
    db["new/deep"] = np.arange(5)


def test_what_a_killed_writer_left_has_not_lost_its_node(shared_place: Place) -> None:
    """All but the node is there, also when garbage collection has looked, until the grace period is over."""
    db = shared_place.open()
    ready = CONTEXT.Event()
    writer = new_process(write_and_stop_before_the_commit, shared_place, ready)
    writer.start()
    try:
        assert ready.wait(180)
        assert db.verify().ok
    finally:
        writer.kill()
        writer.join()
    left = db._engine.nodes.list_objects("new/deep")
    assert "new/deep/data/zarr.json" in left
    for _ in range(2):
        report = db.verify()
        assert report.ok
        assert report.unfinished == ["new"]
        assert db.repair(dry_run=False).repairs == []
        db.gc(dry_run=False)
        assert db._engine.nodes.list_objects("new/deep") == left
    db.gc(dry_run=False, grace=0)
    assert db._engine.nodes.list_objects("new/deep") == []
    assert db.verify().ok


def test_provenance_records(db: Database) -> None:
    db["a"] = 1
    db["b"] = 2
    (record,) = (path for path in db._engine.nodes.list_objects("_zdb/environments") if path.count("/") == 3)
    content = db._engine.nodes.get(record) or b""
    db._engine.nodes.set(record, content.replace(b"python", b"PYTHON"))
    (problem,) = db.verify().problems
    assert problem.kind == "record"
    assert "needed by a and 1 more" in problem.message
    db._engine.nodes.delete([record])
    assert [one.kind for one in db.verify("a").problems] == ["record"]


def test_what_is_no_value_is_named(db: Database) -> None:
    import zarr

    zarr.create_group(f"{db.url}/plain").create_array("x", shape=(3,), dtype="f8")
    db._engine.nodes.set("begun/data/c/0", b"x")
    report = db.verify()
    assert report.ok
    assert report.unfinished == ["begun"]
    assert report.foreign == ["plain"]
    assert "unfinished: begun" in str(report)
    assert "plain Zarr, not checked: plain" in repr(report)


def test_what_was_deleted_is_not_unfinished(place: Place) -> None:
    db = place.open()
    db["below/numbers"] = np.arange(3)
    db["file"] = b"content"
    db["parameters"] = {"dt": 0.025}
    for key in ("below", "file", "parameters"):
        del db[key]
    assert db.verify().unfinished == []


def test_a_key_that_is_not_there(db: Database) -> None:
    db["voltage"] = 1
    with pytest.raises(KeyNotFoundError, match="did you mean 'voltage'"):
        db.verify("voltag")
    assert db.database("sub", create=True).verify().databases == 1


@pytest.mark.parametrize("method", ["verify", "repair", "gc"])
def test_a_part_of_a_value_is_no_key(db: Database, method: str) -> None:
    db["sub/a"] = np.arange(3)
    db["forest"] = xr.DataTree.from_dict({"/below": xr.Dataset({"b": ("y", [3, 4])})})
    for key, value in (
        ("sub/a/data", "sub/a"),
        ("sub/a/data/c", "sub/a"),
        ("sub/a/no", "sub/a"),
        ("forest/below", "forest"),
        ("forest/below/b", "forest"),
    ):
        with pytest.raises(KeyNotFoundError, match=f"{key}' lies in the value '{value}'"):
            getattr(db, method)(key)
    with pytest.raises(KeyNotFoundError, match="'a/data' lies in the value 'a'"):
        getattr(db.database("sub"), method)("a/data")


def replace_again_and_again(place: Place, ready: Any, done: Any) -> None:
    db = place.open("r+")
    number = 0
    while not done.is_set():
        number += 1
        db.set("a", np.full((number % 5 + 1, 20), number), chunks=(1, 20))
        db["made"] = number
        del db["made"]
        ready.set()


def test_what_others_write_meanwhile_is_no_damage(shared_place: Place) -> None:
    db = shared_place.open()
    db.set("a", np.zeros((5, 20)), chunks=(1, 20))
    ready, done = CONTEXT.Event(), CONTEXT.Event()
    writer = new_process(replace_again_and_again, shared_place, ready, done)
    writer.start()
    try:
        assert ready.wait(180)
        for _ in range(10):
            report = db.verify()
            assert report.problems == []
            assert report.values >= 1
    finally:
        done.set()
        writer.join()
    assert writer.exitcode == 0


def test_the_report(db: Database) -> None:
    db.set("a", np.arange(100), chunks=(1,))
    for number in range(30):
        db._engine.nodes.delete([f"a/data/c/{number}"])
    report = db.verify()
    document = json.loads(json.dumps(report.to_dict()))
    assert document["ok"] is False
    assert document["damaged"] == ["a"]
    assert document["problems"][0] == report.problems[0]._asdict()
    frame = report.to_frame()
    assert list(frame.columns) == ["key", "kind", "path", "message"]
    assert len(frame) == 30
    assert "30 problems" in str(report)
    assert "… 10 more" in str(report)


def test_the_command(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    db.set("a", np.arange(100), chunks=(10,))
    assert main(["verify", db.url, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    damage(db, "a/data/c/3", "flip", 0.5)
    assert main(["verify", db.url, "a"]) == 6
    assert "damaged chunk: a/data/c/3" in capsys.readouterr().out
    assert main(["verify", db.url, "--shallow"]) == 0
    capsys.readouterr()
    assert main(["verify", db.url, "--json"]) == 6
    assert json.loads(capsys.readouterr().out)["damaged"] == ["a"]
    assert main(["verify", db.url, "b"]) == 3
    assert main(["verify", db.url, "a/data"]) == 3
