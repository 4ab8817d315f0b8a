"""What the engine needs of a store: whole small objects by path, listings, and a zarr store for the chunks."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from zdb.errors import AccessDeniedError, ReadOnlyError, StorageError, ZdbError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from zarr.abc.store import Store

__all__ = ["NodeStore", "ObjectStatus", "Tag", "Tagged", "system_error", "translated"]

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
# What botocore raises before it asks the server.
_WITHOUT_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")


class ObjectStatus(NamedTuple):
    """One object as a listing shows it; `modified` is None where the store does not tell."""

    path: str
    size: int
    modified: datetime | None


Tag = bytes | str


class Tagged(NamedTuple):
    """An object and what tells whether it was replaced since."""

    data: bytes
    tag: Tag


class NodeStore(ABC):
    """The objects of one database, by path.

    Attributes
    ----------
    url : str
        Where the store lies, without credentials.
    read_only : bool
        Writing raises :class:`~zdb.errors.ReadOnlyError`.
    how_to_write : str
        The advice that this error gives.
    loses_answers : bool
        A write that failed may be carried out all the same, also later.
    removes_conditionally : bool
        :meth:`remove` is one step.
    has_folders : bool
        A name is listed although nothing lies below it; where there are no folders, some servers do so for a while.
    """

    url: str
    read_only: bool
    how_to_write = "open it with mode='a' or 'r+' to write"
    loses_answers = False
    removes_conditionally = True
    has_folders = False

    @abstractmethod
    def get(self, path: str) -> bytes | None:
        """Return the object, or None if there is none."""

    def get_range(self, path: str, start: int, length: int) -> bytes | None:
        """Return a part of the object, or None if there is none."""
        data = self.get(path)
        return None if data is None else data[start : start + length]

    @abstractmethod
    def get_many(self, paths: list[str]) -> list[bytes | None]:
        """Return several objects, read concurrently where that helps."""

    @abstractmethod
    def set(self, path: str, data: bytes) -> None:
        """Write or replace one object; readers see the old or the new one.

        When this returns the object is in the store for good, if the store is not told otherwise (`durability`).
        """

    def stage(self, path: str, data: bytes) -> None:
        """Write an object that nobody needs before :meth:`sync` was called."""
        self.set(path, data)

    def sync(self, path: str) -> None:  # noqa: B027 - in most stores an object that was written is there for good
        """Wait until all that this machine wrote below a path is in the store for good."""

    def create(self, path: str, data: bytes) -> bool:
        """Write an object if there is none, and tell whether it was written."""
        return self.replace(path, data, None) is not None

    # What keeps several writers apart. Here an object is its own tag, and nothing is one step: stores see to that.

    def read_tagged(self, path: str) -> Tagged | None:
        """Return the object and its tag, or None if there is none."""
        return self.read_tagged_many([path])[0]

    def tag(self, path: str) -> Tag | None:
        """Return the tag of an object without reading it where the store tells it, or None if there is no object."""
        found = self.read_tagged(path)
        return None if found is None else found.tag

    def read_tagged_many(self, paths: list[str]) -> list[Tagged | None]:
        """Return several objects with their tags, read concurrently where that helps."""
        return [None if data is None else Tagged(data, data) for data in self.get_many(paths)]

    def replace(self, path: str, data: bytes, tag: Tag | None, *, lasting: bool = True) -> Tag | None:  # noqa: ARG002
        """Write an object in one step if it still has this tag, or if there is none for the tag None.

        Parameters
        ----------
        path : str
        data : bytes
        tag : bytes, str or None
        lasting : bool
            If false, it need not outlive a loss of power.

        Returns
        -------
        tag or None
            None if it was not written.
        """
        if self.get(path) != tag:
            return None
        self.set(path, data)
        return data

    def remove(self, path: str, tag: Tag) -> bool:
        """Remove an object if it still has this tag, and tell whether it is gone."""
        if self.get(path) != tag:
            return False
        self.delete([path])
        return True

    @abstractmethod
    def remove_node(self, path: str, tag: Tag, *, is_database: bool) -> bool:
        """Remove a node that still has this tag with all that is below it, and tell whether it did."""

    @abstractmethod
    def move_node(self, old: str, new: str, tag: Tag, check: Callable[[], object]) -> bool:
        """Move a node that still has this tag, with all below it, to a path without one; tell whether it did.

        Nothing more is written or removed at the new path when `check` raises, which is called again and again.
        """

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that do not exist are passed over."""

    def prune(self, path: str, before: datetime | None = None) -> None:  # noqa: B027 - most stores have no folders
        """Remove folders in which nothing lies, and nothing has changed since a time, where the store has folders."""

    @abstractmethod
    def delete_tree(self, path: str) -> None:
        """Remove all objects below a path, those named ``zarr.json`` first, deepest first."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether nothing at all lies in the store."""

    @abstractmethod
    def list_names(self, path: str) -> list[str]:
        """Names directly below a path that have something below themselves, sorted."""

    @abstractmethod
    def list_objects(self, path: str) -> list[str]:
        """Paths of all objects at any depth below a path."""

    @abstractmethod
    def list_status(self, path: str) -> list[ObjectStatus]:
        """Return all objects at any depth below a path with their sizes and times, sorted by path."""

    def list_hidden(self, path: str) -> dict[str, list[ObjectStatus]]:  # noqa: ARG002
        """Return what was left beside the names in a database by writes and deletions, by path; only local disks do."""
        return {}

    @abstractmethod
    def fingerprint(self, path: str) -> object:
        """Return something that changes when the object is replaced, None where that costs as much as reading."""

    @abstractmethod
    def modified(self, path: str) -> datetime | None:
        """When the object was last written, if the store tells."""

    @abstractmethod
    def zarr_store(self, *, reading: bool) -> Store:
        """Return the zarr store through which the chunks go.

        When `reading`, a chunk that is absent or empty raises instead of being filled in.
        """

    def missing(self, paths: list[str]) -> list[str]:
        """Return those of the `paths` at which there is no object."""
        return [path for path, data in zip(paths, self.get_many(paths), strict=True) if data is None]

    def require_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError(f"{self.url} is open read-only; {self.how_to_write}")


