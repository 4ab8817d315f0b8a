"""Places in which a database of a test can lie."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zdb

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from services.seaweedfs import S3Server

__all__ = ["Place", "new_place", "shared_folder"]


@dataclass(frozen=True)
class Place:
    """Where a database can lie, and what it takes to reach it; it can be sent to other processes."""

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    def open(self, mode: Any = "a", **options: Any) -> zdb.Database:
        return zdb.open(self.url, mode, self.options, **options)


def new_place(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Return a place in which nothing lies."""
    name = f"{uuid.uuid4().hex}.zdb"
    if store in ("s3", "moto"):
        server: S3Server = request.getfixturevalue(store)
        return Place(server.url(name), server.options)
    return Place(f"memory://{name}" if store == "memory" else str(tmp_path / name))


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of pytest-xdist share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
