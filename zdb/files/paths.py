"""The files in a database of another program, which lie on the local disk; they are only read."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.errors import IsAFolderError, NoFileError, ReadOnlyError
from zdb.files.tree import Entry, FileTree
from zdb.formats.stored_file import BLOCK_SIZE, StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

__all__ = ["PathTree"]


class PathTree(FileTree):
    """The files at and below one key of a database that maps keys to paths.

    Values are not there. Their own files are, where the path of one is given, but they are not listed.

    Parameters
    ----------
    db : mapping
        What :meth:`zdb.openers.Opener.open` returns.
    path : str
        The key.
    """

    def __init__(self, db: Any, path: str = "") -> None:
        self._db = db
        self.path = path

    @property
    def root_url(self) -> str:
        return str(self._db.url)

    def require_writable(self) -> None:
        raise ReadOnlyError(f"{self.root_url}: is a database of another program, which zdb only reads; migrate it")

    def entry(self, key: str) -> Entry:
        found = self._found(key)
        return Entry(is_folder=True) if found is None else _entry_of(found)

    def children(self, key: str) -> dict[str, Entry]:
        at = self._at(key)
        db = self._db.database(at) if at else self._db
        found = {}
        for name in db:
            kind = db.info(name)
            if kind.kind == "database":
                found[name] = Entry(is_folder=True)
            elif kind.format == "file" and not kind.attrs:
                found[name] = _entry_of(db[name])
        return found

    def read(self, key: str) -> StoredFile:
        found = self._found(key)
        if found is None:
            raise IsAFolderError(f"{key!r} in {self.url} is a folder, not a file")
        return _PlainFile(found)

    def _at(self, key: str) -> str:
        names = [name for name in key.split("/") if name not in {"", "."}]
        if ".." in names:
            raise NoFileError(f"{self.root_url}: {key!r}: '..' leads out of a folder; so there is no such file")
        return "/".join(filter(None, [self.path, *names]))

    def _found(self, key: str) -> Path | None:
        """Return the path of a file; None for a folder."""
        at = self._at(key)
        if not at:
            return None
        if at in self._db:
            info = self._db.info(at)
            if info.kind == "database":
                return None
            if info.format != "file":
                held = f"it holds a value of format {info.format!r}"
                raise NoFileError(f"{self.root_url}: {at!r} is no file, {held}; read it by db[key]")
            return Path(self._db[at])
        found = self._file_of_value(at)
        if found is None:
            raise NoFileError(f"there is no file {at!r} in {self.root_url}")
        return found

    def _file_of_value(self, at: str) -> Path | None:
        value, _, rest = at.rpartition("/")
        while value and value not in self._db:
            value, _, name = value.rpartition("/")
            rest = f"{name}/{rest}"
        place = self._db.place(value) if value and self._db.info(value).kind == "value" else None
        if place is None:
            return None
        path: Path = (place / rest).resolve()
        return path if path.is_file() and path.is_relative_to(place.resolve()) else None


class _PlainFile(StoredFile):
    """A file on the local disk, with the methods of one that is stored."""

    def __init__(self, path: Path) -> None:
        entry = _entry_of(path)
        self._path = path
        self.name, self.size, self.modified = path.name, entry.size, entry.modified

    @cached_property
    def sha256(self) -> str:  # type: ignore[override]
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def _content(self) -> xr.Variable:  # type: ignore[override]
        mapped = np.memmap(self._path, np.uint8, "r") if self.size else np.empty(0, np.uint8)
        return xr.Variable(("byte",), mapped)

    def _checked_blocks(self) -> Iterator[Buffer]:
        with self._path.open("rb") as file:
            yield from iter(lambda: file.read(BLOCK_SIZE), b"")


def _entry_of(path: Path) -> Entry:
    status = path.stat()
    return Entry(False, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), name=path.name)
