"""What a write does where a node is lost or cannot be read: nothing that is below it, or beside it, is lost too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import zdb
from zdb.cli import main
from zdb.errors import KeyConflictError, KeyExistsError, KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from places import Place

    from zdb import Database

pytestmark = pytest.mark.slow


def snapshot(db: Database, key: str = "") -> dict[str, bytes | None]:
    """All objects of the keys, or of those below one."""
    nodes = db._engine.nodes
    return {one: nodes.get(one) for one in nodes.list_objects(key) if not one.startswith("_zdb/")}


WRITES: dict[str, Callable[[Database, Path], object]] = {
    "array": lambda db, _: db.set("s", np.arange(3)),
    "small": lambda db, _: db.set("s", 1),
    "folder": lambda db, folder: db.set("s", folder),
    "fill": lambda db, _: db.create("s", np.empty((4, 2))),
    "compute": lambda db, _: db.compute("s", lambda: 1),
    "rename": lambda db, _: db.rename("other", "s"),
    "copy": lambda db, _: db.copy_to(db, "other", "s"),
    "copy small": lambda db, _: db.copy_to(db, "small", "s"),
}


@pytest.mark.parametrize("write", WRITES)
def test_nothing_takes_the_place_of_a_sub_database_without_its_node(place: Place, tmp_path: Path, write: str) -> None:
    db = place.open()
    db["s/deep/array"] = np.arange(5)
    db["s/small"] = 1
    db["other"] = np.arange(4)
    db["small"] = 2
    db._engine.nodes.delete(["s/zarr.json"])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x")
    before = snapshot(db)
    for handle in (place.open(), db):
        with pytest.raises(KeyConflictError, match=r"s: .* lost its node: below it lies s/deep.* and 2 more.* repair"):
            WRITES[write](handle, tmp_path / "folder")
    assert snapshot(db) == before
    db.repair("s", dry_run=False)
    assert sorted(db["s"].keys(recursive=True)) == ["deep/array", "small"]
    np.testing.assert_array_equal(db["s/deep/array"], np.arange(5))
    assert db.verify().ok
    with pytest.raises(KeyConflictError, match="sub-database"):
        db["s"] = 1
    del db["s"]
    WRITES[write](db, tmp_path / "folder")


def test_what_a_killed_writer_left_is_in_nobodys_way(place: Place) -> None:
    db = place.open()
    db["k"] = np.arange(5)
    db._engine.nodes.delete(["k/zarr.json"])
    handles: list[Any] = [place.open(), db]
    for value, handle in enumerate(handles):
        handle["k"] = value
    db._engine.nodes.delete(["k/zarr.json"])
    db["k"] = np.arange(6)
    np.testing.assert_array_equal(db["k"], np.arange(6))
    assert zdb.open(db.url, "r", place.options).verify().ok


OVERWRITES: dict[str, Callable[[Database], object]] = {
    "array": lambda db: db.set("d/k", np.arange(7), chunks=(2,)),
    "small": lambda db: db.set("d/k", 1),
    "compute": lambda db: db.compute("d/k", lambda: np.arange(7), force=True),
    "copy": lambda db: db.copy_to(db, "new", "d/k", overwrite=True),
    "fill": lambda db: (
        db.create("d/k", np.empty(4), chunks=(2,), overwrite=True),
        db.write_region("d/k", np.ones(4), {"dim_0": slice(0, 4)}),
        db.finish("d/k"),
    ),
    "file": lambda db: db.set("d/k", b"content"),
}


def damaged(place: Place, contents: bytes = b"{", before: Any = None) -> tuple[Database, dict[str, bytes | None]]:
    """A database with a node that cannot be read, and all that is beside it."""
    db = place.open()
    for value in (np.arange(9), np.arange(10)) if before is None else (before,):
        db["d/k"] = value
    db["d/kk"] = np.arange(4)
    db["d/small"] = 1
    db["new"] = np.arange(8)
    db._engine.nodes.set("d/k/zarr.json", contents)
    kept = {path: data for path, data in snapshot(db).items() if not path.startswith("d/k/")}
    return db, kept


def left_behind(db: Database) -> set[str]:
    """Objects at the key that belong to nothing."""
    node = db._engine.node("d/k")
    return set(db._engine.nodes.list_objects("d/k")) - set(node.object_paths() if node else ())


@pytest.mark.parametrize("write", OVERWRITES)
@pytest.mark.parametrize("contents", [b"{", b"", b"\xff", b'{"zarr_format": 2}'], ids=["cut", "empty", "bits", "old"])
def test_a_value_that_cannot_be_read_is_overwritten(place: Place, write: str, contents: bytes) -> None:
    db, beside = damaged(place, contents)
    for _ in range(2):  # and the second time as ever
        OVERWRITES[write](db)
        assert db.verify().ok
    assert db["d/k"] is not None
    db.gc(dry_run=False, grace=0)
    assert not left_behind(db)
    assert {path: data for path, data in snapshot(db).items() if not path.startswith("d/k/")} == beside


@pytest.mark.parametrize("before", [np.arange(10), 1, b"content"], ids=["array", "small", "file"])
def test_a_value_that_cannot_be_read_is_deleted(place: Place, before: Any) -> None:
    db, beside = damaged(place, before=before)
    del db["d/k"]
    assert sorted(db["d"]) == ["kk", "small"]
    assert snapshot(db) == beside
    assert db.verify().ok
    with pytest.raises(KeyNotFoundError):
        del db["d/k"]


def test_a_sub_database_that_cannot_be_read_is_neither_replaced_nor_deleted(place: Place) -> None:
    db = place.open()
    db["s/deep/array"] = np.arange(5)
    db["small"] = 2
    db._engine.nodes.set("s/zarr.json", b"{")
    before = snapshot(db)
    for change in (
        lambda: db.__delitem__("s"),
        lambda: db.set("s", np.arange(3)),
        lambda: db.set("s", 1),
        lambda: db.create("s", np.empty(3), overwrite=True),
        lambda: db.copy_to(db, "small", "s", overwrite=True),
    ):
        with pytest.raises(KeyConflictError, match=r"s: .* lost its node: below it lies s/deep"):
            change()
    assert snapshot(db) == before
    db.repair(dry_run=False)
    assert db["s"].keys(recursive=True) == ["deep/array"]


def test_the_inside_of_a_value_is_not_deleted_because_it_is_damaged(place: Place) -> None:
    db = place.open()
    db["k"] = np.arange(5)
    db._engine.nodes.set("k/data/zarr.json", b"{")
    before = snapshot(db)
    with pytest.raises(KeyNotFoundError):
        del db["k/data"]
    with pytest.raises(KeyConflictError, match="k is a value"):
        db["k/data"] = 1
    assert snapshot(db) == before


def test_what_cannot_be_read_is_there_where_nothing_may_be_overwritten(place: Place) -> None:
    db, _ = damaged(place)
    before = snapshot(db)
    for value in (np.arange(3), 1):
        with pytest.raises(KeyExistsError, match=r"d/k: exists, though it cannot be read"):
            db.set("d/k", value, overwrite=False)
    with pytest.raises(KeyExistsError):
        db.create("d/k", np.empty(3))
    assert snapshot(db) == before


def test_a_file_that_cannot_be_read_is_written_by_its_uri(db: Database) -> None:
    db["file"] = b"old"
    db._engine.nodes.set("file/zarr.json", b"{")
    with zdb.open_file(f"zdb://{db.info().id}/file", "wb") as file:
        file.write(b"new")
    assert db["file"].read() == b"new"


def test_the_command_removes_what_cannot_be_read(db: Database) -> None:
    db["k"] = np.arange(3)
    db._engine.nodes.set("k/zarr.json", b"{")
    assert main(["rm", db.url, "k"]) == 0
    assert "k" not in db
    assert db.verify().ok
