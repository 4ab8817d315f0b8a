"""What it takes that files are still there after the power was lost.

A file is on disk when it was synced, and is found there when the folder that names it was synced, too. Renaming a file
that was not synced can leave an empty one. Many files at once are synced by one ``syncfs``, where the system has it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from zdb import config
from zdb.errors import InvalidSettingError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_durable", "machine", "make_folders", "sync_below", "sync_file", "sync_folder"]

COMMIT, NONE = "commit", "none"


def is_durable(durability: str | None = None) -> bool:
    """Whether writes wait for the disk, by a word of the user or by the setting.

    Raises
    ------
    InvalidSettingError
        The word is neither "commit" nor "none".
    """
    chosen = config.get("durability") if durability is None else durability
    if chosen not in (COMMIT, NONE):
        raise InvalidSettingError(f"durability is 'commit' or 'none', not {chosen!r}")
    return bool(chosen == COMMIT)


@cache
def machine() -> str:
    """Return what tells this machine, as booted now, from others; its processes share what is not on disk yet."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return platform.node()


def sync_file(descriptor: int) -> None:
    """Wait until the content of an open file is on disk."""
    os.fsync(descriptor)


def sync_folder(folder: str) -> None:
    """Wait until the names in a folder are on disk; one that was removed meanwhile is passed over."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do not sync folders
            raise
    finally:
        os.close(descriptor)


def make_folders(folder: str, *, durable: bool) -> None:
    """Make a folder and those above it where they are missing."""
    missing = []
    above = folder
    while not os.path.isdir(above):  # noqa: PTH112
        missing.append(above)
        above = os.path.dirname(above)  # noqa: PTH120
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    except (FileNotFoundError, FileExistsError) as error:
        link = next((one for one in missing if os.path.islink(one)), None)  # noqa: PTH114
        reason = f"{link} is a link to a folder that is not there" if link else error.strerror
        raise OSError(error.errno, f"the folder {folder} cannot be made: {reason}") from error
    if durable:
        for made in missing:
            sync_folder(os.path.dirname(made))  # noqa: PTH120


def sync_below(root: str, folder: str) -> None:
    """Wait until all that was written below a folder is on disk, and can be found from the root.

    Parameters
    ----------
    root : str
        A folder that is on disk.
    folder : str
        It, or a folder below it.
    """
    if _sync_file_system(root):
        return
    for path, _, names in os.walk(folder):
        for name in names:
            _sync_written(f"{path}/{name}")
        sync_folder(path)
    while len(folder) > len(root):
        folder = os.path.dirname(folder)  # noqa: PTH120
        sync_folder(folder)


def _sync_written(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # the temporary file of another writer
        return
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def _sync_file_system(folder: str) -> bool:
    """Sync the file system that a folder lies on, and tell whether the system can do that."""
    syncfs = _syncfs()
    if syncfs is None:
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        syncfs(descriptor)
    except NotImplementedError:
        return False
    finally:
        os.close(descriptor)
    return True


@cache
def _syncfs() -> Callable[[int], None] | None:
    """Return ``syncfs`` of the C library, which Python does not have."""
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None

    def syncfs(descriptor: int) -> None:
        if function(descriptor):
            number = ctypes.get_errno()
            if number == errno.ENOSYS:
                raise NotImplementedError
            raise OSError(number, os.strerror(number))

    return syncfs
