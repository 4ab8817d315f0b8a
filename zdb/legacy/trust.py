"""How far pickles of an old database are trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zdb.errors import PickleRefusedError

__all__ = ["AllowPickle", "Trust"]

AllowPickle = Literal["safe"] | bool


@dataclass(frozen=True)
class Trust:
    """What ``allow_pickle=`` allows.

    Attributes
    ----------
    allow_pickle : bool or "safe"
        False: no value that is a pickle is read; "safe": those of builtin, numpy and pandas types, without running
        anything; True: all, which can run code.
    """

    allow_pickle: AllowPickle = False

    def __post_init__(self) -> None:
        if self.allow_pickle not in (False, True, "safe"):
            raise ValueError(f"allow_pickle is False, 'safe' or True, not {self.allow_pickle!r}")

    @property
    def all(self) -> bool:
        return self.allow_pickle is True

    @property
    def hint(self) -> str:
        if self.allow_pickle == "safe":
            return "if you trust who wrote it, open the database with allow_pickle=True"
        return (
            "open the database with allow_pickle='safe', which reads plain data and runs nothing, or, if you trust who "
            "wrote it, with allow_pickle=True"
        )

    def require_pickle(self, what: str) -> None:
        """Raise :class:`PickleRefusedError` if no pickle may be read."""
        if self.allow_pickle is False:
            raise PickleRefusedError(f"{what}: is a pickle; {self.hint}")
