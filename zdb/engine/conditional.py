"""Stores that make an object only if it is not there, so that of several writers one is the first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from zdb.engine.remote import ZarrNodes

if TYPE_CHECKING:
    from zarr.storage import FsspecStore

__all__ = ["MemoryNodes", "S3Nodes"]

_memory_lock = threading.Lock()
# What S3 answers where a condition does not hold; the second one if another conditional write is on its way.
_REFUSALS = {"PreconditionFailed", "ConditionalRequestConflict"}


class MemoryNodes(ZarrNodes):
    """A store in the memory of this process."""

    def create(self, path: str, data: bytes) -> bool:
        with _memory_lock:
            return super().create(path, data)


class S3Nodes(ZarrNodes):
    """A bucket, through s3fs."""

    store: FsspecStore

    def _place(self, path: str) -> dict[str, str]:
        bucket, _, key = f"{self.store.path}/{path}".partition("/")
        return {"Bucket": bucket, "Key": key}

    def create(self, path: str, data: bytes) -> bool:
        self.require_writable()

        async def put() -> bool:
            try:
                await self.store.fs._call_s3("put_object", Body=data, IfNoneMatch="*", **self._place(path))  # noqa: SLF001
            except Exception as error:
                if _code(error) in _REFUSALS:
                    return False
                raise
            return True

        return self._run(path, put(), "write")


def _code(error: BaseException | None) -> str:
    """The code of S3 behind an error of s3fs."""
    response = getattr(error, "response", None) or getattr(getattr(error, "__cause__", None), "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
