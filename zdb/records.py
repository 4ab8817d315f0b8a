"""The records of a catalog: where databases lie, by the id that they keep when they move.

A catalog is a folder, or a prefix in a bucket, with one small JSON object for each database. No object is shared by two
databases, so that many processes write it at once, also on NFS and in buckets.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import uuid
import warnings
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdb import config
from zdb.errors import CatalogError, DatabaseNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "FORMER_IDS",
    "CatalogWarning",
    "Record",
    "Records",
    "default_place",
    "ids_in",
    "is_id",
    "is_same_place",
    "state_directory",
]

# A record that is younger is not written again when its database is opened.
FRESH = timedelta(minutes=10)
# Those of other programs have "-" and "_" in them.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
FORMER_IDS = "zdb_former_ids"


def is_id(text: str) -> bool:
    """Whether a text may be the id of a database."""
    return _ID.fullmatch(text) is not None


def ids_in(attributes: Mapping[str, Any]) -> list[str]:
    """Return the ids by which a database is found, from the attributes of its node: its own one, then others."""
    try:
        former = json.loads(attributes.get(FORMER_IDS, "[]"))
    except (ValueError, TypeError):
        former = []
    return [str(attributes.get("zdb_id", "")), *(id for id in former if isinstance(id, str) and is_id(id))]


class CatalogWarning(UserWarning):
    """The catalog could not be read or written; the database itself works."""


@dataclass(frozen=True)
class Record:
    """What a catalog knows of one database.

    Attributes
    ----------
    id : str
    url : str
        Where it lies, without credentials; a local path is absolute.
    hostname : str
        The machine from which it was seen there.
    created, seen : datetime
        When it was first and last registered, in UTC.
    keys, nbytes : int or None
        Number of values at any depth and their uncompressed size in bytes when they were last counted.
    """

    id: str
    url: str
    hostname: str
    created: datetime
    seen: datetime
    keys: int | None = None
    nbytes: int | None = None

    @classmethod
    def now(cls, id: str, url: str) -> Record:
        """Make the record of a database that was just seen at a URL."""
        moment = datetime.now(UTC)
        return cls(id, url, socket.gethostname(), moment, moment)

    @property
    def name(self) -> str:
        """Last part of the URL."""
        return self.url.rstrip("/").rpartition("/")[2]

    def dump(self) -> bytes:
        plain = {**asdict(self), "created": self.created.isoformat(), "seen": self.seen.isoformat()}
        return json.dumps(plain, indent=1).encode()

    @classmethod
    def parse(cls, data: bytes) -> Record:
        """Read what :meth:`dump` wrote.

        Raises
        ------
        ValueError, KeyError, TypeError
            It is something else.
        """
        plain = json.loads(data)
        moments = {name: datetime.fromisoformat(plain[name]) for name in ("created", "seen")}
        return cls(**{**plain, **moments})


def default_place() -> str | None:
    """Return where the catalog of this user lies, by the setting ``catalog``; None if there shall be none."""
    wanted = config.get("catalog")
    if wanted is None:
        return str(state_directory() / "zdb" / "catalog")
    return str(wanted) if wanted else None


def state_directory() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


class Records:
    """The records of one catalog: one object for each database.

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

    def __init__(
        self, url: str | os.PathLike[str] | None = None, storage_options: Mapping[str, Any] | None = None
    ) -> None:
        import fsspec

        place = default_place() if url is None else os.fspath(url)
        if place is None:
            raise CatalogError("the setting catalog is False, so there is no catalog; name one: zdb.Catalog(url)")
        self.url = place
        try:
            options = {"use_listings_cache": False} if "://" in place else {}
            self._files, self._root = fsspec.core.url_to_fs(place, **options, **(storage_options or {}))
        except (ImportError, ValueError, OSError) as error:
            raise CatalogError(f"catalog {place}: {error}") from error

    def get(self, id: str) -> Record | None:
        """Return the record of a database, or None.

        Raises
        ------
        CatalogError
            The catalog cannot be read, or the record is damaged.
        """
        path = self._path(id)
        try:
            return Record.parse(self._files.cat_file(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CatalogError(f"catalog {self.url}: the record of {id} cannot be read: {error}") from error

    def put(self, record: Record) -> None:
        """Write a record; others see the old one or the new one.

        Raises
        ------
        CatalogError
            The catalog cannot be written.
        """
        path = self._path(record.id)
        try:
            if "file" in self._files.protocol:
                _write_atomically(Path(path), record.dump())
            else:
                self._files.pipe_file(path, record.dump())
        except OSError as error:
            raise CatalogError(f"catalog {self.url}: cannot be written: {error}") from error

    def forget(self, id: str) -> None:
        """Remove a record; the database itself stays as it is.

        Raises
        ------
        DatabaseNotFoundError
            There is no such record.
        CatalogError
            The catalog cannot be written.
        """
        path = self._path(id)
        try:
            self._files.rm_file(path)
        except FileNotFoundError:
            raise DatabaseNotFoundError(f"catalog {self.url}: knows no database {id}") from None
        except OSError as error:
            raise CatalogError(f"catalog {self.url}: cannot be written: {error}") from error

    def records(self) -> list[Record]:
        """Return all records, the last seen first. Damaged ones are passed over with a warning.

        Raises
        ------
        CatalogError
            The catalog cannot be read.
        """
        try:
            paths = [path for path in self._files.ls(self._root, detail=False) if path.endswith(".json")]
            found = self._files.cat(paths, on_error="return") if paths else {}
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CatalogError(f"catalog {self.url}: cannot be read: {error}") from error
        records = []
        for path, data in found.items():
            try:
                records.append(Record.parse(data))
            except (ValueError, KeyError, TypeError):
                if not isinstance(data, FileNotFoundError):  # forgotten by another process meanwhile
                    warnings.warn(f"catalog {self.url}: {path} is no record", CatalogWarning, stacklevel=2)
        return sorted(records, key=lambda record: record.seen, reverse=True)

    def see(self, id: str, url: str, is_there: Callable[[Record], bool]) -> Record | None:
        """Note that a database was seen at a URL.

        Parameters
        ----------
        id, url : str
        is_there : callable
            Whether the database still lies where a record says.

        Returns
        -------
        Record or None
            The record of another place at which a database of this id lies too; it was not changed.
        """
        known = self.get(id)
        now = Record.now(id, url)
        if known is None:
            self.put(now)
        elif not is_same_place(known.url, url):
            if is_there(known):
                return known
            self.put(replace(now, created=known.created, keys=known.keys, nbytes=known.nbytes))
        elif now.seen - known.seen > FRESH:
            self.put(replace(known, seen=now.seen, hostname=now.hostname))
        return None

    def _path(self, id: str) -> str:
        if not is_id(id):
            raise DatabaseNotFoundError(f"{id!r} is no id of a database; ids are 32 hexadecimal digits")
        return f"{self._root.rstrip('/')}/{id}.json"

    def __repr__(self) -> str:
        return f"zdb.{type(self).__name__}({self.url!r})"


def is_same_place(one: str, other: str) -> bool:
    """Whether two URLs name one place; on the local disk, also by symbolic links."""
    try:
        return one == other or Path(one).samefile(other)
    except OSError:  # one of them is not there, or no local path
        return False


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
