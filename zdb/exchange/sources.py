"""Which file a value was imported from, and what that was like, so that it is not imported again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from zdb.engine.node import VALUE

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.engine.node import Node

__all__ = ["Source", "state_of"]

ATTRIBUTE = "zdb_source"


class Source(NamedTuple):
    """A file: its path, and what changes when it does, see :func:`state_of`."""

    file: str
    state: list[int]

    def noted(self) -> str:
        """Return the attribute of a value that was imported from it."""
        return json.dumps(self._asdict())

    @classmethod
    def of(cls, node: Node) -> Source | None:
        """Return where a value was imported from; None for one that was not, or to which something was added since."""
        text = node.attributes.get(ATTRIBUTE)
        if node.kind != VALUE or text is None or "zdb_appends" in node.attributes:
            return None
        return cls(**json.loads(text))


def state_of(*files: Path) -> list[int]:
    """Return size and time of modification of files, of those that there are."""
    stats = [file.stat() for file in files if file.is_file()]
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]
