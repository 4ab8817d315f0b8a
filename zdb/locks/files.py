"""Locks of files, for the processes that share a file system: ``file:``.

The system frees them at the death of the holder, whatever its kind. A file stays where it is when its lock is released;
beside it another one tells who holds it, and counts the acquisitions.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from zdb.errors import LockLostError, LockUnavailableError, LockUsageError
from zdb.locks.backend import Backend, Hold, safe_name
from zdb.locks.owner import Owner
from zdb.locks.waiting import Delays, Patience, poll
from zdb.records import state_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileBackend"]

DELAYS = Delays(0.001, 0.05)
# Who counts an acquisition that others share holds this for less than a millisecond.
COUNTING_SECONDS = 10.0
BLOCK = 512


class FileBackend(Backend):
    """A folder with two files for each lock."""

    scheme = "file"
    has_shared = fcntl is not None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"file:{folder}"

    @classmethod
    def connect(cls, url: str, lease: float, storage_options: Mapping[str, Any] | None) -> FileBackend:  # noqa: ARG003
        path = url.removeprefix("file:")
        if path.startswith("//"):
            path = path.removeprefix("//").removeprefix("localhost")
        folder = Path(path).expanduser() if path else state_directory() / "zdb" / "locks"
        with _unavailable(f"file:{folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return cls(folder.resolve())

    def hold(self, name: str, shared: bool) -> FileHold:
        return SharedFileHold(self, name) if shared else ExclusiveFileHold(self, name)

    def path(self, name: str) -> Path:
        return self.folder / f"{safe_name(name)}.lock"

    def owners(self, name: str) -> list[Owner]:
        path = self.path(name)
        if not path.exists():
            return []
        with _unavailable(self.url):
            probe = filelock.FileLock(path, thread_local=False)
            with contextlib.suppress(filelock.Timeout), probe.acquire(timeout=DELAYS.first):
                return []
        try:
            known = [Owner.parse(one) for one in _read(path).get("owners", {}).values()]
        except LockUnavailableError:  # it is just being written
            known = []
        return known or [Owner.parse(None)]


class FileHold(Hold):
    """One acquisition of the lock of a file."""

    def __init__(self, backend: FileBackend, name: str) -> None:
        super().__init__()
        self.backend = backend
        self.path = backend.path(name)
        self.identity = (0, 0)

    def acquire(self, patience: Patience) -> bool:
        with _unavailable(self.backend.url):
            if not poll(self._lock, patience, DELAYS, tolerance=0):
                return False
            try:
                self._count()
            except BaseException:
                self._unlock()
                raise
        return True

    def _lock(self) -> bool:
        raise NotImplementedError

    def _unlock(self) -> None:
        raise NotImplementedError

    def _count(self) -> None:
        """Note who holds it, and take the next token."""
        status = self.path.stat()
        self.identity = (status.st_dev, status.st_ino)
        known = _read(self.path)
        self.token = int(known.get("token", 0)) + 1
        _write(self.path, {"token": self.token, "owners": {str(self.token): Owner.here().dump()}})

    def check(self) -> None:
        try:
            status = self.path.stat()
        except OSError as error:
            raise LockLostError(f"{self.path}: the file of the lock is gone: {error.strerror}") from error
        if (status.st_dev, status.st_ino) != self.identity:
            raise LockLostError(f"{self.path}: the file of the lock was replaced, so that others can have it too")

    def release(self) -> None:
        try:
            self.check()
        finally:
            self._unlock()


class ExclusiveFileHold(FileHold):
    """Nobody else has it."""

    def __init__(self, backend: FileBackend, name: str) -> None:
        super().__init__(backend, name)
        # An object of its own for each acquisition, because filelock lets one object in again and again.
        self._file = filelock.FileLock(self.path, thread_local=False)

    def _lock(self) -> bool:
        try:
            self._file.acquire(blocking=False)
        except filelock.Timeout:
            return False
        return True

    def _unlock(self) -> None:
        self._file.release()


class SharedFileHold(FileHold):
    """Others may share it, by the shared mode of ``flock``; filelock takes the exclusive mode of the same."""

    _descriptor = -1

    def _lock(self) -> bool:
        if fcntl is None:
            raise LockUsageError("locks of files cannot be shared on this system")
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _shared_holds.add(self)
        return True

    def _unlock(self) -> None:
        _shared_holds.discard(self)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    abandon = __del__ = _unlock

    def _count(self) -> None:
        with self._counting():
            known = _read(self.path)
            super()._count()
            owners = known.get("owners", {}) | _read(self.path)["owners"]
            _write(self.path, {"token": self.token, "owners": _alive(owners)})

    def release(self) -> None:
        with contextlib.suppress(OSError, filelock.Timeout), self._counting():
            known = _read(self.path)
            known.get("owners", {}).pop(str(self.token), None)
            _write(self.path, known)
        super().release()

    def _counting(self) -> contextlib.AbstractContextManager[Any]:
        """Keep the others who share the lock from counting at the same time."""
        return filelock.FileLock(f"{self.path}.counting", thread_local=False).acquire(timeout=COUNTING_SECONDS)


_shared_holds: weakref.WeakSet[SharedFileHold] = weakref.WeakSet()


def _close_what_the_parent_holds() -> None:
    """Close what was inherited by a fork, so that the lock ends with the process that acquired it."""
    for hold in list(_shared_holds):
        hold._unlock()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_what_the_parent_holds)


def _alive(owners: dict[str, Any]) -> dict[str, Any]:
    """Leave out processes of this machine that are gone."""
    here = Owner.here().host
    return {token: one for token, one in owners.items() if one["host"] != here or _exists(int(one["pid"]))}


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.with_suffix(".json").read_bytes() or b"{}")
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise LockUnavailableError(f"{path.with_suffix('.json')} is damaged; remove it while nobody works") from error
    return dict(found)


def _write(path: Path, data: dict[str, Any]) -> None:
    """Write in one step, filled up with blanks to the size that is there; only one process at a time does it.

    To put a new file in its place would take ten times as long, because the system then writes it to the disk.
    """
    descriptor = os.open(path.with_suffix(".json"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        size = max(BLOCK, os.fstat(descriptor).st_size)
        os.write(descriptor, json.dumps(data).encode().ljust(size))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _unavailable(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, LockUnavailableError):
            raise
        raise LockUnavailableError(f"{url} cannot be written: {error.strerror or error}") from error
