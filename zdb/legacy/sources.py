"""Where the keys of an old database lie: one class for each layout on disk. Nothing is ever written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdb.errors import UnreadableValueError
from zdb.legacy.arrays import raw_facts
from zdb.legacy.entries import OWN_FILES, UNKNOWN, Entry, entry_of_folder, is_key
from zdb.legacy.mdb_source import TUPLE_KEYS, MdbSource

if TYPE_CHECKING:
    from zdb.legacy.entries import Source

__all__ = ["FolderSource", "IsfSource", "SharedSource", "child_of", "source_of"]

# Dumpers of which the value is a database below the folder of the key.
SUB_DATABASES = {"just_create_isf_db": "db", "just_create_mdb": "mdb", "just_create_mdb_v2": "mdb"}


def source_of(path: Path) -> Source | None:
    """Return the keys of the old database that lies at a path; None if there is none."""
    if (path / "db_state.json").is_file():
        return IsfSource(path)
    if (path / "sqlitedict.db").is_file() or (path / "dbcore.pickle").is_file():
        return MdbSource(path)
    return None


def child_of(source: Source, entry: Entry) -> Source | None:
    """Return the keys below a key, if its value is shown as a database."""
    if isinstance(source, MdbSource) and entry.dumper == TUPLE_KEYS:
        return source.below(entry.name)
    folder = entry.folder
    if folder is None or entry.problem or not folder.is_dir():
        return None
    if entry.dumper in SUB_DATABASES:
        inner = folder / SUB_DATABASES[entry.dumper]
        return source_of(inner) or FolderSource(inner)
    if entry.dumper == "shared_numpy_store":
        return SharedSource(folder)
    if entry.dumper in ("just_create_folder", ""):
        return FolderSource(folder, source.root if isinstance(source, FolderSource) else None)
    return None


class IsfSource:
    """An ISFDataBase: a folder for each key, with ``Loader.json`` and ``metadata.json`` in it."""

    kind = "ISFDataBase"

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return sorted(child.name for child in self.path.iterdir() if is_key(child))

    def has(self, name: str) -> bool:
        folder = self.path / name
        return Path(name).name == name and is_key(folder) and folder.exists()

    def entry(self, name: str) -> Entry:
        folder = self.path / name
        if not self.has(name):
            raise KeyError(name)
        if not folder.is_dir():
            return Entry(name, "file", folder)
        return entry_of_folder(name, folder, self.metadata(name).get("dumper"))

    def metadata(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name / "metadata.json").read_bytes())
        except FileNotFoundError:
            return dict(UNKNOWN)
        except (OSError, ValueError) as error:
            return {**UNKNOWN, "error": f"metadata.json is damaged: {error}"}
        return found if isinstance(found, dict) else dict(UNKNOWN)

    def state(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / "db_state.json").read_bytes() or b"{}")
        except ValueError as error:
            raise UnreadableValueError(f"{self.path}/db_state.json: is damaged ({error})") from error
        return found if isinstance(found, dict) else {}


class FolderSource:
    """Files and folders, as ``just_create_folder`` kept them; also what no Loader belongs to."""

    kind = "folder"

    def __init__(self, path: Path, root: Path | None = None) -> None:
        self.path = path
        self.root = path.resolve() if root is None else root

    def names(self) -> list[str]:
        return sorted(child.name for child in self.path.iterdir() if child.name not in OWN_FILES)

    def has(self, name: str) -> bool:
        path = self.path / name
        return Path(name).name == name and name not in OWN_FILES and (path.exists() or path.is_symlink())

    def entry(self, name: str) -> Entry:
        path = self.path / name
        if not self.has(name):
            raise KeyError(name)
        if not path.resolve().is_relative_to(self.root):
            return Entry(name, "file", path, problem=f"is a link out of the database, to {path.resolve()}")
        if not path.exists():
            return Entry(name, "file", path, problem="is a link to nothing")
        return Entry(name, "just_create_folder" if path.is_dir() else "file", path)

    def metadata(self, name: str) -> dict[str, Any]:
        modified = (self.path / name).lstat().st_mtime
        return {**UNKNOWN, "time": list(datetime.fromtimestamp(modified, UTC).timetuple())[:6]}

    def state(self) -> dict[str, Any]:
        return {}


class SharedSource(FolderSource):
    """The arrays of a shared numpy store: raw files that say name, shape and dtype in their names."""

    kind = "shared_numpy_store"

    def _files(self) -> dict[str, Path]:
        files = [self.path / name for name in super().names() if not name.endswith(".saving")]
        return {file.name.partition("__")[0]: file for file in files if file.is_file()}

    def names(self) -> list[str]:
        return sorted(self._files())

    def has(self, name: str) -> bool:
        return name in self._files()

    def entry(self, name: str) -> Entry:
        file = self._files()[name]
        try:
            raw_facts(file)
        except UnreadableValueError as error:
            return Entry(name, "raw_array", file, problem=str(error))
        return Entry(name, "raw_array", file)

    def metadata(self, name: str) -> dict[str, Any]:
        return super().metadata(self._files()[name].name)
