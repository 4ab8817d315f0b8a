"""References to stored files: opened by URI, and made of paths.

``zdb://<database>/<key>`` is the URI of a file (:mod:`zdb.filesystem`). ``mdb://<id>/<key>`` and ``reldb://<key>`` are
those of the In Silico Framework: the first names the database by its id, the second means the database in which the
file or parameter lies that contains the reference.
"""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import weakref
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from zdb.catalogs import remember
from zdb.engine.node import DATABASE, Node
from zdb.errors import (
    CorruptChunkError,
    DatabaseNotFoundError,
    InvalidReferenceError,
    NoFileError,
    ReadOnlyError,
    UnreadableValueError,
    ZdbError,
)
from zdb.formats.folders import possible_key_names
from zdb.openers import opener_of
from zdb.opening import open as open_database

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zdb.database import Database

    Options = Mapping[str, Any] | None

__all__ = ["create_mdb", "create_reldb", "open_file"]

RELATIVE, BY_ID, BY_URL = "reldb://", "mdb://", "zdb://"
_ARCHIVE = re.compile(r"\.tar(\.(gz|bz2|xz))?$")
# An archive stays open as long as a file in it.
_archives: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def open_file(
    uri: str | os.PathLike[str],
    mode: str = "rb",
    *,
    base: Database | str | os.PathLike[str] | None = None,
    storage_options: Options = None,
    **text: Any,
) -> IO[Any]:
    """Open a file that is stored in a database, or any other.

    A part of a path that ends in ``.tar`` (also ``.tar.gz``, ``.tar.bz2`` and ``.tar.xz``) is an archive if there is
    such a file, and what follows is a file in it: ``zdb://…/archive.tar/folder/inner.tar/file``. Others are chained as
    in fsspec: ``zip://member::zdb://…``.

    Parameters
    ----------
    uri : str or path-like
        ``zdb://<id or quoted URL>/<key>``, ``mdb://<id>/<key>``, ``reldb://<key>``, a path, which may lead into a
        database, or any URL of fsspec.
    mode : str
        As in :func:`open`: r, w, a or x, and b for bytes. What is written to a database is published when the file is
        closed; not if an error ends the ``with`` block. Archives are only read.
    base : Database, str or path-like, optional
        For ``reldb://``: the database, or the URI or path of the file that contains the reference. Then the nearest
        database above this file that has the key is taken.
    storage_options : mapping, optional
        Passed to the file system in which the database or file lies.
    **text
        encoding, errors and newline, as in :func:`open`.

    Returns
    -------
    file object

    Raises
    ------
    NoFileError
        There is no such file, or a value that is not a file.
    InvalidReferenceError
        The reference is not complete, leads outside of the database by ``..``, or needs a `base`.
    DatabaseNotFoundError
        There is no such database, or the catalog does not know the id.
    """
    name = os.fspath(uri)
    access: Any = "r" if mode.startswith("r") else "r+"
    if name.startswith(RELATIVE):
        files, path = _relative_to(name, base, storage_options, access)
    elif name.startswith(BY_ID):
        db, key = _held(name, storage_options, access)
        files = db.folder()
        path = _present(files, key)
    else:
        files, path = _elsewhere(name, storage_options, access)
    opened: IO[Any] = _open(files, path, mode, text)
    return opened


def _elsewhere(name: str, storage_options: Options, access: Any) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    local = name.removeprefix("file://")
    if "::" not in local and "://" not in local and not Path(local).is_file():
        found = _inside_database(Path(local).absolute(), access)
        if found is not None:
            return found[0].folder(), found[1]
    files, path = url_to_fs(name, **(storage_options or {}))
    return files, path


def create_reldb(file: str | os.PathLike[str], storage_options: Options = None) -> str:
    """Return ``reldb://<key>`` for a stored file, relative to its database.

    Parameters
    ----------
    file : str or path-like
        ``zdb://…`` or ``mdb://…``, or an absolute path that leads into a database on this machine. One that is
        ``reldb://…`` already stays as it is.
    storage_options : mapping, optional
        Passed to the file system in which the database lies.

    Raises
    ------
    InvalidReferenceError
        The path is relative, or contains "..".
    DatabaseNotFoundError
        It does not lead into a database.
    NoFileError
        There is nothing at the key.
    """
    name = os.fspath(file)
    if name.startswith(RELATIVE):
        return f"{RELATIVE}{_required(name, name.removeprefix(RELATIVE))}"
    return f"{RELATIVE}{_existing(name, storage_options)[1]}"


def create_mdb(file: str | os.PathLike[str], storage_options: Options = None) -> str:
    """Return ``mdb://<id>/<key>`` for a stored file, and register its database in the catalog if it is not known there.

    Parameters
    ----------
    file, storage_options
        As for :func:`create_reldb`. What is ``mdb://…`` already stays as it is.

    Raises
    ------
    InvalidReferenceError, DatabaseNotFoundError, NoFileError
        As by :func:`create_reldb`.
    """
    name = os.fspath(file)
    if name.startswith(BY_ID):
        id, _, key = name.removeprefix(BY_ID).partition("/")
        return f"{BY_ID}{id}/{_required(name, key)}"
    db, key = _existing(name, storage_options)
    id = db.info().id
    if not id:
        raise DatabaseNotFoundError(f"{name}: its database has no id; make one of zdb of it by `zdb migrate`")
    remember(id, db.url)
    return f"{BY_ID}{id}/{key}"


