"""Any zarr store: memory, zip, and through fsspec every protocol that is not the local disk."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from zdb import config
from zdb.engine.node import VALUE, Node, node_path
from zdb.engine.nodes import NodeStore, ObjectStatus, translated
from zdb.errors import ClaimsUnsupportedError, CorruptChunkError, ZdbError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from zarr.abc.store import Store

    from zdb.engine.nodes import Tag

__all__ = ["ZarrNodes", "bounded"]

CONCURRENT_REQUESTS = 64
S = TypeVar("S")
T = TypeVar("T")


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

    def _run(self, path: str, work: Coroutine[Any, Any, T], doing: str = "read") -> T:
        from zarr.core.sync import sync

        with translated(self.url, path, doing):
            return sync(work)

    async def _get(self, path: str) -> bytes | None:
        from zarr.abc.store import OffsetByteRequest
        from zarr.core.buffer import default_buffer_prototype

        # Asked for the bytes from the first on, s3fs sends one request; for the whole, it looks up the size before.
        found = await self.store.get(path, default_buffer_prototype(), OffsetByteRequest(0))
        return None if found is None else found.to_bytes()

    def get(self, path: str) -> bytes | None:
        return self._run(path, self._get(path))

    def get_range(self, path: str, start: int, length: int) -> bytes | None:
        from zarr.abc.store import RangeByteRequest
        from zarr.core.buffer import default_buffer_prototype

        wanted = RangeByteRequest(start, start + length)
        found = self._run(path, self.store.get(path, default_buffer_prototype(), wanted))
        return None if found is None else found.to_bytes()

    def get_many(self, paths: list[str]) -> list[bytes | None]:
        return self._run("", bounded(self._get, paths))

    def set(self, path: str, data: bytes) -> None:
        from zarr.core.buffer import default_buffer_prototype

        self.require_writable()
        buffer = default_buffer_prototype().buffer.from_bytes(data)
        self._run(path, self.store.set(path, buffer), "write")

    def delete(self, paths: Iterable[str]) -> None:
        self.require_writable()
        self._run("", bounded(self.store.delete, list(paths)), "write")

    def delete_tree(self, path: str) -> None:
        self._delete_all(self.list_objects(path))

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

        # On some servers a prefix that was emptied is listed as itself for a while.
        return sorted(set(self._run(path, objects())) - {path, getattr(self.store, "path", path)})

    def list_status(self, path: str) -> list[ObjectStatus]:
        from zarr.storage import FsspecStore, ZipStore

        if not isinstance(self.store, FsspecStore):
            objects = self.list_objects(path)
            if isinstance(self.store, ZipStore):  # its getsize reads the whole object
                sizes = [self.store._zf.getinfo(one).file_size for one in objects]  # noqa: SLF001
            else:
                sizes = self._run(path, bounded(self.store.getsize, objects))
            return [ObjectStatus(one, size, None) for one, size in zip(objects, sizes, strict=True)]
        root = str(self.store.path).strip("/")
        found = self._run(path, self._find(root, path))
        start = len(root) + 1 if root else 0
        listed = {name.strip("/")[start:]: info for name, info in found.items()}
        for itself in ("", path):  # on some servers a prefix that was emptied is listed for a while
            listed.pop(itself, None)
        return sorted(ObjectStatus(name, int(info["size"] or 0), _time_of(info)) for name, info in listed.items())

    def _find(self, root: str, path: str) -> Coroutine[Any, Any, dict[str, Any]]:
        """Look for all that lies below a path in a folder of fsspec."""
        place = "/".join(filter(None, (root, path)))
        found: Coroutine[Any, Any, dict[str, Any]] = self.store.fs._find(place, detail=True)  # type: ignore[attr-defined]  # noqa: SLF001
        return found

    def replace(self, path: str, data: bytes, tag: Tag | None, *, lasting: bool = True) -> Tag | None:  # noqa: ARG002
        self.require_writable()
        if config.get("claims") != "none":
            raise ClaimsUnsupportedError(
                f"{self.url}: zdb knows no way to keep two writers of one key apart in such a store; copy the database "
                "to a local disk or to S3, or, where only one process writes at a time, set claims to 'none' "
                "(ZDB_CLAIMS=none)"
            )
        return super().replace(path, data, tag)

    def remove_node(self, path: str, tag: Tag, *, is_database: bool) -> bool:
        self.require_writable()
        own = node_path(path)
        if is_database:
            self._delete_all(one for one in self.list_objects(path) if one != own and one.endswith("/zarr.json"))
        of_value: list[str] = []
        if not is_database:
            with contextlib.suppress(CorruptChunkError):  # what cannot be read is deleted, too
                of_value = self._objects_of_value(path) or []
        if not self.remove(own, tag):
            return False
        self._delete_all(of_value)  # a listing of some time ago may not show them
        left = self.list_objects(path)
        while left and own not in left:  # nodes that others have put there meanwhile go too
            self._delete_all(left)
            left = self.list_objects(path) if is_database else []
        self._delete_all(one for one in left if not is_database and one != own)
        return True

    def _delete_all(self, paths: Iterable[str]) -> None:
        """Remove objects, those named ``zarr.json`` first, deepest first.

        So an interruption leaves no child that is back when its parent is made anew.
        """
        objects = set(paths)
        nodes = {path for path in objects if path.endswith("/zarr.json")}
        for depth in sorted({path.count("/") for path in nodes}, reverse=True):
            self.delete(path for path in nodes if path.count("/") == depth)
        self.delete(objects - nodes)

    def move_node(self, old: str, new: str, tag: Tag, check: Callable[[], object]) -> bool:
        self.require_writable()
        own = node_path(old)
        listed = [path for path in self.list_objects(old) if path != own]
        of_value = self._objects_of_value(old)
        objects = listed if of_value is None else of_value
        # The nodes follow when all chunks are there, the top one last: it makes the new name visible.
        nodes = sorted((p for p in objects if p.endswith("/zarr.json")), key=lambda p: -p.count("/"))
        chunks = sorted(set(objects).difference(nodes))
        copies = [new + path[len(old) :] for path in objects]
        try:
            for start in range(0, len(chunks), CONCURRENT_REQUESTS):
                check()
                some = chunks[start : start + CONCURRENT_REQUESTS]
                self._run(new, bounded(lambda path: self._copy(path, new + path[len(old) :]), some), "write")
            for node in nodes:
                check()
                self._run(new, self._copy(node, new + node[len(old) :]), "write")
            found = self.read_tagged(own)
        except BaseException:
            with contextlib.suppress(ZdbError):  # what stays is in the way of the next attempt
                check()
                self._delete_all(copies)
            raise
        if found is None or found.tag != tag or not self.replace(node_path(new), found.data, None):
            check()
            self._delete_all(copies)
            return False
        self.remove(own, tag)  # what another has put there meanwhile stays
        self._delete_all({*objects, *listed})
        return True

    def _objects_of_value(self, path: str) -> list[str] | None:
        """Return the objects of a value but its node, as its metadata tells better than a listing; None for others."""
        data = self.get(node_path(path))
        node = None if data is None else Node.parse(path, data)
        if node is None or node.kind != VALUE:
            return None
        return [one for one in dict.fromkeys(node.object_paths()) if one != node_path(path)]

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
        return _time_of(self._run(path, self.store.fs._info(f"{self.store.path}/{path}")))  # noqa: SLF001

    def zarr_store(self, *, reading: bool) -> Store:
        from zdb.engine.strict import RaisingStore

        return RaisingStore(self.store) if reading else self.store


def _time_of(info: dict[str, Any]) -> datetime | None:
    """Return when an object was written, from what a file system of fsspec says of it."""
    when = info.get("LastModified") or info.get("mtime") or info.get("modified")
    if isinstance(when, int | float):
        return datetime.fromtimestamp(when, tz=UTC)
    if isinstance(when, datetime):
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return None


async def bounded(function: Callable[[S], Coroutine[Any, Any, T]], items: list[S]) -> list[T]:
    slots = asyncio.Semaphore(CONCURRENT_REQUESTS)

    async def one(item: S) -> T:
        async with slots:
            return await function(item)

    return await asyncio.gather(*(one(item) for item in items))
