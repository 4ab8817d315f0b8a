"""A zarr store for reading that never lets an absent chunk pass for the fill value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zarr.storage import WrapperStore

from zdb.errors import MissingChunkError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["RaisingStore"]


class RaisingStore(WrapperStore[Any]):
    """Passes reads on, and raises :class:`~zdb.errors.MissingChunkError` for what is not there.

    Only chunks may be read through it: the arrays have to be made from metadata that is already known.
    """

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer:
        found: Buffer | None = await self._store.get(key, prototype, byte_range)
        if found is None:
            raise MissingChunkError(f"chunk {key} is not in the store")
        return found
