"""An old database as a tree, as text and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zdb

__all__ = ["Tree"]


class Shown(Protocol):
    """What a tree needs of a database."""

    @property
    def kind(self) -> str: ...

    @property
    def url(self) -> str: ...

    def names(self) -> list[str]: ...

    def info(self, key: Any) -> zdb.Info: ...

    def database(self, key: Any) -> Shown: ...


@dataclass(frozen=True)
class _Row:
    level: int
    guide: str
    name: str
    info: zdb.Info | None  # None for the line that says what was left out

    def cells(self) -> tuple[str, ...]:
        """Name, dumper, dtype and shape, size."""
        if self.info is None:
            return (self.guide + self.name, "", "", "")
        shape = "" if self.info.shape is None else f"({', '.join(map(str, self.info.shape))})"
        what = " ".join(filter(None, (self.info.dtype, shape)))
        name = f"{self.name}/" if self.info.kind == "database" else self.name
        return (self.guide + name, self.info.format, what, f"{self.info.nbytes:,} B")


class Tree:
    """The keys of an old database with dumper, shape and size. Its `str` is the text, in Jupyter it is HTML."""

    def __init__(self, database: Shown, *, depth: int | None, lines: int) -> None:
        self.title = f"{database.kind} {database.url} (read only)"
        self._left = lines
        self._rows = list(self._walk(database, "", 1, depth))

    def _walk(self, database: Shown, guide: str, level: int, depth: int | None) -> Iterator[_Row]:
        names = database.names()
        for position, name in enumerate(names):
            if self._left <= 0:
                yield _Row(level, f"{guide}└─ ", f"… {len(names) - position} more", None)
                return
            self._left -= 1
            last = position == len(names) - 1
            info = database.info((name,))
            yield _Row(level, guide + ("└─ " if last else "├─ "), name, info)
            if info.kind == "database" and (depth is None or level < depth):
                inner = guide + ("   " if last else "│  ")
                yield from self._walk(database.database((name,)), inner, level + 1, depth)

    def __str__(self) -> str:
        table = [row.cells() for row in self._rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip() for cells in table]
        return "\n".join([self.title, *(lines or ["(empty)"])])

    __repr__ = __str__

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the rows as plain data: level and what is known of each key."""
        return [{"level": row.level, **row.info.to_dict()} for row in self._rows if row.info]

    def to_html(self) -> str:
        """Return the tree as HTML."""
        return f"<pre>{escape(str(self))}</pre>"

    def _repr_html_(self) -> str:
        return self.to_html()
