"""An old database as a read-only mapping, with the methods of :class:`zdb.Database` that read."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, KeysView, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import zdb
from zdb.errors import (
    DatabaseNotFoundError,
    InvalidKeyError,
    KeyConflictError,
    KeyNotFoundError,
    NotMigratedError,
    PickleRefusedError,
    ReadOnlyError,
    SelectionError,
    UnreadableValueError,
)
from zdb.legacy.dumpers import data_files, read
from zdb.legacy.facts import info_of, provenance_of
from zdb.legacy.mdb_source import MdbSource
from zdb.legacy.sources import child_of, source_of
from zdb.legacy.tree import Tree
from zdb.legacy.trust import AllowPickle, Trust

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Sequence

    from zdb.legacy.entries import Entry, Source

__all__ = ["LegacyDatabase", "Metadata", "open_legacy"]

Key = str | tuple[str, ...]


def open_legacy(path: str | os.PathLike[str], allow_pickle: AllowPickle = False) -> LegacyDatabase:
    """Open a database of the In Silico Framework for reading; the framework is not needed.

    Parameters
    ----------
    path : str or path-like
        Folder of an ``ISFDataBase`` (with ``db_state.json``) or of a ``ModelDataBase`` (with ``sqlitedict.db``,
        ``dbcore.pickle``, or both).
    allow_pickle : bool or "safe"
        Whether values that are pickles are read. False: they raise :class:`~zdb.errors.PickleRefusedError`. "safe":
        those that hold builtin, numpy and pandas types are read without running anything of them. True: all are
        loaded, which can run code; only for databases whose writers you trust.

    Returns
    -------
    LegacyDatabase

    Raises
    ------
    DatabaseNotFoundError
        There is no such database at the path.
    """
    trust = Trust(allow_pickle)
    folder = Path(path).expanduser()
    source = source_of(folder)
    if source is None:
        raise DatabaseNotFoundError(
            f"{folder}: is no ISFDataBase (it has no db_state.json) and no ModelDataBase (no sqlitedict.db)"
        )
    return LegacyDatabase(source, trust)


class Metadata(Mapping[str, dict[str, Any]]):
    """What the old database recorded with each key, by key, as it wrote it."""

    def __init__(self, database: LegacyDatabase) -> None:
        self._database = database

    def __getitem__(self, key: Key) -> dict[str, Any]:
        source, entry = self._database._find(key)  # noqa: SLF001 - made by it
        return source.metadata(entry.name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._database)

    def __len__(self) -> int:
        return len(self._database)


class LegacyDatabase(Mapping[Key, Any]):
    """An ISFDataBase or ModelDataBase, made by :func:`zdb.legacy.open`. Nothing in it can be changed.

    Keys are names, or names joined by ``/`` (a tuple of names means the same). Sub-databases, folders of files and
    shared stores of arrays are databases too. Tables in partitions are dask DataFrames, arrays of shared stores are
    mapped from their files, and files are paths.

    Attributes
    ----------
    path : Path
        Folder of the database.
    mode : str
        Always "r".
    """

    mode = "r"
    read_only = True

    def __init__(self, source: Source, trust: Trust, key: str = "") -> None:
        self._source = source
        self._trust = trust
        self._key = key
        self.path = source.path

    @property
    def url(self) -> str:
        return str(self.path)

    @property
    def allow_pickle(self) -> AllowPickle:
        return self._trust.allow_pickle

    @property
    def kind(self) -> str:
        """What it is: "ISFDataBase", "ModelDataBase", "folder" or "shared_numpy_store"."""
        return self._source.kind

    @property
    def id(self) -> str:
        """The unique id that the framework gave the database, or ""."""
        return str(self._source.state().get("_unique_id") or "")

    @property
    def is_recovered(self) -> bool:
        """Whether ``sqlitedict.db`` is lost, so that keys were made of the names of folders."""
        return isinstance(self._source, MdbSource) and not self._source.is_complete

    @property
    def metadata(self) -> Metadata:
        """What the old database recorded with each key."""
        return Metadata(self)

    def __getitem__(self, key: Key) -> Any:
        source, entry = self._find(key)
        child = child_of(source, entry)
        if child is not None:
            return LegacyDatabase(child, self._trust, self._full(key))
        try:
            return read(entry, self._trust)
        except PickleRefusedError as error:
            raise PickleRefusedError(f"{self._full(key)}: {error}") from error
        except UnreadableValueError as error:
            raise UnreadableValueError(
                f"{self._full(key)}: {error}; its files are {', '.join(map(str, data_files(entry)[:3])) or 'gone'}"
            ) from error

    def get(
        self,
        key: Key,
        default: Any = None,
        *,
        columns: Sequence[Hashable] | None = None,
        rows: slice | Sequence[int] | None = None,
    ) -> Any:
        """Read a value, or columns and rows of a table or array.

        Raises
        ------
        SelectionError
            The value has no columns or rows, or not these.
        """
        try:
            value = self[key]
        except KeyNotFoundError:
            return default
        try:
            if columns is not None:
                value = value[list(columns)]
            if rows is not None:
                value = value.iloc[rows] if hasattr(value, "iloc") else value[rows]
        except (TypeError, KeyError, IndexError, NotImplementedError) as error:
            wanted = {"columns": columns, "rows": rows}
            raise SelectionError(f"{self._full(key)}: cannot select {wanted!r:.200} ({error})") from error
        return value

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(zdb.Database, name):
            raise NotMigratedError(f"{self.url}: {name} is not for an old database; migrate it by `zdb migrate`")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setitem__(self, key: Key, value: object) -> None:
        raise self._only_read(key)

    def __delitem__(self, key: Key) -> None:
        raise self._only_read(key)

    def _only_read(self, key: Key) -> ReadOnlyError:
        return ReadOnlyError(
            f"{self.url}: {_joined(key)}: old databases are only read; make one of zdb of it by `zdb migrate`, and "
            "write there"
        )

    def database(self, key: Key) -> LegacyDatabase:
        """Return a sub-database, a folder of files or a shared store.

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        KeyConflictError
            The key holds a value.
        """
        source, entry = self._find(key)
        child = child_of(source, entry)
        if child is None:
            raise KeyConflictError(f"{self._full(key)}: holds a value, not a sub-database")
        return LegacyDatabase(child, self._trust, self._full(key))

    def folder(self, key: Key = "") -> zdb.Folder:
        """Return the files at a key, with the methods of a file system of fsspec; without a key, all of them.

        Raises
        ------
        NoFileError, NotAFolderError
            There is no folder at the key.
        """
        return zdb.Folder.of_paths(self, _joined(key) if key else "")

    def place(self, key: Key) -> Path | None:
        """Return the folder or file in which a key lies; None if it is in the sqlite file."""
        return self._find(key)[1].folder

    def files(self, key: Key) -> list[Path]:
        """Return the files of which a key consists, also of one that cannot be read."""
        return data_files(self._find(key)[1])

    def __contains__(self, key: object) -> bool:
        try:
            self._find(key)
        except (KeyNotFoundError, InvalidKeyError):
            return False
        return True

    def names(self) -> list[str]:
        """Return the names in this database."""
        return self._source.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.names())

    def __len__(self) -> int:
        return len(self._source.names())

    @overload
    def keys(self) -> KeysView[Key]: ...
    @overload
    def keys(self, recursive: Literal[True]) -> list[str]: ...
    @overload
    def keys(self, recursive: bool) -> KeysView[Key] | list[str]: ...
    def keys(self, recursive: bool = False) -> KeysView[Key] | list[str]:
        """Return the names in this database, or the keys of all values at any depth."""
        if not recursive:
            return super().keys()
        return [key for key, _, child in self.walk() if child is None]

    def walk(self) -> Iterator[tuple[str, Entry, Source | None]]:
        """Yield key, entry and what is below of everything in this database, sub-databases before what is in them."""
        for name in self._source.names():
            entry = self._source.entry(name)
            child = child_of(self._source, entry)
            yield name, entry, child
            if child is not None:
                for key, below, inner in LegacyDatabase(child, self._trust).walk():
                    yield f"{name}/{key}", below, inner

    def info(self, key: Key | None = None) -> zdb.Info:
        """Return what is known of a key, or of this database, without loading data."""
        if key is None:
            return zdb.Info(self._key, "database", self.kind, id=self.id)
        source, entry = self._find(key)
        is_database = child_of(source, entry) is not None
        return info_of(_joined(key), entry, source.metadata(entry.name), is_database=is_database)

    def provenance(self, key: Key) -> zdb.Provenance:
        """Return when, from which code and in which environment a value was made, as far as it was recorded."""
        source, entry = self._find(key)
        return provenance_of(source.metadata(entry.name), entry)

    def tree(self, depth: int | None = None, lines: int = 1000) -> Tree:
        """Return the keys as a tree with dumper, shape and size; ``print`` it.

        Parameters
        ----------
        depth : int, optional
            How many levels to show.
        lines : int
            How many lines to show at most.
        """
        return Tree(self, depth=depth, lines=lines)

    def _find(self, key: object) -> tuple[Source, Entry]:
        """Return source and entry of a key. A name of an old database may hold "/", so longer names come first."""
        parts = _parts(key)
        source: Source | None = self._source
        start = 0
        while source is not None:
            for stop in range(len(parts), start, -1):
                name = "/".join(parts[start:stop])
                if source.has(name):
                    break
            else:
                break
            if stop == len(parts):
                return source, source.entry(name)
            source, start = child_of(source, source.entry(name)), stop
        near = difflib.get_close_matches("/".join(parts), list(self), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyNotFoundError(f"{'/'.join(parts)!r} is not in {self.url}{hint}")

    def _full(self, key: Key) -> str:
        return f"{self._key}/{_joined(key)}" if self._key else _joined(key)

    def __repr__(self) -> str:
        return str(self.tree(depth=2, lines=40))

    def _repr_html_(self) -> str:
        return self.tree(depth=3, lines=200).to_html()


def _parts(key: object) -> list[str]:
    names = key if isinstance(key, tuple) else (key,)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InvalidKeyError(f"a key is a name or a tuple of names, not {key!r:.100}")
    return [part for name in names for part in str(name).split("/")]


def _joined(key: Key) -> str:
    return "/".join(_parts(key))
