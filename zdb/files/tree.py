"""The files of one database by key: looked up, listed, read, published and removed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from zdb.engine.node import VALUE, Node
from zdb.errors import (
    CorruptChunkError,
    FolderNotEmptyError,
    InvalidKeyError,
    IsAFolderError,
    KeyConflictError,
    KeyExistsError,
    MissingChunkError,
    NoFileError,
)
from zdb.handle import while_current
from zdb.info import created
from zdb.keys import check_name, join, normalize
from zdb.write import WriteRequest, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from zdb.engine.plain import PlainEngine
    from zdb.formats.stored_file import StoredFile

__all__ = ["Entry", "FileTree"]

FILE = "file"
T = TypeVar("T")


class Entry(NamedTuple):
    """A file or folder.

    Attributes
    ----------
    is_folder : bool
    size : int
        In bytes; 0 for folders.
    modified : datetime or None
        When it was published.
    sha256 : str
    name : str
        The name that the file had; "" for folders, and for files without a name.
    """

    is_folder: bool
    size: int = 0
    modified: datetime | None = None
    sha256: str = ""
    name: str = ""


class FileTree:
    """The files at and below one path of a store; keys are relative to it, and "" is the path itself.

    Only values of the format "file" are files, and only databases are folders. All other values are not there, except
    that nothing replaces or removes them.
    """

    def __init__(self, engine: PlainEngine, path: str = "") -> None:
        self.engine = engine
        self.path = path

    @property
    def root_url(self) -> str:
        """Where the database lies."""
        return self.engine.nodes.url

    @property
    def url(self) -> str:
        return join(self.root_url, self.path) if self.path else self.root_url

    def require_writable(self) -> None:
        self.engine.nodes.require_writable()

    # Looking

    def entry(self, key: str) -> Entry:
        """Return what is known of a file or folder.

        Raises
        ------
        NoFileError
            There is nothing at the key, or a value that is not a file.
        """
        return self._entry_of(self._node(key))

    def children(self, key: str) -> dict[str, Entry]:
        """Files and folders directly in a folder, by name, sorted."""
        found = {}
        for name, node in self.engine.children(self._at(key)).items():
            self.engine.readable(node)
            if not self._is_there(node) or not _is_legal(name):
                continue
            found[name] = self._entry_of(node)
        return found

    def walk(self, key: str) -> Iterator[tuple[str, Entry]]:
        """Yield everything below a folder, folders before what is in them, by key relative to this tree."""
        for name, entry in self.children(key).items():
            yield join(key, name), entry
            if entry.is_folder:
                yield from self.walk(join(key, name))

    def _is_there(self, node: Node) -> bool:
        return node.format == FILE if node.kind == VALUE else self.engine.is_database(node)

    def _entry_of(self, node: Node) -> Entry:
        if node.kind != VALUE:
            return Entry(is_folder=True)
        attributes = node.attributes
        size, sha256, name = (attributes[f"zdb_{field}"] for field in ("size", "sha256", "name"))
        return Entry(False, int(size), created(node), str(sha256), str(name))

    def _node(self, key: str) -> Node:
        try:
            path = self._at(key)
        except InvalidKeyError as error:
            raise NoFileError(f"{self.url}: {error}; so there is no such file") from None
        node = self.engine.node(path)
        if node is None:
            raise NoFileError(f"there is no file {key!r} in {self.url}")
        if not self._is_there(node):
            what = f"a value of format {node.format!r}" if node.format else "plain Zarr"
            raise NoFileError(f"{self.url}: {key!r} is no file, it holds {what}; read it by db[key]")
        return node

    def _at(self, key: str) -> str:
        return join(self.path, normalize(key)) if key else self.path

    # Reading

    def read(self, key: str) -> StoredFile:
        """Return a file, of which nothing is read yet.

        Raises
        ------
        NoFileError
            There is no file at the key.
        IsAFolderError
            There is a folder.
        MissingChunkError
            The file is marked as damaged.
        """
        from zdb.formats.files import stored_file

        node = self._node(key)
        if node.kind != VALUE:
            raise IsAFolderError(f"{key!r} in {self.url} is a folder, not a file")
        if "zdb_lost" in node.attributes:
            raise MissingChunkError(f"{node.path}: is damaged, {node.attributes['zdb_lost']}")
        return stored_file(self.engine.open_value(node))

    def reading(self, key: str, use: Callable[[StoredFile], T]) -> T:
        """Return what a function makes of a file; called again if the file is replaced meanwhile."""
        return while_current(lambda: use(self.read(key)))

    # Changing

    def check_vacant(self, key: str, *, overwrite: bool) -> None:
        """Raise unless a file may be published at a key.

        Raises
        ------
        ReadOnlyError
            The database is open for reading.
        InvalidKeyError
            The key breaks the rules for names.
        IsAFolderError, KeyConflictError
            There is a folder, or a value that is not a file; or a value lies above the key.
        KeyExistsError
            There is a file, and `overwrite` is false.
        """
        self.require_writable()
        path = self._at(key)
        node = None
        with contextlib.suppress(CorruptChunkError):  # it can be replaced all the same
            node = self.engine.node(path)
        if node is None:
            self.engine.check_vacant(path)
        elif node.kind != VALUE:
            raise IsAFolderError(f"{key!r} in {self.url} is a folder, which no file replaces")
        elif node.format != FILE:
            raise KeyConflictError(
                f"{path}: holds a value of format {node.format!r}, which no file replaces; delete it first"
            )
        elif not overwrite:
            raise KeyExistsError(f"{path}: exists, and was not to be replaced")

    def publish(self, key: str, content: Path | StoredFile, *, overwrite: bool = True) -> None:
        """Put a file at a key; readers see the old one or the new one. Errors as of :meth:`check_vacant`."""
        self.check_vacant(key, overwrite=overwrite)
        self.engine.unconsolidate()
        write(self.engine, self._at(key), content, WriteRequest(FILE, overwrite=overwrite))

    def make_folder(self, key: str, *, exist_ok: bool) -> None:
        """Make a folder, and those above it that are missing.

        Raises
        ------
        KeyExistsError
            There is a folder, and `exist_ok` is false; or a file or another value.
        """
        self.require_writable()
        path = self._at(key)
        node = self.engine.node(path)
        if node is None:
            self.engine.check_vacant(path)
            self.engine.unconsolidate()
            self.engine.create_databases(path)
        elif node.kind == VALUE or not exist_ok:
            raise KeyExistsError(f"{path or self.url}: exists")

    def remove_file(self, key: str) -> None:
        """Remove a file; errors as of :meth:`read`."""
        self.require_writable()
        if self._node(key).kind != VALUE:
            raise IsAFolderError(f"{key!r} in {self.url} is a folder; remove it by rm(path, recursive=True) or rmdir")
        self.engine.unconsolidate()
        self.engine.delete(self._at(key))

    def remove_folder(self, key: str, *, with_files: bool) -> None:
        """Remove a folder that is empty, or that holds nothing but files.

        Raises
        ------
        FolderNotEmptyError
            It holds something else. Nothing was removed.
        InvalidKeyError
            It is the database itself.
        """
        self.require_writable()
        path = self._at(key)
        if not path:
            raise InvalidKeyError(f"{self.url}: is the database itself; remove the place where it lies")
        if not self._node(key).kind != VALUE:
            raise NoFileError(f"{key!r} in {self.url} is a file, not a folder")
        self.engine.unconsolidate()
        what = "holds values that are not files" if with_files else "is not empty"
        is_gone = False
        while not is_gone:
            keep = next(self._kept(path, with_files=with_files), None)
            if keep is not None:
                raise FolderNotEmptyError(f"{path}: {what}, such as {keep}; nothing was removed")
            is_gone = self.engine.delete(path, only_empty=not with_files) or not self.engine.exists(path)

    def _kept(self, path: str, *, with_files: bool) -> Iterator[str]:
        """Paths below a folder of what may not be removed with it."""
        for node in self.engine.children(path).values():
            if not with_files or (node.kind == VALUE and node.format != FILE):
                yield node.path
            elif node.kind != VALUE:
                if not self.engine.is_database(node):
                    yield node.path
                yield from self._kept(node.path, with_files=True)

    def rename(self, old: str, new: str) -> None:
        """Give a file or folder another key, at which nothing is.

        Raises
        ------
        KeyExistsError
            There is something at `new`.
        KeyConflictError
            `new` lies below `old` or below a value.
        """
        self.require_writable()
        source, target = self._node(old).path, self._at(new)
        if not source or target == source or target.startswith(f"{source}/"):
            raise KeyConflictError(f"{source or self.url} cannot be moved to {target or self.url}")
        if self.engine.node(target) is not None:
            raise KeyExistsError(f"{target}: exists; delete it first")
        self.engine.check_vacant(target)
        self.engine.unconsolidate()
        self.engine.move(source, target)


def _is_legal(name: str) -> bool:
    try:
        check_name(name)
    except InvalidKeyError:
        return False
    return True
