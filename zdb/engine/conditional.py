"""Stores that write an object only if nobody else has done so since it was read, in one step."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

from zdb import config
from zdb.engine.nodes import NodeStore, Tagged
from zdb.engine.remote import ZarrNodes, bounded
from zdb.errors import ClaimsUnsupportedError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from typing import Any

    from zarr.storage import FsspecStore

    from zdb.engine.nodes import Tag

__all__ = ["MemoryNodes", "S3Nodes"]

_memory_lock = threading.Lock()
# What S3 answers where a condition does not hold; the second one if another conditional write is on its way.
_REFUSALS = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409", "404"}
_COPIED_AT_ONCE = 5 << 30  # larger objects are copied in parts
_DELETED_AT_ONCE = 250  # S3 takes up to 1000
_READ_AT_ONCE = 64 << 10  # of larger objects the size is looked at first
_NEVER = '"00000000000000000000000000000000"'  # no object has this ETag


class MemoryNodes(ZarrNodes):
    """A store in the memory of this process."""

    def replace(self, path: str, data: bytes, tag: Tag | None, *, lasting: bool = True) -> Tag | None:  # noqa: ARG002
        with _memory_lock:
            return NodeStore.replace(self, path, data, tag)

    def remove(self, path: str, tag: Tag) -> bool:
        with _memory_lock:
            return NodeStore.remove(self, path, tag)


class S3Nodes(ZarrNodes):
    """A bucket, through s3fs."""

    store: FsspecStore
    loses_answers = True
    # By server and bucket, whether it also removes conditionally; that it writes so has been seen of all that are here.
    _tested: dict[tuple[str, str], bool] = {}  # noqa: RUF012 - shared on purpose

    @property
    def removes_conditionally(self) -> bool:  # type: ignore[override]
        return self._tested.get(self._bucket, False)

    @property
    def _bucket(self) -> tuple[str, str]:
        fs = self.store.fs
        return (str(fs.client_kwargs.get("endpoint_url") or fs.endpoint_url), self._place("")["Bucket"])

    def _place(self, path: str) -> dict[str, str]:
        bucket, _, key = f"{self.store.path}/{path}".partition("/")
        return {"Bucket": bucket, "Key": key}

    def list_objects(self, path: str) -> list[str]:
        return [one.path for one in self.list_status(path)]

    def _find(self, root: str, path: str) -> Coroutine[Any, Any, dict[str, Any]]:
        # Where nothing lies below a path, s3fs would ask twice more whether that itself is an object.
        prefix = {"prefix": f"{path}/"} if path else {}
        found: Coroutine[Any, Any, dict[str, Any]] = self.store.fs._find(root, detail=True, **prefix)  # noqa: SLF001
        return found

    async def _read_tagged(self, path: str) -> Tagged | None:
        from s3fs.core import _error_wrapper

        async def read() -> Tagged:
            answer = await self.store.fs._call_s3("get_object", **self._place(path))  # noqa: SLF001
            async with answer["Body"] as body:
                return Tagged(await body.read(), answer["ETag"])

        try:
            found: Tagged = await _error_wrapper(read, retries=self.store.fs.retries)
        except FileNotFoundError:
            return None
        return found

    def read_tagged_many(self, paths: list[str]) -> list[Tagged | None]:
        return self._run(" ".join(paths), bounded(self._read_tagged, paths))

    def tag(self, path: str) -> Tag | None:
        return self._run(path, self._tag(path))

    async def _tag(self, path: str) -> Tag | None:
        found = await self._head(path)
        return None if found is None else str(found["ETag"])

    async def _size(self, path: str) -> int | None:
        found = await self._head(path)
        return None if found is None else int(found["ContentLength"])

    async def _head(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self.store.fs._call_s3("head_object", **self._place(path))  # noqa: SLF001
        except FileNotFoundError:
            return None
        return found

    def replace(self, path: str, data: bytes, tag: Tag | None, *, lasting: bool = True) -> Tag | None:  # noqa: ARG002
        self.require_writable()
        if config.get("claims") == "none":
            return NodeStore.replace(self, path, data, None if tag is None else self.get(path))
        if path != "zarr.json":
            self._test_conditions()
        written = self._run(path, self._put(path, data, tag), "write")
        if path == "zarr.json":  # before there is a database, nothing else may lie in its place
            self._test_conditions()
        return written

    async def _put(self, path: str, data: bytes, tag: Tag | None) -> Tag | None:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            place = self._place(path)
            answer = await self.store.fs._call_s3("put_object", Body=data, **condition, **place)  # noqa: SLF001
        except Exception as error:
            if _code(error) not in _REFUSALS:
                raise
            # When an answer was lost, the client library tries again, and is refused because of its own write.
            if len(data) > _READ_AT_ONCE and await self._size(path) != len(data):
                return None
            found = await self._read_tagged(path)
            return found.tag if found is not None and found.data == data else None
        return str(answer["ETag"])

    def remove(self, path: str, tag: Tag) -> bool:
        self.require_writable()
        if config.get("claims") != "none":
            self._test_conditions()
        if not self.removes_conditionally:
            found = self.read_tagged(path)
            if found is None or found.tag != tag:
                return found is None
            self.delete([path])
            return True
        return self._run(path, self._delete_if(path, tag), "write")

    async def _delete_if(self, path: str, tag: Tag) -> bool:
        try:
            await self.store.fs._call_s3("delete_object", IfMatch=tag, **self._place(path))  # noqa: SLF001
        except Exception as error:
            if _code(error) not in _REFUSALS:
                raise
            return await self._read_tagged(path) is None
        return True

    def delete(self, paths: Iterable[str]) -> None:
        self.require_writable()
        keys = [self._place(path)["Key"] for path in paths]
        batches = [keys[start : start + _DELETED_AT_ONCE] for start in range(0, len(keys), _DELETED_AT_ONCE)]
        self._run("", bounded(self._delete_keys, batches), "write")

    async def _delete_keys(self, keys: list[str]) -> None:
        wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        bucket = self._place("")["Bucket"]
        answer = await self.store.fs._call_s3("delete_objects", Bucket=bucket, Delete=wanted)  # noqa: SLF001
        for refused in answer.get("Errors", []):
            kind = PermissionError if refused.get("Code") == "AccessDenied" else OSError
            raise kind(f"{refused.get('Key')} could not be deleted: {refused.get('Code')}: {refused.get('Message')}")

    async def _copy(self, source: str, target: str) -> None:
        """Copy an object as it is now: a request that comes late must not bring what has taken its place."""
        from s3fs.core import _error_wrapper

        fs, place = self.store.fs, self._place(source)

        async def copy() -> None:
            found = await fs._call_s3("head_object", **place)  # noqa: SLF001
            if found["ContentLength"] > _COPIED_AT_ONCE:
                await super(S3Nodes, self)._copy(source, target)
                return
            condition = {"CopySource": place, "CopySourceIfMatch": found["ETag"]}
            await fs._call_s3("copy_object", **condition, **self._place(target))  # noqa: SLF001

        await _error_wrapper(copy, retries=fs.retries)

    def _test_conditions(self) -> None:
        """See once that this server does what it is asked; some write without a word although the condition fails."""
        if self._bucket in self._tested:
            return
        path = f"_zdb/spool/test-{uuid.uuid4().hex}/object"  # where gc finds it, should its deletion be overtaken

        async def test() -> tuple[bool, bool]:
            writes = (
                await self._put(path, b"1", None)
                and not await self._put(path, b"2", None)
                and not await self._put(path, b"3", _NEVER)
            )
            if not writes:
                return False, False
            try:
                await self.store.fs._call_s3("delete_object", IfMatch=_NEVER, **self._place(path))  # noqa: SLF001
            except Exception as error:  # noqa: BLE001 - servers that do not know it answer in many ways
                return True, _code(error) in _REFUSALS
            return True, False

        writes, removes = self._run(path, test(), "write")
        self.delete([path])
        if not writes:
            raise ClaimsUnsupportedError(
                f"{self.url}: this server ignores the conditions of conditional writes, so it cannot keep two writers "
                "of one key apart; use another server, or, where only one process writes at a time, set claims "
                "to 'none' (ZDB_CLAIMS=none)"
            )
        self._tested[self._bucket] = removes


def _code(error: BaseException | None) -> str:
    """The code of S3 behind an error of s3fs."""
    response = getattr(error, "response", None) or getattr(getattr(error, "__cause__", None), "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
