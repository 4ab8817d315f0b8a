"""A zarr store for reading that never lets an absent chunk pass for the fill value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zarr.abc.store import OffsetByteRequest
from zarr.storage import FsspecStore, WrapperStore

from zdb.errors import MissingChunkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["RaisingStore"]


class RaisingStore(WrapperStore[Any]):
    """Passes reads on, and raises :class:`~zdb.errors.MissingChunkError` for what is not there.

    Only chunks may be read through it: the arrays have to be made from metadata that is already known.
    """

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer:
        if byte_range is None and isinstance(self._store, FsspecStore):
            byte_range = OffsetByteRequest(0)  # one request; for the whole, s3fs asks for its size before
        found: Buffer | None = await self._store.get(key, prototype, byte_range)
        return _present(key, found)

    # The other ways by which zarr >= 3.4 reads, where the store has them.

    def get_sync(self, key: str, **options: Any) -> Buffer:
        return _present(key, self._store.get_sync(key, **options))

    async def get_ranges(self, key: str, byte_ranges: Any, **options: Any) -> AsyncIterator[Any]:
        try:
            async for group in self._store.get_ranges(key, byte_ranges, **options):
                yield group
        except BaseExceptionGroup as errors:
            if errors.subgroup(FileNotFoundError):
                _present(key, None)
            raise


def _present(key: str, found: Buffer | None) -> Buffer:
    if found is None:
        raise MissingChunkError(f"chunk {key} is not in the store")
    if not len(found):
        raise ValueError(f"chunk {key} is empty")
    return found
