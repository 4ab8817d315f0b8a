"""The catalog of a user: databases by id, found again when they move."""

from __future__ import annotations

import os
import posixpath
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from zdb.engine.new_nodes import new_id
from zdb.engine.node import DATABASE, Node, dump, node_path
from zdb.engine.plain import PlainEngine
from zdb.engine.store import open_store
from zdb.errors import CorruptChunkError, DatabaseNotFoundError, InvalidQueryError, NotADatabaseError, ZdbError
from zdb.openers import opener_of
from zdb.records import FORMER_IDS, CatalogWarning, Record, Records, default_place, ids_in, is_same_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pandas as pd

__all__ = ["Catalog", "catalog", "remember"]

_warned: set[str] = set()


class Catalog(Records):
    """Databases by id.

    Creating a database, and opening it for writing, records it in the catalog of the user (setting ``catalog``, or
    ``ZDB_CATALOG``); opening it by mode "r" records nothing.

    Parameters
    ----------
    url : str or path-like, optional
        A folder, or a URL of fsspec; that of the setting ``catalog`` if not given.
    storage_options : mapping, optional
        Passed to the fsspec file system.

    Raises
    ------
    CatalogError
        There is no such file system, or by the settings there is no catalog.
    """

    def to_frame(self) -> pd.DataFrame:
        """Return the records as a table, the last seen first.

        Returns
        -------
        pandas.DataFrame
            Columns id, url, name, created, last_seen (UTC), hostname, keys and size (bytes, uncompressed), as they were
            when :meth:`search` or :meth:`heal` last counted them; missing before.
        """
        import pandas as pd

        rows = [(r.id, r.url, r.name, r.created, r.seen, r.hostname, r.keys, r.nbytes) for r in self.records()]
        columns = ["id", "url", "name", "created", "last_seen", "hostname", "keys", "size"]
        made = pd.DataFrame(rows, columns=columns)
        moments = dict.fromkeys(["created", "last_seen"], "datetime64[us, UTC]")
        return made.astype(moments | dict.fromkeys(["keys", "size"], "Int64"))

    def find(
        self, pattern: str | None = None, storage_options: Mapping[str, Any] | None = None, **conditions: Any
    ) -> pd.DataFrame:
        """Find keys in all databases of the catalog, see :meth:`zdb.Database.find`.

        Databases that are not where the catalog says, or do not answer, are left out with a warning.

        Parameters
        ----------
        pattern : str, optional
        storage_options : mapping, optional
            Passed to the fsspec file systems.
        **conditions
            Those of :meth:`zdb.Database.find`.

        Returns
        -------
        pandas.DataFrame
            As of :meth:`zdb.Database.find`, with the url of the database as first column.

        Raises
        ------
        InvalidQueryError
            A condition is not known or cannot be understood.
        CatalogError
            The catalog cannot be read.
        """
        from zdb.find import COLUMNS, Query, as_frame, search

        unknown = [name for name in conditions if name not in Query.__dataclass_fields__]
        if unknown:
            raise InvalidQueryError(
                f"there is no condition {unknown[0]!r}; there are {', '.join(Query.__dataclass_fields__)}"
            )
        query = Query(pattern, **conditions)
        rows: list[dict[str, Any]] = []
        searched: set[str] = set()
        for record in self.records():
            try:
                if record.id not in _database_ids(record.url, storage_options):
                    raise DatabaseNotFoundError(f"database {record.id} is not there any more")
                if record.url in searched:
                    continue  # by another of its ids
                searched.add(record.url)
                engine = PlainEngine(open_store(record.url, storage_options, read_only=True))
                rows += [{"url": record.url, **row} for row in search(engine, "", query)]
            except ZdbError as error:
                warnings.warn(f"{record.url}: left out: {error}", CatalogWarning, stacklevel=2)
        return as_frame(sorted(rows, key=lambda row: (row["url"], row["key"])), ("url", *COLUMNS))

    def search(
        self,
        root: str | os.PathLike[str],
        storage_options: Mapping[str, Any] | None = None,
        *,
        progress: bool = False,
    ) -> pd.DataFrame:
        """Register all databases below a folder or URL.

        Databases inside of databases are not looked for.

        Parameters
        ----------
        root : str or path-like
        storage_options : mapping, optional
            Passed to the fsspec file system of `root`.
        progress : bool
            Show on stderr how many folders were seen.

        Returns
        -------
        pandas.DataFrame
            A row for each id of each database: id, url, and state: "new", "known", "moved", or "copy" where a database
            of this id lies at the known place too, which stays in the catalog; :meth:`renew` gives one of them a new
            id.

        Raises
        ------
        FileNotFoundError
            There is nothing at `root`.
        CatalogError
            The catalog cannot be read or written.
        """
        import pandas as pd

        below = _databases_below(root, storage_options, progress)
        found = [self._found(url, id, storage_options) for url, ids in below for id in ids]
        return pd.DataFrame(found, columns=["id", "url", "state"])

    def _found(self, url: str, id: str, storage_options: Mapping[str, Any] | None) -> tuple[str, str, str]:
        known = self.get(id)
        copied = self.see(id, url, lambda record: _is_there(record, storage_options))
        if copied is not None:
            return (id, url, "copy")
        record = self.get(id)
        if record is not None:
            self.put(_counted(record, storage_options))
        return (id, url, "new" if known is None else "known" if is_same_place(known.url, url) else "moved")

    def merge(self, other: Records | str | os.PathLike[str]) -> int:
        """Take over the records of another catalog; of two with one id, the one that was seen last stays.

        Returns
        -------
        int
            How many records are new or newer.
        """
        taken = 0
        for record in (other if isinstance(other, Records) else Records(other)).records():
            known = self.get(record.id)
            if known is None or record.seen > known.seen:
                self.put(record)
                taken += 1
        return taken

    def heal(
        self,
        roots: Iterable[str | os.PathLike[str]] = (),
        storage_options: Mapping[str, Any] | None = None,
        *,
        forget: bool = False,
    ) -> pd.DataFrame:
        """Look at every registered place, and search for the databases that are not there any more.

        Parameters
        ----------
        roots : iterable of str or path-like
            Folders or URLs to search, see :meth:`search`.
        storage_options : mapping, optional
            Passed to the fsspec file systems.
        forget : bool
            Remove the records of databases that are nowhere to be found.

        Returns
        -------
        pandas.DataFrame
            Columns id, url and state: "ok", "moved", "vanished", "copy" (two places have this id), or "unreachable"
            (the store did not answer; nothing is known).
        """
        import pandas as pd

        rows = {(id, url): state for root in roots for id, url, state in self._search_rows(root, storage_options)}
        for record in self.records():
            if (record.id, record.url) in rows:
                continue
            try:
                there = record.id in _database_ids(record.url, storage_options)
            except ZdbError:
                rows[record.id, record.url] = "unreachable"
                continue
            rows[record.id, record.url] = "ok" if there else "vanished"
            if there:
                self.put(_counted(replace(record, seen=datetime.now(UTC)), storage_options))
            elif forget:
                self.forget(record.id)
        states = [(id, url, "ok" if state == "known" else state) for (id, url), state in rows.items()]
        return pd.DataFrame(states, columns=["id", "url", "state"])

    def _search_rows(
        self, root: str | os.PathLike[str], storage_options: Mapping[str, Any] | None
    ) -> Iterator[tuple[str, str, str]]:
        yield from self.search(root, storage_options).itertuples(index=False, name=None)

    def renew(self, url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> str:
        """Give a database a new id, because it is a copy of another one, and register it.

        Returns
        -------
        str
            The new id.

        Raises
        ------
        NotADatabaseError
            There is no database at `url`.
        ReadOnlyError, CatalogError
            The database, or the catalog, cannot be written.
        """
        nodes = open_store(url, storage_options)
        root = PlainEngine(nodes).node("")
        if root is None or root.kind != DATABASE:
            raise NotADatabaseError(f"{nodes.url}: there is no database that could get a new id")
        fresh = new_id()
        kept = {name: value for name, value in root.attributes.items() if name != FORMER_IDS}
        document = {**root.document, "attributes": {**kept, "zdb_id": fresh}}
        nodes.set(node_path(""), dump(document))
        self.put(Record.now(fresh, nodes.url))
        return fresh


class _UserCatalog:
    """``zdb.catalog``: calling it returns the catalog of this user as a table; it has the methods of `Catalog`."""

    def __call__(self) -> pd.DataFrame:
        return Catalog().to_frame()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(Catalog(), name)

    def __dir__(self) -> list[str]:
        return dir(Catalog)

    def __repr__(self) -> str:
        return f"<zdb.catalog: {default_place()}; zdb.catalog() is the table of databases>"


catalog = _UserCatalog()


def remember(id: str, url: str, *, moved: bool = False) -> bool:
    """Register a database that was opened for writing. What fails is told once, by a warning.

    Parameters
    ----------
    id, url : str
    moved : bool
        What lies where the catalog says is not asked for any more.

    Returns
    -------
    bool
        Whether it is registered now.
    """
    place = default_place()
    if place is None or url.startswith("memory://"):
        return False
    try:
        # To ask a bucket for which no credentials were given can take long.
        copied = Catalog(place).see(id, url, lambda record: not moved and "://" not in record.url and _is_there(record))
    except ZdbError as error:
        message = f"{error}; databases are not registered"
        if place not in _warned:
            _warned.add(place)
            warnings.warn(message, CatalogWarning, stacklevel=4)
        return False
    if copied is not None and url not in _warned:
        _warned.add(url)
        message = f"{url} and {copied.url} have one id, {id}: one is a copy; give it a new id by zdb.catalog.renew(url)"
        warnings.warn(message, CatalogWarning, stacklevel=4)
    return copied is None


def _is_there(record: Record, storage_options: Mapping[str, Any] | None = None) -> bool:
    try:
        return record.id in _database_ids(record.url, storage_options)
    except ZdbError:
        return False


def _database_ids(url: str, storage_options: Mapping[str, Any] | None) -> list[str]:
    """Return the ids of the database at a URL, its own first; none if there is no database."""
    nodes = open_store(url, storage_options, read_only=True)
    data = nodes.get(node_path(""))
    if data is None:
        opener = opener_of(url, "r")
        id = "" if opener is None else str(opener.open(url, False).info().id)
        return [id] if id else []
    try:
        root = Node.parse("", data)
    except CorruptChunkError:
        return []
    return ids_in(root.attributes) if root.kind == DATABASE else []


def _counted(record: Record, storage_options: Mapping[str, Any] | None) -> Record:
    engine = PlainEngine(open_store(record.url, storage_options, read_only=True))
    if engine.node("") is None:
        return record  # of another program
    keys = nbytes = 0
    waiting = [""]
    while waiting:
        for node in map(engine.described, engine.children(waiting.pop()).values()):
            if engine.is_database(node):
                waiting.append(node.path)
            else:
                keys += 1
                nbytes += node.nbytes or len(str(node.attributes.get("zdb_value", "")))
    return replace(record, keys=keys, nbytes=nbytes)


def _databases_below(
    root: str | os.PathLike[str], storage_options: Mapping[str, Any] | None, progress: bool
) -> Iterator[tuple[str, list[str]]]:
    """URL and ids of each database, from the top down; nothing below a database is looked at."""
    import fsspec
    from tqdm.auto import tqdm

    text = os.fspath(root)
    options = {"use_listings_cache": False} if "://" in text else {}
    files, top = fsspec.core.url_to_fs(text, **options, **(storage_options or {}))
    if not files.exists(top):
        raise FileNotFoundError(2, "there is nothing to search", text)
    scheme = f"{text.partition('://')[0]}://" if "://" in text and "file" not in files.protocol else ""
    with tqdm(desc=f"searching {text}", unit=" folders", disable=not progress, leave=False) as bar:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            bar.update()
            try:
                entries = files.ls(folder, detail=True)
            except OSError:
                continue  # not ours to look into
            below = [e["name"].rstrip("/") for e in entries if e["type"] == "directory"]
            is_zarr = any(posixpath.basename(e["name"]) == "zarr.json" for e in entries)
            if is_zarr or (not scheme and opener_of(folder, "r") is not None):
                url = f"{scheme}{folder}"
                yield url, _database_ids(url, storage_options)
                continue
            waiting += [name for name in sorted(below, reverse=True) if name != folder]
