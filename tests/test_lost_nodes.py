"""What a write does where a node is lost or cannot be read: nothing that is below it, or beside it, is lost too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import zdb
from zdb.errors import KeyConflictError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from places import Place

    from zdb import Database


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
