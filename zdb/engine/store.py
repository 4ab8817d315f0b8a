"""From a URL to a store: the only module that knows about protocols.

A :class:`NodeStore` holds the objects of one database under ``/``-joined paths. It moves whole small objects (the
``zarr.json`` of nodes) itself, without going through zarr, which is several times faster, and hands out a zarr store
for the chunks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zdb.errors import ReadOnlyError, StorageError, ZdbError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

    from zarr.abc.store import Store
    from zarr.storage import FsspecStore, MemoryStore

__all__ = ["LocalNodes", "NodeStore", "ZarrNodes", "open_store"]

CONCURRENT_REQUESTS = 64
T = TypeVar("T")

# Tells the temporary files of this process from those of all others on a shared file system.
_PROCESS_TOKEN = uuid.uuid4().hex[:12]
_counter = itertools.count()


def _unique() -> str:
    return f"{_PROCESS_TOKEN}.{os.getpid()}.{next(_counter)}"


class NodeStore(ABC):
    """The objects of one database, by path.

    Attributes
    ----------
    url : str
        Where the store lies, without credentials.
    read_only : bool
        Writing raises :class:`~zdb.errors.ReadOnlyError`.
    """

    url: str
    read_only: bool

    @abstractmethod
    def get(self, path: str) -> bytes | None:
        """Return the object, or None if there is none."""

    @abstractmethod
    def get_many(self, paths: list[str]) -> list[bytes | None]:
        """Return several objects, read concurrently where that helps."""

    @abstractmethod
    def set(self, path: str, data: bytes) -> None:
        """Write or replace one object; readers see the old or the new one."""

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that do not exist are passed over."""

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
    def move_tree(self, old: str, new: str) -> None:
        """Give all objects below `old` a path below `new`, which is empty before."""

    @abstractmethod
    def fingerprint(self, path: str) -> object:
        """Return something that changes when the object is replaced, None where that costs as much as reading."""

    @abstractmethod
    def modified(self, path: str) -> datetime | None:
        """When the object was last written, if the store tells."""

    @abstractmethod
    def zarr_store(self, *, reading: bool) -> Store:
        """Return the zarr store through which the chunks go.

        When `reading`, a chunk that is absent raises instead of being filled in, unless `checks_chunks` says that the
        caller has to look.
        """

    @property
    def checks_chunks(self) -> bool:
        """Whether the store for reading raises by itself when a chunk is absent."""
        return True

    def missing(self, paths: list[str]) -> list[str]:
        """Return those of the `paths` at which there is no object."""
        return [path for path, data in zip(paths, self.get_many(paths), strict=True) if data is None]

    def require_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError(f"{self.url} is open read-only; open it with mode='a' or 'r+' to write")


@contextlib.contextmanager
def _translated(url: str, path: str) -> Iterator[None]:
    """Raise what the operating system or a client library raises as an error of zdb that names the object."""
    try:
        yield
    except (ZdbError, KeyboardInterrupt, MemoryError):
        raise
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) or isinstance(error, PermissionError):
            raise ReadOnlyError(f"{url}: no permission to write {path or '/'}: {error.strerror or error}") from error
        advice = "; free some space, nothing was changed" if error.errno == errno.ENOSPC else ""
        raise StorageError(error.errno, f"{url}: {path or '/'}: {error.strerror or error}{advice}") from error
    except Exception as error:
        raise StorageError(f"{url}: {path or '/'}: {type(error).__name__}: {error}") from error


