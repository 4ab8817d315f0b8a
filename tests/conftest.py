"""Fixtures for all tests: places in which a database can lie, and the servers for them."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from services import S3Server, shared_seaweedfs

import zdb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Tests never assert a time: the machine may be busy.
hypothesis.settings.register_profile(
    "zdb", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("zdb")

STORES = ["local", "memory", pytest.param("s3", marks=pytest.mark.s3)]


@dataclass(frozen=True)
class Place:
    """Where a database can lie, and what it takes to reach it; it can be sent to other processes."""

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    def open(self, mode: Any = "a", **options: Any) -> zdb.Database:
        return zdb.open(self.url, mode, self.options, **options)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server, one for all workers of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with shared_seaweedfs(folder / "seaweedfs") as server:
        yield server


def new_place(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Return a place in which nothing lies."""
    name = f"{uuid.uuid4().hex}.zdb"
    if store == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return Place(server.url(name), server.options)
    return Place(f"memory://{name}" if store == "memory" else str(tmp_path / name))


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place on each kind of store."""
    return new_place(request.param, tmp_path, request)


@pytest.fixture(params=STORES[::2])
def shared_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place on each kind of store that several processes reach."""
    return new_place(request.param, tmp_path, request)


@pytest.fixture
def db(tmp_path: Path) -> zdb.Database:
    """An empty database in a local folder."""
    return zdb.open(tmp_path / "results.zdb")
