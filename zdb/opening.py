"""Opening, creating and adopting databases."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Literal, cast

from zdb.catalogs import Catalog, remember
from zdb.database import Database
from zdb.engine.new_nodes import new_database, new_id
from zdb.engine.node import DATABASE, FORMAT_VERSION, VALUE, Node, dump, node_path
from zdb.engine.plain import PlainEngine
from zdb.engine.provenance_records import RECORDS
from zdb.engine.store import LocalNodes, open_store, places_above
from zdb.errors import (
    CorruptChunkError,
    DatabaseNotFoundError,
    InvalidSettingError,
    KeyExistsError,
    NotADatabaseError,
    ZdbError,
)
from zdb.openers import opener_of
from zdb.records import default_place, ids_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarr.abc.store import Store

    from zdb.engine.store import NodeStore

__all__ = ["adopt", "discard_empty", "lost_below", "open"]

Mode = Literal["r", "r+", "a", "w-"]
MODES = ("r", "r+", "a", "w-")


def open(  # noqa: A001 - zdb.open, as in zarr and xarray
    url: str | os.PathLike[str] | Store | None = None,
    mode: Mode = "a",
    storage_options: Mapping[str, Any] | None = None,
    *,
    id: str | None = None,
    allow_pickle: bool | Literal["safe"] = False,
    durability: Literal["commit", "none"] | None = None,
) -> Database:
    """Open a database, and create it if it is missing.

    What lies in a database is opened, or created, as a sub-database of it, as by :meth:`zdb.Database.database`. A
    database that is opened for writing is registered in the catalog, see :class:`zdb.Catalog`.

    A database of another program is opened for reading (mode "r"), with the same methods, if an installed package
    knows it (:class:`zdb.openers.Opener`); zdb knows those of the In Silico Framework (:mod:`zdb.legacy`).

    Parameters
    ----------
    url : str, path-like or zarr.abc.store.Store
        A local folder, a ``.zip`` file (read-only), ``memory://name``, or any URL of fsspec such as
        ``s3://bucket/results.zdb``.
    mode : {"r", "r+", "a", "w-"}
        "r" reads only and the database must exist; "r+" reads and writes and it must exist; "a" creates it if it is
        missing; "w-" creates it and fails if it exists.
    storage_options : mapping, optional
        Passed to the fsspec file system; never recorded.
    id : str, optional
        Open the database of this id, wherever the catalog says it lies, instead of naming the URL. It must exist.
    allow_pickle : bool or "safe"
        Read values that are kept as pickles. They can run code: only for databases whose writers you trust. "safe" is
        for databases of other programs: pickles of plain data are read, and nothing runs; else it is as False.
    durability : {"commit", "none"}, optional
        On the local disk, "commit" waits until a write is on disk before it returns, so that it survives a loss of
        power; "none" leaves that to the system, which takes some seconds. By default what the setting ``durability``
        says, "commit" if nothing is set. Other stores answer when they have what was written.

    Returns
    -------
    Database

    Raises
    ------
    DatabaseNotFoundError
        There is nothing at the URL (modes "r" and "r+"), or the catalog does not know the `id` or where it is now.
    KeyExistsError
        There is a database already (mode "w-").
    NotADatabaseError
        Something else lies there: a non-empty folder, a file, or a plain Zarr group, which can be read by mode "r".
    UnsupportedVersionError
        A newer zdb wrote it.
    InvalidSettingError
        The `url`, `mode`, `id` or `durability` is none that there is.
    ReadOnlyError
        The place cannot be written, or holds a database of another program.
    """
    if mode not in MODES:
        raise InvalidSettingError(f"mode is one of {', '.join(map(repr, MODES))}, not {mode!r}")
    if (url is None) == (id is None):
        raise InvalidSettingError("give either a url or an id")
    if url is None:
        url = _place_of(str(id), mode)
    nodes = open_store(url, storage_options, read_only=mode == "r", durability=durability)
    if mode != "r":
        nodes.require_writable()
    engine = PlainEngine(nodes)
    root = _root(engine)
    if root is None:
        opener = None if nodes.is_empty() else opener_of(nodes.url, mode)
        if opener is not None:
            other = cast("Database", opener.open(nodes.url, allow_pickle))
            if id is not None and other.info().id != id:
                raise _moved(nodes.url, id)
            return other
    if id is not None and (root is None or id not in ids_in(root.attributes)):
        raise _moved(nodes.url, id)
    if root is not None:
        _check_kind(nodes.url, root, mode)
    above = _database_above(url, storage_options, root, mode)
    if above is not None:
        outer, key = above
        whole = PlainEngine(open_store(outer, storage_options, read_only=mode == "r", durability=durability))
        return Database(whole, "", mode, allow_pickle=allow_pickle is True).database(key, create=root is None)
    if root is None:
        root = _create(engine, mode)
    if mode != "r" and isinstance(url, (str, os.PathLike)):
        own, *former = ids_in(root.attributes)
        if remember(own, nodes.url):
            for one in former:
                remember(one, nodes.url, moved=True)
    return Database(engine, "", mode, allow_pickle=allow_pickle is True)


def _check_kind(url: str, root: Node, mode: str) -> None:
    if mode == "w-":
        raise KeyExistsError(f"{url}: exists, and mode='w-' only creates")
    if root.kind == VALUE:
        raise NotADatabaseError(f"{url}: is a value; open the database it lies in and read the key")
    if root.document["node_type"] == "array":
        raise NotADatabaseError(f"{url}: is a single Zarr array; open it with zarr.open_array")
    if root.kind != DATABASE and mode != "r":
        raise NotADatabaseError(
            f"{url}: is a plain Zarr group; read it with mode='r', or make it a database with zdb.adopt(url)"
        )


def _database_above(
    url: str | os.PathLike[str] | Store, storage_options: Mapping[str, Any] | None, root: Node | None, mode: str
) -> tuple[str, str] | None:
    """Return where the outermost database lies in which one lies, or is to be made, and the key of that there.

    Claims and records lie in the outermost one, and all who write in it have to use the same.
    """
    is_to_be_made = root is None and mode in ("a", "w-")
    if not is_to_be_made and (root is None or root.kind != DATABASE):
        return None
    found = None
    for place, key in places_above(url):
        if _holds_database(place, storage_options):
            found = place, key
        elif found is not None or not is_to_be_made:
            break
    return found


def _holds_database(place: str, storage_options: Mapping[str, Any] | None) -> bool:
    try:
        node = PlainEngine(open_store(place, storage_options, read_only=True)).node("")
    except ZdbError:  # it must not be read, or is damaged
        return False
    return node is not None and node.kind == DATABASE


def adopt(url: str | os.PathLike[str] | Store, storage_options: Mapping[str, Any] | None = None) -> Database:
    """Make a database of a plain Zarr group, or of a database that lost its own ``zarr.json``, and open it.

    Only the metadata of groups that hold groups is changed; arrays and groups of arrays stay as they are and are read
    as plain xarray reads them. A database whose ``zarr.json`` is lost or damaged gets a new one, with a new id.

    Raises
    ------
    DatabaseNotFoundError, NotADatabaseError, ReadOnlyError
        There is no Zarr group at the URL, or it cannot be written.
    """
    nodes = open_store(url, storage_options)
    engine = PlainEngine(nodes)
    if lost_below(url, storage_options):
        nodes.require_writable()
        found = nodes.read_tagged(node_path(""))
        nodes.replace(node_path(""), dump(new_database()), None if found is None else found.tag)
    root = _root(engine)
    if root is None:
        raise DatabaseNotFoundError(f"{nodes.url}: there is no Zarr group to adopt")
    if root.document["node_type"] == "array" or root.kind == VALUE:
        raise NotADatabaseError(f"{nodes.url}: is an array or a value, not a group of groups")
    _adopt_below(engine, root)
    return Database(engine)


def lost_below(url: str | os.PathLike[str] | Store, storage_options: Mapping[str, Any] | None = None) -> int:
    """Return how many databases and values lie directly in a database that lost its ``zarr.json``; 0 for any other.

    A sub-database is none: the one in which it lies repairs it.
    """
    number = _lost_below(PlainEngine(open_store(url, storage_options, read_only=True)))
    if number and any(_holds_database(place, storage_options) for place, _ in places_above(url)):
        return 0
    return number


def _lost_below(engine: PlainEngine) -> int:
    data, records = engine.nodes.get_many([node_path(""), node_path(RECORDS)])
    # A folder of databases, which has no records of its own, is none that lost anything.
    if records is None or (data is not None and not Node.read("", data).error):
        return 0
    return sum(node.kind in (DATABASE, VALUE) for node in engine.children("").values())


def discard_empty(db: Database) -> None:
    """Remove a database that was just made, and forget it in the catalog, unless there is anything in it."""
    engine, path, id = db._engine, db._path, db.info().id  # noqa: SLF001
    if db.keys(recursive=True):
        return
    if path:
        engine.delete(path, only_empty=True)
    else:
        engine.nodes.delete(sorted(engine.nodes.list_objects(""), key=lambda path: path != node_path("")))
        engine.nodes.prune("")
    with contextlib.suppress(ZdbError):  # there is no catalog, or it cannot be written
        Catalog().forget(id)


def _adopt_below(engine: PlainEngine, node: Node) -> None:
    for child in engine.children(node.path).values():
        if child.kind != DATABASE and engine.is_database(child):
            _adopt_below(engine, child)
    if node.kind == DATABASE:
        return
    own = {"zdb_kind": DATABASE, "zdb_version": FORMAT_VERSION, "zdb_id": new_id()}
    document = {k: v for k, v in node.document.items() if k != "consolidated_metadata"}
    document["attributes"] = {**node.attributes, **own}
    engine.nodes.set(node_path(node.path), dump(document))


def _root(engine: PlainEngine) -> Node | None:
    try:
        return engine.node("")
    except CorruptChunkError as error:
        raise NotADatabaseError(f"{error}{_advice(engine)}") from error


def _advice(engine: PlainEngine) -> str:
    """Say what can be done about a database that lost its node."""
    number = _lost_below(engine)
    url = engine.nodes.url
    return f"; {number} of its keys are there: let zdb repair {url} --yes, or zdb.adopt(url), make it again" * bool(
        number
    )


def _moved(url: str, id: str) -> DatabaseNotFoundError:
    return DatabaseNotFoundError(
        f"{url}: database {id} is not there any more; zdb.catalog.search(folder) finds where it went"
    )


def _place_of(id: str, mode: str) -> str:
    if mode == "w-":
        raise InvalidSettingError("mode='w-' creates a database, and an id is that of one that exists")
    record = Catalog().get(id)
    if record is None:
        raise DatabaseNotFoundError(
            f"the catalog {default_place()} knows no database {id}; zdb.catalog.search(folder) registers what is there"
        )
    return record.url


def _create(engine: PlainEngine, mode: str) -> Node:
    nodes = engine.nodes
    if not nodes.is_empty():
        made = _root(engine)
        if made is not None and mode != "w-":
            return made  # by another process, a moment ago
        if advice := _advice(engine):
            raise NotADatabaseError(f"{nodes.url}: is a database that lost its zarr.json{advice}")
        creates = mode in ("a", "w-")
        advice = "choose an empty or new folder" if creates else "zdb.catalog.search(folder) finds those below a folder"
        raise NotADatabaseError(f"{nodes.url}: {_what_lies_there(nodes)}; {advice}")
    if mode in ("r", "r+"):
        raise DatabaseNotFoundError(f"{nodes.url}: there is no database; mode='a' would create it")
    engine.create_databases("")
    made = _root(engine)
    assert made is not None
    return made


def _what_lies_there(nodes: NodeStore) -> str:
    if isinstance(nodes, LocalNodes) and not os.path.isdir(nodes.root):  # noqa: PTH112
        return "is a file, not a database"
    if nodes.get(".zgroup") is not None:
        return "is a group of Zarr version 2, not a database; read it with xarray.open_zarr"
    return "is not empty and not a database"
