"""How many requests an operation sends to a bucket, as ``docs/architecture.md`` says; retries count, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from places import Place, new_place

import zdb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.s3

KEYS = 1000


class Requests:
    """What botocore sends for the store of a database, as names of operations of S3."""

    def __init__(self, db: zdb.Database) -> None:
        from zarr.core.sync import sync

        self.sent: list[str] = []
        files = db._engine.nodes.store.fs  # type: ignore[attr-defined]
        client = sync(files.set_session())
        client.meta.events.register("before-send.s3", self._add)

    def _add(self, event_name: str, **_: Any) -> None:
        self.sent.append(event_name.rpartition(".")[2])

    def of(self, operation: Callable[[], Any]) -> list[str]:
        """Return what an operation sends."""
        self.sent.clear()
        operation()
        return list(self.sent)


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    place = new_place("s3", tmp_path, request)
    db = place.open()
    db["sub/first"] = 1  # records and databases are there
    return place


@pytest.fixture
def used(place: Place) -> tuple[zdb.Database, Requests]:
    """A handle that was used, and what it sends."""
    db = place.open()
    db["second"] = 2
    db["sub/second"] = 2
    return db, Requests(db)


def test_x(used):
    db, requests = used
    def show(name, f):
        print(name, requests.of(f))
    show("new json", lambda: db.set("k", 1))
    show("replace json", lambda: db.set("k", 2))
    show("new json sub", lambda: db.set("sub/k", 1))
    show("replace json sub", lambda: db.set("sub/k", 2))
    show("get json", lambda: db["sub/k"])
    show("in", lambda: "sub/k" in db)
    a = np.random.default_rng(1).random(100)
    show("new array", lambda: db.set("a", a))
    show("replace array", lambda: db.set("a", a))
    show("replace array", lambda: db.set("a", a))
    show("new array4", lambda: db.set("a4", a, chunks=(25,)))
    show("replace array4", lambda: db.set("a4", a, chunks=(25,)))
    show("get array", lambda: db["a"])
    show("get array4", lambda: db["a4"])
    show("del json", lambda: db.__delitem__("k"))
    show("del arr", lambda: db.__delitem__("a4"))
    show("ren", lambda: db.rename("a", "b"))
    show("list", lambda: [db.info(k).format for k in db])
