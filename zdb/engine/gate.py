"""A gate for the writes of one operation, which is closed when the operation is given up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from zdb.errors import WriteError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Gate"]


class Gate:
    """Lets writes through until it is closed.

    When one task of a dask graph fails, others still run in their threads. What they write later must not meet the next
    attempt, which uses the same paths. Each process has a gate of its own.
    """

    def __init__(self) -> None:
        self._is_open = True
        self._inside = 0
        self._changed = threading.Condition()

    def __reduce__(self) -> tuple[type[Gate], tuple[()]]:
        return (Gate, ())

    def __enter__(self) -> Self:
        with self._changed:
            if not self._is_open:
                raise WriteError("the value that this belongs to is not written any more")
            self._inside += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse all further writes, and wait for those that are on their way."""
        with self._changed:
            self._is_open = False
            self._changed.wait_for(lambda: not self._inside)
