"""How a database gives access to its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdb.engine.node import VALUE
from zdb.errors import NotAFolderError
from zdb.handle import Handle

if TYPE_CHECKING:
    from zdb.files.folder import Folder
    from zdb.keys import Key

__all__ = ["Files"]


class Files(Handle):
    """Stored files as a file system, and by URI."""

    def folder(self, key: Key | None = None, *, create: bool = False) -> Folder:
        """Return the files of a sub-database, with the methods of a file system of fsspec.

        Parameters
        ----------
        key : str or tuple of str, optional
            By default this database.
        create : bool
            Make the sub-database if it is missing.

        Returns
        -------
        Folder

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key, and `create` is false.
        NotAFolderError
            The key holds a value.
        """
        from zdb.files.folder import Folder
        from zdb.files.tree import FileTree

        if key is None:
            return Folder(FileTree(self._engine, self._path))
        path = self._at(key)
        tree = FileTree(self._engine, path)
        node = self._engine.node(path)
        if node is None:
            if not create:
                raise self._not_found(path)
            tree.make_folder("", exist_ok=True)
        elif node.kind == VALUE or not self._engine.is_database(node):
            raise NotAFolderError(f"{path}: holds a value, not a sub-database")
        return Folder(tree)

    def uri(self, key: Key | None = None, *, by_id: bool = False) -> str:
        """Return the URI, ``zdb://…``, by which all libraries that know fsspec open the file at a key.

        Parameters
        ----------
        key : str or tuple of str, optional
            By default that of this database. Nothing needs to be there yet.
        by_id : bool
            Name the database by its id, which survives moves if the catalog knows it, instead of by its URL.
        """
        from zdb.files.folder import uri_of

        place = self._require("").id if by_id else self._engine.nodes.url
        return uri_of(place, self._path if key is None else self._at(key))
