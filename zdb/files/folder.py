"""A stored folder: its files by name, and a copy of it on the local disk for programs that need one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from zdb.errors import NotAFolderError
from zdb.files.filesystem import FileSystem, Mode
from zdb.files.local_copy import copy_out, write_back_changes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zdb.files.tree import FileTree

__all__ = ["Folder", "uri_of"]


def uri_of(place: str, key: str = "") -> str:
    """Return the URI of what is at a key of a database, which is named by its URL or id."""
    return "/".join(filter(None, (f"zdb://{quote(place, safe='')}", key)))


class Folder(FileSystem):
    """The files in a database or sub-database, made by :meth:`zdb.Database.folder`.

    It is a file system of fsspec, and paths are relative to the folder: ``folder.ls("")``, ``folder.open("a.csv")``,
    ``folder.find("")``, ``folder.cat("a.csv")``, ``folder.put(local, "")``, ``folder.get("", local, recursive=True)``.

    Attributes
    ----------
    url : str
        Where the folder lies, without credentials.
    tree : FileTree
        What it is a view of.
    """

    protocol = "zdb-folder"

    def __init__(self, tree: FileTree, **options: Any) -> None:
        super().__init__(tree, **options)
        self.tree = tree

    @classmethod
    def of_paths(cls, db: Any, key: str = "") -> Folder:
        """Return the files in a database of another program, which maps keys to paths; see :class:`zdb.openers.Opener`.

        Raises
        ------
        NoFileError, NotAFolderError
            There is no folder at the key.
        """
        from zdb.files.paths import PathTree

        if not PathTree(db).entry(key).is_folder:
            raise NotAFolderError(f"{key!r} in {db.url} is a file, not a folder")
        return cls(PathTree(db, key))

    @property
    def url(self) -> str:
        return self.tree.url

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return str(super()._strip_protocol(path)).strip("/")

    def _locate(self, path: str, mode: Mode = "r") -> tuple[FileTree, str]:
        if mode != "r":
            self.tree.require_writable()
        return self.tree, path

    def unstrip_protocol(self, name: str) -> str:
        """Return the URI, ``zdb://…``, of a file in this folder, by which all libraries that know fsspec open it."""
        return uri_of(self.tree.root_url, "/".join(filter(None, (self.tree.path, self._strip_protocol(name)))))

    @contextlib.contextmanager
    def local_copy(self, path: str = "", *, write_back: bool = False) -> Iterator[Path]:
        """Copy the folder to the local disk, for programs that need a path, until the end of the ``with`` block.

        Files have the names that they had when the folder was stored. The copy is independent of the database: what
        is changed in it comes back only by `write_back`.

        Parameters
        ----------
        path : str
            A folder in this one, by default all of it.
        write_back : bool
            At the end of the block, store the files that are new or changed, and remove those that were removed; not
            if an error ends it. If it fails, the local folder stays, and the error says where it is.

        Yields
        ------
        pathlib.Path
            A folder in the temporary folder of the system.

        Raises
        ------
        NoFileError, NotAFolderError
            There is no such folder.
        ReadOnlyError
            `write_back`, and the database is open for reading.
        MissingChunkError, CorruptChunkError
            A file is damaged.
        """
        if write_back:
            self.tree.require_writable()
        key = self._strip_protocol(path)
        place = tempfile.mkdtemp(prefix="zdb-")
        keep = False
        try:
            root = Path(place) / (key or self.url).rstrip("/").rpartition("/")[2].replace(":", "_")
            copied = copy_out(self.tree, key, root)
            yield root
            if write_back:
                keep = True
                try:
                    write_back_changes(self.tree, key, root, copied)
                except BaseException as error:
                    error.add_note(f"the changed files are in {root}")
                    raise
                keep = False
        finally:
            if not keep:
                shutil.rmtree(place, ignore_errors=True)

    def __repr__(self) -> str:
        return f"<zdb.Folder {self.url}>"