class LocalNodes(NodeStore):
    """A folder of the local file system, used directly."""

    def __init__(self, root: str | Path, *, read_only: bool = False) -> None:
        self.root = str(Path(root).expanduser().absolute())
        self.url = self.root
        self.read_only = read_only

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def get(self, path: str) -> bytes | None:
        try:
            with open(self._at(path), "rb") as file:  # noqa: PTH123 - half the time of Path.read_bytes
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            with _translated(self.url, path):
                raise error

    def get_many(self, paths: list[str]) -> list[bytes | None]:
        return [self.get(path) for path in paths]

    def set(self, path: str, data: bytes) -> None:
        self.require_writable()
        target = self._at(path)
        # The name does not end in zarr.json and starts with a dot: no reader takes it for a node or a chunk.
        folder, name = os.path.split(target)
        temporary = f"{folder}/.{name}.{_unique()}"
        with _translated(self.url, path):
            try:
                try:
                    file = open(temporary, "xb")  # noqa: PTH123, SIM115
                except FileNotFoundError:
                    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
                    file = open(temporary, "xb")  # noqa: PTH123, SIM115
                with file:
                    file.write(data)
                os.replace(temporary, target)  # noqa: PTH105
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)  # noqa: PTH108
                raise

    def delete(self, paths: Iterable[str]) -> None:
        self.require_writable()
        for path in paths:
            with _translated(self.url, path), contextlib.suppress(FileNotFoundError):
                os.unlink(self._at(path))  # noqa: PTH108

    def delete_tree(self, path: str) -> None:
        self.require_writable()
        folder, name = os.path.split(self._at(path))
        # One rename takes the whole tree out of sight; names that start with a dot are no keys.
        hidden = f"{folder}/.deleted.{name}.{_unique()}"
        with _translated(self.url, path):
            try:
                os.rename(self._at(path), hidden)  # noqa: PTH104
            except FileNotFoundError:
                return
            shutil.rmtree(hidden)

    def is_empty(self) -> bool:
        with _translated(self.url, ""):
            try:
                with os.scandir(self.root) as entries:
                    return not any(entries)
            except FileNotFoundError:
                return True
            except NotADirectoryError:
                return False

    def list_names(self, path: str) -> list[str]:
        with _translated(self.url, path):
            try:
                with os.scandir(self._at(path)) as entries:
                    return sorted(entry.name for entry in entries if entry.is_dir())
            except (FileNotFoundError, NotADirectoryError):
                return []

    def list_objects(self, path: str) -> list[str]:
        found = []
        with _translated(self.url, path):
            for folder, _, names in os.walk(self._at(path)):
                relative = os.path.relpath(folder, self.root)
                prefix = "" if relative == "." else f"{relative}/"
                found += [prefix + name for name in names]
        return sorted(found)

    def move_tree(self, old: str, new: str) -> None:
        self.require_writable()
        target = Path(self._at(new))
        with _translated(self.url, new):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(self._at(old), target)  # noqa: PTH104

    def fingerprint(self, path: str) -> object:
        try:
            status = os.stat(self._at(path))  # noqa: PTH116
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def modified(self, path: str) -> datetime | None:
        with _translated(self.url, path):
            return datetime.fromtimestamp(os.stat(self._at(path)).st_mtime, tz=UTC)  # noqa: PTH116

    def zarr_store(self, *, reading: bool) -> Store:
        from zarr.storage import LocalStore

        return LocalStore(self.root, read_only=reading)

    @property
    def checks_chunks(self) -> bool:
        # The fast pipelines need the plain LocalStore, which fills an absent chunk in without a word.
        return False

    def missing(self, paths: list[str]) -> list[str]:
        return [path for path in paths if not os.path.exists(self._at(path))]  # noqa: PTH110


class ZarrNodes(NodeStore):
    """Any zarr store: memory, zip, and through fsspec every other protocol."""

    def __init__(
        self,
        url: str,
        store: Store,
        *,
        read_only: bool = False,
        reopen: tuple[Callable[..., NodeStore], tuple[Any, ...]] | None = None,
    ) -> None:
        self.url = url
        self.store = store
        self.read_only = read_only
        self._reopen = reopen

    def __reduce__(self) -> tuple[Callable[..., NodeStore], tuple[Any, ...]]:
        if self._reopen is not None:
            return self._reopen
        return (ZarrNodes, (self.url, self.store, self.read_only))

    def _run(self, path: str, work: Coroutine[Any, Any, T]) -> T:
        from zarr.core.sync import sync

        with _translated(self.url, path):
            return sync(work)

    async def _get(self, path: str) -> bytes | None:
        from zarr.abc.store import OffsetByteRequest
        from zarr.core.buffer import default_buffer_prototype

        # Asked for the bytes from the first on, s3fs sends one request; for the whole, it looks up the size before.
        found = await self.store.get(path, default_buffer_prototype(), OffsetByteRequest(0))
        return None if found is None else found.to_bytes()

    def get(self, path: str) -> bytes | None:
        return self._run(path, self._get(path))

    def get_many(self, paths: list[str]) -> list[bytes | None]:
        return self._run("", _bounded(self._get, paths))

    def set(self, path: str, data: bytes) -> None:
        from zarr.core.buffer import default_buffer_prototype

        self.require_writable()
        buffer = default_buffer_prototype().buffer.from_bytes(data)
        self._run(path, self.store.set(path, buffer))

    def delete(self, paths: Iterable[str]) -> None:
        self.require_writable()
        self._run("", _bounded(self.store.delete, list(paths)))

    def delete_tree(self, path: str) -> None:
        objects = self.list_objects(path)
        nodes = [p for p in objects if p.endswith("/zarr.json")]
        # Deeper nodes go first, so that an interruption leaves no child that is back when its parent is made anew.
        for depth in sorted({p.count("/") for p in nodes}, reverse=True):
            self.delete(p for p in nodes if p.count("/") == depth)
        self.delete(set(objects).difference(nodes))

    def is_empty(self) -> bool:
        async def first() -> bool:
            async for _ in self.store.list_dir(""):
                return False
            return True

        return self._run("", first())

    def list_names(self, path: str) -> list[str]:
        async def names() -> list[str]:
            return [name async for name in self.store.list_dir(path)]

        return sorted({name.rstrip("/") for name in self._run(path, names())} - {"zarr.json"})

    def list_objects(self, path: str) -> list[str]:
        async def objects() -> list[str]:
            return [name async for name in self.store.list_prefix(f"{path}/" if path else "")]

        return sorted(self._run(path, objects()))

    def move_tree(self, old: str, new: str) -> None:
        self.require_writable()
        objects = self.list_objects(old)
        # The nodes follow when all chunks are there, the top one last: it makes the new name visible.
        nodes = sorted((p for p in objects if p.endswith("/zarr.json")), key=lambda p: -p.count("/"))
        chunks = sorted(set(objects).difference(nodes))
        self._run(new, _bounded(lambda path: self._copy(path, new + path[len(old) :]), chunks))
        for node in nodes:
            self._run(new, self._copy(node, new + node[len(old) :]))
        self.delete([f"{old}/zarr.json"])
        self.delete_tree(old)

    async def _copy(self, source: str, target: str) -> None:
        from zarr.core.buffer import default_buffer_prototype
        from zarr.storage import FsspecStore

        if isinstance(self.store, FsspecStore):
            await self.store.fs._cp_file(*(f"{self.store.path}/{p}" for p in (source, target)))  # noqa: SLF001
        else:
            data = await self.store.get(source, default_buffer_prototype())
            assert data is not None, source
            await self.store.set(target, data)

    def fingerprint(self, path: str) -> object:  # noqa: ARG002
        return None  # to ask costs as much as to read

    def modified(self, path: str) -> datetime | None:
        from zarr.storage import FsspecStore

        if not isinstance(self.store, FsspecStore):
            return None
        found = self._run(path, self.store.fs._info(f"{self.store.path}/{path}"))  # noqa: SLF001
        when = found.get("LastModified") or found.get("mtime")
        return when if isinstance(when, datetime) else None

    def zarr_store(self, *, reading: bool) -> Store:
        from zdb.engine.strict import RaisingStore

        return RaisingStore(self.store) if reading else self.store


