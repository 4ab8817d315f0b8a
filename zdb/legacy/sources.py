"""Where the keys of an old database lie: one class for each layout on disk. Nothing is ever written."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import tempfile
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from zdb.errors import PickleRefusedError, UnreadableValueError, ZdbError
from zdb.legacy.arrays import raw_facts
from zdb.legacy.inert import NOT_SET, Noted, read_inert
from zdb.legacy.rebuild import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Entry", "FolderSource", "IsfSource", "MdbSource", "SharedSource", "Source", "source_of"]

OWN_FILES = frozenset(
    [
        "Loader.json",
        "Loader.pickle",
        "db_state.json",
        "dbcore.pickle",
        "metadata.db",
        "metadata.db.lock",
        "metadata.json",
        "sqlitedict.db",
        "sqlitedict.db.lock",
    ]
)
BEING_DELETED = ".deleting."
# Dumpers of which the value is a database below the folder of the key.
SUB_DATABASES = {"just_create_isf_db": "db", "just_create_mdb": "mdb", "just_create_mdb_v2": "mdb"}
UNKNOWN = {"dumper": "unknown", "time": "unknown", "metadata_creation_time": "post_hoc", "version": "unknown"}


@dataclass(frozen=True)
class Entry:
    """One key.

    Attributes
    ----------
    name : str
    dumper : str
        What wrote it ("numpy_to_npy"); "self" for a row of the sqlite file, "file" for a file, "" if nothing says it.
    folder : Path or None
        Its folder or file.
    loader : dict
        The attributes of its Loader; those from a pickle are not rebuilt yet.
    row : bytes or None
        The pickle in the sqlite file.
    problem : str
        Why it cannot be read, if that is known already.
    """

    name: str
    dumper: str
    folder: Path | None = None
    loader: Mapping[str, Any] = field(default_factory=dict)
    row: bytes | None = None
    problem: str = ""


class Source(Protocol):
    """The keys of one database, or of what is shown as one."""

    kind: str
    path: Path

    def names(self) -> list[str]: ...

    def entry(self, name: str) -> Entry: ...

    def metadata(self, name: str) -> dict[str, Any]: ...

    def child(self, name: str) -> Source | None: ...

    def state(self) -> dict[str, Any]: ...


def source_of(path: Path) -> Source | None:
    """Return the keys of the old database that lies at a path; None if there is none."""
    if (path / "db_state.json").is_file():
        return IsfSource(path)
    if (path / "sqlitedict.db").is_file() or (path / "dbcore.pickle").is_file():
        return MdbSource(path)
    return None


def child_of(entry: Entry) -> Source | None:
    """Return the keys below a key, if its value is shown as a database."""
    folder = entry.folder
    if folder is None or entry.problem or not folder.is_dir():
        return None
    if entry.dumper in SUB_DATABASES:
        inner = folder / SUB_DATABASES[entry.dumper]
        return source_of(inner) or FolderSource(inner)
    if entry.dumper == "shared_numpy_store":
        return SharedSource(folder)
    if entry.dumper in ("just_create_folder", ""):
        return FolderSource(folder)
    return None


class IsfSource:
    """An ISFDataBase: a folder for each key, with ``Loader.json`` and ``metadata.json`` in it."""

    kind = "ISFDataBase"

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return sorted(child.name for child in self.path.iterdir() if _is_key(child))

    def entry(self, name: str) -> Entry:
        folder = self.path / name
        if not _is_key(folder) or Path(name).name != name or not folder.exists():
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

    def child(self, name: str) -> Source | None:
        return child_of(self.entry(name))

    def state(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / "db_state.json").read_bytes() or b"{}")
        except ValueError as error:
            raise UnreadableValueError(f"{self.path}/db_state.json: is damaged ({error})") from error
        return found if isinstance(found, dict) else {}


def _is_key(child: Path) -> bool:
    return child.name not in OWN_FILES and BEING_DELETED not in child.name and not child.name.startswith(".")


def entry_of_folder(name: str, folder: Path, known_dumper: Any = None) -> Entry:
    """Find out what wrote the folder of a key, and what its Loader holds."""
    try:
        dumper, loader = _loader(folder)
    except (ZdbError, OSError, ValueError, TypeError) as error:
        return Entry(name, _short(known_dumper), folder, problem=str(error))
    return Entry(name, dumper or _short(known_dumper), folder, loader)


def _short(dumper: Any) -> str:
    """The name of a dumper, of that of its module."""
    text = dumper if isinstance(dumper, str) else ""
    return "" if text == "unknown" else text.rpartition(".")[2]


def _loader(folder: Path) -> tuple[str, Mapping[str, Any]]:
    if (folder / "Loader.json").exists():
        stored = json.loads((folder / "Loader.json").read_bytes())
        if not isinstance(stored, dict) or not isinstance(stored.get("Loader"), str):
            raise UnreadableValueError("Loader.json: does not name a Loader")
        return _short(stored["Loader"]), stored
    if not (folder / "Loader.pickle").exists():
        return "", {}
    noted = read_inert((folder / "Loader.pickle").read_bytes(), "Loader.pickle")
    cls = noted if isinstance(noted, type) else type(noted)
    if not issubclass(cls, Noted) or not cls.name.endswith(".Loader") or ".LoaderDumper." not in cls.name:
        raise PickleRefusedError("Loader.pickle: is not the Loader of an old database")
    state = {} if isinstance(noted, type) or noted.state is NOT_SET else noted.state
    if not isinstance(state, dict):
        raise PickleRefusedError("Loader.pickle: is not the Loader of an old database")
    return _short(cls.name.removesuffix(".Loader")), state


class FolderSource:
    """Files and folders, as ``just_create_folder`` kept them; also what no Loader belongs to."""

    kind = "folder"

    def __init__(self, path: Path, root: Path | None = None) -> None:
        self.path = path
        self.root = path.resolve() if root is None else root

    def names(self) -> list[str]:
        return sorted(child.name for child in self.path.iterdir() if child.name not in OWN_FILES)

    def entry(self, name: str) -> Entry:
        path = self.path / name
        if name in OWN_FILES or Path(name).name != name or not (path.exists() or path.is_symlink()):
            raise KeyError(name)
        if not path.resolve().is_relative_to(self.root):
            return Entry(name, "file", path, problem=f"is a link out of the database, to {path.resolve()}")
        if not path.exists():
            return Entry(name, "file", path, problem="is a link to nothing")
        return Entry(name, "just_create_folder" if path.is_dir() else "file", path)

    def metadata(self, name: str) -> dict[str, Any]:
        modified = (self.path / name).lstat().st_mtime
        return {**UNKNOWN, "time": list(datetime.fromtimestamp(modified, UTC).timetuple())[:6]}

    def child(self, name: str) -> Source | None:
        entry = self.entry(name)
        if entry.problem or entry.dumper != "just_create_folder" or entry.folder is None:
            return None
        return FolderSource(entry.folder, self.root)

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

    def entry(self, name: str) -> Entry:
        file = self._files()[name]
        try:
            raw_facts(file)
        except UnreadableValueError as error:
            return Entry(name, "raw_array", file, problem=str(error))
        return Entry(name, "raw_array", file)

    def metadata(self, name: str) -> dict[str, Any]:
        return super().metadata(self._files()[name].name)

    def child(self, name: str) -> Source | None:  # noqa: ARG002 - arrays have none
        return None


# A folder of a ModelDataBase is named by its key and eight random letters: "voltage_traces_ab3_x9k1_".
FOLDER = re.compile(r"(?P<slug>.*)_[a-z0-9_]{8}_")


class MdbSource:
    """A ModelDataBase: a sqlite file that points to folders, and another one with metadata.

    Without ``sqlitedict.db`` the keys are those of ``metadata.db``, or made of the names of the folders.
    """

    kind = "ModelDataBase"

    def __init__(self, path: Path, prefix: tuple[str, ...] = ()) -> None:
        self.path = path
        self.prefix = prefix
        self._known: dict[tuple[str, ...], str] | None = None

    def _keys(self) -> dict[tuple[str, ...], str]:
        """Keys, and for each the name of its row, or of its folder if the sqlite file is lost."""
        if self._known is None:
            if self.is_complete:
                self._known = {_names_of(key): key for key in _sqlite_keys(self.path / "sqlitedict.db")}
            else:
                self._known = self._recovered()
        return self._known

    @property
    def is_complete(self) -> bool:
        return (self.path / "sqlitedict.db").is_file()

    def _recovered(self) -> dict[tuple[str, ...], str]:
        folders = sorted(child.name for child in self.path.iterdir() if child.is_dir() and _is_key(child))
        slugs: dict[str, list[tuple[str, ...]]] = {}
        for row in _sqlite_keys(self.path / "metadata.db"):
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

    def entry(self, name: str) -> Entry:
        key = (*self.prefix, name)
        if key not in self._keys():
            if self.child(name) is not None:
                return Entry(name, "tuple keys")
            raise KeyError(name)
        place = self._keys()[key]
        if not self.is_complete:
            return entry_of_folder(name, self.path / place, self.metadata(name).get("dumper"))
        return self._entry_of_row(name, _sqlite_value(self.path / "sqlitedict.db", place) or b"")

    def _entry_of_row(self, name: str, row: bytes) -> Entry:
        try:
            noted = read_inert(row, f"the row of {name!r}")
        except ZdbError as error:
            return Entry(name, "self", row=row, problem=str(error))
        if not isinstance(noted, Noted) or not noted.name.endswith(".LoaderWrapper"):
            return Entry(name, "self", row=row)
        relative = noted.state.get("relpath") if isinstance(noted.state, dict) else None
        if not isinstance(relative, str) or Path(relative).name != relative or relative in ("", ".", ".."):
            return Entry(name, "", problem=f"points to {relative!r:.60}, which is no folder of the database")
        folder = self.path / relative
        if not folder.is_dir():
            return Entry(name, "", problem=f"its folder {relative} is missing")
        return entry_of_folder(name, folder, self.metadata(name).get("dumper"))

    def metadata(self, name: str) -> dict[str, Any]:
        row = _sqlite_value(self.path / "metadata.db", "@".join((*self.prefix, name)))
        if row is None:
            return dict(UNKNOWN)
        try:
            found = load(row, f"the metadata of {name!r}")
        except ZdbError as error:
            return {**UNKNOWN, "error": str(error)}
        return {**UNKNOWN, **found} if isinstance(found, dict) else dict(UNKNOWN)

    def child(self, name: str) -> Source | None:
        prefix = (*self.prefix, name)
        if prefix not in self._keys():
            below = MdbSource(self.path, prefix)
            below._known = self._keys()
            return below if below.names() else None
        return child_of(self.entry(name))

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


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a sqlite file so that nothing is written beside it, even if its writer died."""
    with contextlib.ExitStack() as stack:
        leftovers = [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-journal", "-shm")]
        if any(leftover.exists() for leftover in leftovers):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for file in (path, *filter(Path.exists, leftovers)):
                shutil.copy(file, folder)
            uri = f"file:{quote(str(folder / path.name))}"
        else:
            uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        connection = stack.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True)))
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
        except sqlite3.Error as error:
            raise UnreadableValueError(f"{path}: is no table of an old database, or damaged ({error})") from error


def _sqlite_keys(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with _connected(path) as connection:
        return [str(key) for (key,) in connection.execute("SELECT key FROM unnamed ORDER BY rowid")]


def _sqlite_value(path: Path, key: str) -> bytes | None:
    if not path.is_file():
        return None
    with _connected(path) as connection:
        row = connection.execute("SELECT value FROM unnamed WHERE key = ?", (key,)).fetchone()
    return None if row is None or not isinstance(row[0], bytes) else row[0]
