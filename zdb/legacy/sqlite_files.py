"""The sqlite files of a ModelDataBase, read so that nothing is written beside them."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from zdb.errors import UnreadableValueError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["sqlite_keys", "sqlite_value"]


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a sqlite file so that nothing is written beside it, even if its writer died."""
    with contextlib.ExitStack() as stack:
        leftovers = [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-journal", "-shm")]
        if any(leftover.exists() for leftover in leftovers):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for file in (path, *filter(Path.exists, leftovers)):
                shutil.copy(file, folder)
            uri = f"file:{quote(str(folder / path.name))}"
        else:
            uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        connection = stack.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True)))
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
        except sqlite3.Error as error:
            raise UnreadableValueError(f"{path}: is no table of an old database, or damaged ({error})") from error


def sqlite_keys(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with _connected(path) as connection:
        return [str(key) for (key,) in connection.execute("SELECT key FROM unnamed ORDER BY rowid")]


def sqlite_value(path: Path, key: str) -> bytes | None:
    if not path.is_file():
        return None
    with _connected(path) as connection:
        row = connection.execute("SELECT value FROM unnamed WHERE key = ?", (key,)).fetchone()
    return None if row is None or not isinstance(row[0], bytes) else row[0]
