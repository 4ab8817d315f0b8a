"""The protocol ``zdb://`` of fsspec: stored files by URI, wherever the database lies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from zdb.errors import DatabaseNotFoundError, InvalidReferenceError
from zdb.files.filesystem import FileSystem, Mode
from zdb.opening import open as open_database

if TYPE_CHECKING:
    from zdb.database import Database
    from zdb.files.tree import FileTree

__all__ = ["ZdbFileSystem"]

# Of zdb, and of the In Silico Framework.
_ID = re.compile(r"[0-9a-f]{32}|\d{4}-\d\d-\d\d_\d+_[A-Za-z0-9]+")


class ZdbFileSystem(FileSystem):
    """Stored files by ``zdb://<database>/<key>``; fsspec finds it by its protocol.

    The database is an id, which the catalog knows, or a URL or path with all special characters quoted, as
    :meth:`zdb.Database.uri` makes it. Databases are not made by writing to them, but by ``mkdir``.

    Parameters
    ----------
    block_size, cache_type, cache_options
        How files are read where :meth:`open` is not told: ``fsspec.open`` gives all its options here.
    **storage_options
        Passed to the file system in which the database lies.
    """

    protocol = "zdb"
    cachable = True

    def __init__(
        self,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
        **storage_options: Any,
    ) -> None:
        super().__init__(**storage_options)
        self._options = storage_options
        self._block_size = block_size
        self._cache = {} if cache_type is None else {"cache_type": cache_type}
        self._cache_options = cache_options
        self._reading: dict[str, FileTree] = {}

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: Any = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        return super()._open(
            path,
            mode,
            self._block_size if block_size is None else block_size,
            autocommit,
            self._cache_options if cache_options is None else cache_options,
            **{**self._cache, **options},
        )

    def _locate(self, path: str, mode: Mode = "r") -> tuple[FileTree, str]:
        quoted, _, key = path.partition("/")
        if not quoted:
            raise InvalidReferenceError(
                f"zdb://{path}: names no database; a URI is zdb://<id>/<key>, or zdb://<quoted URL>/<key> as by db.uri"
            )
        if mode != "r" or _ID.fullmatch(quoted):  # what lies where the catalog says may be another one by now
            return self.database(quoted, mode).folder().tree, key
        tree = self._reading.get(quoted)
        if tree is None:
            tree = self._reading[quoted] = self.database(quoted).folder().tree
        return tree, key

    def database(self, quoted: str, mode: Mode = "r") -> Database:
        """Open the database that the first part of a URI names; errors as of :func:`zdb.open`."""
        place = unquote(quoted)
        if _ID.fullmatch(place):
            return open_database(None, mode, self._options, id=place)
        return open_database(place, mode, self._options)

    def _make_folder(self, path: str, *, exist_ok: bool) -> None:
        quoted, _, key = path.partition("/")
        if not key and quoted and not _ID.fullmatch(quoted):
            try:
                self.database(quoted)
            except DatabaseNotFoundError:
                self.database(quoted, "a")
                return
        super()._make_folder(path, exist_ok=exist_ok)
