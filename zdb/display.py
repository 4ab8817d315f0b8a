"""A database as a tree, as text and as HTML, from metadata alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from zdb.engine.node import DATABASE, UNREADABLE
from zdb.info import Info
from zdb.keys import is_listed, join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zdb.engine.plain import PlainEngine

__all__ = ["Tree", "format_age", "format_count", "format_size"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_AGES = ((86400 * 365, "y"), (86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def format_size(nbytes: float) -> str:
    """Write a number of bytes with three digits and a decimal unit."""
    for unit in _UNITS[:-1]:
        if nbytes < 999.5:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} {_UNITS[-1]}"


def format_count(number: int, one: str, many: str = "") -> str:
    """Write a number of things, which are `one` and an s if there are several, or `many`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def format_age(created: datetime, now: datetime) -> str:
    """Write how long ago something was, in its largest unit."""
    seconds = max(0.0, (now - created).total_seconds())
    for length, unit in _AGES:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "now"


@dataclass(frozen=True)
class _Row:
    level: int
    guide: str
    name: str
    info: Info | None  # None for the line that says what was left out
    cut: bool = False  # what is below it was not looked at


class Tree:
    """The keys of a database with kind, dtype, shape, size and age. Its `str` is the text, in Jupyter it is HTML.

    Parameters
    ----------
    engine, path, title
        What to show, and what to call it.
    depth : int or None
        How many levels are shown; "…" stands after databases into which it does not go.
    lines : int
        How many keys are shown at most; no more nodes are read than that. A line says how many were left out.
    """

    def __init__(self, engine: PlainEngine, path: str, title: str, *, depth: int | None, lines: int) -> None:
        self.title = title
        self._now = datetime.now(UTC)
        self._left = lines
        self._rows = list(self._walk(engine, path, "", 1, depth))

    def _walk(self, engine: PlainEngine, path: str, guide: str, level: int, depth: int | None) -> Iterator[_Row]:
        names = [name for name in engine.nodes.list_names(path) if is_listed(name)]
        some = names[: self._left] if depth is None or level <= depth else []
        shown = engine.children(path, some)
        left_out = len(names) - len(some)
        for position, (name, node) in enumerate(shown.items()):
            if self._left <= 0:
                left_out = len(shown) - position + left_out
                break
            self._left -= 1
            last = position == len(shown) - 1 and not left_out
            described = engine.described(node)
            has_keys = engine.is_database(described)
            cut = has_keys and depth is not None and level >= depth
            yield _Row(level, guide + ("└─ " if last else "├─ "), name, Info.listed(name, described), cut)
            if has_keys and not cut:
                inner = guide + ("   " if last else "│  ")
                yield from self._walk(engine, join(path, name), inner, level + 1, depth)
        if left_out:
            yield _Row(level, guide + "└─ ", f"… {left_out} more", None)

    def _cells(self, row: _Row) -> tuple[str, ...]:
        """Name, format, dtype and shape, size, age."""
        info = row.info
        if info is None:
            return (row.name, "", "", "", "")
        if info.kind == DATABASE:
            return (f"{row.name}/{' …' * row.cut}", "", "", "", "")
        if info.kind == UNREADABLE:
            return (row.name, UNREADABLE, "", "", "")
        shape = "" if info.shape is None else f"({', '.join(map(str, info.shape))})"
        what = " ".join(filter(None, (info.dtype or _short(info.type), shape)))
        age = format_age(info.created, self._now) if info.created else ""
        return (row.name, info.format, what, format_size(info.nbytes), age)

    def __str__(self) -> str:
        cells = [self._cells(row) for row in self._rows]
        table = [(row.guide + first, *rest) for row, (first, *rest) in zip(self._rows, cells, strict=True)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
        ]
        return "\n".join([f"zdb.Database {self.title}", *(lines or ["(empty)"])])

    __repr__ = __str__

    def to_html(self) -> str:
        """Return the tree as an HTML table, sub-databases as rows of their own."""
        left = 'style="text-align:left;white-space:pre"'
        head = "".join(f"<th {left}>{name}</th>" for name in ("key", "format", "data", "size", "age"))
        body = "".join(self._html_row(row, left) for row in self._rows)
        caption = f'<caption style="text-align:left"><b>zdb.Database</b> {escape(self.title)}</caption>'
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _html_row(self, row: _Row, left: str) -> str:
        first, *rest = self._cells(row)
        indent = f"padding-left:{0.5 + 1.5 * (row.level - 1)}em"
        name = f"<b>{escape(first)}</b>" if row.info and row.info.kind == DATABASE else escape(first)
        cells = "".join(f"<td {left}>{escape(cell)}</td>" for cell in rest)
        return f'<tr><td style="text-align:left;{indent}">{name}</td>{cells}</tr>'

    def _repr_html_(self) -> str:
        return self.to_html()

    def keys(self) -> list[str]:
        """Return the keys of the rows, from the database whose tree it is."""
        keys: list[str] = []
        path: list[str] = []
        for row in self._rows:
            if row.info:
                path[row.level - 1 :] = [row.name]
                keys.append("/".join(path))
        return keys

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the rows as plain data: level and what is known of each key."""
        return [{"level": row.level, **row.info.to_dict()} for row in self._rows if row.info]


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]
