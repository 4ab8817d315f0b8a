"""What lets :func:`zdb.open` open an old database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zdb.legacy.database import LegacyDatabase
    from zdb.legacy.trust import AllowPickle

__all__ = ["IsfOpener"]

MARKERS = ("db_state.json", "sqlitedict.db", "dbcore.pickle")


class IsfOpener:
    """The entry point "isf" of the group ``zdb.openers``."""

    what = "a database of the In Silico Framework"
    migrated_by = "zdb migrate"

    def recognises(self, url: str) -> bool:
        """Whether the folder at a URL is an ISFDataBase or ModelDataBase."""
        return any((Path(url) / marker).is_file() for marker in MARKERS)

    def open(self, url: str, allow_pickle: AllowPickle) -> LegacyDatabase:
        """Open it for reading."""
        from zdb.legacy.database import open_legacy

        return open_legacy(url, allow_pickle)
