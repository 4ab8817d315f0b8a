"""A gate for the writes of one operation, which is closed when the operation is given up."""

from __future__ import annotations

import threading
import uuid
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from zdb.errors import WriteError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from zdb.engine.fence import Fence

__all__ = ["Gate", "close_gate"]

# Gates of this process by id, and the ids of those that were closed, the last ones: a task may come after that.
_gates: weakref.WeakValueDictionary[str, Gate] = weakref.WeakValueDictionary()
_closed: OrderedDict[str, None] = OrderedDict()
_registry_lock = threading.RLock()
REMEMBERED = 10_000


class Gate:
    """Lets writes through until it is closed, and while the claim of the key is held.

    When one task of a dask graph fails, others still run in their threads. What they write later must not meet the next
    attempt, which uses the same paths. Pickled, it is one gate in each process that it is sent to, and
    :func:`close_gate` closes that.

    Parameters
    ----------
    fence : Fence, optional
        Of the claim.
    gate_id : str, optional

    Attributes
    ----------
    was_sent : bool
        It was pickled, so other processes may write what belongs to it.
    """

    def __init__(self, fence: Fence | None = None, gate_id: str | None = None) -> None:
        self.id = gate_id or uuid.uuid4().hex
        self.was_sent = False
        self._fence = fence
        self._is_open = True
        self._inside = 0
        self._changed = threading.Condition()
        with _registry_lock:
            _gates[self.id] = self

    def __reduce__(self) -> tuple[object, tuple[str, Fence | None]]:
        self.was_sent = True
        return (_gate_of, (self.id, self._fence))

    def __enter__(self) -> Self:
        if self._fence is not None:
            self._fence.check()
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


def _gate_of(gate_id: str, fence: Fence | None) -> Gate:
    """Return the gate of this process with an id."""
    with _registry_lock:
        gate = _gates.get(gate_id)
        if gate is None:
            gate = Gate(fence, gate_id)
            if gate_id in _closed:
                gate.close()
        return gate


def close_gate(gate_id: str) -> None:
    """Close the gate of this process with an id, also when it comes to this process only later."""
    with _registry_lock:
        _closed[gate_id] = None
        while len(_closed) > REMEMBERED:
            _closed.popitem(last=False)
        gate = _gates.get(gate_id)
    if gate is not None:
        gate.close()
