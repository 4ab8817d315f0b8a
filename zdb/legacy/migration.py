"""Making a database of zdb of an old one."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import zdb
from zdb.errors import (
    InvalidReferenceError,
    KeyExistsError,
    PickleRefusedError,
    UnreadableValueError,
    UnsupportedValueError,
    WriteError,
)
from zdb.legacy.compare import difference
from zdb.legacy.database import LegacyDatabase, open_legacy
from zdb.legacy.dumpers import data_files
from zdb.legacy.report import MigratedKey, MigrationReport
from zdb.legacy.sources import child_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zdb.legacy.entries import Entry, Source
    from zdb.legacy.trust import AllowPickle

__all__ = ["REPORT_KEY", "migrate"]

REPORT_KEY = "migration_report"
# Errors of writing that are of the value; a lazy one is read only then.
OF_THE_VALUE = (PickleRefusedError, UnreadableValueError, UnsupportedValueError, WriteError)


@dataclass(frozen=True)
class _Item:
    """One key, as a worker gets it."""

    names: tuple[str, ...]
    new: str
    is_database: bool

    @property
    def old(self) -> str:
        return "/".join(self.names)


@dataclass(frozen=True)
class _Job:
    """What all items of a migration have in common."""

    old: str
    new: str
    storage_options: Mapping[str, Any] | None = field(hash=False, compare=False)
    allow_pickle: AllowPickle


def migrate(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
    *,
    allow_pickle: AllowPickle = "safe",
    workers: int | None = None,
    progress: bool = False,
) -> MigrationReport:
    """Make a database of zdb of an ``ISFDataBase`` or ``ModelDataBase``; the old one is not changed.

    Each value is written, read back and compared with the old one. Its provenance is what the old database recorded:
    time, versions of the code and of all packages, notebook cells. What cannot be converted is kept as its raw files,
    a sub-database of files at the key, and the report says why. A migration that was interrupted is taken up where it
    ended by the same call; what is there already is not written again.

    By the id of the old database, such as in ``mdb://<id>/...``, the new one is found from then on.

    Parameters
    ----------
    old : str or path-like
        Folder of the old database.
    new : str or path-like
        Folder or URL of the new database; created if it is missing.
    storage_options : mapping, optional
        Passed to the file system of `new`.
    allow_pickle : bool or "safe"
        Which pickles are converted, as in :func:`zdb.legacy.open`. With True, what no format keeps is written as a
        pickle.
    workers : int, optional
        How many processes work at a time; by default one for each CPU. A database in memory is written by this process.
    progress : bool
        Show a progress bar.

    Returns
    -------
    MigrationReport
        It is also kept in the new database, at the key ``migration_report``.

    Raises
    ------
    DatabaseNotFoundError
        There is no old database.
    KeyConflictError
        The new database holds a value where a sub-database is needed.
    """
    source = open_legacy(old, allow_pickle)
    target = zdb.open(new, "a", storage_options)
    job = _Job(str(Path(old).expanduser().absolute()), target.url, storage_options, allow_pickle)
    report = MigrationReport(job.old, target.url, source.kind, source.id, left_behind=_left_behind(source))
    items = list(_items(source._source, (), "", {REPORT_KEY}))  # noqa: SLF001 - of this package
    for item in items:
        if item.is_database:
            target.database(item.new, create=True)
    values = [item for item in items if not item.is_database]
    number = 1 if target.url.startswith("memory:") else workers or os.cpu_count() or 1
    done = _in_processes(job, values, number) if number > 1 and len(values) > 1 else _in_this_process(job, values)
    if progress:
        from tqdm.auto import tqdm

        done = tqdm(done, total=len(values), unit="key")
    report.keys = sorted(done, key=lambda key: key.old)
    target[REPORT_KEY] = report.to_dict()
    with contextlib.suppress(InvalidReferenceError):  # an old id that is none
        target.add_id(source.id)
    return report


def _items(source: Source, above: tuple[str, ...], new_above: str, reserved: set[str]) -> Iterator[_Item]:
    """All keys, sub-databases before what is in them, with legal names."""
    names = source.names()
    legal = zdb.key_names([*names, *(name for name in reserved if name not in names)])
    for name in names:
        chosen = f"{legal[name]}-old" if legal[name] in reserved else legal[name]
        new = f"{new_above}/{chosen}" if new_above else chosen
        child = child_of(source, source.entry(name))
        yield _Item((*above, name), new, child is not None)
        if child is not None:
            yield from _items(child, (*above, name), new, set())


def _left_behind(source: LegacyDatabase) -> list[str]:
    """Folders that no key points to, and leftovers of deletions."""
    used = {source.path / name for name in source}
    for _, entry, _ in source.walk():
        if entry.folder is not None:
            used.add(entry.folder)
    folders = (child for child in source.path.iterdir() if child.is_dir())
    return sorted(child.name for child in folders if child not in used)


def _in_processes(job: _Job, items: list[_Item], workers: int) -> Iterator[MigratedKey]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(items)), context, _Worker.start, (job,)) as pool:
        waiting = [pool.submit(_Worker.run, item) for item in items]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _in_this_process(job: _Job, items: list[_Item]) -> Iterator[MigratedKey]:
    migrated = _Migration(job)
    for item in items:
        yield migrated.one(item)


class _Worker:
    """The migration in a process of the pool."""

    migration: ClassVar[_Migration]

    @classmethod
    def start(cls, job: _Job) -> None:
        cls.migration = _Migration(job)

    @classmethod
    def run(cls, item: _Item) -> MigratedKey:
        return cls.migration.one(item)


class _Migration:
    """The two databases, opened."""

    def __init__(self, job: _Job) -> None:
        self.old = open_legacy(job.old, job.allow_pickle)
        self.new = zdb.open(job.new, "r+", job.storage_options, allow_pickle=True)

    def one(self, item: _Item) -> MigratedKey:
        """Migrate one value; what goes wrong with it is said in the result."""
        made = MigratedKey(item.old, item.new, "failed")
        try:
            _, entry = self.old._find(item.names)  # noqa: SLF001 - of this package
            size = sum(file.stat().st_size for file in data_files(entry)) or len(entry.row or b"")
            made = dataclasses.replace(made, dumper=entry.dumper, nbytes=size)
            return dataclasses.replace(made, **self._migrated(item, entry))
        except Exception as error:  # noqa: BLE001 - one bad key must not stop the others
            return dataclasses.replace(made, reason=f"{type(error).__name__}: {error}")

    def _migrated(self, item: _Item, entry: Entry) -> dict[str, Any]:
        origin = f"{self.old.kind} {self.old.url}, key {item.old}, dumper {entry.dumper or 'unknown'}"
        provenance = dataclasses.replace(self.old.provenance(item.names), imported_from=origin)
        value, reason = None, ""
        try:
            value = self.old[item.names]
        except Exception as error:  # noqa: BLE001 - anything may be wrong with an old value
            reason = str(error)
        if _is_present(self.new, item.new, origin):
            stored = self.new.info(item.new).format
            # The writer may have died before it had compared them.
            if reason or stored == "pickle" or not difference(value, self.new, item.new):
                return {"outcome": "present", "format": stored}
            del self.new[item.new]
        if not reason:
            if _is_kept_raw(self.new, item.new, origin):
                del self.new[item.new]  # now the value can be read
            reason, chosen = _convert(self.new, item.new, value, provenance, self.old.allow_pickle is True)
            if not reason:
                note = "is kept as a pickle, which only allow_pickle=True reads" if chosen == "pickle" else ""
                return {"outcome": "converted", "format": chosen, "note": note}
        return _keep_raw(self.new, item, entry, provenance, reason)


def _is_present(new: zdb.Database, key: str, origin: str) -> bool:
    """Whether an earlier migration has written the value.

    Raises
    ------
    KeyExistsError
        Something else is there.
    """
    if key not in new or new.info(key).kind == "database":
        return False
    if new.provenance(key).imported_from != origin:
        raise KeyExistsError(f"{key}: the new database has a value there that is not of this migration")
    return True


def _is_kept_raw(new: zdb.Database, key: str, origin: str) -> bool:
    """Whether an earlier migration has kept the raw files at a key.

    Raises
    ------
    KeyExistsError
        Something else is there.
    """
    if key not in new:
        return False
    files = new.database(key).keys(recursive=True)
    if any(new.provenance(f"{key}/{file}").imported_from != origin for file in files):
        raise KeyExistsError(f"{key}: the new database has values there that are not of this migration")
    return True


def _convert(new: zdb.Database, key: str, value: Any, provenance: zdb.Provenance, may_pickle: bool) -> tuple[str, str]:
    """Write a value and read it back; return why that failed, and the format."""
    if isinstance(value, np.memmap):
        value = np.asarray(value)
    formats: list[str | None] = ["json", "nested"] if isinstance(value, list | dict) else [None]
    if isinstance(value, np.ndarray) and value.dtype == object:
        formats.append("nested")
    if may_pickle and not type(value).__module__.startswith("dask."):  # its pickle would name the old files
        formats.append("pickle")
    reason = ""
    for chosen in formats:
        try:
            new.set(key, value, format=chosen, overwrite=False, provenance=provenance)
        except OF_THE_VALUE as error:
            reason = str(error)
            continue
        different = "" if chosen == "pickle" else difference(value, new, key)
        if not different:
            return "", new.info(key).format
        del new[key]
        reason = f"does not come back equal: {different}"
    return reason, ""


def _keep_raw(new: zdb.Database, item: _Item, entry: Entry, provenance: zdb.Provenance, reason: str) -> dict[str, Any]:
    """Keep what could not be converted as its files."""
    files = data_files(entry)
    with contextlib.ExitStack() as stack:
        if entry.folder is None:
            if entry.row is None:
                return {"outcome": "failed", "reason": reason}
            import tempfile

            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "row.pickle").write_bytes(entry.row)
        elif not entry.folder.is_dir():
            return {"outcome": "failed", "reason": reason}
        elif any(not file.resolve().is_relative_to(entry.folder.resolve()) for file in files):
            return {"outcome": "failed", "reason": f"{reason}; it has links to files elsewhere, which are not copied"}
        else:
            folder = entry.folder
        if not _is_kept_raw(new, item.new, provenance.imported_from):
            new.set(item.new, folder, provenance=provenance)
    return {"outcome": "raw", "format": "file", "reason": reason}
