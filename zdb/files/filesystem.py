"""Stored files as a file system of fsspec: what is the same for one database and for all of them."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike

from zdb.errors import IsAFolderError, KeyExistsError, NoFileError
from zdb.files.streams import BLOCK_SIZE, FileReader, FileWriter, TextWriter

if TYPE_CHECKING:
    from datetime import datetime

    from zdb.files.tree import Entry, FileTree
    from zdb.formats.stored_file import StoredFile

__all__ = ["FileSystem", "Mode"]

Mode = Literal["r", "r+", "a"]
# Parts of files that are read at the same time.
CONCURRENT_READS = 16


class FileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Stored files, with the methods of :class:`fsspec.AbstractFileSystem`.

    Sub-databases are folders, and values of the format "file" are files. Other values are not listed and not opened,
    and nothing replaces or removes them. A file that is written is published when it is closed, as a whole; if an error
    ends the ``with`` block, nothing is.
    """

    root_marker = ""
    cachable = False

    @abstractmethod
    def _locate(self, path: str, mode: Mode = "r") -> tuple[FileTree, str]:
        """Return the database of a path, and the key in it."""

    # Looking

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name, size, type ("file" or "directory"), and of files also mtime, sha256 and original_name."""
        path = self._strip_protocol(path)
        tree, key = self._locate(path)
        return _info(path, tree.entry(key))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List files and folders in a folder."""
        path = self._strip_protocol(path)
        tree, key = self._locate(path)
        entry = tree.entry(key)
        if entry.is_folder:
            prefix = f"{path}/" if path else ""
            found = [_info(f"{prefix}{name}", one) for name, one in tree.children(key).items()]
        else:
            found = [_info(path, entry)]
        return found if detail else [one["name"] for one in found]

    def modified(self, path: str) -> datetime:
        """When a file was published, in UTC."""
        moment: datetime | None = self.info(path).get("mtime")
        if moment is None:
            raise IsAFolderError(f"{path}: is a folder, which has no time")
        return moment

    created = modified

    # Opening

    def open(self, path: str, mode: str = "rb", block_size: Any = None, **options: Any) -> Any:
        """Open a file, as :func:`open` and :meth:`fsspec.AbstractFileSystem.open` do, in mode r, w, a or x."""
        if "b" in mode or "r" in mode:
            return super().open(path, mode, block_size, **options)
        text = {name: options.pop(name) for name in ("encoding", "errors", "newline") if name in options}
        return TextWriter(super().open(path, f"{mode.replace('t', '')}b", block_size, **options), **text)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: Any = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        if mode not in ("rb", "wb", "ab", "xb"):
            raise ValueError(f"{path}: files are opened in mode r, w, a or x, not {mode!r}; update one as a whole")
        if mode != "rb":
            tree, key = self._locate(path, "r+")
            tree.check_vacant(key, overwrite=mode != "xb")
            return FileWriter(tree, key, path, mode, autocommit=autocommit)
        size = block_size if isinstance(block_size, int) else BLOCK_SIZE

        def open_stored(stored: StoredFile) -> FileReader:
            content = stored.read() if stored.size <= size else None
            return FileReader(
                self, path, stored, content, block_size=size, cache_options=dict(cache_options or {}), **options
            )

        tree, key = self._locate(path)
        return tree.reading(key, open_stored)

    # Reading

    def cat(self, path: str | list[str], recursive: bool = False, on_error: str = "raise", **options: Any) -> Any:
        """Return the content of a file, or of several by path; with `recursive`, of all files in a folder."""
        if not recursive and not isinstance(path, list):
            return super().cat(path, on_error=on_error, **options)
        found = self.expand_path(path)
        paths = [file for one in found for file in self.find(one)] if recursive else found
        contents = self.cat_ranges(paths, None, None, on_error="raise" if on_error == "raise" else "return")
        made = dict(zip(paths, contents, strict=True))
        if on_error == "omit":
            return {one: content for one, content in made.items() if not isinstance(content, Exception)}
        return made

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the content of a file, or the bytes from `start` to `end`; negative ones count from its end."""
        tree, key = self._locate(self._strip_protocol(path))
        return tree.reading(key, lambda stored: _part(stored, start, end))

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,  # noqa: ARG002 - of the interface
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """Return parts of files, read concurrently; each file is looked up once."""
        firsts, lasts = (one if isinstance(one, list) else [one] * len(paths) for one in (starts, ends))
        if not len(paths) == len(firsts) == len(lasts):
            raise ValueError(f"{len(paths)} paths, but {len(firsts)} starts and {len(lasts)} ends")

        def attempt(function: Any, *args: Any) -> Any:
            try:
                return function(*args)
            except Exception as error:
                if on_error == "return":
                    return error
                raise

        def look_up(path: str) -> StoredFile:
            tree, key = self._locate(self._strip_protocol(path))
            return tree.read(key)

        def read(path: str, start: int | None, end: int | None) -> Any:
            stored = found[path]
            return stored if isinstance(stored, Exception) else attempt(_part, stored, start, end)

        with ThreadPoolExecutor(CONCURRENT_READS) as pool:
            distinct = list(dict.fromkeys(paths))
            found = dict(zip(distinct, pool.map(lambda path: attempt(look_up, path), distinct), strict=True))
            return list(pool.map(read, paths, firsts, lasts))

    def get_file(
        self, rpath: str, lpath: Any = None, callback: Any = None, outfile: Any = None, **options: Any
    ) -> None:
        """Copy a file to the local disk, checked against its SHA-256."""
        if outfile is not None or isfilelike(lpath) or self.isdir(rpath):
            super().get_file(rpath, lpath, callback=callback or DEFAULT_CALLBACK, outfile=outfile, **options)
            return
        tree, key = self._locate(self._strip_protocol(rpath))
        target = Path(lpath)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsAFolderError(f"{target}: is a folder; name the file")
        tree.reading(key, lambda stored: stored.save(target, overwrite=True))
        _tell(callback, target)

    # Changing

    def put_file(self, lpath: Any, rpath: str, callback: Any = None, mode: str = "overwrite", **_: Any) -> None:
        """Store a local file, or make a folder for a local folder."""
        source = Path(lpath)
        if source.is_dir():
            self.makedirs(rpath, exist_ok=True)
            return
        tree, key = self._locate(self._strip_protocol(rpath), "r+")
        tree.publish(key, source, overwrite=mode != "create")
        _tell(callback, source)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file, also from one database to another."""
        tree, key = self._locate(self._strip_protocol(path1))
        if tree.entry(key).is_folder:
            self.makedirs(path2, exist_ok=True)
            return
        target, new_key = self._locate(self._strip_protocol(path2), "r+")
        tree.reading(key, lambda stored: target.publish(new_key, stored))

    def mv(self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **options: Any) -> None:
        """Move files; one file or folder within a database is renamed, without reading it."""
        source, target = (self._strip_protocol(path) for path in (path1, path2))
        if source == target:
            return
        tree, key = self._locate(source)
        other, new_key = self._locate(target, "r+")
        is_free = not self.exists(target) and not str(path2).endswith("/")
        if tree.url == other.url and is_free and maxdepth is None and self.exists(source):
            if tree.entry(key).is_folder and not recursive:
                raise IsAFolderError(f"{source}: is a folder; it is moved with recursive=True")
            other.rename(key, new_key)
        else:
            super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **options)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        tree, key = self._locate(self._strip_protocol(path), "r+")
        tree.remove_file(key)

    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files, and with `recursive` folders that hold nothing but files."""
        for one in reversed(self.expand_path(path, recursive=recursive and maxdepth is not None, maxdepth=maxdepth)):
            if not self.isdir(one):
                self.rm_file(one)
            elif recursive and maxdepth is None:
                tree, key = self._locate(one, "r+")
                tree.remove_folder(key, with_files=True)
            elif not recursive:
                raise IsAFolderError(f"{one}: is a folder; it is removed with recursive=True")

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a folder, which is a sub-database."""
        path = self._strip_protocol(path)
        if not create_parents and not self.isdir(self._parent(path)):
            raise NoFileError(f"{self._parent(path)}: there is no such folder; create_parents=True makes it")
        self._make_folder(path, exist_ok=False)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder and those above it."""
        self._make_folder(self._strip_protocol(path), exist_ok=exist_ok)

    def _make_folder(self, path: str, *, exist_ok: bool) -> None:
        tree, key = self._locate(path, "r+")
        if key:
            tree.make_folder(key, exist_ok=exist_ok)
        elif not exist_ok:
            raise KeyExistsError(f"{path}: exists")

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        tree, key = self._locate(self._strip_protocol(path), "r+")
        tree.remove_folder(key, with_files=False)


def _info(path: str, entry: Entry) -> dict[str, Any]:
    if entry.is_folder:
        return {"name": path, "size": 0, "type": "directory"}
    return {
        "name": path,
        "size": entry.size,
        "type": "file",
        "mtime": entry.modified,
        "sha256": entry.sha256,
        "original_name": entry.name,
    }


def _part(stored: StoredFile, start: int | None, end: int | None) -> bytes:
    first, last, _ = slice(start, end).indices(stored.size)
    if (first, last) == (0, stored.size):
        return stored.read()
    return stored.read_part(first, last) if first < last else b""


def _tell(callback: Any, file: Path) -> None:
    """Tell the progress bar of fsspec that a file is done."""
    if callback is not None:
        callback.set_size(file.stat().st_size)
        callback.absolute_update(file.stat().st_size)