def _existing(name: str, storage_options: Options) -> tuple[Any, str]:
    """Return the database and the key of what is there."""
    if "://" not in name and not Path(name).is_absolute():
        raise InvalidReferenceError(f"{name}: is a relative path; give the absolute one")
    db, key = _held(name, storage_options, "r")
    files = db.folder()
    outer, _ = _split_archive(files, _required(name, key))
    if outer not in db and not files.exists(outer):
        raise NoFileError(f"{name}: there is no {outer!r} in {db.url}")
    return db, key


def _held(name: str, storage_options: Options, access: Any) -> tuple[Any, str]:
    """Return the database that a URI or path leads into, and the key, which is "" for the database itself."""
    if name.startswith(BY_URL):
        from zdb.filesystem import ZdbFileSystem

        quoted, _, key = name.removeprefix(BY_URL).partition("/")
        return ZdbFileSystem(**(storage_options or {})).database(quoted, access), _checked(name, key)
    if name.startswith(BY_ID):
        id, _, key = name.removeprefix(BY_ID).partition("/")
        if not id:
            raise InvalidReferenceError(f"{name}: names no database; it is mdb://<id>/<key>")
        return open_database(None, access, storage_options, id=id), _checked(name, key)
    if "://" in name:
        raise InvalidReferenceError(f"{name}: give a path, or the URI of a stored file as by db.uri(key)")
    found = _inside_database(Path(name).absolute(), access)
    if found is None:
        raise DatabaseNotFoundError(f"{name}: does not lie in a database")
    return found


def _inside_database(path: Path, access: Any) -> tuple[Any, str] | None:
    """Return the database above a local path, and the key in it; the uppermost one, of which others are parts."""
    if ".." in path.parts:
        raise InvalidReferenceError(f"{path}: contains '..'; give the path without it")
    for folder in [*reversed(path.parents), path]:
        if _is_database(folder):
            return open_database(folder, access), "/".join(path.relative_to(folder).parts)
    return None


def _is_database(folder: Path) -> bool:
    try:
        data = (folder / "zarr.json").read_bytes()
        return Node.parse("", data).kind == DATABASE
    except OSError:
        return opener_of(str(folder), "r") is not None
    except CorruptChunkError:
        return False


def _relative_to(name: str, base: Any, storage_options: Options, access: Any) -> tuple[Any, str]:
    """Return where a ``reldb://`` reference leads."""
    key = _required(name, name.removeprefix(RELATIVE))
    if base is None:
        raise InvalidReferenceError(f"{name}: is relative to a database; give it, or the file that says so, as base=")
    if not isinstance(base, (str, os.PathLike)):
        files = base.folder()
        return files, _present(files, key)
    place = os.fspath(base)
    if place.startswith(RELATIVE):
        raise InvalidReferenceError(f"{name}: its base {place} is relative itself; give a database, or a full URI")
    db, above = _held(place, storage_options, access)
    files = db.folder()
    while above:
        above = above.rpartition("/")[0]
        candidate = _present(files, f"{above}/{key}" if above else key)
        if files.exists(_split_archive(files, candidate)[0]):
            return files, candidate
    return files, _present(files, key)


def _present(files: Any, key: str) -> str:
    """Return the key of a file that an old database had at another one, with names that are not allowed here."""
    if not key or files.exists(_split_archive(files, key)[0]):
        return key
    found, names = "", key.split("/")
    for number, name in enumerate(names):
        here = _as_kept(files, found, name, is_last=number == len(names) - 1)
        if here is None:
            return key
        found = here
        if files.isfile(found):  # an archive, whose files keep their names
            return "/".join([found, *names[number + 1 :]])
    return found


def _as_kept(files: Any, above: str, name: str, *, is_last: bool) -> str | None:
    """Return the key in a folder of what had a name; None if it is not there."""
    for possible in (name, *possible_key_names(name)):
        key = f"{above}/{possible}" if above else possible
        if files.isfile(key) and (is_last or _ARCHIVE.search(name)):
            if possible == name or files.info(key)["original_name"] == name:
                return key
        elif files.isdir(key):
            return key
    return None


def _checked(name: str, key: str) -> str:
    """Return a key without empty names and ".", which the In Silico Framework wrote."""
    names = [part for part in key.split("/") if part not in {"", "."}]
    if ".." in names:
        raise InvalidReferenceError(f"{name}: '..' leads outside of the database")
    return "/".join(names)


def _required(name: str, key: str) -> str:
    checked = _checked(name, key)
    if not checked:
        raise InvalidReferenceError(f"{name}: names no file")
    return checked


def _split_archive(files: Any, path: str) -> tuple[str, str]:
    """Split a path behind the first archive in it; the second part is "" if there is none."""
    names = path.split("/")
    for stop, name in enumerate(names[:-1], start=1):
        if _ARCHIVE.search(name) and files.isfile("/".join(names[:stop])):
            return "/".join(names[:stop]), "/".join(names[stop:])
    return path, ""


def _open(files: Any, path: str, mode: str, text: dict[str, Any]) -> Any:
    from fsspec.archive import AbstractArchiveFileSystem
    from fsspec.implementations.tar import TarFileSystem

    outer, member = _split_archive(files, path)
    if not member:
        if isinstance(files, AbstractArchiveFileSystem) and not files.isfile(path):
            raise NoFileError(f"there is no file {path!r} in the archive")
        opened = files.open(path, mode, **text)
        if isinstance(files, AbstractArchiveFileSystem):
            _archives[opened] = files
        return opened
    if not mode.startswith("r"):
        raise ReadOnlyError(f"{path}: files in archives are only read")
    try:
        archive = TarFileSystem(fo=files.open(outer, "rb"))
    except ZdbError:
        raise
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise UnreadableValueError(f"{outer}: is no archive that can be read: {error}") from error
    return _open(archive, member, mode, text)
