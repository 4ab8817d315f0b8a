"""Find files that moved since parameter files referred to them."""

from __future__ import annotations

import difflib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from zdb.neuro.walking import walk

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

__all__ = ["Locator"]

# These are results of simulations; there are many, and nothing refers to them.
RESULT_SUFFIXES = (".csv", ".npz")
MOST_SUGGESTIONS = 3


class Locator:
    """Finds files by the path that is written somewhere.

    Parameters
    ----------
    relocate : mapping of str to path
        New places by old ones: of a file, or of a folder and all that is below it. The longest that fits counts.
    root : Path
        Folder of the results, in which files are looked for by name too.
    """

    def __init__(self, relocate: Mapping[str, str | os.PathLike[str]], root: Path) -> None:
        self._relocate = {old.rstrip("/") or "/": Path(new) for old, new in relocate.items()}
        self._roots = [*self._relocate.values(), root]

    def find(self, path: str, near: Path) -> Path | None:
        """Where a file is now, or None.

        In this order: where `relocate` says; where it is written to be, from the folder `near` if that is relative; by
        its name anywhere below the new folders and the folder of the results, if all files of this name are the same.
        """
        moved = self._moved(path)
        for candidate in (moved, near / path):
            if candidate is not None and candidate.is_file():
                return candidate.absolute()
        named = self._by_name.get(Path(path).name, [])
        contents = {each.read_bytes() for each in named} if len(named) > 1 else set()
        return named[0] if named and len(contents) <= 1 else None

    def suggestions(self, path: str) -> tuple[str, ...]:
        """Files that might be meant: of this name but with different contents, or of a similar name."""
        name = Path(path).name
        alike = [other for other in self._by_name if other.endswith(name)]
        alike += difflib.get_close_matches(name, self._by_name, n=MOST_SUGGESTIONS, cutoff=0.7)
        files = [str(file) for other in dict.fromkeys(alike) for file in self._by_name[other]]
        return tuple(files[:MOST_SUGGESTIONS])

    def _moved(self, path: str) -> Path | None:
        for old in sorted(self._relocate, key=len, reverse=True):
            if path == old:
                return self._relocate[old]
            if path.startswith(old if old == "/" else f"{old}/"):
                return self._relocate[old] / path[len(old) :].lstrip("/")
        return None

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, dict[Path, None]] = {}
        for root in self._roots:
            for file in _files(root):
                found.setdefault(file.name, {})[file] = None
        return {name: list(files) for name, files in found.items()}


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root.absolute()
    for parent, _, names in walk(root.absolute()):
        for name in names:
            if not name.endswith(RESULT_SUFFIXES):
                yield Path(parent, name)
