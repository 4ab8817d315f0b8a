"""No lock at all, for programs that run alone: ``none:``."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from zdb.locks.backend import Backend, Hold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zdb.locks.owner import Owner
    from zdb.locks.waiting import Patience

__all__ = ["NoBackend"]

_tokens = itertools.count(1)


class NoHold(Hold):
    """Everybody gets it."""

    def acquire(self, patience: Patience) -> bool:  # noqa: ARG002
        self.token = next(_tokens)
        return True

    def check(self) -> None:
        pass

    def release(self) -> None:
        pass


class NoBackend(Backend):
    """Keeps nobody out."""

    scheme = "none"

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def connect(cls, url: str, lease: float, storage_options: Mapping[str, Any] | None) -> NoBackend:  # noqa: ARG003
        return cls(url)

    def hold(self, name: str, shared: bool) -> NoHold:  # noqa: ARG002
        return NoHold()

    def owners(self, name: str) -> list[Owner]:  # noqa: ARG002
        return []
