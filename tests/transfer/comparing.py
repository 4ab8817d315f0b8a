"""Whether one database is a copy of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from zdb import Database

__all__ = ["assert_same"]


def assert_same(db: Database, other: Database) -> None:
    assert db.keys(recursive=True) == other.keys(recursive=True)
    for key in db.keys(recursive=True):
        xr.testing.assert_identical(plain(db, key), plain(other, key))
        assert db.provenance(key) == other.provenance(key)
    assert other.verify().ok


def plain(db: Database, key: str) -> Any:
    """What lies at a key as plain xarray reads it, without what tells one copy from another."""
    opened = db.dataset(key).load()
    for name in ("zdb_id", "zdb_generation", "zdb_copy_of"):
        opened.attrs.pop(name, None)
    return opened
