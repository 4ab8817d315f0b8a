"""Databases of the In Silico Framework: read without it, and migrated.

``zdb.legacy.open(path)`` reads an ``ISFDataBase`` or a ``ModelDataBase``; so does ``zdb.open(path, mode="r")``.
``zdb.legacy.migrate(old, new)`` makes a database of zdb of it.
"""

from __future__ import annotations

from zdb.legacy.database import LegacyDatabase, Metadata
from zdb.legacy.database import open_legacy as open  # noqa: A004 - zdb.legacy.open, as zdb.open
from zdb.legacy.migration import migrate
from zdb.legacy.opener import IsfOpener
from zdb.legacy.report import MigratedKey, MigrationReport

__all__ = ["IsfOpener", "LegacyDatabase", "Metadata", "MigratedKey", "MigrationReport", "migrate", "open"]
