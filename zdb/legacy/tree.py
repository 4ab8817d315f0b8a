"""An old database as a tree, as text and as HTML."""

from __future__ import annotations

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


class Tree:
    """The keys of an old database with dumper, shape and size. Its `str` is the text, in Jupyter it is HTML."""

    def __init__(self, database: Shown, *, depth: int | None, lines: int) -> None:
        self.title = f"{database.kind} {database.url} (read only)"
        self._left = lines
        self._rows = list(self._walk(database, "", depth))

    def _walk(self, database: Shown, guide: str, depth: int | None) -> Iterator[tuple[str, ...]]:
        names = database.names()
        for position, name in enumerate(names):
            if self._left <= 0:
                yield (f"{guide}└─ … {len(names) - position} more", "", "", "")
                return
            self._left -= 1
            last = position == len(names) - 1
            info = database.info((name,))
            is_database = info.kind == "database"
            shape = "" if info.shape is None else f"({', '.join(map(str, info.shape))})"
            what = " ".join(filter(None, (info.dtype, shape)))
            shown = f"{name}/" if is_database else name
            yield (guide + ("└─ " if last else "├─ ") + shown, info.format, what, f"{info.nbytes:,} B")
            if is_database and (depth is None or depth > 1):
                inner = guide + ("   " if last else "│  ")
                yield from self._walk(database.database((name,)), inner, None if depth is None else depth - 1)

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self._rows, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in self._rows]
        return "\n".join([self.title, *(lines or ["(empty)"])])

    __repr__ = __str__

    def to_html(self) -> str:
        """Return the tree as HTML."""
        return f"<pre>{escape(str(self))}</pre>"

    def _repr_html_(self) -> str:
        return self.to_html()
