"""What a deletion in a bucket did not see, or what arrives after it, is left over: no value has lost its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from places import new_place

if TYPE_CHECKING:
    from pathlib import Path

    from zdb import Database

pytestmark = pytest.mark.s3


@pytest.fixture
def bucket(tmp_path: Path, request: pytest.FixtureRequest) -> Database:
    """An empty database in a bucket, whose listings may be those of some time ago."""
    return new_place("s3", tmp_path, request).open()


@pytest.mark.parametrize("how", ["delete", "delete json", "delete json after all", "delete above", "rename"])
def test_what_a_deletion_did_not_see_is_garbage(bucket: Database, how: str) -> None:
    db, nodes = bucket, bucket._engine.nodes
    db["run/a"] = np.arange(5)
    objects = {path: nodes.get(path) or b"" for path in ("run/a/data/zarr.json", "run/a/data/c/0")}
    if how == "rename":
        db.rename("run/a", "run/b")
    elif how == "delete json":
        db["run/a"] = 1
        del db["run/a"]
    else:
        del db["run" if how == "delete above" else "run/a"]
    for path, data in objects.items():
        nodes.set(path, data)
    if how == "delete json after all":
        db["run/a"] = 1
        del db["run/a"]
        for path, data in objects.items():
            nodes.set(path, data)
    left = "run" if how == "delete above" else "run/a"
    report = db.verify()
    assert (report.problems, report.unfinished) == ([], [left])
    collected = db.gc(grace=0, dry_run=False).garbage
    assert [(one.kind, one.path, one.objects) for one in collected if one.kind != "claim"] == [("unfinished", left, 2)]
    assert not set(objects) & set(nodes.list_objects(""))
    assert db.verify().ok


def test_a_value_written_where_one_was_deleted_can_lose_its_node(bucket: Database) -> None:
    db, nodes = bucket, bucket._engine.nodes
    for _ in range(2):
        db["run/a"] = np.arange(5)
        db["run/b"] = np.arange(5)
        del db["run/a"]
        del db["run"]
    db["run/a"] = np.arange(5)
    db["run/b"] = np.arange(5)
    db.rename("run/b", "run/c")
    db.rename("run/c", "run/b")
    nodes.delete(["run/a/zarr.json", "run/b/zarr.json"])
    for _ in range(2):
        assert db.verify().damaged == ["run/a", "run/b"]
        assert [one.path for one in db.gc(grace=0, dry_run=False).garbage if one.kind != "claim"] == []