@contextlib.contextmanager
def translated(url: str, path: str, doing: str = "write") -> Iterator[None]:
    """Raise what the operating system or a client library raises as an error of zdb that names the object."""
    try:
        yield
    except (ZdbError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        system = system_error(error)
        if system is None and type(error).__name__ not in _WITHOUT_CREDENTIALS:
            raise StorageError(f"{url}: {path or '/'}: {type(error).__name__}: {error}") from error
        if system is None or system.errno in _REFUSED or isinstance(system, PermissionError):
            reason = (system and system.strerror) or error
            message = f"{url}: no permission to {doing} {path or '/'}: {str(reason).rstrip('.')}"
            if doing == "read" or system is None:
                raise AccessDeniedError(f"{message}; {_how_to_get_access(url)}") from error
            raise ReadOnlyError(message) from error
        reason = system.strerror or system
        advice = "; free some space, nothing was changed" if system.errno == errno.ENOSPC else ""
        raise StorageError(system.errno, f"{url}: {path or '/'}: {reason}{advice}") from error


def _how_to_get_access(url: str) -> str:
    protocol, separator, _ = url.rpartition("://")
    if not separator:
        return "look at the rights of the file and of the folders above it"
    advice = "give storage_options=, or set what the file system reads"
    if protocol.rpartition("::")[2] in ("s3", "s3a"):
        advice = (
            'give storage_options={"key": …, "secret": …}, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or '
            'AWS_PROFILE; {"anon": True} reads what is public'
        )
    return advice


def system_error(error: Exception) -> OSError | None:
    """Return the error of the operating system behind an error, which the Rust pipeline only tells in its text."""
    if isinstance(error, OSError):
        return error
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None
