"""Files in memory that processes of one machine share, each made once.

A file is made under a name of its own and renamed when it is whole. Who makes a file or maps it holds a lock on it
(``flock``), which the system takes away when the process ends, in whatever way. So a file on which nobody has a lock
is used by nobody, and one that was begun and has no lock was left by a process that died.

The files lie in a file system in memory where there is one; the page cache makes any other nearly as good.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import mmap
import os
import shutil
import stat
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from zdb import config
from zdb.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["attach", "clear_shared", "folder"]

MEMORY_FILES = "/dev/shm"  # noqa: S108 - the folder made there belongs to the user alone
BEGUN = ".begun"
# A file that nobody uses stays so long, for the next task of a pool; or until its room is needed.
UNUSED_SECONDS = 60.0

_attaching = threading.Lock()
_maps: weakref.WeakValueDictionary[str, mmap.mmap] = weakref.WeakValueDictionary()
_locks: dict[str, int] = {}  # descriptors that hold the locks of this process
_used: set[str] = set()


def folder() -> Path:
    """Return the folder of the shared files of this user, and make it if it is missing.

    Raises
    ------
    StorageError
        It cannot be made, or others could write to it.
    """
    chosen = config.get("shared")
    if chosen is None:
        in_memory = os.path.isdir(MEMORY_FILES) and os.access(MEMORY_FILES, os.W_OK)  # noqa: PTH112
        chosen = f"{MEMORY_FILES if in_memory else tempfile.gettempdir()}/zdb-{os.getuid()}"
    found = Path(chosen).expanduser().absolute()
    try:
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = found.lstat()
    except OSError as error:
        raise StorageError(error.errno, f"{found}: the folder of shared arrays cannot be made: {error}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise StorageError(
            f"{found}: is not a folder that this user alone can write; remove it, or name another by the setting shared"
        )
    return found


def attach(name: str, size: int, fill: Callable[[mmap.mmap], None]) -> mmap.mmap:
    """Map a file to read it; of all processes that ask for it at once, one makes it.

    The file is kept as long as the map lives, in any process.

    Parameters
    ----------
    name : str
        Says what is in the file.
    size : int
        In bytes, more than 0.
    fill : callable
        Writes the content into a map.

    Returns
    -------
    mmap.mmap
        Read-only. The same one as before if this process still has it.

    Raises
    ------
    StorageError
        There is not enough room.
    """
    path = str(folder() / name)
    with _attaching:
        known = _maps.get(path)
        if known is not None:
            return known
        while True:
            descriptor = _open_whole(path)
            if descriptor is None:
                descriptor = _make(path, size, fill)
            if descriptor is not None:
                return _keep(path, descriptor)


def clear_shared(unused_for: float = 0) -> int:
    """Remove shared files that no process uses, and what processes left that died.

    Parameters
    ----------
    unused_for : float
        Keep those that were used in the last so many seconds.

    Returns
    -------
    int
        Bytes that were freed.
    """
    return sum(_remove(path, unused_for) for path in _files())


def _files() -> Iterator[str]:
    with os.scandir(folder()) as entries:
        yield from [entry.path for entry in entries if entry.is_file(follow_symlinks=False)]


def _open_whole(path: str) -> int | None:
    """Open a file that is whole, with a lock for using it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if _is_at(path, descriptor):
        return descriptor
    os.close(descriptor)  # it was removed meanwhile
    return None


def _make(path: str, size: int, fill: Callable[[mmap.mmap], None]) -> int | None:
    """Make a file, and return it with a lock for using it; None if another process did, or gave it up."""
    begun = path + BEGUN
    descriptor = os.open(begun, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _lock(descriptor):
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # until it is made, or its maker died
            os.close(descriptor)
            return None
        if not _is_at(begun, descriptor) or os.path.exists(path):  # noqa: PTH110
            _unlink_if_at(begun, descriptor)
            os.close(descriptor)
            return None
        clear_shared(UNUSED_SECONDS)
        _reserve(begun, descriptor, size)
        with mmap.mmap(descriptor, size) as whole:
            fill(whole)
        os.rename(begun, path)  # noqa: PTH104
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except BaseException:
        _unlink_if_at(begun, descriptor)
        os.close(descriptor)
        raise
    if _is_at(path, descriptor):
        return descriptor
    os.close(descriptor)  # between one lock and the other it was taken for unused
    return None


def _reserve(path: str, descriptor: int, size: int) -> None:
    """Take the room before it is written: a map that finds none kills the process."""
    try:
        os.ftruncate(descriptor, 0)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno != errno.ENOSPC or not clear_shared():
                raise
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        place = Path(path).parent
        free = shutil.disk_usage(place).free
        raise StorageError(
            error.errno,
            f"{place}: an array of {size} bytes cannot be shared, {free} bytes are free: {error}; "
            "free some, or name a folder with more room by the setting shared (ZDB_SHARED)",
        ) from error


def _keep(path: str, descriptor: int) -> mmap.mmap:
    with contextlib.suppress(OSError):
        os.utime(descriptor)
    made = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    _maps[path] = made
    _locks[path] = descriptor
    _used.add(path)
    weakref.finalize(made, _release, path, descriptor, os.getpid()).atexit = False
    return made


def _release(path: str, descriptor: int, process: int) -> None:
    """Called when this process has no array of a map any more."""
    if process != os.getpid():
        return  # a fork, which closed it when it began
    with contextlib.suppress(OSError):
        os.utime(descriptor)
    if _locks.get(path) == descriptor:
        del _locks[path]
    os.close(descriptor)


def _remove(path: str, unused_for: float = 0) -> int:
    """Remove a file unless somebody uses it, and return its size."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    try:
        return _remove_open(path, descriptor, unused_for)
    finally:
        os.close(descriptor)


def _remove_open(path: str, descriptor: int, unused_for: float = 0) -> int:
    if not _lock(descriptor) or not _is_at(path, descriptor):
        return 0
    status = os.fstat(descriptor)
    if not path.endswith(BEGUN) and time.time() - status.st_mtime < unused_for:
        return 0
    os.unlink(path)  # noqa: PTH108
    return status.st_size


def _lock(descriptor: int) -> bool:
    """Take the lock of a file for this process alone, unless another has one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: str, descriptor: int) -> bool:
    try:
        found = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _unlink_if_at(path: str, descriptor: int) -> None:
    if _is_at(path, descriptor):
        os.unlink(path)  # noqa: PTH108


@atexit.register
def _leave() -> None:
    """Remove what this process used and no other does; its own maps are of no use any more."""
    with contextlib.suppress(OSError):
        for path in _used:
            descriptor = _locks.get(path)
            if descriptor is None:
                _remove(path)
            else:
                _remove_open(path, descriptor)


def _begin_as_fork() -> None:
    """In a fork, the maps stay and hold the locks; what was used is left to the process that it comes from."""
    global _attaching  # another thread may have held it
    _attaching = threading.Lock()
    for descriptor in _locks.values():
        os.close(descriptor)
    _locks.clear()
    _maps.clear()
    _used.clear()


os.register_at_fork(after_in_child=_begin_as_fork)