async def _bounded(function: Callable[[str], Coroutine[Any, Any, T]], paths: list[str]) -> list[T]:
    slots = asyncio.Semaphore(CONCURRENT_REQUESTS)

    async def one(path: str) -> T:
        async with slots:
            return await function(path)

    return await asyncio.gather(*(one(path) for path in paths))


_memory: dict[str, MemoryStore] = {}  # by URL


def _open_memory(url: str, *, read_only: bool = False) -> ZarrNodes:
    """Open the store of this name in this process; all who name it share it."""
    from zarr.storage import MemoryStore

    store = _memory.setdefault(url, MemoryStore())
    return ZarrNodes(url, store, read_only=read_only, reopen=(_reopen_memory, (url, os.getpid(), read_only)))


def _reopen_memory(url: str, process: int, read_only: bool) -> ZarrNodes:
    if process != os.getpid():
        raise StorageError(f"{url} lives in the memory of process {process} and cannot be reached from {os.getpid()}")
    return _open_memory(url, read_only=read_only)


def _open_zip(path: str) -> ZarrNodes:
    from zarr.storage import ZipStore

    with _translated(path, ""):
        store = ZipStore(path, mode="r")
        store._sync_open()  # noqa: SLF001 - opened by the first asynchronous call otherwise
    return ZarrNodes(path, store, read_only=True, reopen=(_open_zip, (path,)))


def _open_fsspec(url: str, storage_options: Mapping[str, Any] | None, read_only: bool) -> ZarrNodes:
    from zarr.storage import FsspecStore

    from zdb.redact import redact_url

    # A cached listing hides what other processes write.
    options = {"use_listings_cache": False, **(storage_options or {})}
    with _translated(redact_url(url), ""):
        store: FsspecStore = FsspecStore.from_url(url, storage_options=options)
    reopen = (_open_fsspec, (url, storage_options, read_only))
    return ZarrNodes(redact_url(url), store, read_only=read_only, reopen=reopen)


def open_store(
    url: str | os.PathLike[str] | Store,
    storage_options: Mapping[str, Any] | None = None,
    *,
    read_only: bool = False,
) -> NodeStore:
    """Open the store that a URL names.

    Parameters
    ----------
    url : str, path-like or zarr.abc.store.Store
        A local path or ``file://`` URL, a path that ends in ``.zip`` (read-only), ``memory://name``, any other fsspec
        URL (``s3://bucket/path``), or a zarr store.
    storage_options : mapping, optional
        Passed to the fsspec file system.
    read_only : bool
        Refuse to write.

    Raises
    ------
    StorageError
        The protocol is not known or the store cannot be opened.
    """
    if not isinstance(url, (str, os.PathLike)):
        return ZarrNodes(str(url), url, read_only=read_only or url.read_only)
    text = os.fspath(url)
    protocol, separator, rest = text.partition("://")
    if not separator or protocol == "file":
        path = rest if separator else text
        if path.endswith(".zip") and not Path(path).is_dir():
            return _open_zip(path)
        return LocalNodes(path, read_only=read_only)
    if protocol == "memory":
        return _open_memory(text, read_only=read_only)
    return _open_fsspec(text, storage_options, read_only)
