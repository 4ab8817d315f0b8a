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
from zdb.engine.nodes import NodeStore, ObjectStatus, translated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.abc.store import Store

__all__ = ["LocalNodes"]

# Tells the temporary files of this process from those of all others on a shared file system.
_PROCESS_TOKEN = uuid.uuid4().hex[:12]
_counter = itertools.count()
# How often a folder is made that is gone again when a file is put there.
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
        target = self._at(path)
        # The name does not end in zarr.json and starts with a dot: no reader takes it for a node or a chunk.
        folder, name = os.path.split(target)
        temporary = f"{folder}/.{name}.{_unique()}"
        with translated(self.url, path):
            try:
                with self._opened(temporary, durable=durable) as file:
                    file.writelines(parts)
                    if durable:
                        file.flush()
                        sync_file(file.fileno())
                os.replace(temporary, target)  # noqa: PTH105
                if durable:
                    sync_folder(folder)
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

    def create(self, path: str, data: bytes) -> bool:
        self.require_writable()
        target = self._at(path)
        folder, name = os.path.split(target)
        temporary = f"{folder}/.{name}.{_unique()}"
        with translated(self.url, path):
            try:
                with self._opened(temporary, durable=self._durable) as file:
                    file.write(data)
                    if self._durable:
                        file.flush()
                        sync_file(file.fileno())
                os.link(temporary, target)
                if self._durable:
                    sync_folder(folder)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP):
                    raise
                return super().create(path, data)  # a file system without hard links
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)  # noqa: PTH108
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
        folder, name = os.path.split(self._at(path))
        # One rename takes the whole tree out of sight; names that start with a dot are no keys.
        hidden = f"{folder}/.deleted.{name}.{_unique()}"
        with translated(self.url, path):
            try:
                os.rename(self._at(path), hidden)  # noqa: PTH104
            except FileNotFoundError:
                return
            if self._durable:
                sync_folder(folder)
            shutil.rmtree(hidden)

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
                    names = [entry.name for entry in entries if entry.name.startswith(".")]
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

    def move_tree(self, old: str, new: str) -> None:
        self.require_writable()
        target = Path(self._at(new))
        with translated(self.url, new):
            make_folders(str(target.parent), durable=self._durable)
            os.rename(self._at(old), target)  # noqa: PTH104
            if self._durable:
                sync_folder(str(target.parent))
                sync_folder(os.path.dirname(self._at(old)))  # noqa: PTH120

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


def _changed(folder: str) -> float:
    try:
        return os.stat(folder).st_mtime  # noqa: PTH116
    except FileNotFoundError:  # another process removed it
        return math.inf
