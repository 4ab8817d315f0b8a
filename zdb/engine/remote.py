"""Any zarr store: memory, zip, and through fsspec every protocol that is not the local disk."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from zdb.engine.nodes import NodeStore, ObjectStatus, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from zarr.abc.store import Store

__all__ = ["ZarrNodes"]

CONCURRENT_REQUESTS = 64
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
        return self._run("", _bounded(self._get, paths))

    def set(self, path: str, data: bytes) -> None:
        from zarr.core.buffer import default_buffer_prototype

        self.require_writable()
        buffer = default_buffer_prototype().buffer.from_bytes(data)
        self._run(path, self.store.set(path, buffer), "write")

    def delete(self, paths: Iterable[str]) -> None:
        self.require_writable()
        self._run("", _bounded(self.store.delete, list(paths)), "write")

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

        # On some servers a prefix that was emptied is listed as itself for a while.
        return sorted(set(self._run(path, objects())) - {path, getattr(self.store, "path", path)})

    def list_status(self, path: str) -> list[ObjectStatus]:
        from zarr.storage import FsspecStore, ZipStore

        if not isinstance(self.store, FsspecStore):
            objects = self.list_objects(path)
            if isinstance(self.store, ZipStore):  # its getsize reads the whole object
                sizes = [self.store._zf.getinfo(one).file_size for one in objects]  # noqa: SLF001
            else:
                sizes = self._run(path, _bounded(self.store.getsize, objects))
            return [ObjectStatus(one, size, None) for one, size in zip(objects, sizes, strict=True)]
        root = str(self.store.path).strip("/")
        place = "/".join(filter(None, (root, path)))
        found = self._run(path, self.store.fs._find(place, detail=True))  # noqa: SLF001
        start = len(root) + 1 if root else 0
        listed = {name.strip("/")[start:]: info for name, info in found.items()}
        for itself in ("", path):  # on some servers a prefix that was emptied is listed for a while
            listed.pop(itself, None)
        return sorted(ObjectStatus(name, int(info["size"] or 0), _time_of(info)) for name, info in listed.items())

    def move_tree(self, old: str, new: str) -> None:
        self.require_writable()
        objects = self.list_objects(old)
        # The nodes follow when all chunks are there, the top one last: it makes the new name visible.
        nodes = sorted((p for p in objects if p.endswith("/zarr.json")), key=lambda p: -p.count("/"))
        chunks = sorted(set(objects).difference(nodes))
        self._run(new, _bounded(lambda path: self._copy(path, new + path[len(old) :]), chunks), "write")
        for node in nodes:
            self._run(new, self._copy(node, new + node[len(old) :]), "write")
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


async def _bounded(function: Callable[[str], Coroutine[Any, Any, T]], paths: list[str]) -> list[T]:
    slots = asyncio.Semaphore(CONCURRENT_REQUESTS)

    async def one(path: str) -> T:
        async with slots:
            return await function(path)

    return await asyncio.gather(*(one(path) for path in paths))
