"""A short lock on a folder of the local disk, which leaves nothing behind and ends with the process."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from zdb import config
from zdb.errors import ClaimsUnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LOCK_FOLDER", "locked_folders"]

# What file systems answer that do not lock folders, such as NFS; they lock files.
_NO_FOLDERS = {errno.EBADF, errno.EINVAL, errno.EISDIR}
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}
LOCK_FOLDER = ".zarr.json.locks"  # stays for good: a lock on a file that was removed keeps nobody out
LOCK_FILES = 64


@contextlib.contextmanager
def locked_folders(root: str, folders: list[str], *, create: bool) -> Iterator[bool]:
    """Lock folders while the block runs, which is to be short: others wait.

    Parameters
    ----------
    root : str
        Where files for locking may lie, if folders cannot be locked.
    folders : list of str
    create : bool
        Make those that are not there; otherwise nothing is locked, and the block gets False.
    """
    held: dict[str, int] = {}
    try:
        for folder in sorted(folders):
            if not _lock(root, folder, held, create=create):
                yield False
                return
        yield True
    finally:
        for descriptor in held.values():
            _unlock(descriptor)


def _lock(root: str, folder: str, held: dict[str, int], *, create: bool) -> bool:
    while True:
        try:
            if _flock(folder, os.O_RDONLY | os.O_DIRECTORY, held):
                return True
        except FileNotFoundError:
            if not create:
                return False
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        except OSError as error:
            if error.errno not in _NO_FOLDERS | _NO_LOCKS:
                raise
            _lock_file(root, folder, held)
            return True


def _lock_file(root: str, folder: str, held: dict[str, int]) -> None:
    number = sum(os.path.relpath(folder, root).encode()) % LOCK_FILES
    file = f"{root}/{LOCK_FOLDER}/{number}"
    try:
        while file not in held:
            os.makedirs(os.path.dirname(file), exist_ok=True)  # noqa: PTH103, PTH120
            with contextlib.suppress(FileNotFoundError):
                _flock(file, os.O_RDWR | os.O_CREAT, held)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if config.get("claims") == "none":
            return
        raise ClaimsUnsupportedError(
            f"{root}: this file system has no locks, so two writers of one key could not be kept apart; mount it with "
            "locks, or, where only one process writes at a time, set claims to 'none' (ZDB_CLAIMS=none)"
        ) from error


def _flock(path: str, flags: int, held: dict[str, int]) -> bool:
    import fcntl

    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Who waited may hold the lock of what was removed or moved meanwhile.
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):  # noqa: PTH116
            held[path] = descriptor
            return True
    finally:
        if path not in held:
            _unlock(descriptor)
    return False


def _unlock(descriptor: int) -> None:
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for a process that was forked meanwhile
    with contextlib.suppress(OSError):
        os.close(descriptor)
