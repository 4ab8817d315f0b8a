"""The keys of a ModelDataBase."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from zdb.errors import ZdbError
from zdb.legacy.entries import UNKNOWN, Entry, entry_of_folder, is_key
from zdb.legacy.inert import object_of, read_inert
from zdb.legacy.rebuild import load
from zdb.legacy.sqlite_files import sqlite_keys, sqlite_value

__all__ = ["TUPLE_KEYS", "MdbSource"]

# Stands for the dumper of a name that is no key, but the beginning of some.
TUPLE_KEYS = "tuple keys"

# A folder of a ModelDataBase is named by its key and eight random letters: "voltage_traces_ab3_x9k1_".
FOLDER = re.compile(r"(?P<slug>.*)_[a-z0-9_]{8}_")


class MdbSource:
    """A ModelDataBase: a sqlite file that points to folders, and another one with metadata.

    Without ``sqlitedict.db`` the keys are those of ``metadata.db``, or made of the names of the folders.
    """

    kind = "ModelDataBase"

    def __init__(
        self, path: Path, prefix: tuple[str, ...] = (), known: dict[tuple[str, ...], str] | None = None
    ) -> None:
        self.path = path
        self.prefix = prefix
        self._known = known

    def _keys(self) -> dict[tuple[str, ...], str]:
        """Keys, and for each the name of its row, or of its folder if the sqlite file is lost."""
        if self._known is None:
            if self.is_complete:
                self._known = {_names_of(key): key for key in sqlite_keys(self.path / "sqlitedict.db")}
            else:
                self._known = self._recovered()
        return self._known

    @property
    def is_complete(self) -> bool:
        return (self.path / "sqlitedict.db").is_file()

    def _recovered(self) -> dict[tuple[str, ...], str]:
        folders = sorted(child.name for child in self.path.iterdir() if child.is_dir() and is_key(child))
        slugs: dict[str, list[tuple[str, ...]]] = {}
        for row in sqlite_keys(self.path / "metadata.db"):
            parts = _names_of(row)
            slugs.setdefault(_slug(str(parts)), []).append(parts)
        found: dict[tuple[str, ...], str] = {}
        for folder in folders:
            match = FOLDER.fullmatch(folder)
            slug = match["slug"] if match else folder
            keys = slugs.get(slug, [])
            key = keys[0] if len(keys) == 1 else (slug,)
            found[key if key not in found else (folder,)] = folder
        return found

    def names(self) -> list[str]:
        depth = len(self.prefix)
        return list(dict.fromkeys(key[depth] for key in self._keys() if key[:depth] == self.prefix and key[depth:]))

    def has(self, name: str) -> bool:
        return (*self.prefix, name) in self._keys() or self.is_prefix(name)

    def entry(self, name: str) -> Entry:
        key = (*self.prefix, name)
        if key not in self._keys():
            if self.is_prefix(name):
                return Entry(name, TUPLE_KEYS)
            raise KeyError(name)
        place = self._keys()[key]
        if not self.is_complete:
            return entry_of_folder(name, self.path / place, self.metadata(name).get("dumper"))
        return self._entry_of_row(name, sqlite_value(self.path / "sqlitedict.db", place) or b"")

    def _entry_of_row(self, name: str, row: bytes) -> Entry:
        try:
            wrapper, state = object_of(read_inert(row, f"the row of {name!r}"))
        except ZdbError as error:
            return Entry(name, "self", row=row, problem=str(error))
        if not wrapper.endswith(".LoaderWrapper"):
            return Entry(name, "self", row=row)
        relative = state.get("relpath") if isinstance(state, dict) else None
        if not isinstance(relative, str) or Path(relative).name != relative or relative in ("", ".", ".."):
            return Entry(name, "", problem=f"points to {relative!r:.60}, which is no folder of the database")
        folder = self.path / relative
        if not folder.is_dir():
            return Entry(name, "", problem=f"its folder {relative} is missing")
        return entry_of_folder(name, folder, self.metadata(name).get("dumper"))

    def metadata(self, name: str) -> dict[str, Any]:
        row = sqlite_value(self.path / "metadata.db", "@".join((*self.prefix, name)))
        if row is None:
            return dict(UNKNOWN)
        try:
            found = load(row, f"the metadata of {name!r}")
        except ZdbError as error:
            return {**UNKNOWN, "error": str(error)}
        return {**UNKNOWN, **found} if isinstance(found, dict) else dict(UNKNOWN)

    def is_prefix(self, name: str) -> bool:
        """Whether a name is no key, and keys that are tuples begin with it."""
        start = (*self.prefix, name)
        return start not in self._keys() and any(key[: len(start)] == start for key in self._keys())

    def below(self, name: str) -> MdbSource:
        """The keys that begin with a name."""
        return MdbSource(self.path, (*self.prefix, name), self._keys())

    def state(self) -> dict[str, Any]:
        if self.prefix or not (self.path / "dbcore.pickle").is_file():
            return {}
        try:
            noted = read_inert((self.path / "dbcore.pickle").read_bytes(), "dbcore.pickle")
        except ZdbError as error:
            return {"error": str(error)}
        texts = noted.items() if isinstance(noted, dict) else ()
        return {key: value for key, value in texts if isinstance(key, str) and isinstance(value, str)}


def _names_of(row: str) -> tuple[str, ...]:
    """The names of a key, which the rows join by "@"."""
    names = tuple(row.split("@"))
    return names if all(names) else (row,)


def _slug(key: str) -> str:
    """The key as a ModelDataBase wrote it into the name of a folder."""
    text = unicodedata.normalize("NFKD", key)
    text = re.sub(r"[^\w\s-]", "", text).strip().lower()
    return re.sub(r"[-\s]+", "-", text)[:50]
