"""A folder of the local file system as a store."""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import os
import shutil
import stat
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from zdb.engine.durability import is_durable, make_folders, sync_below, sync_file, sync_folder
from zdb.engine.folder_lock import LOCK_FOLDER, locked_folders
from zdb.engine.node import node_path
from zdb.engine.nodes import NodeStore, ObjectStatus, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zarr.abc.store import Store

    from zdb.engine.nodes import Tag

__all__ = ["LocalNodes"]

# Tells the temporary files of this process from those of all others on a shared file system.
_PROCESS_TOKEN = uuid.uuid4().hex[:12]
_counter = itertools.count()
# How often a folder is made that is gone again when a file is put there, and removed while files are put there.
FOLDER_ATTEMPTS = 10


def _unique() -> str:
    return f"{_PROCESS_TOKEN}.{os.getpid()}.{next(_counter)}"


class LocalNodes(NodeStore):
    """A folder of the local file system, used directly.

    Parameters
    ----------
    root : str or pathlib.Path
    read_only : bool
        Refuse to write.
    durability : {"commit", "none"}, optional
        Whether writes wait for the disk; by default what the setting says.
    """

    has_folders = True

    def __init__(self, root: str | Path, *, read_only: bool = False, durability: str | None = None) -> None:
        self.root = str(Path(root).expanduser().absolute())
        self.url = self.root
        self.read_only = read_only
        self._durable = not read_only and is_durable(durability)

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def get(self, path: str) -> bytes | None:
        try:
            with open(self._at(path), "rb") as file:  # noqa: PTH123 - half the time of Path.read_bytes
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            with translated(self.url, path, "read"):
                raise error

    def get_range(self, path: str, start: int, length: int) -> bytes | None:
        with translated(self.url, path, "read"):
            try:
                with open(self._at(path), "rb", buffering=0) as file:  # noqa: PTH123
                    file.seek(start)
                    return file.read(length)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def get_many(self, paths: list[str]) -> list[bytes | None]:
        return [self.get(path) for path in paths]

    def set(self, path: str, data: bytes) -> None:
        self._write(path, (data,), durable=self._durable)

    def stage(self, path: str, data: bytes) -> None:
        self.set_parts(path, (data,))

    def set_parts(self, path: str, parts: Iterable[bytes]) -> None:
        """Write or replace one object that comes in parts and that nobody needs before :meth:`sync` was called."""
        self._write(path, parts, durable=False)

    def sync(self, path: str) -> None:
        if self._durable:
            with translated(self.url, path):
                sync_below(self.root, self._at(path))

    def _write(self, path: str, parts: Iterable[bytes], *, durable: bool) -> None:
        self.require_writable()
        with translated(self.url, path):
            with self._temporary(path, parts, durable=durable) as temporary:
                os.replace(temporary, self._at(path))  # noqa: PTH105
            if durable:
                sync_folder(os.path.dirname(temporary))  # noqa: PTH120

    @contextlib.contextmanager
    def _temporary(self, path: str, parts: Iterable[bytes], *, durable: bool) -> Iterator[str]:
        """Write what an object is to hold, beside it; it is removed if the block fails."""
        # The name does not end in zarr.json and starts with a dot: no reader takes it for a node or a chunk.
        folder, name = os.path.split(self._at(path))
        temporary = f"{folder}/.{name}.{_unique()}"
        try:
            with self._opened(temporary, durable=durable) as file:
                file.writelines(parts)
                if durable:
                    file.flush()
                    sync_file(file.fileno())
            yield temporary
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise

    def _opened(self, temporary: str, *, durable: bool) -> BinaryIO:
        """Open a new file; a folder that another process removes because it is empty is made again."""
        for _ in range(FOLDER_ATTEMPTS):
            try:
                return open(temporary, "xb")  # noqa: PTH123
            except FileNotFoundError:
                make_folders(os.path.dirname(temporary), durable=durable)  # noqa: PTH120
        return open(temporary, "xb")  # noqa: PTH123

    def replace(self, path: str, data: bytes, tag: Tag | None, *, lasting: bool = True) -> Tag | None:
        self.require_writable()
        durable = lasting and self._durable
        folder = os.path.dirname(self._at(path))  # noqa: PTH120
        gone = 0
        with translated(self.url, path):
            while (tag is None) != os.path.exists(self._at(path)):  # noqa: PTH110
                try:
                    with self._temporary(path, (data,), durable=durable) as made:
                        with locked_folders(self.root, [folder], create=False) as is_locked:
                            is_same = is_locked and self.get(path) == tag
                            if is_same:
                                os.rename(made, self._at(path))  # noqa: PTH104
                        if is_same:
                            if durable:
                                sync_folder(folder)
                            return data
                        os.unlink(made)  # noqa: PTH108
                        if is_locked:
                            return None
                except FileNotFoundError:  # another process removes the folder, or nobody can make it
                    gone += 1
                    if gone == FOLDER_ATTEMPTS:
                        raise
        return None

    def remove(self, path: str, tag: Tag) -> bool:
        self.require_writable()
        folder = os.path.dirname(self._at(path))  # noqa: PTH120
        with translated(self.url, path), locked_folders(self.root, [folder], create=False) as is_locked:
            if not is_locked or self.get(path) != tag:
                return False
            os.unlink(self._at(path))  # noqa: PTH108
            with contextlib.suppress(OSError):  # something lies in it
                os.rmdir(folder)  # noqa: PTH106
            return True

    def remove_node(self, path: str, tag: Tag, *, is_database: bool) -> bool:  # noqa: ARG002 - one rename takes all
        self.require_writable()
        place = self._at(path)
        with translated(self.url, path):
            with locked_folders(self.root, [place], create=False) as is_locked:
                if not is_locked or self.get(node_path(path)) != tag:
                    return False
                hidden = self._hide(path)
            self._delete_hidden(hidden)
        return True

    def delete(self, paths: Iterable[str]) -> None:
        self.require_writable()
        for path in paths:
            with translated(self.url, path), contextlib.suppress(FileNotFoundError):
                os.unlink(self._at(path))  # noqa: PTH108

    def prune(self, path: str, before: datetime | None = None) -> None:
        folders = [folder for folder, _, _ in os.walk(self._at(path), topdown=False)]
        if before is not None:
            folders = [one for one in folders if _changed(one) < before.timestamp()]
        for folder in folders:
            with contextlib.suppress(OSError):  # something lies in it
                os.rmdir(folder)  # noqa: PTH106

    def delete_tree(self, path: str) -> None:
        self.require_writable()
        with translated(self.url, path), contextlib.suppress(FileNotFoundError):
            self._delete_hidden(self._hide(path))

    def _hide(self, path: str) -> str:
        """Take a whole tree out of sight by one rename; names that start with a dot are no keys."""
        folder, name = os.path.split(self._at(path))
        hidden = f"{folder}/.deleted.{name}.{_unique()}"
        os.rename(self._at(path), hidden)  # noqa: PTH104
        return hidden

    def _delete_hidden(self, hidden: str) -> None:
        if self._durable:
            sync_folder(os.path.dirname(hidden))  # noqa: PTH120
        _remove_folder(hidden)

    def is_empty(self) -> bool:
        with translated(self.url, "", "read"):
            try:
                with os.scandir(self.root) as entries:
                    # What a process that creates the database has just begun to write does not count.
                    return all(entry.name.startswith(".zarr.json.") for entry in entries)
            except FileNotFoundError:
                return True
            except NotADirectoryError:
                return False

    def list_names(self, path: str) -> list[str]:
        with translated(self.url, path, "read"):
            try:
                with os.scandir(self._at(path)) as entries:
                    return sorted(entry.name for entry in entries if entry.is_dir())
            except (FileNotFoundError, NotADirectoryError):
                return []

    def list_objects(self, path: str) -> list[str]:
        found = []
        with translated(self.url, path, "read"):
            for folder, _, names in os.walk(self._at(path)):
                relative = os.path.relpath(folder, self.root)
                prefix = "" if relative == "." else f"{relative}/"
                found += [prefix + name for name in names]
        return sorted(found)

    def list_status(self, path: str) -> list[ObjectStatus]:
        found = []
        for one in self.list_objects(path):
            with translated(self.url, one, "read"), contextlib.suppress(FileNotFoundError):  # removed meanwhile
                status = os.stat(self._at(one))  # noqa: PTH116
                found.append(ObjectStatus(one, status.st_size, datetime.fromtimestamp(status.st_mtime, tz=UTC)))
        return found

    def list_hidden(self, path: str) -> dict[str, list[ObjectStatus]]:
        with translated(self.url, path, "read"):
            try:
                with os.scandir(self._at(path)) as entries:
                    names = [one.name for one in entries if one.name.startswith(".") and one.name != LOCK_FOLDER]
            except FileNotFoundError:
                return {}
        found = {}
        for one in (f"{path}/{name}" if path else name for name in names):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(self._at(one))  # noqa: PTH116
                if not stat.S_ISDIR(status.st_mode):
                    written = datetime.fromtimestamp(status.st_mtime, tz=UTC)
                    found[one] = [ObjectStatus(one, status.st_size, written)]
                    continue
                # Renaming a folder, which is how it is deleted, leaves the times of its files as they were.
                renamed = datetime.fromtimestamp(status.st_ctime, tz=UTC)
                found[one] = [inside._replace(modified=renamed) for inside in self.list_status(one)]
        return found

    def move_node(self, old: str, new: str, tag: Tag, check: Callable[[], object]) -> bool:
        self.require_writable()
        source, target = self._at(old), self._at(new)
        with translated(self.url, new):
            make_folders(target, durable=self._durable)
            with locked_folders(self.root, [source, target], create=False) as is_locked:
                if not is_locked or self.get(node_path(old)) != tag or self.get(node_path(new)) is not None:
                    return False
                check()
                self._delete_hidden(self._hide(new))  # nothing but leftovers
                if not _renamed(source, target):
                    return False
            if self._durable:
                sync_folder(os.path.dirname(target))  # noqa: PTH120
                sync_folder(os.path.dirname(source))  # noqa: PTH120
        return True

    def fingerprint(self, path: str) -> object:
        try:
            status = os.stat(self._at(path))  # noqa: PTH116
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def modified(self, path: str) -> datetime | None:
        with translated(self.url, path, "read"):
            return datetime.fromtimestamp(os.stat(self._at(path)).st_mtime, tz=UTC)  # noqa: PTH116

    def zarr_store(self, *, reading: bool) -> Store:
        from zarr.storage import LocalStore

        from zdb.engine.strict import RaisingStore

        store = LocalStore(self.root, read_only=reading)
        return RaisingStore(store) if reading else store

    def missing(self, paths: list[str]) -> list[str]:
        return [path for path in paths if not os.path.exists(self._at(path))]  # noqa: PTH110


def _remove_folder(folder: str) -> None:
    """Remove a folder in which another process may be adding or removing a file that is not in its place yet."""
    for attempt in range(FOLDER_ATTEMPTS):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT) or attempt == FOLDER_ATTEMPTS - 1:
                raise
        else:
            return
        if not os.path.lexists(folder):
            return


def _renamed(source: str, target: str) -> bool:
    """Rename a folder, unless another process has just put a file that it is going to rename at its new place."""
    try:
        os.rename(source, target)  # noqa: PTH104
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _changed(folder: str) -> float:
    try:
        return os.stat(folder).st_mtime  # noqa: PTH116
    except FileNotFoundError:  # another process removed it
        return math.inf
