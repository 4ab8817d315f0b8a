"""Parts of a value that are kept in the store while it is being written, because their sizes are not known before."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from zdb.engine.computing import close_everywhere
from zdb.engine.gate import Gate
from zdb.errors import StorageError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from zdb.engine.store import NodeStore

__all__ = ["Spool"]


class Spool:
    """Numbered parts below ``_zdb/spool``, removed at the end; small to pickle, usable from every worker."""

    def __init__(self, nodes: NodeStore) -> None:
        self.nodes = nodes
        self.gate = Gate()
        self.path = f"_zdb/spool/{uuid.uuid4().hex}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.gate.close()
        else:
            close_everywhere(self.gate)
        self.nodes.delete_tree(self.path)

    def write(self, number: int, payload: bytes) -> None:
        with self.gate:
            self.nodes.stage(f"{self.path}/{number}", payload)

    def read(self, number: int, start: int, length: int) -> bytes:
        payload = self.nodes.get_range(f"{self.path}/{number}", start, length)
        if payload is None or len(payload) != length:
            raise StorageError(f"{self.nodes.url}: part {number} of the value being written is gone")
        return payload
